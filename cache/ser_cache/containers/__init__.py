"""The table of containers. A new one is a file beside this and a line here."""

from collections.abc import Callable
from typing import Any

from ser_base.catalog import Catalog

CONTAINERS: Catalog[Callable[[], Any]] = Catalog(
    "container",
    {
        "zarr": "ser_cache.containers.zarr:ZarrContainer",
        "hdf5": "ser_cache.containers.hdf5:Hdf5Container",
    },
)
"""Name -> what makes a `ser_cache.containers.base.Container`."""
