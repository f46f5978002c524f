"""Previous turns of the dialogue: a corpus in which they decide the class, one in which they say nothing, and the guards."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from ser_data.manifest.table import CorpusInfo, Manifest
from ser_fusion.errors import ContextImpossible
from ser_fusion.evaluation.pairing import compare_all, pairs_of
from ser_fusion.frames.batches import Packed
from ser_fusion.frames.feed import Feed
from ser_fusion.heads import HEADS
from ser_fusion.heads.shape import Shape
from ser_fusion.runs.job import FuseJob, study_options
from ser_fusion.runs.planning import tasks
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import gather
from ser_fusion.runs.task import read_frames
from ser_fusion.study.context import pool_content, previous_turns
from ser_fusion.study.open import open_study
from ser_fusion.training.train import build

DIALOGUES, TURNS, SESSIONS = 48, 6, 4


@dataclass
class Talk:
    """Dialogues of two speakers. A bit per turn is in its text; the label is the bit of the turn before, or its own.

    The first turn of each dialogue has no label: nobody can be asked about it, but the next one needs it.
    """

    decides: str  # "previous" or "own"
    failures: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    layers: tuple[int, ...] = (6,)

    def __post_init__(self) -> None:
        draw = np.random.default_rng(3)
        direction = np.linalg.qr(draw.normal(size=(10, 10)))[0][0]
        self.rows, text = [], []
        for dialogue in range(DIALOGUES):
            bits = draw.integers(0, 2, TURNS)
            for turn in range(TURNS):
                bit = bits[turn - 1] if self.decides == "previous" else bits[turn]
                session = dialogue % SESSIONS
                self.rows.append(
                    {
                        "id": f"d{dialogue:02d}t{TURNS - turn}",  # the order of ids is not the order of turns
                        "corpus": "talk",
                        "label": f"class{bit}" if turn else None,
                        "speaker": f"s{session}{turn % 2}",
                        "session": f"{session}",
                        "dialogue": f"d{dialogue:02d}",
                        "turn": turn,
                        "text": f"turn {turn} of {dialogue}",
                    }
                )
                frames = draw.normal(size=(int(draw.integers(4, 9)), 10))
                text.append((frames + 1.2 * (2 * bits[turn] - 1) * direction).astype(np.float32))
        self.frames = {("text", layer): text for layer in self.layers}

    def ids(self) -> list[str]:
        return [row["id"] for row in self.rows]

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows).assign(**self.columns)


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    given = {
        "fusion": ("text",),
        "epochs": 10,
        "workers": 0,
        "device": "cpu",
        "lr": 3e-3,
        "batch": 16,
        "frame_dropout": (0.1,),
        "pool_dropout": (0.1,),
    }
    return FuseJob(cache=cache, out=out, **{**given, **options})


def trained(cache: Path, out: Path, **options: Any) -> Path:
    prepared = prepare(job(cache, out, **options))
    train_all(prepared)
    gather(out, prepared.tasks, [])
    return out


def gain(plain: Path, other: Path) -> Any:
    """The project's paired test over speakers, other - plain."""
    (found,) = compare_all(pairs_of([f"{other}:text-stats", f"{plain}:text-stats"]))
    print(f"{other.name} - {plain.name}: {found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}] p {found.p:.4f}")
    return found


def shuffled(corpus: Talk, path: Path) -> Path:
    """The same manifest with places in dialogues dealt out anew within each session: the sham control."""
    table = corpus.table()
    draw = np.random.default_rng(0)
    for rows in table.groupby("session").groups.values():
        other = draw.permutation(np.asarray(rows))
        table.loc[rows, ["dialogue", "turn"]] = table.loc[other, ["dialogue", "turn"]].to_numpy()
    Manifest(table, CorpusInfo(name="planted", title="talk", licence="none", synthetic=True)).write(path)
    return path


def test_context_helps_where_it_decides_and_its_sham_does_not(cache_of: Callable[..., Path], tmp_path: Path) -> None:
    talk = Talk("previous")
    cache = cache_of(talk)
    plain = trained(cache, tmp_path / "plain")
    real = gain(plain, trained(cache, tmp_path / "context", context=1))
    assert real.units == 8 and real.rejected and real.low > 0.1
    sham = gain(plain, trained(cache, tmp_path / "sham", context=1, manifest=shuffled(talk, tmp_path / "sham.parquet")))
    assert not sham.rejected and abs(sham.difference) < 0.1


def test_context_does_no_harm_where_it_cannot_help(cache_of: Callable[..., Path], tmp_path: Path) -> None:
    cache = cache_of(Talk("own"))
    found = gain(trained(cache, tmp_path / "plain"), trained(cache, tmp_path / "context", context=3))
    assert not found.rejected and found.difference > -0.03


def test_previous_turns_are_those_before_whatever_their_label(cache_of: Callable[..., Path]) -> None:
    study = open_study(cache_of(Talk("previous")))
    before = previous_turns(study, 3)
    ids = [*study.table.index, *before.extra]
    assert set(before.extra) == {
        f"d{dialogue:02d}t{TURNS}" for dialogue in range(DIALOGUES)
    }  # the unlabelled first turns
    for row, name in enumerate(study.table.index):
        turn = int(study.table["turn"].iloc[row])
        near = [ids[place] if place >= 0 else None for place in before.previous[row]]
        assert near == [f"{name[:3]}t{TURNS - turn + k}" if turn >= k else None for k in (1, 2, 3)]
    again = open_study(cache_of(Talk("own"), "other"))
    assert previous_turns(again, 3).fingerprint == before.fingerprint  # no label is part of it
    assert previous_turns(again, 2).fingerprint != before.fingerprint


def near(study: Any, name: str, count: int = 3) -> list[str]:
    before = previous_turns(study, count)
    ids = [*study.table.index, *before.extra]
    return [ids[place] for place in before.previous[study.rows([name])[0]] if place >= 0]


@pytest.mark.parametrize("timed", ["dialogue_start", "start", "files of their own", "no end"])
def test_a_turn_that_had_not_ended_is_not_read(cache_of: Callable[..., Path], tmp_path: Path, timed: str) -> None:
    """Turn 1 lasts until 100 s; the others follow each other. Seconds in different files say nothing about each other."""
    talk = Talk("previous")
    table = talk.table()
    begin = 10.0 * table["turn"] + 1.0
    end = (begin + 5.0).where(table["turn"] != 1, 100.0)
    names = ("dialogue_start", "dialogue_end") if timed == "dialogue_start" else ("start", "end")
    table = table.assign(**{names[0]: begin, names[1]: end})
    if timed == "files of their own":
        table["path"] = table["id"]
    if timed == "no end":
        table["end"] = None
    path = tmp_path / "timed.parquet"
    Manifest(table, CorpusInfo(name="planted", title="talk", licence="none")).write(path)
    study = open_study(cache_of(talk), manifest=path)
    turn = {number: f"d00t{TURNS - number}" for number in range(TURNS)}
    known = timed in ("dialogue_start", "start")
    assert near(study, turn[1]) == [turn[0]]  # it begins after turn 0 has ended
    assert near(study, turn[2], 1) == ([turn[0]] if known else [turn[1]])
    assert near(study, turn[4]) == ([turn[3], turn[2], turn[0]] if known else [turn[3], turn[2], turn[1]])
    told = prepare(job(study.cache, tmp_path / "out", context=1, manifest=path)).start["context"]
    assert told["utterances_with_overlapping_turns_left_out"] == (DIALOGUES if known else 0)
    assert (told["utterances_with_known_times"] > 0) == known


@pytest.mark.parametrize("layers", [(6,), (3, 6)])
def test_tokens_are_pooled_content_of_the_previous_turns_on_both_engines(
    cache_of: Callable[..., Path], layers: tuple[int, ...]
) -> None:
    options = {"context": 2, "layer": "all"}
    asked = job(cache_of(Talk("previous", layers=layers)), Path("unused"), **options)
    study = open_study(asked.cache, **study_options(asked))
    plan = tasks(asked, study, asked.rows(("text",)), "cpu")[0].plan
    frames = read_frames(asked, study, ["text"])
    rows = np.array([study.rows(["d00t5"])[0], study.rows(["d00t2"])[0]])
    batch = Feed(frames, ("text",)).batch(rows)["text"]
    own = frames["text"].lengths[rows]
    assert batch.lengths == (own[0] + 1, own[1] + 2)  # second turn: one before; fifth: two
    assert batch.distance is not None
    assert batch.distance.tolist() == [0] * own[0] + [1] + [0] * own[1] + [2, 1]
    assert not batch.content[batch.distance > 0].any()
    for place, name in ((own[0], "d00t6"), (-2, "d00t4"), (-1, "d00t3")):
        for number, layer in enumerate(layers):
            entry = study.layers["text"][number]
            assert entry.spec.layer == layer
            expected = entry[name][~entry.special(name)].astype(np.float32).mean(0)
            token = batch.values[place] if len(layers) == 1 else batch.values[place, number]
            assert np.allclose(token.numpy(), expected, atol=1e-6)
    assert np.allclose(pool_content(frames["text"])[0, rows[0]], frames["text"].context.tokens[0, rows[0]])
    torch.manual_seed(0)
    model = build(plan, frames).eval()
    packed, padded = (model(Feed(frames, ("text",), padded=way).batch(rows)) for way in (False, True))
    assert torch.allclose(packed, padded, atol=1e-5)
    assert model.card["context"] == 2
    alone = {"text": replace(frames["text"], context=None)}
    without = Feed(alone, ("text",))
    assert not torch.allclose(model(without.batch(rows)), packed, atol=1e-4)


def test_without_context_nothing_has_changed(small_cache: Path, tmp_path: Path) -> None:
    asked = FuseJob(cache=small_cache, out=tmp_path / "out", fusion=("cross",))
    study = open_study(small_cache)
    plan = tasks(asked, study, asked.rows(tuple(study.streams)), "cpu")[0].plan
    frames = read_frames(asked, study, ["audio", "text"])
    assert frames["audio"].context is None and Feed(frames, ("audio",)).batch(np.arange(2))["audio"].distance is None
    states = []
    for one in (plan, replace(plan, context=2)):  # the new parameters are drawn last: all others are what they were
        torch.manual_seed(0)
        states.append(build(one, frames).state_dict())
    assert states[0].keys() < states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert "context" not in prepare(asked).start


def test_workers_see_the_same_turns_and_the_run_says_so(cache_of: Callable[..., Path], tmp_path: Path) -> None:
    cache = cache_of(Talk("previous"))
    few = {"context": 2, "epochs": 2, "fusion": ("text",)}
    one = trained(cache, tmp_path / "one", **few)
    two = trained(cache, tmp_path / "two", **{**few, "workers": 2})
    columns = ["p_class0", "p_class1"]
    tables = [pd.read_parquet(out / "predictions.parquet")[columns].to_numpy() for out in (one, two)]
    assert np.array_equal(*tables)
    told = prepare(job(cache, one, **few)).start
    assert told["context"]["turns"] == 2 and told["context"]["previous_turns_without_label"] == DIALOGUES
    assert any("2 previous turns" in line for line in told["rows"][0]["departures"])


def test_turns_that_were_never_extracted_are_empty_places(cache_of: Callable[..., Path], tmp_path: Path) -> None:
    talk = Talk("previous")
    table = talk.table()
    first = table[(table["dialogue"] == "d00") & (table["turn"] == 1)].copy()
    more = first.assign(id="late", turn=1, label=None)
    table.loc[(table["dialogue"] == "d00") & (table["turn"] >= 1), "turn"] += 1
    path = tmp_path / "more.parquet"
    Manifest(pd.concat([table, more]), CorpusInfo(name="planted", title="talk", licence="none")).write(path)
    asked = job(cache_of(talk), tmp_path / "out", context=1, manifest=path)
    study = open_study(asked.cache, **study_options(asked))
    frames = read_frames(asked, study, ["text"])["text"]
    row = study.rows(list(first["id"]))[0]
    assert previous_turns(study, 1).extra.count("late") == 1
    assert frames.context is not None and frames.context.previous[row, 0] == -1
    assert prepare(asked).start["context"]["previous_turns_without_features"] == {"text": 1}


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"dialogue": None}, {}, "column 'dialogue'"),
        ({"turn": None}, {}, "6 of its 6 turns have no 'turn'"),
        ({"turn": 1}, {}, "the same place"),
        ({}, {"dev": "random:0.2"}, "in train and in dev"),
        ({}, {"protocol": "speaker"}, "of dialogue"),
    ],
)
def test_what_context_needs_is_said(
    cache_of: Callable[..., Path], tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    cache = cache_of(Talk("previous", columns=columns))
    with pytest.raises(ContextImpossible) as caught:
        prepare(job(cache, tmp_path / "out", context=1, **options))
    assert said in str(caught.value) and "leave --context out" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"re_pair": True}, {"norm": "speaker"}, {"preset": ("as-found",)}])
def test_what_context_does_not_go_with(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="--context cannot be used with"):
        job(tmp_path, tmp_path, context=1, **options)


def test_heads_without_attention_say_that_they_do_not_read_it(tmp_path: Path, cache_of: Callable[..., Path]) -> None:
    talk = Talk("previous")
    talk.frames[("audio", 2)] = talk.frames[("text", 6)]
    asked = job(cache_of(talk), tmp_path / "out", context=1, fusion=("concat", "gated", "self"))
    departures = {row["fusion"]: " ".join(row["departures"]) for row in prepare(asked).start["rows"]}
    assert "does not read the previous turns" in departures["concat"] and "does not" in departures["gated"]
    assert "reads the 1 previous turns" in departures["self"]


def test_prediction_refuses_such_a_run(tmp_path: Path, cache_of: Callable[..., Path]) -> None:
    from ser_predict.errors import NoModel
    from ser_predict.models.runs import RunHeads

    out = trained(cache_of(Talk("previous")), tmp_path / "run", context=1, epochs=1)
    heads = RunHeads(out)
    with pytest.raises(NoModel, match="previous turns of a dialogue"):
        heads.open(heads.rows[0])


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("fusion", list(HEADS))
def test_every_head_says_whether_it_reads_the_context(fusion: str, attention: bool) -> None:
    """Tokens behind the frames that are no content change its answer, or they do not."""
    torch.manual_seed(0)
    shape = Shape(width=8, attention=attention)
    streams = HEADS[fusion].reads(fusion, ("audio", "text", "video", "prosody"))
    head = HEADS[fusion]({stream: 5 for stream in streams}, 3, shape).eval()
    plain, longer = {}, {}
    for stream in streams:
        own, tokens = torch.randn(2, 4, 5), 3 * torch.randn(2, 2, 5)
        plain[stream] = Packed(own.flatten(0, 1), [4, 4])
        content = torch.tensor([True] * 4 + [False] * 2).repeat(2)
        longer[stream] = Packed(torch.cat([own, tokens], 1).flatten(0, 1), [6, 6], content)
    with torch.inference_mode():
        changed = not torch.allclose(head(plain), head(longer), atol=1e-6)
    assert changed == HEADS[fusion].reads_context(shape)
