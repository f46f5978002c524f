"""Rows that a run makes of what it has trained, without training more: ensembles, and heads that lost a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from ser_fusion.evaluation.parts import parts_of

if TYPE_CHECKING:
    from ser_fusion.evaluation.references import Reference
    from ser_fusion.runs.listener import Listener
    from ser_fusion.runs.prepare import Prepared


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
    references: "Sequence[Reference]",
    listener: "Listener",
) -> Derived:
    """What ``--stack``, ``--ensemble`` and ``--lost-streams`` ask for.

    Args:
        prepared: The run, with all its trainings done.
        classified: Row information of the classifiers.
        tests: Their test predictions.
        developments: Their development predictions.
        references: The reference rows, whose probes are stacked.
        listener: Told of long steps.
    """
    job, found, study = prepared.job, Derived(), prepared.study
    heads: dict[str, list[pd.DataFrame]] = {"test": [], "dev": []}
    if (job.stack == "probes" or job.ensemble) and prepared.tasks:
        for part, frames in heads.items():
            frames += [pd.read_parquet(job.out / task.folder / f"{part}.parquet") for task in prepared.tasks]
    if job.stack == "probes" and prepared.tasks:
        from ser_fusion.evaluation.stacking import stacked_rows
        from ser_fusion.evaluation.units import speakers_of

        parts = parts_of(study.table.index, study.folds.folds, prepared.start["refit"])
        present = {name: entry.lengths(list(study.table.index)) > 0 for name, entry in study.streams.items()}
        whole, dev = (pd.concat(frames, ignore_index=True) for frames in heads.values())
        places = (references, study.table, parts, present, study.classes, speakers_of(study.table))
        for stacked in stacked_rows(prepared.start["rows"], whole, dev, *places):
            found.infos.append(stacked.info)
            found.tests.append(stacked.test)
            found.developments += [] if stacked.dev is None else [stacked.dev]
    if job.ensemble:
        from ser_fusion.evaluation.ensembles import ensemble_rows
        from ser_fusion.evaluation.units import speakers_of

        whole = pd.concat([*heads["test"], *tests], ignore_index=True)
        dev = pd.concat([*heads["dev"], *developments], ignore_index=True)
        rows = [*prepared.start["rows"], *(dict(row) for row in classified)]
        for one in ensemble_rows(
            job.ensemble, rows, whole, dev if len(dev) else None, study.classes, speakers_of(study.table)
        ):
            found.infos.append(one.info)
            found.tests.append(one.test)
            found.developments += [] if one.dev is None else [one.dev]
    if job.lost_streams:
        from ser_fusion.runs.lost_streams import lost_stream_rows

        for info, frame in lost_stream_rows(job, prepared.material, prepared.tasks, prepared.start["rows"], listener):
            found.infos.append(info)
            found.tests.append(frame)
    return found
