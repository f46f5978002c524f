"""What a run leaves to read: `failures.csv` beside the cache, and the command that goes on from here."""

import csv
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_base.files import write_whole
from ser_base.safe_text import cell, visible
from ser_cache import open_cache
from ser_cache.catalog import Cache
from ser_cache.format.spec import EntrySpec
from ser_data.errors import UnknownLabel
from ser_data.manifest.labels import resolve_scheme
from ser_data.manifest.table import Manifest, Problem
from ser_data.protocols.make import fitting_protocol
from ser_extract.encoders.base import Modality
from ser_extract.job import ExtractJob

NAME = "failures.csv"
COLUMNS = ("id", "modality", "reason", "detail")


@dataclass(frozen=True, order=True)
class Skipped:
    """One line: an utterance that was not encoded, or a row of the corpus that was dropped (modality `corpus`)."""

    id: str
    modality: str
    reason: str
    detail: str

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return visible(f"Skipped {self.id or '(no id)'} ({self.modality}): {self.reason}{detail}")


def from_problems(problems: Iterable[Problem]) -> list[Skipped]:
    """The dropped rows of a manifest."""
    return [
        Skipped(
            problem.id,
            "corpus",
            problem.reason,
            f"{problem.detail} ({problem.where})" if problem.where else problem.detail,
        )
        for problem in problems
        if problem.dropped
    ]


def write_failures(folder: Path, skipped: Iterable[Skipped]) -> Path:
    """Writes the file whole, by rename; header only when nothing was skipped. Cells that a spreadsheet would run are quoted."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for line in sorted(skipped):
        writer.writerow([cell(" ".join(text.split())) for text in (line.id, line.modality, line.reason, line.detail)])
    path = folder / NAME
    write_whole(path, text.getvalue().encode("utf-8"))
    return path


NAMED = 5
"""Changed utterances that are named; the others are counted."""


def changed_inputs(ids: Sequence[str], modality: Modality) -> str:
    """One line: the inputs whose content is not what it was when they were last planned."""
    named = ", ".join(visible(f"{name} ({modality})") for name in ids[:NAMED])
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return f"{len(ids):,} changed since the last run: {named}{more}."


DEFAULT_PROTOCOL = "session"
"""What `ser-fuse` takes without `--protocol`."""


def next_step(job: ExtractJob, manifest: Manifest, specs: Mapping[Modality, tuple[EntrySpec, ...]]) -> str:
    """One line: `Next: ser-fuse ...`, as it can be run, or what is missing before it can.

    Args:
        job: The extraction.
        manifest: Its corpus.
        specs: What it wrote, per modality.
    """
    cache = open_cache(job.cache)
    scheme = resolve_scheme(job.labels, manifest)
    table = manifest.table.copy()
    try:
        table["class"] = scheme.apply(table["label"])
    except UnknownLabel as error:
        return f"Before training: {str(error).splitlines()[0]} Give ser-fuse a scheme that fits: --labels."
    table = table[table["class"].notna()]
    if table["class"].nunique() < 2:
        classes = table["class"].nunique()
        return f"Before training: add labels of two classes or more. {len(table):,} utterances have a label, of {classes} class(es)."
    usable = table[~table["id"].isin(_without_features(cache, specs))]
    protocol = fitting_protocol(usable)
    if protocol is None:
        return (
            f"Before training: add utterances. No protocol gives these {len(usable):,} utterances folds whose training parts "
            f"hold all {table['class'].nunique()} classes."
        )
    words = ["ser-fuse", "--cache", str(job.cache), "--fusion", "cross" if len(specs) > 1 else next(iter(specs))]
    words += ["--pooling", "stats", *_which(cache, specs)]
    words += ["--labels", job.labels] if job.labels else []
    words += ["--protocol", protocol] if protocol != DEFAULT_PROTOCOL else []
    return f"Next: {shlex.join(words)}"


def _without_features(cache: Cache, specs: Mapping[Modality, tuple[EntrySpec, ...]]) -> set[str]:
    """Utterances that a stream recorded as failed; a missing video is masked, so it does not count."""
    failed: set[str] = set()
    for modality, own in specs.items():
        if modality != "video":
            spec = own[-1]
            failed |= set(cache.select(spec.modality, spec.encoder, spec.layer, spec.dtype).failures)
    return failed


def _which(cache: Cache, specs: Mapping[Modality, tuple[EntrySpec, ...]]) -> list[str]:
    """The options that single out what was written, where the cache holds more than that."""
    there = [info.spec for info in cache.entries()]
    words: list[str] = []
    if set(specs) != {spec.modality for spec in there}:
        words += ["--modalities", ",".join(specs)]
    deepest = {modality: max(spec.layer for spec in own) for modality, own in specs.items()}
    encoders, layers = [], []
    for modality, own in specs.items():
        rivals = [spec for spec in there if spec.modality == modality]
        if len({spec.encoder for spec in rivals}) > 1:
            encoders.append(f"{modality}={own[0].encoder}")
        if len({spec.layer for spec in rivals if spec.encoder == own[0].encoder}) > 1:
            layers.append(f"{modality}={deepest[modality]}")
    words += ["--encoder", ",".join(encoders)] if encoders else []
    words += ["--layer", ",".join(layers)] if layers else []
    chosen = [spec for spec in there if spec.modality in specs]
    if len({spec.dtype for spec in chosen}) > 1:
        words += ["--dtype", next(iter(specs.values()))[0].dtype]
    return words
