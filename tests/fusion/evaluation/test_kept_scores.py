"""A row's scores are kept under all that they follow from: nothing that has changed is taken from there, and nothing else is scored again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_fusion.evaluation.run_metrics import evaluate_run

MADE_BY = ("code", {"numpy": "1"})
NAME = "Text"
"""Of the row `text`."""


def judge(run: Path, made_by: object = None) -> tuple[dict[str, Any], list[str]]:
    """What ``evaluate_run`` gives, and the names of the rows that it scored, in order."""
    said: list[str] = []
    metrics = evaluate_run(run, progress=said.append, made_by=made_by)
    return metrics, said[: said.index("comparisons")]


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


def test_what_is_kept_gives_the_same_to_the_last_digit(run_copy: Path) -> None:
    plain, everything = judge(run_copy)
    assert everything == [row["name"] for row in plain["rows"]]
    assert not (run_copy / "scores.json").exists()  # somebody else's run is scored as it is
    assert judge(run_copy, MADE_BY) == (plain, everything)
    before = (run_copy / "metrics.json").read_bytes()
    assert judge(run_copy, MADE_BY) == (plain, [])
    assert (run_copy / "metrics.json").read_bytes() == before


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
def test_what_has_changed_is_scored_again(change: Callable[[Path], None], of_all: bool, run_copy: Path) -> None:
    _, everything = judge(run_copy, MADE_BY)
    change(run_copy)
    kept, scored = judge(run_copy, MADE_BY)
    assert scored == (everything if of_all else [NAME])
    assert kept == evaluate_run(run_copy)


def test_one_more_row_scores_only_that_row(run_copy: Path) -> None:
    whole = {name: pd.read_parquet(run_copy / f"{name}.parquet") for name in ("predictions", "development")}
    for name, frame in whole.items():
        frame[frame["row"] != "text"].to_parquet(run_copy / f"{name}.parquet")
    assert NAME not in judge(run_copy, MADE_BY)[1]
    for name, frame in whole.items():
        frame.to_parquet(run_copy / f"{name}.parquet")
    assert judge(run_copy, MADE_BY)[1] == [NAME]


def test_other_code_scores_everything_again(run_copy: Path) -> None:
    first = judge(run_copy, MADE_BY)
    assert judge(run_copy, ("other code", MADE_BY[1])) == first


@pytest.mark.parametrize("spoil", ["digit", "list", "nothing"])
def test_a_file_that_is_not_as_it_was_written_is_not_used(spoil: str, run_copy: Path) -> None:
    first, file = judge(run_copy, MADE_BY), run_copy / "scores.json"
    if spoil == "digit":
        kept = json.loads(file.read_text())
        kept["rows"]["text"]["scores"]["metrics"]["UWA"]["pooled"] = 0.999
        file.write_text(json.dumps(kept))
    else:
        file.write_text("[]" if spoil == "list" else "")
    assert judge(run_copy, MADE_BY) == first
