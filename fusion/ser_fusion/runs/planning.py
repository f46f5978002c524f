"""From a job and a study to the list of trainings: (row, fold, seed), each with everything that decides its result."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_base.machine import resolve_device
from ser_fusion.evaluation.ensembles import require_members
from ser_fusion.frames.features import stride_of
from ser_fusion.heads import facts_of
from ser_fusion.heads.shape import Shape
from ser_fusion.runs.job import FuseJob, Row, open_job
from ser_fusion.runs.job_data import JobData, job_data_of
from ser_fusion.runs.task import Search, Task
from ser_fusion.runs.tuning.inner import Inner, inner_folds
from ser_fusion.runs.tuning.space import DEFAULT
from ser_fusion.study.context import previous_turns
from ser_fusion.study.extra_text import read_extra_text
from ser_fusion.study.open import Study
from ser_fusion.study.usable import check_classes, check_two_classes, groups_of
from ser_fusion.training.losses.levers import PLAIN, levers_of
from ser_fusion.training.plan import Plan
from ser_fusion.training.presets import EARLY_STOPPING, PRESETS, Preset, Training, resolve_shape

OVERRIDES = ("lr", "weight_decay", "batch", "schedule", "patience")
_SHAPES = ("pool_norm", "norm_first", "stream_dropout")


def plan(job: FuseJob, study: Study | None = None) -> tuple[JobData, tuple[Row, ...], list[Task], str]:
    """What to learn from, the table's rows, all trainings of all shares, and the device; asked on any machine."""
    study = study or open_job(job)
    require_members(job.ensemble, study.folds, job.seeds)
    rows, device = job.rows(tuple(study.streams)), resolve_device(job.device)
    job_data = job_data_of(job, study, labels=job.labels, manifest=job.manifest)
    return job_data, rows, tasks(job, study, rows, device, job_data), device


def tasks(job: FuseJob, study: Study, rows: Sequence[Row], device: str, job_data: JobData | None = None) -> list[Task]:
    """All trainings of a job, seeds outermost, so that a first full table is there as early as can be.

    Args:
        job: What is asked.
        study: On what.
        rows: Rows of the table.
        device: ``cpu`` or a GPU.
        job_data: What is learned from beside the study; its further rows join the training parts.

    Raises:
        OneClass: The study has one class.
        ClassMissing: A training part lacks a class.
        StreamMissing: A head needs a stream that the study does not hold.
        NoReference: ``--norm`` cannot be followed.
        LeverImpossible: A loss or sampling option that these heads or classes cannot follow.
    """
    if levers_of(job, study.classes) != PLAIN or job.stream_dropout:
        from ser_fusion.training.losses.objective import check_heads  # asks the heads' classes, and so loads torch

        check_heads(job, (row.fusion for row in rows), study.classes)
    groups_of(job_data.study if job_data else study, job.norm)  # refused here, not when half of the rows are trained
    data = study.data_fingerprint + (job_data.fingerprint if job_data else "")
    extra = read_extra_text(job.extra_text, study) if job.extra_text else None
    if extra is not None:
        data += f"|{extra.fingerprint}"
    if job.context:
        data += f"|{previous_turns(study, job.context).fingerprint}"
    ground = xxhash.xxh3_128_hexdigest(data.encode())
    available = tuple(study.streams)
    folds = study.folds.folds
    parts = [fold_parts(study, number) for number in range(len(folds))]
    for fold, rows_of in zip(folds, parts, strict=True) if job.task == "emotion" else ():
        check_two_classes(study)
        check_classes(study, fold.name, rows_of["train"], least=2)  # reference rows and classifiers can do with two
    inner: dict[tuple[int, float], Inner] = {}
    made = []
    for seed in job.seeds:
        for row in rows:
            plan = plan_of(job, study, row, available, device)
            for number, fold in enumerate(folds):
                split = dict(parts[number])
                split["train"] = fraction_of(study, split["train"], row.fraction)
                if extra is not None and "text" in plan.streams:
                    split["extra"] = extra.rows(study, split)
                if job.task == "emotion":
                    check_classes(study, fold.name, split["train"])
                if job_data is not None:
                    split["train"] = np.concatenate([split["train"], job_data.joining(split, row.fraction)])
                own = replace(plan, seed=(seed, number))
                search = None
                if job.tune:
                    whole = job_data or job_data_of(job, study, labels=job.labels, manifest=job.manifest)
                    if (number, row.fraction) not in inner:
                        inner[number, row.fraction] = inner_folds(whole.study, split, job.inner, whole.apart)
                    search = _search(job, whole.study, row, number, plan, split, data, inner[number, row.fraction])
                mark = _fingerprint(
                    own, split, data if search is None else f"{data}|{search.fingerprint}|{job.tune}", job
                )
                made.append(
                    Task(
                        row=row,
                        fold=number,
                        fold_name=fold.name,
                        seed=seed,
                        plan=own,
                        parts=split,
                        fingerprint=mark,
                        ground=ground,
                        search=search,
                    )
                )
    return made


def _search(
    job: FuseJob,
    study: Study,
    row: Row,
    fold: int,
    plan: Plan,
    parts: Mapping[str, NDArray[np.int64]],
    data: str,
    inner: Inner,
) -> Search:
    """The search for a row on a fold: from its training and development part, without its test part."""
    space = job.space or {name: dict(bounds) for name, bounds in DEFAULT.items()}
    scored = [rows for rows in inner.folds if (study.targets[rows["test"]] >= 0).any()]  # others cannot score
    used = {"train": parts["train"], "dev": parts["dev"]}
    used |= {f"inner{n}-{part}": rows[part] for n, rows in enumerate(scored) for part in rows}
    mark = _fingerprint(plan, used, f"{data}|{row.slug}|{fold}|{job.sampler}|{json.dumps(space, sort_keys=True)}", job)
    return Search(
        trials=job.tune,
        space=space,
        sampler=job.sampler,
        inner=replace(inner, folds=tuple(scored)),
        fingerprint=mark,
        folder=f"tuning/{row.slug}/fold{fold}",
    )


def fold_parts(study: Study, number: int) -> dict[str, NDArray[np.int64]]:
    """Rows of the study in each part of a fold."""
    fold = study.folds.folds[number]
    return {"train": study.rows(fold.train), "dev": study.rows(fold.dev), "test": study.rows(fold.test)}


def plan_of(job: FuseJob, study: Study, row: Row, available: tuple[str, ...], device: str) -> Plan:
    """What to train for a row, before fold and seed are known."""
    preset = PRESETS[row.preset]
    streams = facts_of(row.fusion).reads(row.fusion, available)
    pooling = row.pooling or "mean"
    shape = resolve_shape(preset, pooling=pooling, text_pooling=row.text_pooling, streams=len(streams))
    shape = replace(shape, **{name: getattr(job, name) for name in _SHAPES if getattr(job, name) is not None})
    dropouts = dropouts_of(job, shape)
    training = training_of(job, preset)
    return Plan(
        fusion=row.fusion,
        streams=streams,
        shape=replace(shape, frame_dropout=dropouts[0][0], pool_dropout=dropouts[0][1]),
        training=training,
        dropouts=dropouts if len(dropouts) > 1 else (),
        normalise=preset.normalise,
        pad_to=_pad_to(preset, study, streams, job),
        classes=len(study.classes),
        epochs=job.epochs,
        select=job.select,
        class_weights=job.class_weights,
        refit=refits(job, training, row.fraction),
        re_pair=job.re_pair,
        levers=levers_of(job, study.classes),
        context=job.context,
        seed=(0, 0),
        device=device,
    )


def training_of(job: FuseJob, preset: Preset) -> Training:
    """How a preset's rows are trained: its own way, or stopped early if asked, with the job's own values."""
    base = EARLY_STOPPING if job.early_stopping and preset.training.patience is None else preset.training
    return replace(base, **{name: getattr(job, name) for name in OVERRIDES if getattr(job, name) is not None})


def refits(job: FuseJob, training: Training, fraction: float = 1.0) -> bool:
    """Whether the tested head is trained on the training and the development part: as asked, else if the length is fixed.

    A row with a share of the training speakers is not: its development part would change that share."""
    return training.patience is None and fraction == 1 if job.refit is None else job.refit


def dropouts_of(job: FuseJob, shape: Shape) -> tuple[tuple[float, float], ...]:
    """The pairs (frame, pool) of dropouts to choose from; one pair if nothing is to be chosen."""
    frame, pool = job.frame_dropout or (shape.frame_dropout,), job.pool_dropout or (shape.pool_dropout,)
    count = max(len(frame), len(pool))
    frames, pools = (values * count if len(values) == 1 else values for values in (frame, pool))
    return tuple(zip(frames, pools, strict=True))


def _pad_to(preset: Preset, study: Study, streams: Sequence[str], job: FuseJob) -> dict[str, int]:
    if preset.pad_seconds is None:
        return {}
    out = {}
    for stream in streams:
        entry = study.streams[stream]
        if entry.spec.frame_rate is not None:
            out[stream] = max(1, round(preset.pad_seconds * entry.spec.frame_rate / stride_of(entry.spec, job.stride)))
        elif job.text_input == "cls":
            out[stream] = 1
        else:
            out[stream] = max(1, int(entry.lengths(list(study.table.index)).max()))
    return out


def fraction_of(study: Study, rows: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """The utterances of a share of these rows' speakers; a larger share contains every smaller one."""
    if fraction >= 1:
        return rows
    speakers = study.table["speaker"].to_numpy()[rows]
    names = sorted({str(name) for name in speakers})
    # by hash of the name, not by position: the order does not depend on which fold is looked at
    names.sort(key=lambda name: xxhash.xxh3_128_hexdigest(name.encode()))
    kept = set(names[: max(1, round(fraction * len(names)))])
    return rows[np.array([str(name) in kept for name in speakers])]


def _fingerprint(plan: Plan, parts: Mapping[str, NDArray[np.int64]], data: str, job: FuseJob) -> str:
    described = asdict(plan)
    for name in ("device", *(("levers",) if plan.levers == PLAIN else ())):
        described.pop(name)
    if not plan.context:  # as runs without context have always been described
        described.pop("context")
    digest = xxhash.xxh3_128(json.dumps(described, sort_keys=True, default=str).encode())
    digest.update(
        f"{data}|{job.stride}|{job.norm}|{job.text_input}|False|{job.save_attention}".encode()
    )  # False: --trace-test of earlier versions
    for name in sorted(parts):
        digest.update(parts[name].tobytes())
    return digest.hexdigest()
