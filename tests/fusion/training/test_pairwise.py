"""Every lever with every protocol and every head on a tiny corpus: judged, or refused in one sentence before training.

The cases are generated so that every pair of lever, protocol and head is met: levers come in groups that go together, and each of
a group that is refused comes alone as well. A case is trained for one epoch; each lever and each protocol is judged once to the end.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_cache import CacheError
from ser_data.errors import CorpusError
from ser_data.manifest.table import Manifest
from ser_data.protocols import PROTOCOLS
from ser_fusion.errors import FusionError
from ser_fusion.heads import HEADS
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.listener import Listener
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import judge
from ser_fusion.study.open import open_study

REFUSALS = (FusionError, CorpusError, CacheError, ValueError)
LEVERS: Mapping[str, Mapping[str, Any]] = {
    "votes": {"targets": "votes"},
    "vad-weight": {"vad_weight": 0.5},
    "tune": {"tune": 1, "inner": 2},
    "no-refit": {"refit": False},
    "early-stopping": {"early_stopping": True},
    "re-pair": {"re_pair": True},
    "context": {"context": 1},
    "extra-text": {"extra_text": Path("more.csv")},
    "drop-seen-text": {"drop_seen_text": True},
    "norm-corpus": {"norm": "corpus"},
    "norm-speaker": {"norm": "speaker"},
    "norm-neutral": {"norm": "speaker-neutral"},
    "contrastive": {"contrastive": 0.1},
    "mixup": {"mixup": 0.2},
    "focal": {"loss": "focal"},
    "class-balanced": {"loss": "class-balanced"},
    "logit-adjust": {"loss": "logit-adjust"},
    "smoothing": {"smoothing": 0.1},
    "class-weights": {"class_weights": "balanced"},
    "stream-dropout": {"stream_dropout": 0.3},
    "train-fraction": {"train_fraction": (0.5,)},
    "select-loss": {"select": "loss"},
    "ensembles": {"ensemble": ("seeds",), "seeds": (0, 1)},
    "lost-streams": {"lost_streams": True},
    "classifiers": {"classifier": ("lda", "knn")},
    "dropouts": {"frame_dropout": (0.0, 0.3), "early_stopping": True},
    "dev-none": {"dev": "none"},
    "dev-random": {"dev": "random:0.2"},
    "dev-speaker": {"dev": "speaker"},
    "cls": {"text_input": "cls"},
    "text-cls": {"text_pooling": "cls"},
    "as-found": {"preset": ("as-found",)},
    "attention-pooling": {"pooling": ("attention",)},
    "attention-maps": {"save_attention": 1},
    "ensembles of folds": {"ensemble": ("folds",)},
    "vad": {"task": "vad"},
}

ALONE = {"ensembles of folds"}  # refused by most protocols, and would take its group along


@pytest.fixture(scope="module")
def tiny(
    plant: Callable[..., Any], write_cache: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """72 turns of 6 speakers in 3 sessions, 3 classes and everything that a manifest can say of them."""
    folder = tmp_path_factory.mktemp("tiny")
    corpus = plant("both", n=72, speakers=6, longest=6, features=(4, 4))
    number = np.arange(72)
    labels = [("neu", "hap", "ang")[(n // 6 + n % 6) % 3] for n in number]
    votes = [json.dumps({label: 2, "hap": 1}) for label in labels]
    named = [None if n % 11 == 0 else label for n, label in enumerate(labels)]
    columns = {
        "corpus": [("iemocap", "own")[n] for n in number % 6 // 3],
        "scenario": [f"scene{n}" for n in number // 6 % 3],
        "dialogue": [f"d{n}" for n in number % 6 // 2 * 100 + number // 6],
        "turn": list(number % 2),
        "text": [f"Line {n // 6} of {n % 6 % 5}." for n in number],
        "votes": votes,
        "fold": [str(n) for n in number % 6 // 2],
        "part": [("test", "dev", "train")[n] for n in number % 6 // 2],
        **{name: list(np.cos(number + k)) for k, name in enumerate(("valence", "arousal", "dominance"))},
    }
    cache = write_cache(replace(corpus, labels=named, columns=columns), folder / "cache")
    study = open_study(cache)
    table = study.table.drop(columns="target")
    more = table.iloc[::9].assign(text=table["text"])
    more[["id", "text", "label"]].to_csv(folder / "more.csv", index=False)
    turns = study.turns
    assert turns is not None
    kept = turns[~turns["id"].isin(more["id"])]
    Manifest(kept.assign(corpus="iemocap"), study.info).write(folder / "iemocap.parquet")
    Manifest(kept, study.info).write(folder / "two.parquet")
    return {
        "cache": cache,
        "more": folder / "more.csv",
        "two": folder / "two.parquet",
        "iemocap": folder / "iemocap.parquet",
    }


def job(tiny: Mapping[str, Path], out: Path, protocol: str, heads: tuple[str, ...], levers: tuple[str, ...]) -> FuseJob:
    given: dict[str, Any] = {"fusion": heads, "epochs": 1, "workers": 0, "device": "cpu", "protocol": protocol}
    given["manifest"] = tiny["iemocap" if protocol == "emobox" else "two"]
    for lever in levers:
        given |= LEVERS[lever]
    if "extra_text" in given:
        given["extra_text"] = tiny["more"]
    return FuseJob(cache=tiny["cache"], out=out, **given)


def together(levers: tuple[str, ...]) -> bool:
    """Whether these levers are one job: no option twice, and none that refuses another."""
    names = [name for lever in levers for name in LEVERS[lever]]
    try:
        job({"cache": Path("c"), "two": Path("m"), "more": Path("x")}, Path("o"), "session", ("cross",), levers)
    except ValueError:
        return False
    return len(names) == len(set(names))


def groups() -> list[tuple[str, ...]]:
    """All levers in groups of up to five that go together."""
    made: list[tuple[str, ...]] = []
    for lever in LEVERS:
        for place, group in enumerate(made):
            if not {lever, *group} & ALONE and len(group) < 5 and together((*group, lever)):
                made[place] = (*group, lever)
                break
        else:
            made.append((lever,))
    return made


def cases(protocol: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], bool]]:
    """Groups of levers, heads, and whether to judge.

    Over the protocols each group meets each head; under each protocol each head is trained.
    """
    number, heads = list(PROTOCOLS).index(protocol), [name for name in HEADS if name not in ("video", "prosody")]
    made = groups()
    each = -(-len(heads) // len(made))
    for place, group in enumerate(made):
        chosen = tuple(heads[(each * place + number + one) % len(heads)] for one in range(each))
        yield group, chosen, place == number % len(made)


def test_every_pair_is_met() -> None:
    met = {
        pair
        for protocol in PROTOCOLS
        for levers, heads, _ in cases(protocol)
        for pair in (*product(levers, heads), *product(levers, [protocol]), *product([protocol], heads))
    }
    heads = [name for name in HEADS if name not in ("video", "prosody")]
    assert met == {*product(LEVERS, heads), *product(LEVERS, PROTOCOLS), *product(PROTOCOLS, heads)}
    judged = {lever for protocol in PROTOCOLS for levers, _, wanted in cases(protocol) if wanted for lever in levers}
    assert judged == set(LEVERS)


def refused(tiny: Mapping[str, Path], out: Path, protocol: str, heads: tuple[str, ...], levers: tuple[str, ...]) -> Any:
    """The prepared run, or None where it is refused: in words, and before anything is trained."""
    try:
        return prepare(job(tiny, out, protocol, heads, levers))
    except REFUSALS as error:
        assert str(error) and "Traceback" not in str(error), (protocol, heads, levers)
        assert type(error) is not ValueError, (protocol, heads, levers, error)
        assert not (out / "jobs").exists()
        return None


SLICE = ("random", "speaker", "session+scenario")  # the others take four minutes: make crash


@pytest.mark.parametrize(
    "protocol", [name if name in SLICE else pytest.param(name, marks=pytest.mark.crash) for name in PROTOCOLS]
)
def test_judged_or_refused_before_training(tiny: Mapping[str, Path], tmp_path: Path, protocol: str) -> None:
    trained, told = 0, False
    for number, (levers, heads, wanted) in enumerate(cases(protocol)):
        prepared = refused(tiny, tmp_path / f"{number}", protocol, heads, levers)
        runs = [prepared] if prepared else [
            refused(tiny, tmp_path / f"{number}-{lever}", protocol, heads, (lever,)) for lever in levers if len(levers) > 1
        ]  # fmt: skip
        told = told or wanted
        for one in filter(None, runs):
            train_all(one)
            trained += 1
            if told:
                judge(one, Listener(), 1)
                told = False
    assert trained >= 4, "a protocol under which nearly everything is refused tests nothing"


def test_one_class_is_refused_before_training(tiny: Mapping[str, Path], tmp_path: Path) -> None:
    whole = Manifest.read(tiny["two"])
    Manifest(whole.table.assign(label="neu"), whole.info).write(tmp_path / "one.parquet")
    for heads, levers in ((("concat",), ()), ((), ("classifiers",))):
        asked = job({**tiny, "two": tmp_path / "one.parquet"}, tmp_path / "out", "session", heads, levers)
        with pytest.raises(FusionError, match="All .* utterances are of the class neu .* nothing to learn"):
            prepare(asked)
        assert not (tmp_path / "out").exists()


def test_one_class_in_a_training_part_is_refused_for_classifiers_too(tiny: Mapping[str, Path], tmp_path: Path) -> None:
    whole = Manifest.read(tiny["two"])
    alone = whole.table.assign(label=whole.table["label"].where(whole.table["session"] == "1", "neu"))
    Manifest(alone, whole.info).write(tmp_path / "alone.parquet")
    given = {**tiny, "two": tmp_path / "alone.parquet"}
    for heads, levers in ((("concat",), ("dev-none",)), ((), ("classifiers", "dev-none"))):
        with pytest.raises(FusionError, match="Fold 1 of protocol session has no training example of"):
            prepare(job(given, tmp_path / "out", "session", heads, levers))


@pytest.mark.parametrize("levers", [("no-refit", "classifiers"), ("early-stopping", "tune", "vad-weight")])
def test_a_development_part_of_one_class_is_judged(
    tiny: Mapping[str, Path], tmp_path: Path, levers: tuple[str, ...]
) -> None:
    whole = Manifest.read(tiny["two"])
    one = whole.table.assign(label=whole.table["label"].where(whole.table["part"] != "dev", "neu"), fold=None)
    Manifest(one, whole.info).write(tmp_path / "dev.parquet")
    given = {**tiny, "two": tmp_path / "dev.parquet"}
    prepared = prepare(job(given, tmp_path / "out", "official", ("late-calibrated",), levers))
    assert len(set(prepared.study.targets[prepared.tasks[0].parts["dev"]])) == 1
    train_all(prepared)
    judge(prepared, Listener(), 1)
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_protocol_of_the_audit_that_cannot_be_fitted_is_left_out_with_its_reason(
    tiny: Mapping[str, Path], tmp_path: Path
) -> None:
    """One speaker says all that is not neutral: without that speaker there is one class, so only some protocols can be audited."""
    whole = Manifest.read(tiny["two"])
    table = whole.table.assign(label=whole.table["label"].where(whole.table["speaker"] == "s0", "neu"), part=None)
    table["fold"] = (table.groupby("label", dropna=False).cumcount() % 2).astype(str)  # every class in both folds
    Manifest(table, whole.info).write(tmp_path / "lonely.parquet")
    given = {**tiny, "two": tmp_path / "lonely.parquet"}
    prepared = prepare(job(given, tmp_path / "out", "manifest", ("concat",), ("dev-none",)))
    train_all(prepared)
    judge(prepared, Listener(), 1)
    audit = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert "random" in audit["protocols"] and {"session", "speaker"} <= set(audit["skipped"])
    assert "leaves one class in the training part of fold" in audit["skipped"]["session"]
