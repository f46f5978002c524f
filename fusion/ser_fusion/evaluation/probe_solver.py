"""The solver of the linear probe: multinomial logistic regression with an L2 penalty, on one set of rows, for one C after another.

L-BFGS on rescaled weights, from where the last C ended. With more rows than features the scale is the Cholesky factor
of ``X'X c + I / C``, close to the Hessian. With fewer, the weights are sought within the span of the rows, where the
minimum lies, along the eigenvectors of ``XX'``; the same matrix is then diagonal. The descent computes in float32; where
it ends, the gradient is computed in float64, and the descent goes on in float64 if the gradient is not yet flat.

Classes are rows everywhere, filled up with rows of zeros to a multiple of ``TOGETHER``, and products are cut into blocks of
``at_once``: a few long rows times a small block take a third of the time of a few thin columns times the whole.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLAT = 1e-12
"""Eigenvalues below so much of the largest are 0 but for rounding: standardised rows add up to 0."""
TOGETHER = 4
"""Rows that OpenBLAS multiplies at once: on AVX2 it takes 1.6 times as long for 7 rows as for 8."""
BLOCK = 512
"""Rows that are standardised at once, in float64."""

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
    mean = train.mean(axis=0, dtype=np.float64)
    square = np.zeros_like(mean)
    for rows in _blocks(len(train), BLOCK):
        centred = train[rows] - mean
        square += np.einsum("nd,nd->d", centred, centred)
    deviation = np.sqrt(square / len(train))
    alive = deviation > max(floor * float(np.median(deviation)), 1e-12)
    return mean, np.where(alive, 1.0 / np.where(alive, deviation, 1.0), 0.0)


@cache
def at_once() -> int:
    """Multiplications of one product.

    OpenBLAS copies the matrices of larger ones (above 1,000,000) before it multiplies them. On AVX2 it always copies them: a
    product is then better larger.
    """
    from threadpoolctl import threadpool_info

    copies = any(library.get("architecture") in ("Haswell", "Zen") for library in threadpool_info())
    return 4_000_000 if copies else 500_000


def _filled(rows: NDArray[np.floating], number: type[np.floating]) -> NDArray[Any]:
    """Rows in numbers of this kind, with rows of zeros below them."""
    filled = np.zeros((-(-len(rows) // TOGETHER) * TOGETHER, rows.shape[1]), dtype=number)
    filled[: len(rows)] = rows
    return filled


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


class _Level(Exception):
    """The descent has arrived where the gradient is flat enough."""

    def __init__(self, point: Point) -> None:
        self.point = point


class Rows:
    """Standardised features and classes of the rows that a probe is fitted on.

    Args:
        features: ``(n, d)``.
        targets: Class positions, ``(n,)``.
        classes: Number of classes.
        part: The same of a part of the rows, whose scale of the steps will do.
    """

    def __init__(
        self, features: np.ndarray, targets: NDArray[np.int64], classes: int, part: "Rows | None" = None
    ) -> None:
        self.classes = classes
        self.mean, self.scale = moments(features)
        self.present, codes = np.unique(targets, return_inverse=True)
        self.truth = np.eye(len(self.present))[:, codes]
        self.x: NDArray[np.float32] = np.empty_like(features, dtype=np.float32)
        for rows in _blocks(len(features), BLOCK):
            self.x[rows] = (features[rows] - self.mean) * self.scale
        self.samples, self.axes = self.x, None
        self._made: tuple[float, _Diagonal | _Whole] | None = None
        self.spread: NDArray[Any]  # X'X, or its diagonal along the axes; it only sets the scale of the steps
        if len(self.x) < self.x.shape[1]:
            whole = self.x.astype(np.float64)
            spread, axes = np.linalg.eigh(whole @ whole.T)
            there = spread > FLAT * spread.max(initial=0)
            self.spread, axes = spread[there], axes[:, there]
            self.axes = axes / np.sqrt(self.spread)
            self.x = (axes * np.sqrt(self.spread)).astype(np.float32)  # features along the axes X'u / |X'u|
        elif part is None or part.axes is not None:
            self.spread = self.x.T @ self.x
        else:
            self.spread, self._made = part.spread, part._made

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
            rough: Leave it at float32; for a tolerance of 1e-4 or more.
        """
        if len(self.present) < 2:
            return start
        point, _ = self._descend(np.float32, penalty, tolerance, start)
        for _ in range(0 if rough else 3):
            point, level = self._descend(np.float64, penalty, tolerance, point)
            if level:
                break
        return point

    def _descend(self, number: type[np.floating], penalty: float, tolerance: float, start: Point) -> tuple[Point, bool]:
        """Where the gradient is flat enough, and that it is; or as near as numbers of this kind allow."""
        from scipy.optimize import minimize

        k, flat = len(self.present), tolerance * len(self.x)
        scale, step = self._scale(penalty), 1 / np.sqrt(len(self.x) * self._curvature)

        def objective(u: Doubles) -> tuple[float, Doubles]:
            point = scale.weights(u[:-k].reshape(k, -1)), u[-k:] * step
            loss, (slope, offset) = self._loss(number, penalty, point)
            if max(np.abs(slope).max(), np.abs(offset).max()) <= flat:
                raise _Level(point)
            return loss, np.concatenate([scale.gradient(slope).ravel(), offset * step])

        begin = np.concatenate([scale.unscaled(start[0]).ravel(), start[1] / step])
        single = number is np.float32  # its losses are too coarse to go on where they hardly fall
        options = {"gtol": 0.0, "ftol": 2e-9 if single else 0.0, "maxls": 5 if single else 20, "maxiter": 1000}
        try:
            end = minimize(objective, begin, jac=True, method="L-BFGS-B", options=options).x
        except _Level as level:
            return level.point, True
        return (scale.weights(end[:-k].reshape(k, -1)), end[-k:] * step), False

    @property
    def _curvature(self) -> float:
        """Of a cross-entropy, roughly: half of what it is where all classes are equally likely."""
        return (1 - 1 / len(self.present)) / len(self.present) / 2

    def _scale(self, penalty: float) -> "_Diagonal | _Whole":
        """The scale of the steps; one of up to ten times more or less C will do, since factors cost as much as many steps."""
        if self._made is None or not 0.1 <= penalty / self._made[0] <= 10:
            hessian: NDArray[Any] = self.spread * self._curvature
            if hessian.ndim == 1:
                self._made = penalty, _Diagonal(np.maximum(hessian, 0) + 1 / penalty)
            else:
                hessian[np.diag_indices(len(hessian))] += 1 / penalty
                self._made = penalty, _Whole(hessian)
        return self._made[1]

    def _loss(self, number: type[np.floating], penalty: float, point: Point) -> tuple[float, Point]:
        """The loss and its gradient; by hand, since these arrays are small and scipy's ``log_softmax`` checks them for longer."""
        w, b = point
        k, own = len(w), _filled(w, number)
        blocks = [*_blocks(len(self.x), max(at_once() // own.size, 1))]
        z = np.empty((len(own), len(self.x)), dtype=number)
        for rows in blocks:
            np.matmul(own, self.x[rows].astype(number, copy=False).T, out=z[:, rows])
        logits = z[:k]
        logits += b[:, None]
        logits -= logits.max(axis=0)
        true = np.vdot(self.truth, logits)
        over = np.exp(logits, out=logits)  # the rows of zeros below stay
        total = over.sum(axis=0)
        loss = float(np.log(total).sum(dtype=np.float64) - true + np.vdot(w, w) / (2 * penalty))
        over /= total
        over -= self.truth
        slope = np.zeros(own.shape)
        for rows in blocks:
            slope += z[:, rows] @ self.x[rows].astype(number, copy=False)
        return loss, (slope[:k] + w / penalty, over.sum(axis=1, dtype=np.float64))

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
        self.upper = np.ascontiguousarray(strtri(self.factor, lower=1)[0].T)  # products with it are faster than solving

    def _cuts(self, size: int) -> Iterator[tuple[slice, slice]]:
        """Blocks of rows of ``upper``, and the columns that are not 0 in them."""
        for rows in _blocks(len(self.upper), max(at_once() // size, 1)):
            yield rows, slice(rows.start, None)

    def weights(self, u: Doubles) -> Doubles:
        own = _filled(u, np.float32)
        out = np.empty(own.shape)
        for rows, there in self._cuts(own.size):
            out[:, rows] = own[:, there] @ self.upper[rows, there].T
        return out[: len(u)]

    def gradient(self, slope: Doubles) -> Doubles:
        own = _filled(slope, np.float32)
        out = np.zeros(own.shape)
        for rows, there in self._cuts(own.size):
            out[:, there] += own[:, rows] @ self.upper[rows, there]
        return out[: len(slope)]

    def unscaled(self, w: Doubles) -> Doubles:
        return (w.astype(np.float32) @ self.factor).astype(np.float64)
