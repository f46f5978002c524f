"""The linear probe: multinomial logistic regression on pooled frames. One definition for all that calls itself a probe.

`ser probe`, the reference rows, the leak audit, the classifier `logreg` and stacking all call `fit_probe`:

- Features are standardised by the rows that the probe is fitted on; channels that hardly vary there are left out.
- The penalty is L2 on the weights; C, its inverse strength, is chosen from `PATH` by the NLL of the development part. The path is
  walked upwards from where the last C ended, and ends after two steps without a gain. Without a development part C is
  `DEFAULT`.
- It is fitted on what heads are fitted on: the training part; with `refit` then once more on training and development part
  together, with the C that was chosen before.
- The gradient of the mean loss ends below `TOLERANCE`. With fewer rows than features the features are first rotated into
  the span of the rows (QR), which changes nothing in an L2-penalised fit.

The solver is L-BFGS on weights that are rescaled by the Cholesky factor of `X'X (1 - 1/K) / K + I / C`, close to the Hessian:
5 to 12 steps instead of 70 to 400, and the same minimum as scikit-learn's (a test holds them together).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

PATH = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
DEFAULT = 1e-2
TOLERANCE = 1e-6
VERSION = 1
"""Of this definition; stored probes of another one are fitted again."""

Values = NDArray[np.float32]
Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe.

    Attributes:
        weights: `(classes, features)`, for features as they are pooled.
        bias: `(classes,)`; -inf for a class that was not in training.
        penalty: C.
        dev: Posteriors of the development part, `(rows, classes)`, by the fit that has not seen it.
    """

    weights: Doubles
    bias: Doubles
    penalty: float
    dev: Doubles

    def log_posteriors(self, features: NDArray[np.floating]) -> Doubles:
        """Log-posteriors `(n, classes)` of pooled features `(n, d)`."""
        from scipy.special import log_softmax

        logs: Doubles = log_softmax(features.astype(np.float64) @ self.weights.T + self.bias, axis=1)
        return logs

    def posteriors(self, features: NDArray[np.floating]) -> Doubles:
        """Posteriors `(n, classes)` of pooled features `(n, d)`."""
        return np.exp(self.log_posteriors(features))


def moments(train: np.ndarray, floor: float = 1e-3) -> tuple[Doubles, Doubles]:
    """Mean and scale of each channel, `(features,)`; the scale is 1 / deviation, and 0 for a channel that hardly varies.

    MiniLM's last layer has channels without any variance in float16: without the floor they become NaN.

    Args:
        train: `(n, features)`.
        floor: A channel is left out where its deviation is below `floor` times the median deviation.
    """
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    alive = deviation > max(floor * float(np.median(deviation)), 1e-12)
    return mean, np.where(alive, 1.0 / np.where(alive, deviation, 1.0), 0.0)


def standardise(train: np.ndarray, test: np.ndarray, floor: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean and unit variance by the training part, both float32; see `moments`."""
    mean, scale = moments(train, floor)
    return ((train - mean) * scale).astype(np.float32), ((test - mean) * scale).astype(np.float32)


def fit_probe(features: Values, targets: Rows, train: Rows, dev: Rows, classes: int, refit: bool = False) -> Probe:
    """Fits the probe.

    Args:
        features: Pooled features of all utterances, `(n, d)`.
        targets: Class positions, `(n,)`.
        train: Positions of the training part.
        dev: Positions of the development part; may be empty.
        classes: Number of classes.
        refit: Fit once more on training and development part together.
    """
    from threadpoolctl import threadpool_limits

    train = np.sort(train)
    with threadpool_limits(1):  # the same sums in the same order, wherever it runs
        chosen, found = DEFAULT, None
        seen = np.zeros((0, classes))
        if len(dev):
            worse, best = 0, np.inf
            for penalty, candidate in _walk(features[train], targets[train], PATH, classes):
                given = candidate.posteriors(features[dev])
                nll = float(-np.log(np.maximum(given[np.arange(len(dev)), targets[dev]], 1e-12)).mean())
                worse = 0 if nll < best else worse + 1
                if nll < best:
                    best, chosen, found, seen = nll, penalty, candidate, given
                if worse == 2:
                    break
        if found is None or (refit and len(dev)):
            rows = np.sort(np.concatenate([train, dev])) if refit else train
            ((_, found),) = _walk(features[rows], targets[rows], (chosen,), classes)
        return Probe(found.weights, found.bias, chosen, seen)


class Fits:
    """Probes that are fitted once: what was fitted before is looked up by content.

    Args:
        folder: Where they are kept as safetensors, so that a rerun finds them; None for this process only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._known: dict[str, Probe] = {}
        self._marks: dict[int, tuple[Values, bytes]] = {}

    def key(self, features: Values, targets: Rows, train: Rows, dev: Rows, classes: int, refit: bool) -> str:
        """xxh3-128 of all that decides a fit."""
        if id(features) not in self._marks:
            self._marks[id(features)] = (features, xxhash.xxh3_128_digest(np.ascontiguousarray(features).data))
        digest = xxhash.xxh3_128(self._marks[id(features)][1])
        facts = (VERSION, version("scipy"), features.shape, PATH, DEFAULT, classes, refit and len(dev) > 0, len(train))
        digest.update(repr(facts).encode())
        for rows in (train, dev):
            digest.update(np.ascontiguousarray(rows, dtype=np.int64).data)
            digest.update(np.ascontiguousarray(targets[rows], dtype=np.int64).data)
        return digest.hexdigest()

    def fit(
        self, features: Values, targets: Rows, train: Rows, dev: Rows, classes: int, refit: bool = False
    ) -> tuple[str, Probe]:
        """The key and the probe; arguments as for `fit_probe`."""
        key = self.key(features, targets, train, dev, classes, refit)
        if key not in self._known:
            found = None if self.folder is None else read_probe(self.folder / f"{key}.safetensors")
            if found is None:
                found = fit_probe(features, targets, train, dev, classes, refit)
                if self.folder is not None:
                    _write(self.folder / f"{key}.safetensors", found)
            self._known[key] = found
        return key, self._known[key]


def read_probe(path: Path) -> Probe | None:
    """A stored probe; None where there is none that can be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        return Probe(tensors["weights"], tensors["bias"], float(tensors["penalty"][0]), tensors["dev"])
    except (OSError, SafetensorError, KeyError):
        return None


def _write(path: Path, probe: Probe) -> None:
    from safetensors.numpy import save_file

    from ser_cache.format.scratch import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "weights": np.ascontiguousarray(probe.weights),
        "bias": probe.bias,
        "penalty": np.array([probe.penalty]),
        "dev": np.ascontiguousarray(probe.dev),
    }
    with replacing(path) as scratch:
        save_file(tensors, scratch)


def _walk(features: Values, targets: Rows, path: tuple[float, ...], classes: int) -> Iterator[tuple[float, Probe]]:
    """Fits with each C in turn, each from where the last one ended; yields C and the probe."""
    mean, scale = moments(features)
    x = (features.astype(np.float64) - mean) * scale
    turn = None
    if len(x) < x.shape[1]:
        turn, small = np.linalg.qr(x.T)
        x = np.ascontiguousarray(small.T)
    known, codes = np.unique(targets, return_inverse=True)
    truth = np.eye(len(known))[codes]
    w, b = np.zeros((x.shape[1], len(known))), np.zeros(len(known))
    gram = x.T @ x if len(known) > 1 else None
    for penalty in path:
        if gram is not None:
            w, b = _least(x, gram, truth, penalty, w, b)
        straight = (w if turn is None else turn @ w) * scale[:, None]
        weights, bias = np.zeros((classes, len(scale))), np.full(classes, -np.inf)
        weights[known], bias[known] = straight.T, b - mean @ straight
        yield penalty, Probe(weights, bias, penalty, np.zeros((0, classes)))


def _least(
    x: Doubles, gram: Doubles, truth: Doubles, penalty: float, w: Doubles, b: Doubles
) -> tuple[Doubles, Doubles]:
    """The minimum of `sum of cross-entropies + |w|^2 / (2 C)` over weights `(d, K)` and intercepts `(K,)`."""
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    n, k = truth.shape
    curvature = (1 - 1 / k) / k
    hessian = gram * curvature
    hessian[np.diag_indices(len(hessian))] += 1 / penalty
    factor = cholesky(hessian, lower=True, overwrite_a=True, check_finite=False)
    step = 1 / np.sqrt(n * curvature)

    def solve(values: Doubles, transposed: bool) -> Doubles:
        solved: Doubles = solve_triangular(factor, values, trans=int(transposed), lower=True, check_finite=False)
        return solved

    def gradients(w: Doubles, b: Doubles) -> tuple[float, Doubles, Doubles]:
        logs = log_softmax(x @ w + b, axis=1)
        over = np.exp(logs) - truth
        return float((w**2).sum() / (2 * penalty) - (logs * truth).sum()), x.T @ over + w / penalty, over.sum(axis=0)

    def objective(u: Doubles) -> tuple[float, Doubles]:
        loss, slope, offset = gradients(solve(u[:-k].reshape(-1, k), True), u[-k:] * step)
        return loss, np.concatenate([solve(slope, False).ravel(), offset * step])

    tolerance, steps = TOLERANCE * np.sqrt(n), 0
    while True:
        start = np.concatenate([(factor.T @ w).ravel(), b / step])
        options = {"gtol": tolerance, "ftol": 0.0, "maxiter": 1000, "maxcor": 20}
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
        w, b = solve(found[:-k].reshape(-1, k), True), found[-k:] * step
        _, slope, offset = gradients(w, b)
        steps += 1
        if max(np.abs(slope).max(), np.abs(offset).max()) <= TOLERANCE * n or steps == 5:
            return w, b
        tolerance /= 10
