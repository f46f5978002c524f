"""How long the shards in hand may still take: what the first Ctrl-C says."""

import time
from collections.abc import Sequence

from ser_extract.work.progress import duration
from ser_extract.work.units import Unit


class Waiting:
    """Compares the costs of units with what was encoded so far.

    Args:
        units: The work of a run.
        workers: Processes that share it.
    """

    def __init__(self, units: Sequence[Unit], workers: int) -> None:
        self._left: dict[tuple[str, tuple[str, ...]], float] = {unit.key: unit.cost for unit in units}
        self._workers, self._began, self._done = max(workers, 1), time.monotonic(), 0.0
        self._each: dict[str, float] = {}
        for modality in {unit.modality for unit in units}:
            own = [unit for unit in units if unit.modality == modality]
            self._each[modality] = sum(unit.cost for unit in own) / max(sum(len(unit.ids) for unit in own), 1)

    def encoded(self, modality: str, utterances: int) -> None:
        """So many utterances are encoded."""
        self._done += utterances * self._each.get(modality, 0.0)

    def saved(self, unit: tuple[str, tuple[str, ...]]) -> None:
        """A unit is committed; its key."""
        self._left.pop(unit, None)

    @property
    def seconds(self) -> float | None:
        """At most so long, at the mean pace so far: the whole of the costliest unit that is not saved; None: unknown yet."""
        elapsed = time.monotonic() - self._began
        if not self._left:
            return 0.0
        return max(self._left.values()) * elapsed * self._workers / self._done if self._done else None

    def __str__(self) -> str:
        seconds = self.seconds
        return "how long is not known yet" if seconds is None else f"at most about {duration(seconds)}"
