"""The cheap predictors: priors that neither hear nor read, and a linear SVM on the words.

On IEMOCAP under leave-one-session-out they reach WA .55 (7 classes) and .72 (4 classes), because every scenario is played
again in every session. A model that does not beat them has shown nothing about emotion.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.parts import class_prior

_WEARER = re.compile(r"^Ses\d+([FM])_")


def key_prior(train_keys: pd.Series, train_targets: np.ndarray, test_keys: pd.Series, classes: int) -> np.ndarray:
    """Class distribution that the training part shows for each test row's key.

    The overall prior counts as one more example of every key, so an unseen or missing key gets the overall prior and
    ties go to the more frequent class.

    Args:
        train_keys, test_keys: any hashable keys; missing = None/NaN.
        train_targets: `(n_train,)` class positions.
        classes: number of classes.

    Returns:
        `(n_test, classes)` probabilities.
    """
    prior = class_prior(train_targets, classes)
    known = train_keys.notna().to_numpy()
    codes, names = pd.factorize(train_keys[known])
    table = np.zeros((len(names) + 1, classes))
    np.add.at(table, (codes, train_targets[known]), 1.0)  # the last row stays empty: the overall prior
    table += prior
    table /= table.sum(axis=1, keepdims=True)
    return table[pd.Index(names).get_indexer(pd.Index(test_keys))]


def wearer(dialogues: pd.Series) -> pd.Series:
    """Who wears the motion markers, read from IEMOCAP's dialogue names (`Ses01F_impro01` -> `F`); None elsewhere."""
    found = [_WEARER.match(name) if isinstance(name, str) else None for name in dialogues]
    return pd.Series([match[1] if match else None for match in found], index=dialogues.index, dtype=object)


def joined_keys(columns: Sequence[pd.Series]) -> pd.Series:
    """One key per row from several columns; missing where the first column is missing."""
    frame = pd.concat(list(columns), axis=1)
    keys = frame.astype(object).where(frame.notna(), "").astype(str).agg("|".join, axis=1)
    return keys.where(columns[0].notna(), None)


def metadata_keys(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The keys that this corpus has: `scenario-prior`, `dialogue-prior`, `speaker-prior` -> key per row (index as table)."""
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
    """Counts of words and word pairs, sparse `(n, terms)`, of all transcripts; None where there is no word at all."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
    try:
        return counter.fit_transform([text if isinstance(text, str) else "" for text in texts])
    except ValueError:  # "empty vocabulary"
        return None


def text_svm(counts: Any, train: np.ndarray, test: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray | None:
    """Scores `(len(test), classes)` of TF-IDF (words and word pairs, sublinear) and a linear SVM on the transcripts.

    Vocabulary and document frequencies are the training part's own: counting everything once only saves reading the texts
    again for every fold. The scores are a softmax of the margins: right for ranking, not calibrated.

    Args:
        counts: from `word_counts`.
        train, test: positions of the parts.
        targets: `(n,)` class positions.
        classes: number of classes.

    Returns:
        None where the training transcripts hold no word.
    """
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.svm import LinearSVC

    known = np.asarray(counts[train].sum(axis=0)).ravel() > 0
    if not known.any():
        return None
    weigh = TfidfTransformer(sublinear_tf=True)
    x_train = weigh.fit_transform(counts[train][:, known])
    model = LinearSVC(C=SVM_C, random_state=0).fit(x_train, targets[train])
    margins = model.decision_function(weigh.transform(counts[test][:, known]))
    if margins.ndim == 1:
        margins = np.stack([-margins, margins], axis=1)
    full = np.full((len(test), classes), -np.inf)
    full[:, model.classes_] = margins
    odds = np.exp(full - full.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
