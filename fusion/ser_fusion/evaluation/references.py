"""The rows that every table carries for free: chance, priors, a bag of words, and linear probes, on the heads' own folds.

They are fitted on what the heads of the run are fitted on: the training part of each fold, with ``refit`` the
development part too. Only the probes choose anything, their penalty, on the development part (``probes``). A head that
does not beat them has not shown what it is for.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.parts import Part, class_prior, parts_of, posterior_frame, reference_row, speakers_of
from ser_fusion.evaluation.probe_rows import probe_rows
from ser_fusion.evaluation.probes import Fits
from ser_fusion.study.data import Pooled, stream_features

if TYPE_CHECKING:
    from ser_fusion.study.open import Study

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


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference row.

    Attributes:
        info: The row as ``run.json`` holds it.
        test: Test predictions: ``row, id, fold, seed, label, predicted, p_<class> ...``.
        dev: Development predictions of the same kind; None for rows that learn nothing from the development part.
    """

    info: dict[str, Any]
    test: pd.DataFrame
    dev: pd.DataFrame | None = None


def _row(slug: str) -> dict[str, Any]:
    return reference_row(slug, NAMES[slug], NOTES[slug])


Predict = Callable[[Part], np.ndarray | None]


def fixed_rows(table: pd.DataFrame, classes: Sequence[str]) -> list[tuple[dict[str, Any], Predict]]:
    """The rows of priors and words, as pairs of row information and a function from a fold to posteriors.

    Args:
        table: Utterances with ``target`` (class position) and the manifest's columns, index = id.
        classes: Class names in order.
    """
    targets, k = table["target"].to_numpy(), len(classes)
    rows: list[tuple[dict[str, Any], Predict]] = []
    rows.append((_row("majority"), lambda part: np.tile(class_prior(targets[part.fit], k), (len(part.test), 1))))
    for slug, keys in metadata_keys(table).items():

        def prior(part: Part, keys: pd.Series = keys) -> np.ndarray:
            return key_prior(keys.iloc[part.fit], targets[part.fit], keys.iloc[part.test], k)

        rows.append((_row(slug), prior))
    if "text" in table and table["text"].map(lambda text: isinstance(text, str) and bool(text.strip())).any():
        texts = table["text_normalised"] if "text_normalised" in table else table["text"].str.lower()
        counts = word_counts(list(texts))
        if counts is not None:
            rows.append((_row("tfidf-svm"), lambda part: text_svm(counts, part.fit, part.test, targets, k)))
    return rows


def chance_rows(
    table: pd.DataFrame, classes: Sequence[str], parts: Sequence[Part], seeds: Sequence[int]
) -> list[Reference]:
    """The two random rows, drawn again for every fold and seed."""
    targets, k = table["target"].to_numpy(), len(classes)
    frames: dict[str, list[pd.DataFrame]] = {"random": [], "prior": []}
    for number, part in enumerate(parts):
        for seed in seeds:
            chance = {"random": np.full(k, 1.0 / k), "prior": class_prior(targets[part.fit], k)}
            for which, slug in enumerate(frames):
                draw = np.random.default_rng([int(seed), number, which])
                guess = draw.choice(k, size=len(part.test), p=chance[slug])
                posteriors = np.tile(chance[slug], (len(part.test), 1))
                frames[slug].append(posterior_frame(table, classes, part.test, part.name, int(seed), posteriors, guess))
    return [Reference(_row(slug), pd.concat(frames[slug], ignore_index=True)) for slug in frames]


def deterministic_rows(
    table: pd.DataFrame,
    classes: Sequence[str],
    features: Pooled,
    parts: Sequence[Part],
    fits: Fits,
    *,
    fixed: Sequence[tuple[dict[str, Any], Predict]] | None = None,
    joint: bool = True,
    progress: Callable[[str], None] | None = None,
) -> list[Reference]:
    """All rows without randomness, on some folds; a row that cannot be computed on some fold is left out.

    Args:
        table: Utterances with ``target`` (class position) and the manifest's columns, index = id.
        classes: Class names in order.
        features: Pooled features of every stream (``stream_features``); may be empty.
        parts: The folds.
        fits: Where probes are looked up and kept.
        fixed: ``fixed_rows`` of this table, if they are already computed.
        joint: Whether the streams side by side are probed too.
        progress: Called with each row's name before it is computed.
    """
    rows, speakers = [], speakers_of(table)
    for info, predict in fixed_rows(table, classes) if fixed is None else fixed:
        if progress is not None:
            progress(info["name"])
        predicted = [(part, predict(part)) for part in parts]
        frames = [
            posterior_frame(table, classes, part.test, part.name, 0, posteriors)
            for part, posteriors in predicted
            if posteriors is not None
        ]
        if len(frames) == len(parts):
            rows.append(Reference(info, pd.concat(frames, ignore_index=True)))
    if features and progress is not None:
        progress("linear probes")
    probes = probe_rows(table, classes, features, parts, fits, speakers, joint=joint)
    return rows + [Reference(probe.info, probe.test, probe.dev) for probe in probes]


def reference_rows(
    study: "Study",
    seeds: Sequence[int],
    *,
    refit: bool = False,
    features: Pooled | None = None,
    fits: Fits | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Reference]:
    """All reference rows of a study, on its folds.

    Args:
        study: Utterances, classes, folds and streams.
        seeds: The heads' seeds; only the two random rows use them, all others have the one seed 0.
        refit: Whether the heads that are tested were fitted on the development part too.
        features: ``stream_features(study)``, if it is already computed.
        fits: Where probes are looked up and kept.
        progress: Called with each row's name before it is computed.
    """
    parts = parts_of(study.table.index, study.folds.folds, refit)
    features = stream_features(study) if features is None else features
    rows = chance_rows(study.table, study.classes, parts, seeds)
    rows += deterministic_rows(study.table, study.classes, features, parts, fits or Fits(), progress=progress)
    for row in rows:
        for frame in (row.test, row.dev):
            if frame is not None:
                frame.insert(0, "row", row.info["slug"])
    return rows


# The cheap predictors: priors that neither hear nor read, and a linear SVM on the words.
#
# On IEMOCAP under leave-one-session-out they reach WA .55 (7 classes) and .72 (4 classes), because every scenario is played
# again in every session. A model that does not beat them has shown nothing about emotion.
_WEARER = re.compile(r"^Ses\d+([FM])_")


def key_prior(train_keys: pd.Series, train_targets: np.ndarray, test_keys: pd.Series, classes: int) -> np.ndarray:
    """Class distribution that the training part shows for each test row's key.

    The overall prior counts as one more example of every key. An unseen or missing key therefore gets the overall
    prior, and ties go to the more frequent class.

    Args:
        train_keys, test_keys: Any hashable keys; missing = None/NaN.
        train_targets: ``(n_train,)`` class positions.
        classes: Number of classes.

    Returns:
        ``(n_test, classes)`` probabilities.
    """
    prior = class_prior(train_targets, classes)
    with_key = train_keys.notna().to_numpy()
    codes, names = pd.factorize(train_keys[with_key])
    table = np.zeros((len(names) + 1, classes))
    np.add.at(table, (codes, train_targets[with_key]), 1.0)  # the last row stays empty: the overall prior
    table += prior
    table /= table.sum(axis=1, keepdims=True)
    return table[pd.Index(names).get_indexer(pd.Index(test_keys))]


def wearer(dialogues: pd.Series) -> pd.Series:
    """Who wears the motion markers, read from IEMOCAP's dialogue names (``Ses01F_impro01`` -> ``F``); None elsewhere."""
    matches = [_WEARER.match(name) if isinstance(name, str) else None for name in dialogues]
    return pd.Series([match[1] if match else None for match in matches], index=dialogues.index, dtype=object)


def joined_keys(columns: Sequence[pd.Series]) -> pd.Series:
    """One key per row from several columns; missing where the first column is missing."""
    words = [column.astype(object).where(column.notna(), "").astype(str) for column in columns]
    keys = pd.Series(["|".join(row) for row in zip(*words, strict=True)], index=columns[0].index)
    return keys.where(columns[0].notna(), None)


def metadata_keys(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The keys of this corpus, by row slug (``scenario-prior``, ...): a key per utterance, index as the table."""
    keys: dict[str, pd.Series] = {}
    if "scenario" in table and table["scenario"].notna().any():
        keys["scenario-prior"] = table["scenario"]
        parts = [table["scenario"]]
        if "dialogue" in table:
            parts.append(wearer(table["dialogue"]))
        if "gender" in table:
            parts.append(table["gender"])
        keys["dialogue-prior"] = joined_keys(parts)
    if "speaker" in table and table["speaker"].notna().any():
        keys["speaker-prior"] = table["speaker"]
    return keys


# TF-IDF with a linear SVM on the words: the cheap row that every head which reads text has to beat. Nothing is tuned.
SVM_C = 0.3


def word_counts(texts: Sequence[object]) -> Any:
    """Counts of words and word pairs, sparse ``(n, terms)``, of all transcripts; None if the transcripts do not hold a word."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
    try:
        return counter.fit_transform([text if isinstance(text, str) else "" for text in texts])
    except ValueError:  # "empty vocabulary"
        return None


def text_svm(counts: Any, train: np.ndarray, test: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray | None:
    """Scores ``(len(test), classes)`` of TF-IDF (words and word pairs, sublinear) and a linear SVM on the transcripts.

    Vocabulary and document frequencies are the training part's own: counting everything once only saves reading the
    texts again for every fold. The scores are a softmax of the margins: right for ranking, not calibrated.

    Args:
        counts: From ``word_counts``.
        train, test: Positions of the parts.
        targets: ``(n,)`` class positions.
        classes: Number of classes.

    Returns:
        None where the training transcripts hold no word.
    """
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.svm import LinearSVC

    seen = np.asarray(counts[train].sum(axis=0)).ravel() > 0
    if not seen.any():
        return None
    weigh = TfidfTransformer(sublinear_tf=True)
    x_train = weigh.fit_transform(counts[train][:, seen])
    model = LinearSVC(C=SVM_C, random_state=0).fit(x_train, targets[train])
    margins = model.decision_function(weigh.transform(counts[test][:, seen]))
    if margins.ndim == 1:
        margins = np.stack([-margins, margins], axis=1)
    full = np.full((len(test), classes), -np.inf)
    full[:, model.classes_] = margins
    odds = np.exp(full - full.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
