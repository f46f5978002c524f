"""`--dry-run`: how many utterances and hours, how many bytes per layer and type, how much disk, and about how long.

The time comes from a short probe: a few utterances of small, middle and large length through the real encoder, on one core.
Nothing is written.
"""

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ser_base.progress import Display, duration
from ser_cache import CacheError, open_cache, sources
from ser_data.manifest.columns import Utterance
from ser_data.media.audio import AudioError, Limits
from ser_data.media.isolated import IsolatedDecoder, IsolatedVideoDecoder
from ser_data.media.video import VideoError
from ser_extract.encoders.base import Description, Modality, load_engine
from ser_extract.inputs.items import UNREADABLE, Input
from ser_extract.inputs.streams import Stream, modalities, open_encoder, open_stream, read_corpus
from ser_extract.job import ExtractJob

QUANTILES = (0.1, 0.5, 0.9)
SIZES = {"float16": 2, "float32": 4}


def forecast(job: ExtractJob, reporter: Display) -> str:
    """The forecast as lines of text."""
    manifest = read_corpus(job)
    utterances = list(manifest.utterances())
    lines = [f"{manifest.info.title}: {len(utterances):,} utterances, {len(manifest.dropped):,} rows dropped"]
    total, whole = 0, 0.0
    workers = max(job.worker_count(), 1)
    for modality in modalities(job, manifest):
        encoder = open_encoder(job, modality)
        phase = f"hash {modality}"
        reporter.begin(phase, len(utterances))
        stream = open_stream(encoder, utterances, partial(reporter.advance, phase))
        counts = _frames(stream, utterances)
        frames = sum(counts.values())
        to_do = {spec.layer: _missing(job, stream, spec.address) for spec in encoder.specs}
        missing = {layer: left for layer, (left, _) in to_do.items()}
        size = " + ".join(
            f"L{layer} {len(left):,} to do, "
            + (f"{to_do[layer][1]:,} taken over by content, " if to_do[layer][1] else "")
            + ", ".join(
                f"{dtype} {_bytes(frames * encoder.description.features * width)}" for dtype, width in SIZES.items()
            )
            for layer, left in missing.items()
        )
        hours = f"{stream.seconds / 3600:.2f} h, " if modality != "text" else ""
        frames_of = f"{frames:,} tokens" if modality == "text" else f"about {frames:,} frames"
        lines.append(f"{modality} with {encoder.source.name}: {hours}{frames_of}; {size}")
        total += sum(
            counts[entry.item.id] * encoder.description.features * SIZES[job.dtype]
            for left in missing.values()
            for entry in left
        )
        pending = {entry.item.id: entry for left in missing.values() for entry in left}
        if pending:
            reporter.note(f"{modality}: loads the encoder and times a few utterances ...")
        seconds = _probe(job, stream, list(pending.values()), {utterance.id: utterance for utterance in utterances})
        whole += seconds
    reporter.end()
    free = shutil.disk_usage(_existing(job.cache)).free
    lines.append(f"to write: {_bytes(total)} ({job.dtype}); free on the disk of {job.cache}: {_bytes(free)}")
    lines.append(f"about {duration(whole / workers)} with {workers} workers (probe on one core: {duration(whole)})")
    return "\n".join(lines)


def _frames(stream: Stream, utterances: Sequence[Utterance]) -> dict[str, int]:
    """Frames that each utterance will have: counted by the tokenizer for text, by duration for the rest."""
    if stream.modality != "text" or stream.encoder.source.plugin is not None:
        return {entry.item.id: entry.item.frames or 0 for entry in stream.inputs}
    from ser_extract.encoders.text_engine import load_tokenizer

    texts = [utterance.text_normalised or "" for utterance in utterances]
    tokens = load_tokenizer(stream.encoder.source)(texts, truncation=False, padding=False)["input_ids"] if texts else []
    counts = (len(ids) if text else 0 for text, ids in zip(texts, tokens, strict=True))
    return {utterance.id: count for utterance, count in zip(utterances, counts, strict=True)}


def _missing(job: ExtractJob, stream: Stream, address: str) -> tuple[list[Input], int]:
    """Inputs that the cache does not have yet, and how many more it has under other ids."""
    try:
        cache = open_cache(job.cache)
        info = next(info for info in cache.entries() if info.address == address)
        opened = cache.open(info)
    except (CacheError, StopIteration):
        return list(stream.inputs), 0
    stored, copied = opened.input_hashes, sources(opened, [entry.item for entry in stream.inputs])
    left = [entry for entry in stream.inputs if stored.get(entry.item.id) != entry.item.input_hash]
    return [entry for entry in left if entry.item.id not in copied], len(copied)


def _probe(job: ExtractJob, stream: Stream, pending: list[Input], utterances: dict[str, Utterance]) -> float:
    """Seconds of one core for the pending inputs, from a few of them."""
    usable = sorted(
        (entry for entry in pending if not entry.item.input_hash.startswith(UNREADABLE) and entry.units),
        key=lambda entry: entry.units,
    )
    if not usable:
        return 0.0
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    encoder = stream.encoder
    options = job.engine_options(stream.modality, encoder.description.rate)
    engine = load_engine(encoder.family, encoder.source, encoder.description, encoder.layers, options)
    cost = spent = 0.0
    for entry in [usable[int(q * (len(usable) - 1))] for q in QUANTILES]:
        utterance = utterances[entry.item.id]
        try:
            value = _load(utterance, stream.modality, encoder.description, job.channel)
        except (AudioError, VideoError):
            continue
        if not cost:
            engine.encode([value])  # the first pass pays for memory and code that the others have
        started = time.perf_counter()
        engine.encode([value])
        spent += time.perf_counter() - started
        cost += entry.item.cost
    torch.set_num_threads(threads)
    return sum(entry.item.cost for entry in usable) * spent / cost if cost else 0.0


def _load(utterance: Utterance, modality: Modality, description: Description, channel: str) -> Any:
    """What an engine of the modality takes."""
    if modality == "text":
        return utterance.text_normalised
    if modality != "video":
        with IsolatedDecoder(limits=Limits(channel=channel)) as sound:
            return sound.load(utterance.path or "", description.rate or 16_000, utterance.start, utterance.end)
    with IsolatedVideoDecoder() as decoder:
        fps = description.frame_rate or 1.0
        return decoder.load(utterance.video_path or "", fps, *utterance.video_span, utterance.video_crop)


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
