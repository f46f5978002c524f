"""Rows that a run makes of what it has trained, without training more: ensembles, and heads that lost a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from ser_fusion.listener import Listener
    from ser_fusion.run import Prepared


@dataclass(slots=True)
class Derived:
    """Further rows of a table.

    Attributes:
        infos: Row information.
        tests: Their test predictions.
        developments: Their development predictions, where they have any.
    """

    infos: list[dict[str, Any]] = field(default_factory=list)
    tests: list[pd.DataFrame] = field(default_factory=list)
    developments: list[pd.DataFrame] = field(default_factory=list)


def derive(
    prepared: "Prepared",
    classified: Sequence[Mapping[str, Any]],
    tests: Sequence[pd.DataFrame],
    developments: Sequence[pd.DataFrame],
    listener: "Listener",
) -> Derived:
    """What ``--ensemble`` and ``--lost-streams`` ask for.

    Args:
        prepared: The run, with all its trainings done.
        classified: Row information of the classifiers.
        tests: Their test predictions.
        developments: Their development predictions.
        listener: Told of long steps.
    """
    job, found = prepared.job, Derived()
    if job.ensemble:
        from ser_fusion.evaluation.ensembles import ensemble_rows
        from ser_fusion.evaluation.units import speakers_of

        study = prepared.study

        folders = [job.out / task.folder for task in prepared.tasks]
        whole = pd.concat([*(pd.read_parquet(f / "test.parquet") for f in folders), *tests], ignore_index=True)
        dev = pd.concat([*(pd.read_parquet(f / "dev.parquet") for f in folders), *developments], ignore_index=True)
        rows = [*prepared.start["rows"], *(dict(row) for row in classified)]
        for one in ensemble_rows(
            job.ensemble, rows, whole, dev if len(dev) else None, study.classes, speakers_of(study.table)
        ):
            found.infos.append(one.info)
            found.tests.append(one.test)
            found.developments += [] if one.dev is None else [one.dev]
    if job.lost_streams:
        from ser_fusion.lost_streams import lost_stream_rows

        for info, frame in lost_stream_rows(job, prepared.material, prepared.tasks, prepared.start["rows"], listener):
            found.infos.append(info)
            found.tests.append(frame)
    return found
