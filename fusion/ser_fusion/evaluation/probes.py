"""Linear probes: logistic regression on pooled features, and TF-IDF with a linear SVM on the words.

The cheap rows that every head has to beat. Nothing is tuned: the penalties are constants (measured to be sensible on
RAVDESS x MELD, see the table in `docs/results.md`), so no row has looked at test data.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

PENALTY = {"audio": 0.05, "text": 0.01}  # inverse strength C of the logistic regression, by modality; else 0.05
SVM_C = 0.3


def standardise(train: np.ndarray, test: np.ndarray, floor: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean and unit variance by the training part; channels that hardly vary there are set to zero.

    MiniLM's last layer has channels without any variance in float16: without the floor they become NaN.

    Args:
        train, test: `(n, features)`.
        floor: a channel is dropped where its deviation is below `floor` times the median deviation.

    Returns:
        Both, float32.
    """
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    alive = deviation > max(floor * float(np.median(deviation)), 1e-12)
    scale = np.where(alive, 1.0 / np.where(alive, deviation, 1.0), 0.0)
    return ((train - mean) * scale).astype(np.float32), ((test - mean) * scale).astype(np.float32)


def pooled_probe(
    features: np.ndarray, train: np.ndarray, test: np.ndarray, targets: np.ndarray, classes: int, penalty: float
) -> np.ndarray:
    """Posteriors `(len(test), classes)` of a logistic regression.

    Args:
        features: `(n, features)` pooled features of all utterances.
        train, test: positions of the parts.
        targets: `(n,)` class positions.
        classes: number of classes; a class without training examples gets probability 0.
        penalty: inverse strength C of the L2 penalty.
    """
    from sklearn.linear_model import LogisticRegression

    x_train, x_test = standardise(features[train], features[test])
    model = LogisticRegression(C=penalty, max_iter=500, tol=1e-3)
    model.fit(x_train, targets[train])
    posteriors = np.zeros((len(test), classes))
    posteriors[:, model.classes_] = model.predict_proba(x_test)
    return posteriors


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
    anew for every fold. The scores are a softmax of the margins: right for ranking, not calibrated.

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
