"""Classifier rows of a result table: every classifier on every stream and on all of them together, fold by fold.

They share utterances, folds, metrics and tests with the heads. A (row, fold, seed) that is done is kept in the run
directory and not fitted again.
"""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_fusion.classifiers import CLASSIFIERS
from ser_fusion.classifiers.base import Recipe, choose_and_fit
from ser_fusion.errors import ClassifierUnusable
from ser_fusion.evaluation.probes import VERSION, standardise
from ser_fusion.runs.job import NORMS
from ser_fusion.study.usable import groups_of

if TYPE_CHECKING:
    import pandas as pd

    from ser_fusion.study.open import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRow:
    """One row: a classifier and the streams it sees.

    Attributes:
        recipe: The classifier.
        streams: Streams whose pooled features are concatenated.
        pooling: ``stats``, ``mean`` or ``max``.
    """

    recipe: Recipe
    streams: tuple[str, ...]
    pooling: str

    @property
    def slug(self) -> str:
        """As written in files and predictions."""
        safe = "".join(letter if letter.isalnum() else "-" for letter in self.recipe.name.rpartition(":")[2]).lower()
        return f"{safe}-{'+'.join(self.streams)}" + ("" if self.pooling == "stats" else f"-{self.pooling}")

    def name(self, encoders: Mapping[str, str]) -> str:
        """As printed; the baseline of the field by the name under which it is known. ``encoders``: name by stream."""
        if self.streams == ("prosody",) and encoders.get("prosody") == "egemaps" and self.recipe.name == "svm":
            return "eGeMAPS + SVM"
        return f"{self.recipe.name.rpartition(':')[2]}, {'+'.join(self.streams)}"

    def info(self, norm: str, layers: Mapping[str, Sequence[int]], encoders: Mapping[str, str]) -> dict[str, Any]:
        """The row as ``run.json`` holds it."""
        joined = [
            f"{name} layers {', '.join(map(str, layers[name]))} joined"
            for name in self.streams
            if len(layers[name]) > 1
        ]
        chosen = "settings by development data" if len(self.recipe.grid) > 1 else ""
        pooled = {"stats": "mean and deviation", "mean": "mean", "max": "maximum"}[self.pooling]
        note = [self.recipe.title, f"{pooled} over all frames", self.recipe.note, chosen, *joined]
        note.append(NORMS[norm])
        return {
            "name": self.name(encoders),
            "slug": self.slug,
            "kind": "classifier",
            "fusion": None,
            "pooling": self.pooling,
            "preset": None,
            "parameters": None,
            "transductive": norm != "train",
            "departures": [],
            "note": "; ".join(part for part in note if part),
        }


def classifier_table(
    names: Sequence[str], streams: Sequence[str], poolings: Sequence[str]
) -> tuple[ClassifierRow, ...]:
    """The rows of some classifiers: each stream alone, then all together."""
    usable = tuple(dict.fromkeys(name if name in ("stats", "mean", "max") else "stats" for name in poolings)) or (
        "stats",
    )
    sets = [(stream,) for stream in streams] + ([tuple(streams)] if len(streams) > 1 else [])
    return tuple(
        ClassifierRow(recipe=resolve_classifier(name), streams=tuple(chosen), pooling=pooling)
        for name in names
        for pooling in usable
        for chosen in sets
    )


def fit_classifiers(
    study: "Study",
    names: Sequence[str],
    out: Path,
    *,
    seeds: Sequence[int] = (0,),
    poolings: Sequence[str] = ("stats",),
    norm: str = "train",
    refit: bool = False,
    workers: int = 1,
    progress: Callable[[str], None] = lambda name: None,
    earlier: Sequence[tuple[Sequence[str], Sequence[str], Sequence[int]]] = (),
) -> "tuple[list[dict[str, Any]], list[pd.DataFrame], list[pd.DataFrame]]":
    """Fits what is missing.

    Args:
        study: Utterances, folds, streams.
        names: Classifiers.
        out: Run directory; results are kept below ``jobs/``.
        seeds: For classifiers that draw; others are fitted once, under seed 0.
        poolings: ``stats``, ``mean``, ``max``; others become ``stats``.
        norm: ``train``, ``corpus``, ``speaker`` or ``speaker-neutral``.
        refit: Fit what is tested on training and development part together, as the heads are.
        workers: Processes.
        progress: Called with each row's name before it is fitted.
        earlier: Classifiers, poolings and seeds that were asked before: read where they are finished, never fitted.

    Returns:
        Row information, test predictions, development predictions; the columns of the run directory.
    """
    from joblib import Parallel, delayed

    rows = classifier_table(names, tuple(study.streams), poolings)
    asked = {row.slug: set(seeds) for row in rows}
    before: dict[str, set[int]] = {}
    for old_names, old_poolings, old_seeds in earlier:
        for row in classifier_table(old_names, tuple(study.streams), old_poolings):
            before.setdefault(row.slug, set()).update(old_seeds)
            rows = rows if any(row.slug == listed.slug for listed in rows) else (*rows, row)
    layers = {name: [entry.spec.layer for entry in entries] for name, entries in study.layers.items()}
    encoders = {name: entry.spec.encoder for name, entry in study.streams.items()}
    pooled: dict[tuple[str, str], NDArray[np.float32]] = {}
    parts = [
        {"train": study.rows(fold.train), "dev": study.rows(fold.dev), "test": study.rows(fold.test)}
        for fold in study.folds.folds
    ]
    mark = study.data_fingerprint
    infos, tests, devs = [], [], []
    for row in rows:
        todo = [
            (number, seed, out / "jobs" / row.slug / f"fold{number}-seed{seed}")
            for seed in (
                sorted(asked.get(row.slug, set()) | before.get(row.slug, set())) if row.recipe.random else (0,)
            )
            for number in range(len(parts))
        ]
        marks = {folder: _mark(row, mark, norm, refit, number, seed) for number, seed, folder in todo}
        lacking = {seed for _, seed, folder in todo if _done(folder) != marks[folder]}
        wanted = asked.get(row.slug, set()) if row.recipe.random else {0} if row.slug in asked else set()
        todo = [job for job in todo if job[1] in wanted or job[1] not in lacking]
        if not todo:
            continue
        missing = [job for job in todo if _done(job[2]) != marks[job[2]]]
        info = row.info(norm, layers, encoders)
        if missing:
            progress(info["name"])
            features = np.concatenate(
                [_features(study, name, row.pooling, norm, pooled) for name in row.streams], axis=1
            )
            calls = (
                delayed(_fit)(row.recipe, features, study.targets, parts[number], len(study.classes), seed, refit)
                for number, seed, _ in missing
            )
            fitted = Parallel(n_jobs=max(1, min(workers, len(missing))))(calls)
            for (number, seed, folder), result in zip(missing, fitted, strict=True):
                _write(study, row, number, seed, folder, marks[folder], parts[number], result)
        infos.append(info)
        for _, _, folder in todo:
            test, dev = _read(folder)
            tests.append(test)
            devs += [dev] if len(dev) else []
    return infos, tests, devs


def _fit(
    recipe: Recipe,
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    parts: Mapping[str, NDArray[np.int64]],
    classes: int,
    seed: int,
    refit: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any], float]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is part of the recipe
        return (*choose_and_fit(recipe, features, targets, parts, classes, seed, refit), time.perf_counter() - began)


def _features(
    study: "Study", stream: str, pooling: str, norm: str, pooled: dict[tuple[str, str], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Pooled features of all chosen layers of a stream, (utterances, d), normalised per speaker if asked."""
    if (stream, pooling) not in pooled:
        from ser_fusion.study.data import pool_entry

        ids = list(study.table.index)
        values = np.concatenate([pool_entry(entry, ids, pooling) for entry in study.layers[stream]], axis=1)
        pooled[stream, pooling] = _per_speaker(study, values, norm)
    return pooled[stream, pooling]


def _per_speaker(study: "Study", values: NDArray[np.float32], norm: str) -> NDArray[np.float32]:

    groups, reference = groups_of(study, norm)
    if groups is None:
        return values
    out = values.copy()
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        seen = own if reference is None else own[reference[own]]
        out[own] = standardise(values[seen], values[own])[1]
    return out


def _mark(row: ClassifierRow, data: str, norm: str, refit: bool, number: int, seed: int) -> str:
    """Fingerprint of everything that decides a result."""
    from importlib.metadata import version

    grid = json.dumps([dict(settings) for settings in row.recipe.grid], sort_keys=True)
    facts = (data, row.recipe.name, grid, row.streams, row.pooling, norm, number, seed, version("scikit-learn"))
    more = (*(("refit",) if refit else ()), *((VERSION,) if row.recipe.build is None else ()))
    return xxhash.xxh3_128_hexdigest(repr((*facts, *more)).encode())


def _done(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "done.json").read_text())["fingerprint"])
    except (OSError, ValueError, KeyError):
        return None


def _write(
    study: "Study",
    row: ClassifierRow,
    number: int,
    seed: int,
    folder: Path,
    mark: str,
    parts: Mapping[str, NDArray[np.int64]],
    result: tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any], float],
) -> None:
    """The folder of one fit, which appears whole."""
    from ser_base.files import replacing
    from ser_fusion.evaluation.parts import posterior_frame

    dev, test, settings, seconds = result
    fold = str(study.folds.folds[number].name)
    done = {
        "fingerprint": mark,
        "row": row.slug,
        "fold": fold,
        "seed": seed,
        "settings": settings,
        "seconds": round(seconds, 3),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as scratch:
        scratch.mkdir()
        for part, values in (("dev", dev), ("test", test)):
            frame = posterior_frame(study.table, study.classes, parts[part], fold, seed, values, values.argmax(axis=1))
            frame.insert(0, "row", row.slug)
            frame.to_parquet(scratch / f"{part}.parquet", index=False)
        (scratch / "done.json").write_text(json.dumps(done, indent=1) + "\n")


def _read(folder: Path) -> "tuple[pd.DataFrame, pd.DataFrame]":
    import pandas as pd

    return pd.read_parquet(folder / "test.parquet"), pd.read_parquet(folder / "dev.parquet")


_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def resolve_classifier(name: str) -> Recipe:
    """A recipe of the table, or one around any estimator ``pkg.mod:Class``.

    Raises:
        UnknownName: Not in the table and no path to a class.
        ClassifierUnusable: The class cannot be imported, or is not a classifier.
    """
    return _foreign(name) if _CLASS.fullmatch(name) else CLASSIFIERS[name]


def _foreign(path: str) -> Recipe:
    module, _, attribute = path.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ClassifierUnusable(path, str(error)) from error
    if not (
        isinstance(kind, type) and callable(getattr(kind, "fit", None)) and callable(getattr(kind, "predict", None))
    ):
        raise ClassifierUnusable(path, "it is not a class with fit and predict")
    try:
        names = set(signature(kind).parameters)
        kind()
    except (TypeError, ValueError) as error:
        raise ClassifierUnusable(path, f"it cannot be built without arguments ({error})") from error
    seeded = "random_state" in names

    def build(seed: int, **settings: Any) -> Any:
        return kind(random_state=seed, **settings) if seeded else kind(**settings)

    return Recipe(path, attribute, build, random=seeded, note=f"{path} as it comes")
