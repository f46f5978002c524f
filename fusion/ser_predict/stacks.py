"""The stack of a fold, ready to predict: its probes, their weights, and how a head joins them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.evaluation.probe_rows import both_poolings, joined
from ser_fusion.evaluation.probes import Probe, read_probe
from ser_fusion.evaluation.stacking import combine
from ser_fusion.evaluation.temperatures import FLOOR
from ser_predict.errors import NoModel

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stack:
    """A fold's stack.

    Attributes:
        card: As in ``run.json``: ``weights`` (the head's last), ``log_prior``, ``probes`` with ``streams`` and ``pooling``.
        probes: The probes, in that order.
    """

    card: Mapping[str, Any]
    probes: tuple[Probe, ...]

    def join(self, head: Doubles, pooled: Mapping[str, NDArray[np.float32]]) -> Doubles:
        """Posteriors of the stack, (utterances, classes).

        Args:
            head: Posteriors of the head.
            pooled: Stream to mean and deviation over frames, (utterances, 2 features).
        """
        prior = np.asarray(self.card["log_prior"], dtype=np.float64)
        features = both_poolings(pooled)
        logs = []
        for one, probe in zip(self.card["probes"], self.probes, strict=True):
            x = joined(features[one["pooling"]], one["streams"])
            heard = np.any([(features["mean"][name] != 0).any(axis=1) for name in one["streams"]], axis=0)
            given = np.log(np.maximum(probe.posteriors(x), FLOOR))
            logs.append(np.where(heard[:, None], given, prior))
        logs.append(np.log(np.maximum(head, FLOOR)))
        return combine(np.stack(logs), prior, np.asarray(self.card["weights"], dtype=np.float64))


def open_stack(card: Mapping[str, Any], folder: Path, slug: str, rows: Sequence[str]) -> Stack:
    """The stack of a fold from a run directory.

    Raises:
        NoModel: A probe of it is not there or cannot be read.
    """
    probes = []
    for one in card["probes"]:
        probe = read_probe(folder / "probes" / f"{one['fit']}.safetensors")
        if probe is None:
            raise NoModel(
                str(folder),
                f"the row '{slug}' needs probes/{one['fit']}.safetensors, which cannot be read",
                tuple(rows),
            )
        probes.append(probe)
    return Stack(card, tuple(probes))
