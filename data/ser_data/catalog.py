"""A read-only named table of parts whose rows are loaded when they are asked for.

Every folder of parts (corpora, encoders, heads, ...) has one, written as a dict literal of small loaders, so that listing
the names (`--help`, click choices) loads no part and no heavy library.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from ser_data.errors import UnknownName

Part_co = TypeVar("Part_co", covariant=True)


class Catalog(Mapping[str, Part_co], Generic[Part_co]):
    """Read-only mapping from name to part.

    Args:
        kind: What the parts are, in the singular; used in error messages (`head`).
        rows: Name -> function without arguments that imports and returns the part. Called at most once per name.
    """

    def __init__(self, kind: str, rows: Mapping[str, Callable[[], Part_co]]) -> None:
        self.kind = kind
        self._rows = dict(rows)
        self._loaded: dict[str, Part_co] = {}

    def __getitem__(self, name: str) -> Part_co:
        """The part of that name.

        Raises:
            UnknownName: No row of that name; the message lists the known ones.
        """
        if name not in self._loaded:
            if name not in self._rows:
                raise UnknownName(self.kind, name, tuple(self._rows))
            self._loaded[name] = self._rows[name]()
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._rows  # Mapping's own version would load the part

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Catalog({self.kind!r}: {', '.join(self._rows)})"
