"""A row's scores are kept under all that they follow from: nothing that has changed is taken from there, and nothing else is scored again."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ser_fusion.evaluation import run_metrics
from ser_fusion.evaluation.run_metrics import evaluate_run

MADE_BY = ("code", {"numpy": "1"})


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Slugs of the rows that were scored, in order."""
    slugs: list[str] = []
    real = run_metrics._scored

    def noting(run: run_metrics.RunDirectory, slug: str, *rest: object) -> object:
        slugs.append(slug)
        return real(run, slug, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(run_metrics, "_scored", noting)
    return slugs


def changed(name: str, change: Callable[[pd.DataFrame], object]) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        frame = pd.read_parquet(run / name)
        change(frame)
        frame.to_parquet(run / name)

    return apply


def swapped(frame: pd.DataFrame) -> None:
    """One prediction of the row `text` becomes another one."""
    at = frame.index[frame["row"] == "text"][3]
    frame.loc[at, "predicted"] = "sad" if frame.loc[at, "predicted"] != "sad" else "happy"


def nudged(frame: pd.DataFrame) -> None:
    column = next(name for name in frame if str(name).startswith("p_"))
    frame.loc[frame.index[frame["row"] == "text"][3], column] += 0.01


def refolded(run: Path) -> None:
    folds = pd.read_csv(run / "folds.csv", dtype=str)
    folds.loc[folds.index[folds["part"] == "train"][0], "part"] = "unused"
    folds.to_csv(run / "folds.csv", index=False)


def renamed(frame: pd.DataFrame) -> None:
    frame.loc[frame.index[0], "gender"] = "another"


def test_what_is_kept_gives_the_same_to_the_last_digit(run_copy: Path, scored: list[str]) -> None:
    plain = evaluate_run(run_copy)
    everything = list(scored)
    assert not (run_copy / "scores.json").exists()  # somebody else's run is scored as it is
    assert evaluate_run(run_copy, made_by=MADE_BY) == plain
    assert scored == 2 * everything
    before = (run_copy / "metrics.json").read_bytes()
    assert evaluate_run(run_copy, made_by=MADE_BY) == plain
    assert scored == 2 * everything and (run_copy / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "of_all"),
    [
        (changed("predictions.parquet", swapped), False),
        (changed("predictions.parquet", nudged), False),
        (changed("development.parquet", nudged), False),
        (changed("utterances.parquet", renamed), True),
        (refolded, True),
    ],
)
def test_what_has_changed_is_scored_again(
    change: Callable[[Path], None], of_all: bool, run_copy: Path, scored: list[str]
) -> None:
    evaluate_run(run_copy, made_by=MADE_BY)
    everything = list(scored)
    change(run_copy)
    scored.clear()
    kept = evaluate_run(run_copy, made_by=MADE_BY)
    assert scored == (everything if of_all else ["text"])
    assert kept == evaluate_run(run_copy)


def test_one_more_row_scores_only_that_row(run_copy: Path, scored: list[str]) -> None:
    whole = {name: pd.read_parquet(run_copy / f"{name}.parquet") for name in ("predictions", "development")}
    for name, frame in whole.items():
        frame[frame["row"] != "self"].to_parquet(run_copy / f"{name}.parquet")
    evaluate_run(run_copy, made_by=MADE_BY)
    assert "self" not in scored
    scored.clear()
    for name, frame in whole.items():
        frame.to_parquet(run_copy / f"{name}.parquet")
    evaluate_run(run_copy, made_by=MADE_BY)
    assert scored == ["self"]


def test_other_code_scores_everything_again(run_copy: Path, scored: list[str]) -> None:
    evaluate_run(run_copy, made_by=MADE_BY)
    everything = list(scored)
    evaluate_run(run_copy, made_by=("other code", MADE_BY[1]))
    assert scored == 2 * everything


@pytest.mark.parametrize("spoil", ["digit", "list", "nothing"])
def test_a_file_that_is_not_as_it_was_written_is_not_used(spoil: str, run_copy: Path, scored: list[str]) -> None:
    plain = evaluate_run(run_copy, made_by=MADE_BY)
    everything, file = list(scored), run_copy / "scores.json"
    if spoil == "digit":
        kept = json.loads(file.read_text())
        kept["rows"]["text"]["scores"]["metrics"]["UWA"]["pooled"] = 0.999
        file.write_text(json.dumps(kept))
    else:
        file.write_text("[]" if spoil == "list" else "")
    assert evaluate_run(run_copy, made_by=MADE_BY) == plain
    assert scored == 2 * everything
