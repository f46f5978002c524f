"""Runners: who calls the one idempotent function ``job_folder.do_task`` on each training, and where.

What a runner says is not believed: a training is done if its folder holds ``done.json`` with its fingerprint. ``--part i/N``
needs no runner of its own: it is one process per share (SLURM arrays, shells), each with any runner.
"""

from ser_base.catalog import Catalog
from ser_fusion.runs.runners.base import Runner

RUNNERS: Catalog[Runner] = Catalog(
    "runner", {"local": "ser_fusion.runs.runners.local:run", "ray": "ser_fusion.runs.runners.ray:run"}
)
