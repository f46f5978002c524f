"""A read-only named table of parts whose rows are loaded when they are asked for.

Every folder of parts (corpora, encoders, heads, ...) has one: names and ``"package.module:attribute"``. Listing the names
(`--help`, click choices) loads no part and no heavy library. Parts of other packages join through entry points.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ser_base.errors import UnknownName

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

Part_co = TypeVar("Part_co", covariant=True)


def resolve(path: str) -> Any:
    """The object at ``package.module:attribute``.

    Raises:
        ImportError: The module cannot be imported.
        AttributeError: The module has no such attribute.
    """
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


@lru_cache(maxsize=1)
def _declared(path: tuple[str, ...]) -> "EntryPoints":
    """The entry points of all packages on the path, read once for all catalogs: this takes a tenth of `--help`."""
    from importlib.metadata import entry_points

    return cast("EntryPoints", entry_points())


class Catalog(Mapping[str, Part_co], Generic[Part_co]):
    """Read-only mapping from name to part.

    Args:
        kind: What the parts are, in the singular; used in error messages (`head`).
        rows: Name -> ``"package.module:attribute"``.
        group: Entry points that other packages may declare (`ser.heads`); a name of ``rows`` is never replaced by one.
    """

    def __init__(self, kind: str, rows: Mapping[str, str], group: str | None = None) -> None:
        self.kind, self.group = kind, group
        self._own = dict(rows)
        self._loaded: dict[str, Part_co] = {}

    @cached_property
    def _rows(self) -> dict[str, str]:
        """Name -> path, own parts first, then those of other packages by name."""
        if self.group is None:
            return self._own
        points = _declared(tuple(sys.path)).select(group=self.group)
        others = {point.name: point.value for point in points if point.name not in self._own}
        return self._own | dict(sorted(others.items()))

    def __getitem__(self, name: str) -> Part_co:
        """The part of that name.

        Raises:
            UnknownName: No row of that name; the message lists the known ones.
        """
        if name not in self._loaded:
            self._loaded[name] = cast(Part_co, resolve(self.path(name)))
        return self._loaded[name]

    def path(self, name: str) -> str:
        """The `package.module:attribute` of a row, which is not loaded.

        Raises:
            UnknownName: No row of that name; the message lists the known ones.
        """
        path = self._own.get(name) or self._rows.get(name)
        if path is None:
            raise UnknownName(self.kind, name, tuple(self._rows))
        return path

    def own(self, name: str) -> bool:
        """Whether the name is of this table itself, and not of another package."""
        return name in self._own

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._rows  # Mapping's own version would load the part

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Catalog({self.kind!r}: {', '.join(self._rows)})"
