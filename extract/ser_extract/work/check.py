"""`--check N`: encodes N stored utterances again and says how far the features have drifted.

For after an upgrade of a library, or on another machine: the cache's fingerprint declares files and settings, not the
libraries' rounding. Nothing is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ser_cache import open_cache
from ser_data.manifest.columns import Utterance
from ser_data.manifest.table import Manifest
from ser_extract.encoders.base import Encoded
from ser_extract.errors import EncoderBroken
from ser_extract.inputs.streams import Encoder, modalities, open_encoder
from ser_extract.job import ExtractJob
from ser_extract.work.shard import MANIFEST, Assignment, ShardProcessor

TOLERANCE = {"float16": 1e-3, "float32": 1e-5}
"""Relative L2 that is rounding: of the stored type, and of float32 arithmetic in another order."""


@dataclass(frozen=True)
class Line:
    """The drift of one entry: relative L2 between stored and recomputed, over the utterances tried."""

    entry: str
    utterances: int
    worst: float
    median: float
    tolerance: float
    worst_id: str


@dataclass(frozen=True)
class Drift:
    """What `--check` found."""

    lines: tuple[Line, ...]

    @property
    def fine(self) -> bool:
        """Whether every entry is within its tolerance."""
        return all(line.worst <= line.tolerance for line in self.lines)

    def __str__(self) -> str:
        rows = [
            f"{line.entry}: {line.utterances} utterances, relative L2 median {line.median:.1e}, worst {line.worst:.1e} "
            f"({line.worst_id}), rounding is {line.tolerance:.0e}: {'fine' if line.worst <= line.tolerance else 'DRIFTED'}"
            for line in self.lines
        ]
        if not self.fine:
            rows.append(
                "Features of this machine and these libraries differ from the stored ones: do not mix them in a cache."
            )
        return "\n".join(rows)


def check_cache(job: ExtractJob, count: int) -> Drift:
    """Recomputes `count` utterances per modality, spread evenly over what is stored, in this process."""
    cache = open_cache(job.cache)
    manifest = Manifest.from_bytes(cache.attachment(MANIFEST))
    job = job.model_copy(update={"rehash": True})
    encoders = {modality: open_encoder(job, modality) for modality in modalities(job, manifest)}
    assignment = Assignment(
        job,
        {modality: encoder.source for modality, encoder in encoders.items()},
        {modality: encoder.layers for modality, encoder in encoders.items()},
    )
    processor = ShardProcessor(assignment)
    try:
        utterances = {utterance.id: utterance for utterance in manifest.utterances()}
        lines = [line for encoder in encoders.values() for line in _lines(job, count, encoder, processor, utterances)]
    finally:
        processor.close()
    return Drift(tuple(lines))


def _lines(
    job: ExtractJob, count: int, encoder: Encoder, processor: ShardProcessor, utterances: Mapping[str, Utterance]
) -> list[Line]:
    cache = open_cache(job.cache)
    entries = [cache.select(spec.modality, spec.encoder, spec.layer, spec.dtype) for spec in encoder.specs]
    ids = [
        name for name in entries[0].ids if name in utterances and all(name in entry.input_hashes for entry in entries)
    ]
    ids = [
        name for name, length in zip(ids, entries[0].lengths(ids), strict=True) if length
    ]  # without a video: nothing
    chosen = [ids[int(k)] for k in np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).round())] if ids else []
    if not chosen:
        raise EncoderBroken(encoder.source.name, f"{job.cache} holds no features of it", "Run ser-extract first.")
    encoded = processor.recompute(encoder.modality, [utterances[name] for name in chosen])
    lines = []
    for entry in entries:
        drift = {}
        for name in chosen:
            stored = entry[name].astype(np.float64)
            result = encoded[name]
            fresh = result.states[entry.spec.layer] if isinstance(result, Encoded) else np.empty((0, 0))
            same = fresh.shape == stored.shape
            drift[name] = float(np.linalg.norm(fresh - stored) / np.linalg.norm(stored)) if same else float("inf")
        worst = max(drift, key=lambda name: drift[name])
        median = float(np.median(list(drift.values())))
        lines.append(Line(entry.spec.address, len(drift), drift[worst], median, TOLERANCE[job.dtype], worst))
    return lines
