"""The rows that every table carries for free: chance, priors, a bag of words, and linear probes, on the heads' own folds.

They see the training part of each fold and nothing of the development part, and none of them is tuned. A head that does
not beat them has not shown what it is for. Costs seconds on the demo corpus; the probes dominate.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.priors import class_prior, key_prior, metadata_keys
from ser_fusion.evaluation.probes import PENALTY, pooled_probe, text_svm, word_counts

if TYPE_CHECKING:
    from ser_fusion.study import Study

NOTES = {
    "random": "uniform over the classes",
    "prior": "drawn from the class frequencies of the training part",
    "majority": "the most frequent class of the training part",
    "tfidf-svm": "TF-IDF of words and word pairs, linear SVM (C = 0.3), transcripts only",
    "scenario-prior": "class frequencies of the same scenario in the training part; no audio, no text",
    "dialogue-prior": "the same by scenario, wearer and gender, which the dialogue's name and the turn's give away",
    "speaker-prior": "class frequencies of the same speaker; the overall ones for an unseen speaker",
}
NAMES = {
    "random": "Random",
    "prior": "Random by prior",
    "majority": "Majority",
    "tfidf-svm": "TF-IDF + SVM",
    "scenario-prior": "Scenario prior",
    "dialogue-prior": "Dialogue-name prior",
    "speaker-prior": "Speaker prior",
}


@dataclass(frozen=True)
class Part:
    """One fold by positions in the table: `train` and `test` `(n,)` int64."""

    name: str
    train: np.ndarray
    test: np.ndarray


def parts_of(index: pd.Index, folds: Iterable[Any]) -> list[Part]:
    """Folds (with `name`, `train`, `test` as ids) as positions in `index`; ids that the table lacks are left out."""

    def positions(ids: Sequence[str]) -> np.ndarray:
        found = index.get_indexer(pd.Index(list(ids)))
        return found[found >= 0]

    return [Part(str(fold.name), positions(fold.train), positions(fold.test)) for fold in folds]


def posterior_frame(
    table: pd.DataFrame,
    classes: Sequence[str],
    rows: np.ndarray,
    fold: str,
    seed: int,
    posteriors: np.ndarray,
    guess: np.ndarray,
) -> pd.DataFrame:
    """Predictions of one part in the run directory's columns: `id, fold, seed, label, predicted, p_<class> ...`."""
    names = np.asarray(classes, dtype=object)
    frame = {
        "id": table.index.to_numpy()[rows],
        "fold": fold,
        "seed": seed,
        "label": names[table["target"].to_numpy()[rows]],
        "predicted": names[guess],
    }
    frame.update({f"p_{name}": posteriors[:, k].astype(np.float32) for k, name in enumerate(classes)})
    return pd.DataFrame(frame)


def _row(slug: str, name: str | None = None, note: str | None = None, parameters: int = 0) -> dict[str, Any]:
    return {
        "name": name or NAMES[slug],
        "slug": slug,
        "kind": "reference",
        "fusion": None,
        "pooling": None,
        "preset": None,
        "parameters": parameters,
        "transductive": False,
        "departures": [],
        "note": note or NOTES[slug],
    }


Predict = Callable[[Part], np.ndarray | None]


def fixed_rows(
    table: pd.DataFrame, classes: Sequence[str], features: Mapping[str, tuple[str, np.ndarray]]
) -> list[tuple[dict[str, Any], Predict]]:
    """The reference rows without randomness, as pairs of row information and a function from a fold to posteriors.

    Args:
        table: utterances with `target` (class position) and the manifest's columns, index = id.
        classes: class names in order.
        features: stream name to (modality, pooled features `(n, d)`, rows as the table).
    """
    targets, k = table["target"].to_numpy(), len(classes)
    rows: list[tuple[dict[str, Any], Predict]] = []
    rows.append((_row("majority"), lambda part: np.tile(class_prior(targets[part.train], k), (len(part.test), 1))))
    for slug, keys in metadata_keys(table).items():

        def prior(part: Part, keys: pd.Series = keys) -> np.ndarray:
            return key_prior(keys.iloc[part.train], targets[part.train], keys.iloc[part.test], k)

        rows.append((_row(slug), prior))
    if "text" in table and table["text"].map(lambda text: isinstance(text, str) and bool(text.strip())).any():
        texts = table["text_normalised"] if "text_normalised" in table else table["text"].str.lower()
        counts = word_counts(list(texts))
        if counts is not None:
            rows.append((_row("tfidf-svm"), lambda part: text_svm(counts, part.train, part.test, targets, k)))
    probes = dict(features)
    if len(features) > 1:
        probes["concatenation"] = ("both", np.concatenate([values for _, values in features.values()], axis=1))
    for stream, (modality, values) in probes.items():
        penalty = PENALTY.get(modality, 0.05)

        def probe(part: Part, values: np.ndarray = values, penalty: float = penalty) -> np.ndarray:
            return pooled_probe(values, part.train, part.test, targets, k, penalty)

        note = f"logistic regression (C = {penalty}) on the time mean, {values.shape[1]} features"
        row = _row(f"probe-{stream}", f"Probe ({stream})", note, k * (values.shape[1] + 1))
        rows.append((row, probe))
    return rows


def chance_rows(
    table: pd.DataFrame, classes: Sequence[str], parts: Sequence[Part], seeds: Sequence[int]
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The two random rows, drawn anew for every fold and seed."""
    targets, k = table["target"].to_numpy(), len(classes)
    frames: dict[str, list[pd.DataFrame]] = {"random": [], "prior": []}
    for number, part in enumerate(parts):
        for seed in seeds:
            chance = {"random": np.full(k, 1.0 / k), "prior": class_prior(targets[part.train], k)}
            for which, slug in enumerate(frames):
                draw = np.random.default_rng([int(seed), number, which])
                guess = draw.choice(k, size=len(part.test), p=chance[slug])
                posteriors = np.tile(chance[slug], (len(part.test), 1))
                frames[slug].append(posterior_frame(table, classes, part.test, part.name, int(seed), posteriors, guess))
    return [(_row(slug), pd.concat(frames[slug], ignore_index=True)) for slug in frames]


def predictions_of(
    table: pd.DataFrame, classes: Sequence[str], parts: Sequence[Part], predict: Predict
) -> pd.DataFrame | None:
    """Test predictions of one row over all folds (seed 0); None where the row cannot be computed on some fold."""
    frames = []
    for part in parts:
        posteriors = predict(part)
        if posteriors is None:
            return None
        frames.append(posterior_frame(table, classes, part.test, part.name, 0, posteriors, posteriors.argmax(axis=1)))
    return pd.concat(frames, ignore_index=True)


def stream_features(study: "Study") -> dict[str, tuple[str, np.ndarray]]:
    """Time means of every stream of a study: name to (modality, `(n, d)`)."""
    return {
        name: (str(entry.spec.modality), np.asarray(study.pooled(name, "mean")))
        for name, entry in study.streams.items()
    }


def reference_rows(
    study: "Study",
    seeds: Sequence[int],
    *,
    features: Mapping[str, tuple[str, np.ndarray]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """All reference rows of a study, on its folds.

    Args:
        study: utterances, classes, folds and streams.
        seeds: the heads' seeds; only the two random rows use them, all others have the one seed 0.
        features: `stream_features(study)`, where it is at hand already.
        progress: called with each row's name before it is computed.

    Returns:
        Pairs of row information (as in `run.json`) and test predictions with the columns
        `row, id, fold, seed, label, predicted, p_<class> ...`.
    """
    parts = parts_of(study.table.index, study.folds.folds)
    rows = chance_rows(study.table, study.classes, parts, seeds)
    for row, predict in fixed_rows(
        study.table, study.classes, stream_features(study) if features is None else features
    ):
        if progress is not None:
            progress(row["name"])
        predictions = predictions_of(study.table, study.classes, parts, predict)
        if predictions is not None:
            rows.append((row, predictions))
    for row, predictions in rows:
        predictions.insert(0, "row", row["slug"])
    return rows
