"""What a run directory says: ``run.json``, the utterances and folds, and the predictions of all rows together."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_base.files import replacing
from ser_fusion.evaluation.records import Done, read_record
from ser_fusion.heads import HEADS
from ser_fusion.runs.finished import environment
from ser_fusion.runs.job import NORMS, FuseJob, Row
from ser_fusion.runs.planning import departures, refit_note
from ser_fusion.runs.task import Task
from ser_fusion.study.context import described, previous_turns
from ser_fusion.study.open import Study

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
_COLUMNS = (
    "id", "corpus", "label", "speaker", "session", "dialogue", "scenario", "scripted", "gender", "text", "text_hash", "duration", "path",
    "start", "end",
)  # fmt: skip


def describe(job: FuseJob, study: Study, rows: Sequence[Row], command: str, device: str) -> dict[str, Any]:
    """``run.json`` as it stands while the run is under way."""
    info = asdict(study.info)
    transductive = job.transductive
    note = NORMS[job.norm]
    return {
        "format": FORMAT,
        "finished": False,
        "job": job.model_dump(mode="json"),
        "classes": list(study.classes),
        "labels": study.labels,
        "protocol": study.folds.protocol,
        "dev": study.folds.dev,
        "held_out": list(study.folds.held_out),
        "folds_fingerprint": study.folds.fingerprint,
        "data_fingerprint": study.data_fingerprint,
        "corpus": {key: info.get(key) for key in ("name", "title", "synthetic", "licence", "citation", "transcripts")},
        "cache": {
            "path": str(study.cache),
            "entries": {name: _entry(study, name) for name in study.streams},
        },
        "counts": {
            "utterances": len(study.table),
            "excluded": len(study.excluded),
            "failed": study.failed,
            "masked": dict(study.masked),
            "per_class": study.counts,
        },
        "rows": [
            {
                "name": row.name,
                "slug": row.slug,
                "kind": "head",
                "fusion": row.fusion,
                "streams": list(HEADS[row.fusion].reads(row.fusion, tuple(study.streams))),
                "pooling": row.pooling,
                "preset": row.preset,
                "text_pooling": row.text_pooling,
                "text_input": row.text_input,
                "fraction": row.fraction,
                "parameters": None,
                "transductive": transductive,
                "departures": departures(job, row, study),
                "note": note,
            }
            for row in rows
        ],
        "seeds": list(job.seeds),
        "stride": job.stride,
        "epochs": job.epochs,
        "norm": job.norm,
        "device": device,
        "environment": environment(),
        "command": command,
        "seconds": None,
        "notes": [*study.notes, *refit_note(job, study)],
        **_context(job, study),
    }


def _context(job: FuseJob, study: Study) -> dict[str, Any]:
    """What was read of previous turns; nothing at all without ``--context``."""
    return {"context": described(previous_turns(study, job.context), study)} if job.context else {}


def _entry(study: Study, name: str) -> dict[str, Any]:
    spec = study.streams[name].spec
    return {
        "encoder": spec.encoder,
        "layer": spec.layer,
        "layers": [entry.spec.layer for entry in study.layers[name]],
        "specs": [entry.spec.as_dict() for entry in study.layers[name]],  # all that ser predict needs to encode again
        "dtype": spec.dtype,
        "fingerprint": study.streams[name].fingerprint,
        "frame_rate": spec.frame_rate,
        "features": spec.features,
    }


def table_rows(
    rows: list[dict[str, Any]], out: Path, todo: Sequence[Task], references: list[dict[str, Any]], job: FuseJob
) -> list[dict[str, Any]]:
    """All rows of the table, with the trained ones' parameters; in the study's table the random row stands first."""
    sizes: dict[str, int] = {}
    for task in todo:
        sizes.setdefault(task.row.slug, int(read_done(task, out)["parameters"]))
    trained = [{**row, "parameters": sizes[row["slug"]]} for row in rows]
    references = [{**row, "parameters": sizes.get(str(row.get("of")), row["parameters"])} for row in references]
    references = [_normalised(row, job.norm) for row in references]
    first = [row for row in references if job.table and row["slug"] == "random"]
    return [*first, *trained, *(row for row in references if row not in first)]


def _normalised(row: dict[str, Any], norm: str) -> dict[str, Any]:
    """A row that was made from others, with what ``--norm`` has to say of it."""
    said = NORMS[norm]
    if not row.get("transductive") or said in row["note"]:
        return row
    return {**row, "note": "; ".join(part for part in (row["note"], said) if part)}


def write_study(out: Path, study: Study) -> None:
    """``utterances.parquet``, ``folds.csv``, ``excluded.csv``."""
    table = study.table[[name for name in _COLUMNS if name in study.table]].copy()
    table["label"] = [study.classes[n] for n in study.targets]
    write_frame(out / "utterances.parquet", table)
    with replacing(out / "folds.csv") as scratch:
        study.folds.to_csv(scratch)
    with replacing(out / "excluded.csv") as scratch:
        study.excluded.to_csv(scratch, index=False)


def gather(
    out: Path, todo: Sequence[Task], others: "Sequence[pd.DataFrame]", developments: "Sequence[pd.DataFrame]" = ()
) -> None:
    """``predictions.parquet`` and ``development.parquet`` from the jobs' folders and from other rows, in the table's order."""
    import pandas as pd

    order = sorted(todo, key=lambda task: (task.seed, task.fold))
    slugs = list(dict.fromkeys(task.row.slug for task in todo))
    order.sort(key=lambda task: slugs.index(task.row.slug))
    for part, name in (("test", "predictions"), ("dev", "development")):
        frames = [pd.read_parquet(out / task.folder / f"{part}.parquet") for task in order]
        frames = [frame for frame in frames if len(frame)]
        frames += list(others if part == "test" else developments)
        if frames:
            write_frame(out / f"{name}.parquet", pd.concat(frames, ignore_index=True))


def write_frame(path: Path, frame: "pd.DataFrame") -> None:
    """Parquet, replaced at once."""
    with replacing(path) as scratch:
        frame.to_parquet(scratch, index=False)


def write_json(path: Path, value: Any) -> None:
    """JSON, replaced at once."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_done(task: Task, out: Path) -> dict[str, Any]:
    """What a finished training says of itself."""
    return read_record(out / task.folder / "done.json", Done)
