"""TF-IDF with a linear SVM on the words: the cheap row that every head which reads text has to beat. Nothing is tuned."""

from collections.abc import Sequence
from typing import Any

import numpy as np

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
