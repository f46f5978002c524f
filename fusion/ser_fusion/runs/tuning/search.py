"""The search for one row on one outer fold: N trials on inner folds, each stored on disk as soon as it is scored.

A trial trains once per inner fold (``ser_fusion.runs.tuning.inner``): on the outer training part without what the
held-out groups share, stopped on the outer development part, scored on the held-out groups. Its score is the mean UWA.
The outer test fold is not read: the reader records what was read, and a search that read a tested utterance is an
error, not a result.

Trial 0 is the row's own settings. What trial n tries depends on the row, the fold, n, and the trials before it, and on
nothing else. A killed search therefore continues with the same trials.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from ser_base.files import locked, replacing, write_json
from ser_fusion.errors import FusionError, RecordBroken
from ser_fusion.evaluation.records import Record, read_record
from ser_fusion.heads.shape import split_dropout
from ser_fusion.runs.tuning.space import SETTINGS, own_values

if TYPE_CHECKING:
    from ser_fusion.runs.task import Search, Task
    from ser_fusion.training.plan import Plan, TrainingData

STARTUP = 5  # random trials before TPE takes over
Trial = dict[str, Any]


class TrialRecord(Record):
    """``trialNNN.json`` of ``--tune``."""

    fingerprint: str
    number: int
    settings: dict[str, Any]
    score: float
    seconds: float
    utterances_read: int
    of_the_test_fold: int


class HeldOutRead(FusionError, RuntimeError):
    """A search read utterances of the fold that it must not know."""

    folder: str
    count: int
    got = "{folder} read {count:,} utterances of the test fold, so its result is void."
    next = "This is a fault of ser-fuse: please report it with the command."


def settle(
    task: "Task", data: "TrainingData", out: Path, on_epoch: Callable[[], None]
) -> "tuple[Task, dict[str, Any]]":
    """The task with the settings that the search chose for its row and fold, searching first if need be.

    Seeds of the same row and fold share one search; whoever comes first makes it, others wait.
    """
    search = task.search
    assert search is not None
    folder = out / search.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".searching"):
        trials = run_search(task, search, data, folder, on_epoch)
    best = best_of(trials)
    return replace(task, plan=with_settings(task.plan, best["settings"])), best["settings"]


def run_search(
    task: "Task", search: "Search", data: "TrainingData", folder: Path, on_epoch: Callable[[], None]
) -> list[Trial]:
    """All trials, those on disk and those that were missing, in order."""
    tests = task.parts["test"]
    blind: dict[str, Any] = {"targets": data.targets.copy()}
    blind["targets"][tests] = -1  # their labels are not even there
    for name, values in (("votes", data.votes), ("ratings", data.ratings)):
        if values is not None:
            blind[name] = values.copy()
            blind[name][tests] = np.nan
    apart = None if data.apart is None else data.apart.inside(search.inner.held_out, tests)
    visible = replace(data, apart=apart, **blind)
    tested = set(tests.tolist())
    trials: list[Trial] = []
    for number in range(search.trials):
        path = folder / f"trial{number:03d}.json"
        trial = _stored(path, search.fingerprint)
        if trial is None:
            settings = propose(search, task, number, trials)
            trial = {"fingerprint": search.fingerprint, "number": number, "settings": settings}
            seen: set[int] = set()
            trial |= evaluate(task, search, settings, visible, on_epoch, seen)
            if seen & tested:
                raise HeldOutRead(search.folder, len(seen & tested))
            trial["utterances_read"], trial["of_the_test_fold"] = len(seen), 0
            write_json(path, trial)
        trials.append(trial)
    return trials


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial with the best score; the first of equals."""
    return max(trials, key=lambda trial: (trial["score"], -trial["number"]))


def _stored(path: Path, fingerprint: str) -> Trial | None:
    try:
        trial = read_record(path, TrialRecord)
    except RecordBroken:
        return None
    return trial if trial["fingerprint"] == fingerprint else None


def propose(search: "Search", task: "Task", number: int, trials: Sequence[Trial]) -> dict[str, Any]:
    """The settings of trial ``number``: the row's own for 0, else drawn by Optuna from the trials before it."""
    own = own_values(search.space, task.plan.training, task.plan.shape)
    if not number:
        return own
    study = as_study(search, trials, _seed(task.row.slug, task.fold, number))
    return dict(study.ask(_distributions(search)).params)


def as_study(search: "Search", trials: Sequence[Trial], seed: int = 0) -> Any:
    """The trials as an Optuna study in memory. A trial whose settings lie outside the space (a row's own) is left out."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler: Any = (
        optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        if search.sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(search)
    for trial in trials:
        inside = all(_contains(distributions[name], value) for name, value in trial["settings"].items())
        if inside:
            made = optuna.trial.create_trial(
                params=trial["settings"], distributions=distributions, value=trial["score"]
            )
            study.add_trial(made)
    return study


def _contains(distribution: Any, value: Any) -> bool:
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return value in choices
    return isinstance(value, (int, float)) and distribution.low <= value <= distribution.high


def _distributions(search: "Search") -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    made: dict[str, Any] = {}
    for name, bounds in search.space.items():
        if "choices" in bounds:
            made[name] = CategoricalDistribution(list(bounds["choices"]))
        else:
            kind = IntDistribution if SETTINGS[name].kind is int else FloatDistribution
            made[name] = kind(bounds["low"], bounds["high"], log=bool(bounds.get("log")))
    return made


def _seed(slug: str, fold: int, number: int) -> int:
    return xxhash.xxh32_intdigest(f"{slug}|{fold}|{number}".encode())


def with_settings(plan: "Plan", settings: Mapping[str, Any]) -> "Plan":
    """The plan with these settings."""
    parts: dict[str, dict[str, Any]] = {"training": {}, "shape": {}}
    for name, value in settings.items():
        if value is not None:
            parts[SETTINGS[name].part][name] = value
    return replace(
        plan,
        training=replace(plan.training, **parts["training"]),
        shape=replace(plan.shape, **split_dropout(parts["shape"])),
    )


def evaluate(
    task: "Task",
    search: "Search",
    settings: Mapping[str, Any],
    data: "TrainingData",
    on_epoch: Callable[[], None],
    seen: set[int],
) -> Trial:
    """Trains once per inner fold; scores, epochs and development curves. ``seen`` gets every row that was read."""
    from ser_fusion.training.train import train

    began, targets = time.perf_counter(), data.targets
    base = replace(with_settings(task.plan, settings), dropouts=(), refit=False)
    scores, epochs, curves = [], [], []
    for number, cut in enumerate(search.inner.folds):
        held = cut["test"][targets[cut["test"]] >= 0]  # turns without a class may train, but cannot score
        # one seed per inner fold: trials differ by their settings, not by their draws
        plan = replace(base, seed=(task.fold, number))
        callbacks: dict[str, Any] = {
            "on_epoch": lambda _: on_epoch(),
            "on_read": lambda read: seen.update(read.tolist()),
        }
        done = train(plan, data, {**cut, "test": held}, **callbacks)
        right = done.test.argmax(1) == targets[held]
        scores.append(float(np.mean([right[targets[held] == c].mean() for c in np.unique(targets[held])])))
        epochs.append(done.best_epoch)
        curves.append([point.get("dev_uwa") for point in done.curve])
    return {
        "score": float(np.mean(scores)),
        "inner_uwa": scores,
        "best_epochs": epochs,
        "dev_uwa": curves,
        "seconds": round(time.perf_counter() - began, 3),
    }


# What the searches of a run found: ``tuning.json`` for programs, ``tuning.md`` for people.
ENOUGH = 4  # trials inside the space before an importance says anything at all


def write_summary(out: Path, tasks: "Sequence[Task]") -> None:
    """Writes both files from the trials on disk; nothing where there was no search."""
    searches = {(task.row.slug, task.fold): task for task in tasks if task.search is not None}
    if not searches:
        return
    searched = [_search_result(out, task) for task in searches.values()]
    write_json(out / "tuning.json", searched)
    with replacing(out / "tuning.md") as scratch:
        scratch.write_text("\n".join(_page(searched)) + "\n", encoding="utf-8")


def _search_result(out: Path, task: "Task") -> dict[str, Any]:
    search = task.search
    assert search is not None
    paths = [out / search.folder / f"trial{number:03d}.json" for number in range(search.trials)]
    trials: list[Trial] = [read_record(path, TrialRecord) for path in paths]
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
        "space": {name: dict(bounds) for name, bounds in search.space.items()},
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


def importance(search: "Search", trials: Sequence[Trial]) -> dict[str, float] | None:
    """Share of the score's variance that each setting explains (fANOVA over the trials); None where there are too few, or
    where all score the same."""
    study = as_study(search, trials)
    scores = {trial.value for trial in study.trials}
    if len(study.trials) < ENOUGH or len(scores) < 2:
        return None
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    try:
        importances = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except (ValueError, RuntimeError):  # no variance left after the evaluator's own filtering
        return None
    return {name: round(float(value), 3) for name, value in importances.items()}


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _apart(searched: Sequence[dict[str, Any]]) -> list[str]:
    """What the inner folds keep apart, and where they keep less apart than the outer ones."""
    kept = {tuple(entry["kept_apart"]) for entry in searched}
    said = [f"Inner folds keep apart: {'; or '.join(sorted(', '.join(keys) or 'utterances' for keys in kept))}."]
    for entry in searched:
        if entry["not_kept_apart"]:
            lacking = ", ".join(entry["not_kept_apart"])
            said.append(
                f"{entry['name']}, fold {entry['fold']}: too little would be left to keep apart {lacking} as well."
            )
    return said


def _page(searched: Sequence[dict[str, Any]]) -> list[str]:
    first = searched[0]
    read = sum(entry["of_the_test_fold"] for entry in searched)
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
        *_apart(searched),
        "",
        "| row | fold | own settings | best | at trial | chosen | best so far |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for entry in searched:
        chosen = ", ".join(f"{name} {_value(value)}" for name, value in entry["chosen"].items())
        curve = " ".join(f"{value:.3f}".lstrip("0") for value in entry["best_so_far"])
        scores = f"{entry['own_inner_uwa']:.3f} | {entry['inner_uwa']:.3f} | {entry['chosen_trial']}"
        lines.append(f"| {entry['name']} | {entry['fold']} | {scores} | {chosen} | {curve} |")
    lines += [
        "",
        "Importance: share of the score's variance over the trials that a setting explains (fANOVA, mean over",
        "folds).",
    ]
    names = list(first["chosen"])
    lines += ["", f"| row | {' | '.join(names)} | seconds |", f"|---|{'---|' * len(names)}---|"]
    for row in dict.fromkeys(entry["name"] for entry in searched):
        own = [entry for entry in searched if entry["name"] == row]
        importances = [entry["importance"] for entry in own if entry["importance"]]
        cells = [
            f"{sum(i.get(name, 0.0) for i in importances) / len(importances):.2f}" if importances else "-"
            for name in names
        ]
        lines.append(f"| {row} | {' | '.join(cells)} | {sum(entry['seconds'] for entry in own):.0f} |")
    return lines
