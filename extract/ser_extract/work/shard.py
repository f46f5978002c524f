"""One unit of work: decode, encode, cast, commit. The one idempotent function that every runner calls.

Decoding runs in a child process of its own, which a poison file may kill, and ahead of the encoder: while a chunk is
encoded, the next is decoded. Inputs of a chunk have like lengths. What cannot be encoded is a failure with a reason, the
rest of the shard is done.
"""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_cache import Failure, Row, create_cache
from ser_data.manifest.columns import Utterance
from ser_data.manifest.text import visible
from ser_data.media.audio import LIMITS, AudioError
from ser_data.media.isolated import IsolatedDecoder, IsolatedVideoDecoder
from ser_data.media.video import VideoError
from ser_extract.encoders.base import Encoded, Engine, Modality, Refused, load_engine
from ser_extract.encoders.source import Source
from ser_extract.errors import UtteranceFailed
from ser_extract.inputs.streams import Encoder, describe
from ser_extract.job import ExtractJob
from ser_extract.work.decoders import Decoders, Pair
from ser_extract.work.units import Unit, open_writers

if TYPE_CHECKING:
    from ser_cache.writer import Writer

CHUNK_SECONDS = {"audio": 48.0, "prosody": 48.0, "video": 30.0}
"""Seconds decoded at once, and between two signs of progress; of video 60 frames at 2 fps, which are 60 MB in IEMOCAP's size."""
CARD_CHUNK_SECONDS = {"audio": 640.0, "prosody": 48.0, "video": 120.0}
"""The same where a card encodes: several of its batches, so that it never waits for the next chunk."""
CHUNK_TEXTS = 512
COMPARED = 2
"""Inputs that are also encoded in float32 where another arithmetic is asked for, to record its error."""
MANIFEST = "manifest.parquet"
LARGEST = {"float16": 65504.0, "float32": 3.4e38}
Array = np.ndarray[Any, Any]
Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to know before its first unit; picklable.

    Attributes:
        job: The job.
        sources: Per modality the encoder's files, hashed.
        layers: Per modality the layers that still have work: what the engines are loaded for.
        recipe: The command, kept with every commit for `ser cache verify --repair`.
        decoders: Decoder processes of each worker.
    """

    job: ExtractJob
    sources: dict[Modality, Source]
    layers: dict[Modality, tuple[int, ...]]
    recipe: str | None = None
    decoders: int = 1


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit."""

    key: tuple[Modality, tuple[str, ...]]
    outcomes: tuple[str, ...]
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    seconds: float = 0.0


class ShardProcessor:
    """Holds engines, decoder and writers of one process; `process` may be called for the same unit again and again.

    Args:
        assignment: Job and encoders.
        threads: Threads of torch, for the environment record.
    """

    def __init__(self, assignment: Assignment, threads: int = 1) -> None:
        self._assignment, self._threads = assignment, threads
        self._cache = create_cache(assignment.job.cache)
        self._utterances: dict[str, Utterance] = {}  # of the unit in hand
        self._encoders: dict[Modality, Encoder] = {
            modality: describe(assignment.job, modality, source) for modality, source in assignment.sources.items()
        }
        self._engines: dict[Modality, Engine] = {}
        self._compute_error: dict[Modality, float] = {}
        self._writers: dict[Modality, dict[int, Writer]] = {}
        job = assignment.job
        limits = replace(LIMITS, keep_truncated=job.on_truncated == "keep", channel=job.channel)
        self._decoders = Decoders(
            assignment.decoders,
            lambda: IsolatedDecoder(timeout=job.decode_timeout, limits=limits),
            lambda: IsolatedVideoDecoder(timeout=job.decode_timeout),
        )
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="decode")

    def close(self) -> None:
        """Ends the decoders."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._decoders.close()

    def engine(self, modality: Modality) -> Engine:
        """The engine of a modality, loaded at its first use."""
        if modality not in self._engines:
            job, encoder = self._assignment.job, self._encoders[modality]
            options = job.engine_options(modality, encoder.description.rate)
            layers = self._assignment.layers[modality]
            self._engines[modality] = load_engine(encoder.family, encoder.source, encoder.description, layers, options)
        return self._engines[modality]

    def process(
        self,
        unit: Unit,
        progress: Progress = lambda utterances, seconds: None,
        announce: Callable[[str], None] | None = None,
        poison: Sequence[str] = (),
    ) -> UnitResult:
        """Encodes a unit and commits its shards.

        Args:
            unit: The work.
            progress: Called with (utterances, audio seconds) as they are done.
            announce: If given, utterances go one by one, and each is announced before it is touched.
            poison: Utterances that killed a worker: recorded as failed, not touched.

        Raises:
            UtteranceFailed: With `--on-error fail`; nothing of the unit is committed.
        """
        return self.commit(unit, *self.encode(unit, progress, announce, poison))

    def encode(
        self,
        unit: Unit,
        progress: Progress = lambda utterances, seconds: None,
        announce: Callable[[str], None] | None = None,
        poison: Sequence[str] = (),
    ) -> tuple[dict[int, list[Row]], dict[str, Failure], dict[str, Any]]:
        """The first half of `process`: rows by layer, failures, and the environment record."""
        started = time.monotonic()
        self._utterances = {utterance.id: utterance for utterance in unit.utterances}
        rows: dict[int, list[Row]] = {layer: [] for layer in unit.layers}
        failures = {
            name: Failure("encoder_crash", "the worker process died while it encoded nothing but this utterance")
            for name in poison
        }
        for ids, results in self._chunks(unit, announce, set(poison)):
            for name, result in zip(ids, results, strict=True):
                done = self._rows(name, result, unit.layers)
                if isinstance(done, Failure):
                    failures[name] = done
                    if self._assignment.job.on_error == "fail":
                        raise UtteranceFailed(name, unit.modality, done.reason, done.detail)
                else:
                    for layer, row in done.items():
                        rows[layer].append(row)
            progress(len(ids), unit.seconds * len(ids) / max(len(unit.ids), 1))
        return rows, failures, self._environment(unit.modality, time.monotonic() - started)

    def commit(
        self, unit: Unit, rows: dict[int, list[Row]], failures: dict[str, Failure], environment: dict[str, Any]
    ) -> UnitResult:
        """The second half of `process`: one commit per layer."""
        if unit.modality not in self._writers:
            specs = self._encoders[unit.modality].specs
            self._writers[unit.modality] = open_writers(
                self._cache, specs, self._assignment.job.container, recipe=self._assignment.recipe
            )
        writers = self._writers[unit.modality]
        outcomes = tuple(
            writers[layer].commit(shard, rows[layer], failures, environment) for layer, shard in unit.shards
        )
        reasons = {name: (failure.reason, failure.detail) for name, failure in failures.items()}
        return UnitResult(unit.key, outcomes, reasons, unit.seconds)

    def recompute(self, modality: Modality, utterances: Sequence[Utterance]) -> dict[str, Encoded | Refused]:
        """Encodes utterances without committing anything, at the lengths and in the company that their lengths give."""
        self._utterances = {utterance.id: utterance for utterance in utterances}
        ids = list(self._utterances)
        inputs = self._load(modality, ids)
        whole = [value for value in inputs if not isinstance(value, Refused)]
        encoded = iter(self.engine(modality).encode(whole))
        return {
            name: value if isinstance(value, Refused) else next(encoded)
            for name, value in zip(ids, inputs, strict=True)
        }

    def _chunks(
        self, unit: Unit, announce: Callable[[str], None] | None, poison: set[str]
    ) -> Iterator[tuple[list[str], list[Encoded | Refused]]]:
        engine = self.engine(unit.modality)
        chunks = self._cut(unit, poison, alone=announce is not None)
        ahead: Future[list[Any]] | None = None
        shortest: list[tuple[Any, Encoded | Refused]] = []
        for index, chunk in enumerate(chunks):
            if announce is not None:
                announce(chunk[0])
                inputs = self._load(unit.modality, chunk)
            else:
                inputs = ahead.result() if ahead is not None else self._load(unit.modality, chunk)
                following = chunks[index + 1] if index + 1 < len(chunks) else None
                ahead = self._ahead.submit(self._load, unit.modality, following) if following else None
            whole = [value for value in inputs if not isinstance(value, Refused)]
            results = engine.encode(whole) if whole else []
            if whole:  # inputs come by falling cost
                shortest = list(zip(whole, results, strict=True))[-COMPARED:]
            encoded = iter(results)
            yield chunk, [value if isinstance(value, Refused) else next(encoded) for value in inputs]
        if shortest:
            self._measure_compute(unit.modality, shortest)

    def _measure_compute(self, modality: Modality, encoded: Sequence[tuple[Any, Encoded | Refused]]) -> None:
        """With bfloat16 or float16 arithmetic: once, the relative L2 to float32 of some inputs, for the record.

        These are the shortest of the first unit: float32 takes longer, and must not take what was gained.
        """
        job, encoder = self._assignment.job, self._encoders[modality]
        if job.compute == "float32" or modality in self._compute_error:
            return
        options = replace(job.engine_options(modality, encoder.description.rate), compute="float32")
        layers = self._assignment.layers[modality]
        engine = load_engine(encoder.family, encoder.source, encoder.description, layers, options)
        exact = engine.encode([value for value, _ in encoded])
        pairs = [
            (full.states[max(layers)], short.states[max(layers)])
            for full, (_, short) in zip(exact, encoded, strict=True)
            if isinstance(full, Encoded) and isinstance(short, Encoded)
        ]
        errors = [float(np.linalg.norm(short - full) / np.linalg.norm(full)) for full, short in pairs]
        self._compute_error[modality] = max(errors, default=float("nan"))

    def _cut(self, unit: Unit, poison: set[str], *, alone: bool) -> list[list[str]]:
        """Utterances by falling cost in chunks that fit the memory; alone: one by one."""
        items = sorted(unit.shards[0][1].items, key=lambda item: (-item.cost, item.id))
        names = [item.id for item in items if item.id not in poison]
        if alone:
            return [[name] for name in names]
        if unit.modality == "text":
            return [names[k : k + CHUNK_TEXTS] for k in range(0, len(names), CHUNK_TEXTS)]
        longest = CHUNK_SECONDS if self._assignment.job.on_cpu else CARD_CHUNK_SECONDS
        chunks: list[list[str]] = []
        room = 0.0
        for name in names:
            utterance = self._utterances[name]
            seconds = utterance.duration or unit.seconds / len(unit.ids)
            if not chunks or seconds > room:
                chunks.append([])
                room = longest[unit.modality]
            chunks[-1].append(name)
            room -= seconds
        return chunks

    def _load(self, modality: Modality, ids: Sequence[str]) -> list[Any]:
        utterances = [self._utterances[name] for name in ids]
        if modality == "text":
            return [self._text(utterance) for utterance in utterances]
        if modality == "video":
            return self._decoders.map(self._video, utterances)
        rate = self._encoders[modality].description.rate or 16_000
        return self._decoders.map(partial(self._audio, rate=rate), utterances)

    def _text(self, utterance: Utterance) -> str | Refused:
        if utterance.text is None:
            return Refused("missing_text", "the row has no text")
        if not visible(utterance.text_normalised or ""):
            return Refused("missing_text", "nothing is left of the text after normalisation")
        return utterance.text_normalised or ""

    def _audio(self, decoders: Pair, utterance: Utterance, rate: int) -> Array | Refused:
        if utterance.path is None:
            return Refused("missing", "the row names no audio file")
        try:
            return decoders.sound.load(utterance.path, rate, utterance.start, utterance.end)
        except AudioError as error:
            return Refused(error.reason, str(error))

    def _video(self, decoders: Pair, utterance: Utterance) -> Array | Refused:
        if utterance.video_path is None:
            return np.empty((0, 1, 1, 3), np.uint8)
        fps = self._encoders["video"].description.frame_rate or 1.0
        try:
            return decoders.pictures.load(utterance.video_path, fps, *utterance.video_span, utterance.video_crop)
        except VideoError as error:
            return Refused(error.reason, str(error))

    def _rows(self, name: str, result: Encoded | Refused, layers: Sequence[int]) -> dict[int, Row] | Failure:
        if isinstance(result, Refused):
            return Failure(result.reason, result.detail)
        dtype = self._assignment.job.dtype
        rows = {}
        for layer in layers:
            values = result.states[layer]
            if not np.isfinite(values).all():
                return Failure("not_finite", f"layer {layer} holds values that are not finite")
            largest = float(np.abs(values).max(initial=0.0))
            if largest > LARGEST[dtype]:
                return Failure(
                    "overflow",
                    f"layer {layer} reaches {largest:.4g}, {dtype} ends at {LARGEST[dtype]:g}; --dtype float32 holds it",
                )
            rows[layer] = Row(name, np.ascontiguousarray(values, dtype=dtype), result.special)
        return rows

    def _environment(self, modality: Modality, seconds: float) -> dict[str, Any]:
        source = self._encoders[modality].source
        return {
            "versions": {
                name: version(name)
                for name in ("ser-fusion", "torch", "transformers", "numpy")
                + (("av", "pillow") if modality == "video" else ())
            },
            "python": platform.python_version(),
            "machine": platform.machine(),
            "threads": self._threads,
            "policy": dict(self.engine(modality).policy),
            "revision": source.revision,
            "weights_format": source.plugin
            or ("safetensors" if source.files.safetensors else "bin, read with weights_only"),
            "seconds": round(seconds, 3),
        } | ({"compute_error": self._compute_error[modality]} if modality in self._compute_error else {})
