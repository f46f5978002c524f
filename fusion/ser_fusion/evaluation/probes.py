"""The linear probe: multinomial logistic regression on pooled frames. One definition for all that calls itself a probe.

``ser probe``, the reference rows, the leak audit, the classifier ``logreg`` and stacking all call ``fit_probe``:

- Features are standardised by the rows that the probe is fitted on; channels that hardly vary there are left out.
- The penalty is L2 on the weights; C, its inverse strength, is chosen from ``PATH`` by the NLL of the development part.
  The path is walked from ``DEFAULT`` upwards, or downwards where that gains nothing, to the first step without a gain.
  Without a development part C is ``DEFAULT``.
- It is fitted on what heads are fitted on: the training part; with ``refit`` then once more on training and development
  part together, with the C that was chosen before.
- The gradient of the mean loss ends below ``TOLERANCE``; while C is being chosen, below ``ROUGH``, which moves the NLL
  by some 1e-5.

How the minimum is found, the same one as scikit-learn's (a test holds them together), is in ``probe_solver``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_fusion.evaluation.probe_solver import Point, Rows, moments

PATH = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
DEFAULT = 1e-2
TOLERANCE = 1e-6
ROUGH = 1e-4
VERSION = 5
"""Of this definition; stored probes of another one are fitted again."""

Values = NDArray[np.float32]
Positions = NDArray[np.int64]
Classes = NDArray[np.int64]
Doubles = NDArray[np.float64]
Fit = tuple[Values, Classes, Positions, Positions, int, bool]
"""Arguments of ``fit_probe``."""
WORTH = 5_000_000
"""Rows times features, summed over fits, from which other processes save more time than their start costs."""
_SCIPY = version("scipy")


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe.

    Attributes:
        weights: ``(classes, features)``, for features as they are pooled.
        bias: ``(classes,)``; -inf for a class that was not in training.
        penalty: C.
        dev: Posteriors of the development part, ``(rows, classes)``, by the fit that has not seen it.
    """

    weights: Doubles
    bias: Doubles
    penalty: float
    dev: Doubles

    def log_posteriors(self, features: NDArray[np.floating]) -> Doubles:
        """Log-posteriors ``(n, classes)`` of pooled features ``(n, d)``."""
        from scipy.special import log_softmax

        logs: Doubles = log_softmax(features.astype(np.float64, copy=False) @ self.weights.T + self.bias, axis=1)
        return logs

    def posteriors(self, features: NDArray[np.floating]) -> Doubles:
        """Posteriors ``(n, classes)`` of pooled features ``(n, d)``."""
        return np.exp(self.log_posteriors(features))


def standardise(train: np.ndarray, test: np.ndarray, floor: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean and unit variance by the training part, both float32; see ``moments``."""
    mean, scale = moments(train, floor)
    return ((train - mean) * scale).astype(np.float32), ((test - mean) * scale).astype(np.float32)


def fit_probe(
    features: Values, targets: Classes, train: Positions, dev: Positions, classes: int, refit: bool = False
) -> Probe:
    """Fits the probe.

    Args:
        features: Pooled features of all utterances, ``(n, d)``.
        targets: Class positions, ``(n,)``.
        train: Positions of the training part.
        dev: Positions of the development part; may be empty.
        classes: Number of classes.
        refit: Fit once more on training and development part together.
    """
    from threadpoolctl import threadpool_limits

    train = np.sort(train)
    with threadpool_limits(1):  # the same sums in the same order, wherever it runs
        rows = Rows(features[train], targets[train], classes)
        chosen, point = _walk(rows, features[dev], targets[dev]) if len(dev) else (DEFAULT, rows.nowhere)
        solution = rows.straight(rows.least(chosen, TOLERANCE, point))
        seen = Probe(*solution, chosen, np.zeros((0, classes))).posteriors(features[dev])
        if refit and len(dev):
            both = np.sort(np.concatenate([train, dev]))
            rows = Rows(features[both], targets[both], classes, rows)
            solution = rows.straight(rows.least(chosen, TOLERANCE, rows.nearest(solution)))
        return Probe(*solution, chosen, seen)


def _walk(rows: Rows, features: NDArray[np.floating], targets: Classes) -> tuple[float, Point]:
    """The C of least NLL on development rows, and about where its minimum is."""

    def nll(penalty: float, point: Point) -> float:
        posteriors = Probe(*rows.straight(point), penalty, np.zeros((0, rows.classes))).posteriors(features)
        return float(-np.log(np.maximum(posteriors[np.arange(len(targets)), targets], 1e-12)).mean())

    features = features.astype(np.float64)  # once for all of them
    middle = PATH.index(DEFAULT)
    best = rows.least(DEFAULT, ROUGH, rows.nowhere, rough=True)
    chosen, least = DEFAULT, nll(DEFAULT, best)
    for way in (PATH[middle + 1 :], PATH[:middle][::-1]):
        for penalty in way:
            point = rows.least(penalty, ROUGH, best, rough=True)
            loss = nll(penalty, point)
            if loss >= least:
                break
            chosen, best, least = penalty, point, loss
        if chosen != DEFAULT:
            break
    return chosen, best


class Fits:
    """Probes that are fitted once: what was fitted before is looked up by content.

    Args:
        folder: Where they are kept as safetensors, so that a rerun finds them; None for this process only.
        workers: Processes for fits that are asked for together; None for one per core.
        reads_only: Look them up in the folder, and write none there.
    """

    def __init__(self, folder: Path | None = None, workers: int | None = None, *, reads_only: bool = False) -> None:
        self.folder, self.workers, self.reads_only = folder, workers, reads_only
        self._probes: dict[str, Probe] = {}
        self._marks: dict[int, tuple[Values, bytes]] = {}
        self._asked: set[str] = set()
        self._loading: Iterable[None] = ()
        self._coming: Iterator[tuple[str, Probe]] = iter(())  # what was asked for, as it comes

    def key(
        self, features: Values, targets: Classes, train: Positions, dev: Positions, classes: int, refit: bool
    ) -> str:
        """xxh3-128 of all that decides a fit."""
        if id(features) not in self._marks:
            self._marks[id(features)] = (features, xxhash.xxh3_128_digest(np.ascontiguousarray(features).data))
        digest = xxhash.xxh3_128(self._marks[id(features)][1])
        facts = (VERSION, _SCIPY, features.shape, PATH, DEFAULT, classes, refit and len(dev) > 0, len(train))
        digest.update(repr(facts).encode())
        for rows in (train, dev):
            digest.update(np.ascontiguousarray(rows, dtype=np.int64).data)
            digest.update(np.ascontiguousarray(targets[rows], dtype=np.int64).data)
        return digest.hexdigest()

    def fit(
        self, features: Values, targets: Classes, train: Positions, dev: Positions, classes: int, refit: bool = False
    ) -> tuple[str, Probe]:
        """The key and the probe; arguments as for ``fit_probe``."""
        (key,) = self.fit_all([(features, targets, train, dev, classes, refit)])
        return key, self._probes[key]

    def fit_all(self, asked: Sequence[Fit]) -> list[str]:
        """The keys of some fits, which ``fit`` then gives at once; what is missing is fitted on several processes.

        Args:
            asked: Arguments of ``fit_probe``.
        """
        keys = self.begin(asked)
        for key in keys:
            while key not in self._probes:
                self._take(*next(self._coming))
        return keys

    def ahead(self, size: int) -> None:
        """Lets the processes for fits load their libraries while this one does something else.

        Args:
            size: Rows times features of one fit.
        """
        from joblib import Parallel, cpu_count, delayed

        workers = self.workers or cpu_count()
        if size > WORTH and workers > 1 and self.folder is None:
            self._loading = Parallel(n_jobs=workers, return_as="generator")(delayed(_loaded)() for _ in range(workers))

    def begin(self, asked: Sequence[Fit]) -> list[str]:
        """As ``fit_all``, and does not wait: while the later ones are fitted, the first ones can be used.

        Args:
            asked: Arguments of ``fit_probe``.
        """
        keys = [self.key(*fit) for fit in asked]
        missing: dict[str, Fit] = {}
        for key, fit in zip(keys, asked, strict=True):
            if key not in self._probes and key not in self._asked:
                stored = None if self.folder is None else read_probe(self.folder / f"{key}.safetensors")
                if stored is None:
                    missing[key] = fit
                else:
                    self._probes[key] = stored
        if missing:
            for _ in self._loading:
                pass  # until all of them are there
            for fitted in self._coming:
                self._take(*fitted)  # one set at a time
            self._asked = set(missing)
            self._coming = zip(missing, _fitted(list(missing.values()), self.workers), strict=True)
        return keys

    def _take(self, key: str, probe: Probe) -> None:
        self._probes[key] = probe
        if self.folder is not None and not self.reads_only:
            _write(self.folder / f"{key}.safetensors", probe)


def _loaded() -> None:
    """What a process for fits does first."""
    for name in ("scipy.optimize", "scipy.linalg", "threadpoolctl"):
        import_module(name)


def _fitted(asked: Sequence[Fit], workers: int | None) -> Iterator[Probe]:
    """The probes in their order, each as soon as it is there."""
    from joblib import Parallel, cpu_count, delayed

    work = sum(len(train) * features.shape[1] for features, _, train, *_ in asked)
    workers = min(workers or cpu_count(), len(asked)) if work > WORTH else 1
    if workers < 2:
        return (fit_probe(*fit) for fit in asked)
    probes: Iterator[Probe] = Parallel(n_jobs=workers, return_as="generator")(delayed(fit_probe)(*fit) for fit in asked)
    return probes


def read_probe(path: Path) -> Probe | None:
    """Reads a stored probe; None if the file is missing or cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        return Probe(tensors["weights"], tensors["bias"], float(tensors["penalty"][0]), tensors["dev"])
    except (OSError, SafetensorError, KeyError):
        return None


def _write(path: Path, probe: Probe) -> None:
    from safetensors.numpy import save_file

    from ser_base.files import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "weights": np.ascontiguousarray(probe.weights),
        "bias": probe.bias,
        "penalty": np.array([probe.penalty]),
        "dev": np.ascontiguousarray(probe.dev),
    }
    with replacing(path) as scratch:
        save_file(tensors, scratch)
