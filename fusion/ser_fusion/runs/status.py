"""Says what is extracted, trained, judged and stale: a cache beside its corpus as it is now, and runs beside their cache."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_base.errors import SerError
from ser_fusion.evaluation.records import Record, read_record
from ser_fusion.evaluation.run_directory import RunDirectory, find_runs, job_folders

if TYPE_CHECKING:
    from ser_cache import Entry
    from ser_data.manifest.table import Manifest

Tell = Callable[[int, int], None]
CURRENT = "current"
NOT_COMPARED = "not compared with the corpus"


@dataclass(frozen=True, slots=True)
class Extracted:
    """One entry of a cache.

    Attributes:
        entry: Its address.
        done: Utterances with features.
        failed: Utterances that could not be encoded.
        missing: Utterances that are planned and not encoded.
        new: Utterances of the corpus that the entry does not know.
        changed: Utterances whose recording or text is not what was encoded.
        compared: Whether the corpus was read.
    """

    entry: str
    done: int
    failed: int
    missing: int
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    compared: bool = True

    @property
    def stale(self) -> bool:
        """Whether another run of ``ser extract`` would encode something."""
        return bool(self.missing or self.new or self.changed)

    @property
    def state(self) -> str:
        """The entry in words."""
        counts = {"missing": self.missing, "new": len(self.new), "changed": len(self.changed)}
        words = [f"{count:,} {word}" for word, count in counts.items() if count]
        if words:
            return f"stale: {', '.join(words)}"
        return CURRENT if self.compared else f"whole; {NOT_COMPARED}"


@dataclass(frozen=True, slots=True)
class Trained:
    """One run directory.

    Attributes:
        path: The directory.
        done: Finished trainings of heads.
        planned: All of them.
        judged: Whether it has a result table.
        state: ``current``, or why the result is not that of the cache, the labels and the code as they are.
    """

    path: Path
    done: int
    planned: int
    judged: bool
    state: str


def extracted(
    cache: Path, manifest: "Manifest | None" = None, tell: Tell = lambda done, total: None
) -> list[Extracted]:
    """Lists every entry of a cache, compared with the corpus as it is now.

    Args:
        cache: Directory that ``ser extract`` writes to; it may be missing.
        manifest: The corpus, read now; None to compare nothing.
        tell: Called with the recordings that were hashed and all of them. Every file of a stream is read once.

    Raises:
        CacheError: The directory is not a cache, or it is damaged.
    """
    from ser_cache import open_cache

    if not cache.exists():
        return []
    opened = open_cache(cache)
    infos = opened.entries()
    hashes: dict[str, dict[str, str | None]] = {}
    lines = []
    for info in infos:
        entry = opened.open(info)
        counts = (info.address, len(entry.ids), len(entry.failures), len(entry.missing))
        if manifest is None:
            lines.append(Extracted(*counts, compared=False))
            continue
        stream = info.spec.modality
        if stream not in hashes:
            hashes[stream] = _hashes(stream, manifest, tell)
        lines.append(Extracted(*counts, *_differences(entry, hashes[stream]), compared=bool(hashes[stream])))
    return lines


def _differences(entry: "Entry", now: dict[str, str | None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns ids that the entry does not know, and those whose input is another one. What cannot be read now has no hash."""
    recorded = {**entry.input_hashes, **entry.failure_hashes}
    planned = set(recorded) | set(entry.missing)
    new = tuple(name for name in now if name not in planned)
    changed = tuple(
        name
        for name, value in now.items()
        if name in recorded and (recorded[name] != value if value else name in entry.input_hashes)
    )
    return new, changed


def _hashes(stream: str, manifest: "Manifest", tell: Tell) -> dict[str, str | None]:
    """Returns id -> hash of the input as extraction makes it; None for a file that cannot be read. Empty for other streams."""
    from ser_data.manifest.text import text_hash
    from ser_data.media.audio import AudioError, audio_hash

    rows = list(manifest.utterances())
    if stream == "text":
        return {row.id: text_hash(row.text_normalised or "") for row in rows}
    if stream != "audio":
        return {}
    hashes: dict[str, str | None] = {}
    for number, row in enumerate(rows, 1):
        try:
            hashes[row.id] = None if row.path is None else audio_hash(row.path, row.start, row.end)
        except AudioError:
            hashes[row.id] = None
        tell(number, len(rows))
    return hashes


def trained(folder: Path) -> list[Trained]:
    """Lists every run below a folder; none where the folder is missing."""
    return [_run(listed.path) for listed in find_runs(folder)] if folder.is_dir() else []


def _run(path: Path) -> Trained:
    try:
        run = read_record(path / "run.json", Record)  # this also reads runs of ratings, which RunDirectory.open refuses
        folds = RunDirectory(path, run).folds["fold"].nunique()
        slugs = [str(row["slug"]) for row in run["rows"] if row.get("kind") == "head"]
        planned = len(slugs) * folds * len(run.get("seeds") or run["job"]["seeds"])
        done = sum((job / "done.json").is_file() for slug in slugs for job in job_folders(path, slug))
    except (SerError, KeyError, TypeError) as error:
        return Trained(path, 0, 0, False, f"cannot be read: {' '.join(str(error).split())}")
    judged = (path / "metrics.json").is_file()
    if done < planned:
        state = "not finished: run its ser fuse command again"
    else:
        state = _state(path, run) if judged else "not judged: ser report RUN"
    return Trained(path, done, planned, judged, state)


def _state(path: Path, run: dict[str, Any]) -> str:
    """Says whether features, labels, folds, files and code are those that the result follows from."""
    from ser_fusion.runs.finished import NOTE, recall
    from ser_fusion.runs.job import FuseJob, open_job

    try:
        job = FuseJob.model_validate({**run["job"], "out": path})
        study = open_job(job)
    except (SerError, ValueError) as error:
        return f"stale: {str(error).splitlines()[0]}"
    if study.data_fingerprint != run.get("data_fingerprint"):
        return "stale: features, labels or folds have changed since. Run ser fuse again"
    outcome = recall(job, study)
    if not isinstance(outcome, str):
        return CURRENT
    if outcome:
        return f"judged; since then {outcome}"
    if not (path / NOTE).is_file():
        return "judged; it is not recorded with what"
    return "judged by another version of the code or of a library. Run ser fuse again to judge it with this one"
