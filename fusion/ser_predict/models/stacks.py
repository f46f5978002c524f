"""The stack of a fold, ready to predict: its probes, their weights, and how a head joins them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.evaluation.probe_rows import joined
from ser_fusion.evaluation.probes import Probe, read_probe
from ser_fusion.evaluation.stacking import combine
from ser_fusion.evaluation.temperatures import FLOOR
from ser_fusion.study.data import both_poolings
from ser_predict.errors import NoModel

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stack:
    """A fold's stack.

    Attributes:
        card: As in ``run.json``: ``weights`` (the head's last, if there is one), ``log_prior``, ``balance``, ``probes``
            with ``streams`` and ``pooling``.
        probes: The probes, in that order.
        place: Where they were read, for errors.
    """

    card: Mapping[str, Any]
    probes: tuple[Probe, ...]
    place: str = ""

    def join(self, head: Doubles | None, pooled: Mapping[str, NDArray[np.float32]]) -> Doubles:
        """Posteriors of the stack, (utterances, classes).

        Args:
            head: Posteriors of the head; None where probes stand alone.
            pooled: Stream to mean and deviation over frames, (utterances, 2 features).
        """
        prior = np.asarray(self.card["log_prior"], dtype=np.float64)
        features = both_poolings(pooled)
        logs = []
        for source, probe in zip(self.card["probes"], self.probes, strict=True):
            x = joined(features[source["pooling"]], source["streams"])
            if x.shape[1] != probe.weights.shape[1]:
                what = f"a probe of {' and '.join(source['streams'])} reads {probe.weights.shape[1]} features, and there are {x.shape[1]}"
                raise NoModel(self.place, what, ())
            present = np.any([(features["mean"][name] != 0).any(axis=1) for name in source["streams"]], axis=0)
            votes = np.log(np.maximum(probe.posteriors(x), FLOOR))
            logs.append(np.where(present[:, None], votes, prior))
        if head is not None:
            logs.append(np.log(np.maximum(head, FLOOR)))
        weights = np.asarray(self.card["weights"], dtype=np.float64)
        return combine(np.stack(logs), prior, weights, float(self.card.get("balance", 0.0)))


def alone(row: Mapping[str, Any], classes: int) -> dict[str, dict[str, Any]]:
    """A row of linear probes as stacks of one expert, by fold; empty for other rows."""
    if row["kind"] != "reference" or row.get("pooling") not in ("mean", "stats") or not row.get("streams"):
        return {}
    single = {"weights": [1.0], "log_prior": [0.0] * classes}
    probe = {"streams": row["streams"], "pooling": row["pooling"]}
    return {fold: {**single, "probes": [{**probe, "fit": key}]} for fold, key in (row.get("fits") or {}).items()}


def open_stack(card: Mapping[str, Any], folder: Path, slug: str, rows: Sequence[str]) -> Stack:
    """The stack of a fold from a run directory.

    Raises:
        NoModel: A probe of it is not there or cannot be read.
    """
    probes = []
    for source in card["probes"]:
        probe = read_probe(folder / "probes" / f"{source['fit']}.safetensors")
        if probe is None:
            raise NoModel(
                str(folder),
                f"the row '{slug}' needs probes/{source['fit']}.safetensors, which cannot be read",
                tuple(rows),
            )
        probes.append(probe)
    return checked(Stack(card, tuple(probes), str(folder)), slug)


def checked(stack: Stack, slug: str) -> Stack:
    """The stack, if its parts fit together.

    Raises:
        NoModel: Weights, prior and probes are not of one size.
    """
    classes, experts = len(stack.card["log_prior"]), len(stack.probes)
    sizes = all(
        p.weights.ndim == 2 and p.weights.shape[0] == classes and p.bias.shape == (classes,) for p in stack.probes
    )
    if not sizes or len(stack.card["weights"]) not in (experts, experts + 1):
        raise NoModel(stack.place, f"the stack of the row '{slug}' does not fit together", ())
    return stack
