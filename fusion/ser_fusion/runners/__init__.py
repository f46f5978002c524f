"""Runners: who calls the one idempotent function `job_folder.do_task` on each training, and where.

What a runner says is not believed: a training is done if its folder holds ``done.json`` with its fingerprint. ``--jobs i/N``
needs no runner of its own: it is one process per share (SLURM arrays, shells), each with any runner.
"""

from ser_data.catalog import Catalog
from ser_fusion.runners.base import Runner


def _local() -> Runner:
    from ser_fusion.runners.local import run

    return run


def _ray() -> Runner:
    from ser_fusion.runners.ray import run

    return run


RUNNERS: Catalog[Runner] = Catalog("runner", {"local": _local, "ray": _ray})
