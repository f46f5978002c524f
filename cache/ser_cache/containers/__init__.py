"""The table of containers. A new one is a file beside this and a line here."""

from collections.abc import Callable, Mapping

from ser_cache.containers.base import Container
from ser_cache.errors import UnknownContainer


def _zarr() -> Container:
    from ser_cache.containers.zarr import ZarrContainer

    return ZarrContainer()


def _hdf5() -> Container:
    from ser_cache.containers.hdf5 import Hdf5Container

    return Hdf5Container()


CONTAINERS: Mapping[str, Callable[[], Container]] = {"zarr": _zarr, "hdf5": _hdf5}

__all__ = ["CONTAINERS", "Container", "container"]


def container(name: str, where: str = "--container") -> Container:
    """The container of this name; its library is imported only now."""
    if name not in CONTAINERS:
        raise UnknownContainer(name, tuple(CONTAINERS), where)
    return CONTAINERS[name]()
