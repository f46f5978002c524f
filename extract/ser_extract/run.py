"""The whole of stage one: corpus -> plan -> shards -> commits. The only place where corpus, encoders and cache meet.

Safe to kill at any time and to run again: it does what is missing and nothing else, and when nothing is missing it loads
neither torch nor weights.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from ser_base.machine import resolve_device
from ser_base.progress import Display, Lines
from ser_base.workers import Server
from ser_cache import create_cache, take_over
from ser_cache.catalog import Cache
from ser_cache.format.plan import Target
from ser_cache.writer import Writer
from ser_data.manifest.columns import Utterance
from ser_data.manifest.table import Manifest
from ser_extract.encoders.base import Modality
from ser_extract.errors import DiskTooSmall
from ser_extract.inputs.items import NO_VIDEO
from ser_extract.inputs.streams import Encoder, Stream, modalities, open_encoder, open_stream, read_corpus
from ser_extract.job import ExtractJob
from ser_extract.work.report import Skipped, changed_inputs, from_problems, next_step, write_failures
from ser_extract.work.runners import INTERRUPTED, RUNNERS, Stop
from ser_extract.work.shard import MANIFEST, Assignment, UnitResult
from ser_extract.work.units import (
    ACCELERATOR,
    Unit,
    Waiting,
    core_pace,
    gather,
    multiplies_bfloat16,
    open_writers,
    part,
    shard_cost,
)
from ser_extract.work.workers import server

SPARE = 1.05
"""Room for containers' own bytes beside the features."""


@dataclass(frozen=True)
class Result:
    """What a run did.

    Attributes:
        utterances: Utterances of the manifest.
        encoded: Per modality the utterances encoded by this run.
        skipped: Everything in `failures.csv`.
        left: Units of this part's work that are still open.
        seconds: Wall time.
        interrupted: Whether Ctrl-C or SIGTERM ended it.
        taken: Per modality the utterances whose rows were taken over by content, under other ids.
        without_video: Utterances that have no video, where video is encoded: rows without frames.
        next: What to do with the features, as one line; empty while any part has work left.
    """

    utterances: int
    encoded: dict[Modality, int]
    skipped: tuple[Skipped, ...]
    left: int
    seconds: float
    interrupted: bool
    without_video: int = 0
    taken: dict[Modality, int] = field(default_factory=dict)
    next: str = ""

    @property
    def exit_code(self) -> int:
        """0 done, 3 finished with skipped items, 130 interrupted."""
        return INTERRUPTED if self.interrupted else 3 if self.skipped else 0


class Extraction:
    """One run; `run` below is its usual face.

    Args:
        job: What to do.
        reporter: Who is told.
        recipe: The command line, kept with the plans for `ser cache verify --repair`.
        pace: Cost (`Item.cost`) that one worker does in a second; None: a short probe measures it before planning.
    """

    def __init__(
        self, job: ExtractJob, reporter: Display, recipe: str | None = None, pace: float | None = None
    ) -> None:
        self._job, self._reporter, self._recipe = job, reporter, recipe
        self._streams: list[Stream] = []
        self._writers: dict[Modality, dict[int, Writer]] = {}
        self._utterances: dict[str, Utterance] = {}
        self._encoded: dict[Modality, int] = {}
        self._taken: dict[Modality, int] = {}
        self._without_video = 0
        self._waiting: Waiting | None = None
        self._pace = pace

    def run(self) -> Result:
        """Does it.

        Raises:
            ExtractError, CorpusError, CacheError: With everything committed so far kept.
        """
        started = time.monotonic()
        done: Result | None = None
        starter: Server | None = None
        with Stop(self._explain_stop) as stop:
            try:
                manifest = read_corpus(self._job)
                for note in manifest.notes:
                    self._reporter.note(f"Note: {note.sentence}.")
                if self._job.compute == "bfloat16" and self._device == "cpu" and not multiplies_bfloat16():
                    self._reporter.note(
                        "Note: this processor has no instructions for bfloat16. float32 is faster here."
                    )
                encoders = [open_encoder(self._job, modality) for modality in modalities(self._job, manifest)]
                for encoder in encoders:
                    if encoder.description.note:
                        self._reporter.note(f"Note: {encoder.description.note}")
                fresh = not (self._job.cache / "entries").exists()
                cache = create_cache(self._job.cache)
                if fresh and self._job.runner == "local" and self._job.worker_count():  # there will be work
                    starter = server(self._job, [encoder.source for encoder in encoders])
                    starter.ahead()
                self._open(cache, manifest, encoders)
                cache.attach(MANIFEST, manifest.to_bytes())
                done = Result(len(manifest), self._encoded, (), 0, 0.0, False)
                done = replace(done, without_video=self._without_video, taken=self._taken)
                left = self._work(stop)
                done = replace(done, left=left, interrupted=stop.level > 0 and left > 0)
            except KeyboardInterrupt:
                if done is None:  # nothing planned yet
                    return Result(0, {}, (), 0, time.monotonic() - started, True)
                left = len(self._units(self._job.part))
                done = replace(done, left=left, interrupted=left > 0)
            finally:
                self._reporter.end()
                if starter is not None:
                    starter.end()
        skipped = self._skipped(cache, manifest)
        write_failures(self._job.cache, skipped)
        if not done.left and (self._job.part is None or not self._units()):
            specs = {stream.modality: stream.encoder.specs for stream in self._streams}
            done = replace(done, next=next_step(self._job, manifest, specs))
        return replace(done, skipped=skipped, seconds=time.monotonic() - started)

    @cached_property
    def _device(self) -> str:
        return resolve_device(self._job.device)

    def _explain_stop(self, level: int) -> None:
        if level == 1:
            self._reporter.note(
                f"Stopping after the shards in hand{f': {self._waiting}' if self._waiting else ''}. "
                "Press Ctrl-C again to drop them. The same command continues where this one stops."
            )

    def _open(self, cache: Cache, manifest: Manifest, encoders: Sequence[Encoder]) -> None:
        """Hashes the inputs, opens the writers, freezes the plans, and looks at the disk."""
        utterances = list(manifest.utterances())
        self._utterances = {utterance.id: utterance for utterance in utterances}
        needed = 0
        for encoder in encoders:
            phase = f"hash {encoder.modality}"
            self._reporter.begin(phase, len(utterances))
            stream = open_stream(encoder, utterances, partial(self._reporter.advance, phase))
            writers = open_writers(
                cache, encoder.specs, self._job.container, replace=self._job.replace, recipe=self._recipe
            )
            items = [entry.item for entry in stream.inputs]
            self._tell_unknown(stream)
            self._without_video += sum(item.input_hash == NO_VIDEO for item in items)
            taken = 0
            changed: dict[str, None] = {}
            target: Target = self._target
            for writer in writers.values():
                plan = partial(writer.plan, items, target=target, retry_failed=self._job.retry_failed)
                summary = plan()
                changed.update(dict.fromkeys(summary.changed))
                if summary.shard_seconds is not None:  # the layers of a pass are cut alike, whoever planned the first
                    target = partial(_as_planned, summary.shard_seconds)
                if summary.pending and (copied := take_over(cache, writer, items)):
                    taken = max(taken, copied)
                    summary = plan()
                needed += summary.bytes
            if changed:
                self._reporter.note(f"Note: {changed_inputs(list(changed), encoder.modality)}")
            if taken:
                self._taken[stream.modality] = taken
            self._streams.append(stream)
            self._writers[stream.modality] = writers
            self._encoded[stream.modality] = 0
        free = shutil.disk_usage(self._job.cache).free
        if needed * SPARE > free:
            raise DiskTooSmall(str(self._job.cache), int(needed * SPARE), free)

    def _target(self, cost: float) -> float:
        """The most that a shard may cost, of work that costs so much; asked only where something is to be planned."""
        if self._pace is None:
            self._pace = core_pace() if self._device == "cpu" else ACCELERATOR
        parts = 1 if self._job.part is None else self._job.part[1]
        return shard_cost(cost, max(self._job.worker_count(), 1) * parts, self._pace)

    def _tell_unknown(self, stream: Stream) -> None:
        """Says how many recordings do not say how long they are."""
        unknown = [entry for entry in stream.inputs if entry.unknown]
        if unknown:
            reasons = Counter(entry.unknown for entry in unknown)
            why = "; ".join(f"{reason}: {count:,}" for reason, count in reasons.most_common())
            self._reporter.note(
                f"Note: {len(unknown):,} recordings do not state their length, such as {unknown[0].item.id} ({why}). "
                "Whether they are whole is not known."
            )

    def _units(self, share: tuple[int, int] | None = None) -> list[Unit]:
        """Work that is left: of one share of the job, or of all."""
        units: list[Unit] = []
        for stream in self._streams:
            pending = {layer: list(writer.pending()) for layer, writer in self._writers[stream.modality].items()}
            seconds = {entry.item.id: entry.seconds for entry in stream.inputs}
            units += gather(stream.modality, pending, seconds, self._utterances)
        return part(units, share)

    def _work(self, stop: Stop) -> int:
        """Runs what is pending, again as long as that finishes something; returns what is left."""
        begun: set[str] = set()
        while units := self._units(self._job.part):
            finished = 0
            self._waiting = Waiting(units, self._job.worker_count())
            for result in self._run(units, stop, begun):
                finished += 1
                self._waiting.saved(result.key)
                self._reporter.also(result.key[0], "saved", len(result.key[1]))
                self._encoded[result.key[0]] += len(result.key[1]) - len(result.failures)
            if stop.level or not finished:
                return len(self._units(self._job.part))
        return 0

    def _run(self, units: Sequence[Unit], stop: Stop, begun: set[str]) -> Iterator[UnitResult]:
        job = self._job
        layers: dict[Modality, tuple[int, ...]] = {}
        for stream in self._streams:
            own = [unit for unit in units if unit.modality == stream.modality]
            if own:
                layers[stream.modality] = tuple(sorted({layer for unit in own for layer in unit.layers}))
                if stream.modality not in begun:
                    begun.add(stream.modality)
                    count, seconds = sum(len(unit.ids) for unit in own), sum(unit.seconds for unit in own)
                    self._reporter.begin(stream.modality, count, seconds, also=("saved",))
        assignment = Assignment(
            job, {stream.modality: stream.encoder.source for stream in self._streams}, layers, self._recipe
        )
        return RUNNERS[job.runner](assignment, units, stop, self._advance)

    def _advance(self, modality: str, utterances: int, seconds: float) -> None:
        if self._waiting is not None:
            self._waiting.encoded(modality, utterances)
        self._reporter.advance(modality, utterances, seconds)

    def _skipped(self, cache: Cache, manifest: Manifest) -> tuple[Skipped, ...]:
        """Failures of this manifest's utterances in this job's entries, each once, and the manifest's dropped rows."""
        lines = set(from_problems(manifest.problems))
        own = set(manifest.table["id"])
        for stream in self._streams:
            for spec in stream.encoder.specs:
                entry = cache.select(spec.modality, spec.encoder, spec.layer, spec.dtype)
                lines |= {
                    Skipped(name, stream.modality, failure.reason, failure.detail)
                    for name, failure in entry.failures.items()
                    if name in own
                }
        return tuple(sorted(lines))


def _as_planned(seconds: float, cost: float) -> float:
    """The target of a plan that is there already, whatever the cost."""
    return seconds


def run(
    job: ExtractJob, reporter: Display | None = None, recipe: str | None = None, pace: float | None = None
) -> Result:
    """Extracts a corpus into a cache; see `Extraction`.

    Examples:
        >>> from ser_extract import ExtractJob, run
        >>> choice = {"encoder": "audio=tiny-audio,text=tiny-text", "layer": "audio=1,2,text=2"}  # folders or hub ids
        >>> job = ExtractJob(corpus="csv", root="corpus.csv", cache="cache", workers=0, **choice)
        >>> result = run(job)
        >>> result.utterances, result.exit_code
        (36, 0)
    """
    return Extraction(job, reporter or Lines(), recipe, pace).run()
