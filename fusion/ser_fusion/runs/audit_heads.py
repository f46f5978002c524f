"""Trained heads for the leak audit (``--audit-heads``): the run's job again under each way of making folds.

Costs a whole training per head, protocol, fold and seed (``session+scenario`` has 25 folds). Each protocol has a run
directory of its own below ``audit/``, so a killed audit goes on like any run.
"""

from typing import TYPE_CHECKING, Any

import pandas as pd

from ser_base.errors import SerError
from ser_fusion.errors import ClassMissing, ContextImpossible
from ser_fusion.evaluation.audit import PROTOCOLS
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.study.norm import NoReference

REASONS = (ClassMissing, ContextImpossible, NoReference)
"""Why a protocol cannot be followed although the run's own can."""

if TYPE_CHECKING:
    from ser_fusion.evaluation.audit import Heads
    from ser_fusion.runs.listener import Listener


def audited_job(job: FuseJob, protocol: str) -> FuseJob:
    """The job of one protocol: the heads to audit, everything else as in the run, the protocol's own development part."""
    changes: dict[str, Any] = {
        "fusion": job.audit_heads,
        "table": None,
        "classifier": (),
        "audit_heads": (),
        "ensemble": (),
        "lost_streams": False,
        "stack": "none",
        "protocol": protocol,
        "dev": "next",
        "folds": None,
        "allow_overlap": (),
        "part": None,
        "out": job.out / "audit" / protocol,
    }
    return FuseJob.model_validate({**job.model_dump(), **changes})


def heads_under(job: FuseJob, listener: "Listener") -> "Heads":
    """Test predictions of ``job.audit_heads`` under every protocol of the audit that the corpus can serve.

    Returns:
        Protocol to (row information, predictions), as ``audit_table`` takes them. A protocol that the corpus cannot serve, or
        with which the job cannot be followed (a class is missing, dialogues are cut), is left out and told.
    """
    found: dict[str, list[tuple[dict[str, Any], pd.DataFrame]]] = {}
    for protocol in PROTOCOLS:
        listener.step(f"leak audit: heads under {protocol}")
        try:
            prepared = prepare(audited_job(job, protocol))
        except (SerError, *REASONS) as error:
            listener.step(f"heads under {protocol} are left out: {str(error).splitlines()[0]}")
            continue
        train_all(prepared, listener)
        out = prepared.job.out
        for row in prepared.rows:
            frames = [
                pd.read_parquet(out / t.folder / "test.parquet") for t in prepared.tasks if t.row.slug == row.slug
            ]
            found.setdefault(protocol, []).append(
                ({"slug": row.slug, "name": row.name, "kind": "head"}, pd.concat(frames, ignore_index=True))
            )
    return found
