"""The solver of the linear probe: multinomial logistic regression with an L2 penalty, on one set of rows, for one C after another.

L-BFGS on rescaled weights, from where the last C ended. With more rows than features the scale is the Cholesky factor
of ``X'X c + I / C``, close to the Hessian. With fewer, the weights are sought within the span of the rows, where the
minimum lies, along the eigenvectors of ``XX'``; the same matrix is then diagonal. A rough descent computes in float32,
which halves its time. Classes are rows everywhere: products of a few long rows are twice as fast as of a few thin columns.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLAT = 1e-12
"""Eigenvalues below so much of the largest are 0 but for rounding: standardised rows add up to 0."""

Doubles = NDArray[np.float64]
Point = tuple[Doubles, Doubles]
"""Weights ``(present classes, features or axes)`` and intercepts ``(present classes,)``."""


def moments(train: np.ndarray, floor: float = 1e-3) -> tuple[Doubles, Doubles]:
    """Mean and scale of each channel, ``(features,)``; the scale is 1 / deviation, and 0 for a channel that hardly varies.

    MiniLM's last layer has channels without any variance in float16: without the floor they become NaN.

    Args:
        train: ``(n, features)``.
        floor: A channel is left out where its deviation is below ``floor`` times the median deviation.
    """
    return _centred(train, floor)[1:]


def _centred(train: np.ndarray, floor: float = 1e-3) -> tuple[Doubles, Doubles, Doubles]:
    """The channels without their means, ``(n, features)``, and their ``moments``."""
    values = train.astype(np.float64)
    mean = values.mean(axis=0)
    values -= mean
    deviation = np.sqrt(np.einsum("nd,nd->d", values, values) / len(values))
    alive = deviation > max(floor * float(np.median(deviation)), 1e-12)
    return values, mean, np.where(alive, 1.0 / np.where(alive, deviation, 1.0), 0.0)


class Rows:
    """Standardised features and classes of the rows that a probe is fitted on.

    Args:
        features: ``(n, d)``.
        targets: Class positions, ``(n,)``.
        classes: Number of classes.
    """

    def __init__(self, features: np.ndarray, targets: NDArray[np.int64], classes: int) -> None:
        self.classes = classes
        x, self.mean, self.scale = _centred(features)
        self.present, codes = np.unique(targets, return_inverse=True)
        self.truth = np.eye(len(self.present))[:, codes]
        x *= self.scale
        self.samples, self.axes = x, None
        self.spread: NDArray[Any]  # X'X, or its diagonal along the axes
        if len(x) < x.shape[1]:
            spread, axes = np.linalg.eigh(x @ x.T)
            there = spread > FLAT * spread.max(initial=0)
            self.spread, axes = spread[there], axes[:, there]
            x = axes * np.sqrt(self.spread)  # features along the axes X'u / |X'u|
            self.axes = axes / np.sqrt(self.spread)
        self.x, self.rough = np.ascontiguousarray(x), np.ascontiguousarray(x, dtype=np.float32)
        if self.axes is None:
            self.spread = self.rough.T @ self.rough  # it only sets the scale of the steps, never where they end

    @property
    def nowhere(self) -> Point:
        """Where the first descent begins."""
        return np.zeros((len(self.present), self.x.shape[1])), np.zeros(len(self.present))

    def least(self, penalty: float, tolerance: float, start: Point, rough: bool = False) -> Point:
        """The minimum of ``sum of cross-entropies + |w|^2 / (2 C)``.

        Args:
            penalty: C.
            tolerance: No entry of the gradient of the mean loss is larger in the end.
            start: Where to begin.
            rough: Compute in float32; for a tolerance of 1e-4 or more.
        """
        from scipy.optimize import minimize

        if len(self.present) < 2:
            return start
        x = self.rough if rough else self.x
        (k, n), curvature = self.truth.shape, (1 - 1 / len(self.present)) / len(self.present) / 2
        scale, step = _scale(self.spread * curvature, penalty), 1 / np.sqrt(n * curvature)

        def objective(u: Doubles) -> tuple[float, Doubles]:
            loss, (slope, offset) = self._loss(x, penalty, (scale.weights(u[:-k].reshape(k, -1)), u[-k:] * step))
            return loss, np.concatenate([scale.gradient(slope).ravel(), offset * step])

        (w, b), inner = start, tolerance * np.sqrt(n)
        for _ in range(1 if rough else 5):
            begin = np.concatenate([scale.unscaled(w).ravel(), b / step])
            options = {"gtol": inner, "ftol": 0.0, "maxiter": 1000, "maxcor": 10}
            minimum = minimize(objective, begin, jac=True, method="L-BFGS-B", options=options).x
            w, b = scale.weights(minimum[:-k].reshape(k, -1)), minimum[-k:] * step
            _, (slope, offset) = self._loss(x, penalty, (w, b))
            if max(np.abs(slope).max(), np.abs(offset).max()) <= tolerance * n:
                break
            inner /= 10
        return w, b

    def _loss(self, x: NDArray[Any], penalty: float, point: Point) -> tuple[float, Point]:
        """The loss and its gradient; by hand, since these arrays are small and scipy's ``log_softmax`` checks them for longer."""
        w, b = point
        z = w.astype(x.dtype) @ x.T
        z += b[:, None]
        z -= z.max(axis=0)
        over = np.exp(z)
        total = over.sum(axis=0)
        loss = float(np.log(total).sum(dtype=np.float64) - np.vdot(self.truth, z) + np.vdot(w, w) / (2 * penalty))
        over /= total
        over -= self.truth
        return loss, (over @ x + w / penalty, over.sum(axis=1, dtype=np.float64))

    def straight(self, point: Point) -> Point:
        """Weights ``(classes, d)`` and intercepts ``(classes,)`` for features as they are; -inf for a class that is not there."""
        w, b = point
        own = (w if self.axes is None else (w @ self.axes.T) @ self.samples) * self.scale
        weights, bias = np.zeros((self.classes, len(self.scale))), np.full(self.classes, -np.inf)
        weights[self.present], bias[self.present] = own, b - own @ self.mean
        return weights, bias

    def nearest(self, straight: Point) -> Point:
        """Where to begin if a fit on other rows ended at these weights and intercepts."""
        weights, bias = straight
        own = weights[self.present]
        b = bias[self.present] + own @ self.mean
        own = own * np.divide(1, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)
        return (own if self.axes is None else (own @ self.samples.T) @ self.axes), np.where(np.isfinite(b), b, 0.0)


class _Diagonal:
    """Rescaled weights where the Hessian's likeness is diagonal."""

    def __init__(self, hessian: Doubles) -> None:
        self.root = np.sqrt(hessian)

    def weights(self, u: Doubles) -> Doubles:
        return u / self.root

    gradient = weights

    def unscaled(self, w: Doubles) -> Doubles:
        return w * self.root


class _Whole:
    """Rescaled weights by the Cholesky factor of the Hessian's likeness, in float32: it decides the way, not where it ends."""

    def __init__(self, hessian: NDArray[np.float32]) -> None:
        from scipy.linalg import cholesky
        from scipy.linalg.lapack import strtri

        self.factor = cholesky(hessian, lower=True, overwrite_a=True, check_finite=False)
        self.inverse = strtri(self.factor, lower=1)[0]  # products with it are faster than solving

    def weights(self, u: Doubles) -> Doubles:
        return (u.astype(np.float32) @ self.inverse).astype(np.float64)

    def gradient(self, slope: Doubles) -> Doubles:
        return (slope.astype(np.float32) @ self.inverse.T).astype(np.float64)

    def unscaled(self, w: Doubles) -> Doubles:
        return (w.astype(np.float32) @ self.factor).astype(np.float64)


def _scale(spread: NDArray[Any], penalty: float) -> _Diagonal | _Whole:
    if spread.ndim == 1:
        return _Diagonal(np.maximum(spread, 0) + 1 / penalty)
    spread[np.diag_indices(len(spread))] += 1 / penalty
    return _Whole(spread)
