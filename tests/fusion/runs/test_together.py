"""Three streams of which each decides a third, streams lost at test time, ensembles, and tables from corpus to corpus."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ser_data.manifest.table import Manifest
from ser_fusion.errors import NoEnsemble
from ser_fusion.evaluation.comparison import holm
from ser_fusion.evaluation.metrics import unit_counts
from ser_fusion.evaluation.pairing import choose, compare_all
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.statistics import score_interval
from ser_fusion.evaluation.temperatures import tempered
from ser_fusion.frames.batches import Packed
from ser_fusion.frames.feed import Feed
from ser_fusion.heads import HEADS
from ser_fusion.heads.base import drop_streams, scale_kept
from ser_fusion.heads.model import load_model
from ser_fusion.heads.shape import Shape
from ser_fusion.reporting.tables import transfer_tables
from ser_fusion.runs.derived import NAME, subsets
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import gather, run
from ser_fusion.runs.task import read_frames
from ser_fusion.study.open import open_study

THREE = ("audio", "text", "video")
CLASSES = ("class0", "class1", "class2")
COLUMNS = [f"p_{name}" for name in CLASSES]


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    return FuseJob(**{"cache": cache, "out": out, "fusion": ("concat",), "epochs": 2, "workers": 1, **options})


def thirds(plant: Callable[..., Any], n: int = 240, strength: float = 2.0) -> Any:
    """Six classes: speech tells the first two apart, words the next two, faces the last two; each sees only 'not mine' of
    the others."""
    draw = np.random.default_rng(3)
    target = np.tile(np.arange(6), n // 6)
    draw.shuffle(target)
    frames: dict[tuple[str, int], list[np.ndarray]] = {(stream, 1): [] for stream in THREE}
    for label in target:
        for number, stream in enumerate(THREE):
            values = draw.normal(size=(int(draw.integers(3, 9)), 6))
            if label // 2 == number:
                values[:, label % 2] += strength
            frames[stream, 1].append(values.astype(np.float32))
    base = plant("both", n=8, speakers=10)
    return replace(base, labels=[f"class{label}" for label in target], frames=frames)


@pytest.mark.parametrize(
    "head",
    [
        "concat",
        "cross",
        *(pytest.param(name, marks=pytest.mark.crash) for name in ("self", "gated", "late", "bottleneck")),
    ],
)
def test_three_streams_beat_every_pair(
    plant: Callable[..., Any], cache_of: Callable[..., Path], tmp_path: Path, head: str
) -> None:
    cache = cache_of(thirds(plant))
    rows = {}
    for size in (3, 2):
        for streams in combinations(THREE, size):
            asked = job(
                cache,
                tmp_path / "+".join(streams),
                fusion=(head,),
                modalities=streams,
                protocol="speaker-5",
                epochs=7,
                lr=8e-3,
                frame_dropout=(0.1,),
                pool_dropout=(0.1,),
            )
            prepared = prepare(asked)
            train_all(prepared)
            gather(asked.out, prepared.tasks, [])
            opened = RunDirectory.open(asked.out)
            rows[streams] = choose(opened, opened.rows[0]["slug"], "+".join(streams))
    pairs = [("exploratory", rows[THREE], rows[two]) for two in combinations(THREE, 2)]
    found = compare_all(pairs)
    for one, p in zip(found, holm([one.p for one in found]), strict=True):
        print(head, one.sentence())
        assert one.difference > 0.05 and one.units == 10 and p < 0.05, one.sentence()


@pytest.fixture(scope="module")
def derived(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two seeds, its ensemble, and its heads with a stream lost; first run without them, then with."""
    out = tmp_path_factory.mktemp("derived") / "run"
    plain = job(small_cache, out, fusion=("audio", "concat", "late"), seeds=(0, 1))
    prepared = prepare(plain)
    train_all(prepared)
    before = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/*/weights.safetensors")}
    outcome = run(plain.model_copy(update={"ensemble": ("seeds",), "lost_streams": True}))
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/*/weights.safetensors")}
    assert all(task.is_done(out) for task in prepared.tasks) and outcome.report is not None
    return out


def test_rows_are_marked_and_judged_beside_what_they_are_made_of(derived: Path) -> None:
    metrics = json.loads((derived / "metrics.json").read_text())
    rows = {row["slug"]: row for row in metrics["rows"]}
    made = {slug: row["of"] for slug, row in rows.items() if row["kind"] in ("ensemble", "lost")}
    assert made == {
        "audio-stats-ensemble-seeds": "audio-stats",
        "concat-stats-ensemble-seeds": "concat-stats",
        "late-stats-ensemble-seeds": "late-stats",
        **{
            f"{head}-stats-only-{stream}": f"{head}-stats"
            for head in ("concat", "late")
            for stream in ("audio", "text")
        },
    }
    pairs = {(pair["slug_a"], pair["slug_b"]): pair for pair in metrics["comparisons"]}
    assert all((slug, of) in pairs and pairs[slug, of]["family"] == "exploratory" for slug, of in made.items())
    assert not set(metrics["best"].values()) & set(made)
    ensemble = rows["concat-stats-ensemble-seeds"]
    assert ensemble["seeds"] == [0] and "calibrated" in ensemble["note"]
    assert ensemble["calibration"]["tempered"]["nll"] > 0
    assert "nothing trained again" in rows["concat-stats-only-text"]["note"]
    lost = (derived / "tables" / "lost-streams.md").read_text()
    assert lost.count("concat") == 3 and "streams at test" in lost
    assert "only-text" not in (derived / "tables" / "results.md").read_text()
    assert "Streams lost at test time" in (derived / "report.html").read_text()


def test_an_ensemble_of_seeds_is_the_mean_of_calibrated_log_posteriors(derived: Path) -> None:
    predictions = pd.read_parquet(derived / "predictions.parquet")
    made = predictions[predictions["row"] == "concat-stats-ensemble-seeds"].set_index("id")
    assert made.index.is_unique and len(made) == 120
    fold = made["fold"].iloc[0]
    temperature = RunDirectory.open(derived).temperatures("concat-stats")[fold].value
    voices = []
    for seed in (0, 1):
        chosen = (predictions["row"] == "concat-stats") & (predictions["fold"] == fold) & (predictions["seed"] == seed)
        own = predictions[chosen].set_index("id")
        voices.append(pd.DataFrame(tempered(own[COLUMNS].to_numpy(float), temperature), own.index, COLUMNS))
    odds = np.exp((np.log(voices[0]) + np.log(voices[1].loc[voices[0].index])) / 2)
    mean = odds.div(odds.sum(axis=1), axis=0)
    np.testing.assert_allclose(made.loc[mean.index, COLUMNS], mean, atol=1e-6)
    assert (made["predicted"] == np.array(CLASSES)[made[COLUMNS].to_numpy().argmax(axis=1)]).all()


def test_a_lost_stream_has_no_frames(derived: Path, small_cache: Path) -> None:
    asked = job(small_cache, derived, fusion=("audio", "concat", "late"), seeds=(0, 1))
    prepared = prepare(asked)
    task = next(task for task in prepared.tasks if task.row.fusion == "late")
    streams = read_frames(asked, prepared.study, ("audio", "text"))
    rows = task.parts["test"]
    batch = Feed(streams, ("audio", "text"), lost=("text",)).batch(rows)
    assert set(batch["text"].lengths) == {0} and 0 not in batch["audio"].lengths
    model = load_model(derived / task.folder)
    with torch.inference_mode():
        alone = model.head.experts["audio"](model.frames(batch)).softmax(1)
    kept = pd.read_parquet(derived / task.folder / NAME)
    kept = kept[kept["kept"] == "audio"].set_index("id")
    ids = [prepared.study.table.index[row] for row in rows]
    np.testing.assert_allclose(kept.loc[ids, COLUMNS], alone, atol=1e-5)


def test_subsets_are_all_proper_ones() -> None:
    assert subsets(THREE) == [*combinations(THREE, 2), ("audio",), ("text",), ("video",)]


def test_what_is_left_is_scaled_as_in_training() -> None:
    vectors = [torch.ones(3, 2), torch.full((3, 4), 2.0)]
    present = torch.tensor([[True, False], [True, True], [False, False]])
    audio, text = scale_kept(vectors, present)
    assert audio[:, 0].tolist() == [2.0, 1.0, 0.0] and text[:, 0].tolist() == [0.0, 2.0, 0.0]
    for _ in range(20):  # a stream that is not there cannot be the one that is kept
        audio, text = drop_streams(vectors, 0.9, present)
        assert audio[0, 0] == 2.0 and not text[0].any() and (audio[1] + text[1, :2]).any()


@pytest.mark.parametrize("name", ["late", "late-average"])
def test_a_stream_without_frames_has_no_say(name: str, make_batch: Callable[..., dict[str, Packed]]) -> None:
    torch.manual_seed(0)
    head = HEADS[name]({"audio": 12, "text": 10}, 4, Shape(width=16)).eval()
    head.prepare(torch.tensor([0, 0, 0, 1, 2, 3]))
    batch = make_batch({"audio": [4, 9], "text": [0, 5]}, {"audio": 12, "text": 10})
    own = head.experts["audio"](batch).softmax(1)
    given = head(batch).softmax(1)
    torch.testing.assert_close(given[0], own[0])
    assert not torch.allclose(given[1], own[1])


@pytest.fixture(scope="module")
def joint(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small corpus as three corpora of two speakers, with an official split, as a manifest of its own."""
    from ser_cache import open_cache

    source = Manifest.from_bytes(open_cache(small_cache).attachment("manifest.parquet"))
    table = source.table.copy()
    number = table["speaker"].str[1:].astype(int)
    table["corpus"] = ["abc"[n // 2] for n in number]
    table["part"] = ["test" if n == 5 else "train" for n in number]
    path = tmp_path_factory.mktemp("joint") / "joint.parquet"
    Manifest(table, source.info).write(path)
    return path


@pytest.fixture(scope="module")
def crossed(small_cache: Path, joint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crossed") / "run"
    options: dict[str, Any] = {"manifest": joint, "protocol": "source-target", "ensemble": ("folds",), "norm": "corpus"}
    assert run(job(small_cache, out, **options)).report is not None
    return out


def test_the_table_from_corpus_to_corpus(crossed: Path) -> None:
    metrics = json.loads((crossed / "metrics.json").read_text())
    cells = {(c["row"], c["source"], c["target"]): c for c in metrics["transfer"]["cells"]}
    assert metrics["transfer"]["corpora"] == ["a", "b", "c"]
    assert {key[1:] for key in cells if key[0] == "concat-stats"} == {(s, t) for s in "abc" for t in "abc" if s != t}
    opened = RunDirectory.open(crossed)
    own = opened.of_row("concat-stats")
    part = own[own["fold"] == "a->b"]
    assert set(opened.utterances.loc[part["id"], "corpus"]) == {"b"}
    interval = score_interval(unit_counts(part, opened.utterances, opened.classes, "speaker").counts, "UWA")
    cell = cells["concat-stats", "a", "b"]
    assert cell["UWA"]["value"] == pytest.approx(interval.estimate) and cell["UWA"]["low"] == max(interval.low, 0)
    assert (cell["n"], cell["units"], cell["unit"], cell["classes"]) == (40, 2, "speaker", 3)
    vote = cells["concat-stats-ensemble-folds", "vote of all sources", "b"]
    assert vote["n"] == 40
    text = (crossed / "tables" / "transfer-uwa.md").read_text()
    assert "(transductive)" in text and "to a (n = 40, 2 speakers)" in text
    assert "From corpus to corpus, WF1" in (crossed / "report.html").read_text()


def test_many_targets_are_told_line_by_line(crossed: Path) -> None:
    metrics = json.loads((crossed / "metrics.json").read_text())
    (table,) = transfer_tables(metrics, widest=2)
    lines = [[cell.text for cell in row.cells] for row in table.rows]
    assert [line[1:5] for line in lines if line[0] == "concat (transductive)"] == [
        [source, target, "40", "2"] for source in "abc" for target in "abc" if source != target
    ]


def test_normalisation_per_corpus_is_marked_wherever_it_is_printed(crossed: Path) -> None:
    rows = json.loads((crossed / "run.json").read_text())["rows"]
    heads = [row for row in rows if row["kind"] in ("head", "ensemble")]
    assert len(heads) == 2 and all(row["transductive"] for row in heads)
    assert "the tested one included" in heads[0]["note"]
    assert (crossed / "tables" / "results-transductive.md").is_file()


def test_every_corpus_has_mean_nought_and_deviation_one(small_cache: Path, joint: Path, tmp_path: Path) -> None:
    asked = job(small_cache, tmp_path, norm="corpus", manifest=joint)
    study = open_study(small_cache, manifest=joint)
    streams = read_frames(asked, study, ("audio",))
    corpora = study.table["corpus"].to_numpy()
    for name in "abc":
        rows = np.flatnonzero(corpora == name)
        mean, scale = streams["audio"].moments(rows)
        np.testing.assert_allclose(mean, 0, atol=5e-3)
        np.testing.assert_allclose(scale, 1, atol=5e-3)


def test_folds_that_share_their_test_part_may_vote(small_cache: Path, joint: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"manifest": joint, "protocol": "official-5", "ensemble": ("folds",)}
    prepared = prepare(job(small_cache, tmp_path / "run", **options))
    tests = {fold.test for fold in prepared.study.folds.folds}
    assert len(prepared.study.folds.folds) == 5 and len(tests) == 1
    assert len({fold.dev for fold in prepared.study.folds.folds}) == 5
    for fold in prepared.study.folds.folds:
        assert not set(fold.test) & {*fold.train, *fold.dev}


def test_an_ensemble_that_would_cheat_or_be_alone_is_refused(small_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(NoEnsemble, match="have trained on what this one tests"):
        prepare(job(small_cache, tmp_path / "a", ensemble=("folds",)))
    with pytest.raises(NoEnsemble, match="there is one seed"):
        prepare(job(small_cache, tmp_path / "b", ensemble=("seeds",)))
    assert not list(tmp_path.iterdir())
