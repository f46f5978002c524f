"""Linear probes: logistic regression on pooled features, and TF-IDF with a linear SVM on the words.

The cheap rows that every head has to beat. Nothing is tuned: the penalties are constants (measured to be sensible on
RAVDESS x MELD, see the table in `docs/results.md`), so no row has looked at test data.
"""

from collections.abc import Sequence

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


def _plain(text: object) -> str:
    return text if isinstance(text, str) else ""


def text_svm(
    texts: Sequence[object], train: np.ndarray, test: np.ndarray, targets: np.ndarray, classes: int
) -> np.ndarray | None:
    """Scores `(len(test), classes)` of TF-IDF (words and word pairs, sublinear) and a linear SVM on the transcripts.

    The scores are a softmax of the margins: right for ranking, not calibrated.

    Returns:
        None where the training transcripts hold no word at all.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        x_train = words.fit_transform([_plain(texts[i]) for i in train])
    except ValueError:  # "empty vocabulary"
        return None
    model = LinearSVC(C=SVM_C, random_state=0).fit(x_train, targets[train])
    margins = model.decision_function(words.transform([_plain(texts[i]) for i in test]))
    if margins.ndim == 1:
        margins = np.stack([-margins, margins], axis=1)
    full = np.full((len(test), classes), -np.inf)
    full[:, model.classes_] = margins
    odds = np.exp(full - full.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
