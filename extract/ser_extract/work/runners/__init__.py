"""Runners: who calls the one idempotent function `ShardProcessor.process` on each unit of work, and where.

A runner hands out ids and hashes, never arrays, and what it says is not believed: what counts is the commits. Whatever dies
on the way, `Extraction` lists the commits again and gives out what is missing. `--part i/N` needs no runner of its own: it
is one process per part (SLURM arrays, shells), each with the runner `local`.
"""

from ser_base.catalog import Catalog
from ser_extract.work.runners.base import Runner

RUNNERS: Catalog[Runner] = Catalog(
    "runner", {"local": "ser_extract.work.runners.local:run", "ray": "ser_extract.work.runners.ray:run"}
)
