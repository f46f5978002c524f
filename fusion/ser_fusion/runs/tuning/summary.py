"""What the searches of a run found: ``tuning.json`` for programs, ``tuning.md`` for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_base.files import replacing, write_json
from ser_fusion.evaluation import records
from ser_fusion.evaluation.records import read_record
from ser_fusion.runs.task import Search
from ser_fusion.runs.tuning.search import Trial, as_study, best_of

if TYPE_CHECKING:
    from ser_fusion.runs.task import Task

ENOUGH = 4  # trials inside the space before an importance says anything at all


def write_summary(out: Path, tasks: "Sequence[Task]") -> None:
    """Writes both files from the trials on disk; nothing where there was no search."""
    searches = {(task.row.slug, task.fold): task for task in tasks if task.search is not None}
    if not searches:
        return
    found = [_one(out, task) for task in searches.values()]
    write_json(out / "tuning.json", found)
    with replacing(out / "tuning.md") as scratch:
        scratch.write_text("\n".join(_page(found)) + "\n", encoding="utf-8")


def _one(out: Path, task: "Task") -> dict[str, Any]:
    search = task.search
    assert search is not None
    paths = [out / search.folder / f"trial{number:03d}.json" for number in range(search.trials)]
    trials: list[Trial] = [read_record(path, records.Trial) for path in paths]
    best, so_far, top = best_of(trials), [], 0.0
    for trial in trials:
        top = max(top, trial["score"])
        so_far.append(top)
    return {
        "row": task.row.slug,
        "name": task.row.name,
        "fold": task.fold_name,
        "trials": search.trials,
        "sampler": search.sampler,
        "space": {name: dict(given) for name, given in search.space.items()},
        "inner_folds": len(search.inner.folds),
        "kept_whole": search.inner.key,
        "kept_apart": list(search.inner.held_out),
        "not_kept_apart": list(search.inner.lacking),
        "chosen": best["settings"],
        "chosen_trial": best["number"],
        "inner_uwa": best["score"],
        "own_settings": trials[0]["settings"],
        "own_inner_uwa": trials[0]["score"],
        "best_so_far": so_far,
        "scores": [trial["score"] for trial in trials],
        "importance": importance(search, trials),
        "utterances_read": max(trial["utterances_read"] for trial in trials),
        "of_the_test_fold": sum(trial["of_the_test_fold"] for trial in trials),
        "seconds": round(sum(trial["seconds"] for trial in trials), 1),
    }


def importance(search: Search, trials: Sequence[Trial]) -> dict[str, float] | None:
    """Share of the score's variance that each setting explains (fANOVA over the trials); None where there are too few, or
    where all score the same."""
    study = as_study(search, trials)
    scores = {trial.value for trial in study.trials}
    if len(study.trials) < ENOUGH or len(scores) < 2:
        return None
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    try:
        given = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except (ValueError, RuntimeError):  # no variance left after the evaluator's own filtering
        return None
    return {name: round(float(value), 3) for name, value in given.items()}


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _apart(found: Sequence[dict[str, Any]]) -> list[str]:
    """What the inner folds keep apart, and where they keep less apart than the outer ones."""
    kept = {tuple(one["kept_apart"]) for one in found}
    said = [f"Inner folds keep apart: {'; or '.join(sorted(', '.join(keys) or 'utterances' for keys in kept))}."]
    for one in found:
        if one["not_kept_apart"]:
            lacking = ", ".join(one["not_kept_apart"])
            said.append(f"{one['name']}, fold {one['fold']}: too little would be left to keep apart {lacking} as well.")
    return said


def _page(found: Sequence[dict[str, Any]]) -> list[str]:
    first = found[0]
    read = sum(one["of_the_test_fold"] for one in found)
    about = (
        f"{first['trials']} trials ({first['sampler']}) per row and fold, the same for every row; trial 0 is the row's own\n"
        f"settings. Scores are the mean UWA over up to {first['inner_folds']} inner folds of the outer training part, each\n"
        f"{first['kept_whole']} whole; they choose settings and are too hopeful as estimates. Utterances of the test folds\n"
        f"that were read in all searches: {read}."
    )
    lines = [
        "# Tuning",
        "",
        about,
        "",
        *_apart(found),
        "",
        "| row | fold | own settings | best | at trial | chosen | best so far |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for one in found:
        chosen = ", ".join(f"{name} {_value(value)}" for name, value in one["chosen"].items())
        curve = " ".join(f"{value:.3f}".lstrip("0") for value in one["best_so_far"])
        scores = f"{one['own_inner_uwa']:.3f} | {one['inner_uwa']:.3f} | {one['chosen_trial']}"
        lines.append(f"| {one['name']} | {one['fold']} | {scores} | {chosen} | {curve} |")
    lines += [
        "",
        "Importance: share of the score's variance over the trials that a setting explains (fANOVA, mean over",
        "folds).",
    ]
    names = list(first["chosen"])
    lines += ["", f"| row | {' | '.join(names)} | seconds |", f"|---|{'---|' * len(names)}---|"]
    for row in dict.fromkeys(one["name"] for one in found):
        own = [one for one in found if one["name"] == row]
        known = [one["importance"] for one in own if one["importance"]]
        cells = [f"{sum(i.get(name, 0.0) for i in known) / len(known):.2f}" if known else "-" for name in names]
        lines.append(f"| {row} | {' | '.join(cells)} | {sum(one['seconds'] for one in own):.0f} |")
    return lines
