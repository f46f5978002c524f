"""The frames of a study in memory, once for all worker processes: ragged rows, time-pooled by the stride, normalised per
speaker if asked.

Size: frames x features x 2 bytes at float16; IEMOCAP's 7,487 turns at 50 Hz and 768 features are 2.6 GB, a quarter of it at
``--stride 4``.
"""

import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ser_base.machine import memory_left, side_by_side
from ser_base.progress import say
from ser_fusion.errors import FramesTooLarge

if TYPE_CHECKING:
    from ser_cache import EntrySpec, Ragged


Allocate = Callable[[tuple[int, ...], Any], NDArray[Any]]
Rows = NDArray[np.int64]
ROOM = 0.8
"""Share of the free memory that an array may take; the rest is for the processes that train."""
_CHUNK = 4  # utterances read at a time while building: their moments are taken while they are in the processor's cache


class Stored(Protocol):
    """What stage two reads of one layer: an entry of the cache, or rows in memory that answer alike."""

    @property
    def spec(self) -> "EntrySpec":
        """What it was computed from."""

    def lengths(self, ids: Sequence[str], /) -> NDArray[np.int64]:
        """Frames of each utterance, (utterances,)."""

    def gather(self, ids: Sequence[str], out: NDArray[Any] | None = None, /) -> "Ragged":
        """Several utterances one behind the other, (sum of frames, features); in the front of ``out`` if it is given."""

    def read(self, utterance: str, /) -> NDArray[Any]:
        """Frames of one utterance, (frames, features)."""

    def special(self, utterance: str, /) -> NDArray[np.bool_] | None:
        """Which frames are special tokens, (frames,); None where none is."""


@dataclass(frozen=True, slots=True)
class Context:
    """Previous turns of one stream (``--context``).

    Attributes:
        tokens: (layers, turns, features) float32, one pooled vector per turn.
        previous: (utterances, K) int64; column k - 1 is the place in ``tokens`` of the k-th turn before, -1 for none.
    """

    tokens: NDArray[np.float32]
    previous: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class StreamFrames:
    """One stream of a study. Equal only to itself: what is made of it once is remembered by it.

    Attributes:
        layers: Per layer (frames, features), float16 or float32 as stored.
        offsets: (utterances + 1,) int64.
        content: (frames,) bool; False for special tokens, unless an utterance has nothing else.
        means: (layers, utterances, features) float32, over all frames of the utterance.
        variances: The same shape, ddof 0.
        frame_rate: Frames per second after the stride; None for text.
        context: Previous turns of the dialogue; None where none are read.
    """

    layers: tuple[NDArray[Any], ...]
    offsets: NDArray[np.int64]
    content: NDArray[np.bool_]
    means: NDArray[np.float32]
    variances: NDArray[np.float32]
    frame_rate: float | None
    context: Context | None = None

    @property
    def features(self) -> int:
        """Features per frame."""
        return int(self.layers[0].shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames per utterance, (utterances,)."""
        return np.diff(self.offsets)

    def moments(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and scale of every feature over the frames of these utterances, each (layers, features).

        The scale is 1 / deviation, and 0 for a feature that does not vary: at least one channel of MiniLM's last layer is
        constant in float16, and dividing by its deviation would make everything NaN.
        """
        counts = self.lengths[rows].astype(np.float64)
        total = max(counts.sum(), 1.0)
        means, variances = self.means[:, rows].astype(np.float64), self.variances[:, rows].astype(np.float64)
        mean = np.einsum("n,lnd->ld", counts, means) / total
        variance = np.einsum("n,lnd->ld", counts, variances + (means - mean[:, None]) ** 2) / total
        deviation = np.sqrt(variance)
        alive = deviation > np.maximum(1e-3 * np.median(deviation, axis=1, keepdims=True), 1e-12)
        scale = np.where(alive, 1.0 / np.where(alive, deviation, 1.0), 0.0)
        return mean.astype(np.float32), scale.astype(np.float32)


def stride_of(spec: "EntrySpec", stride: int) -> int:
    """The stride of a stream: 1 for text, and for video, whose few frames a second are chosen by ``ser-extract --fps``."""
    return 1 if spec.frame_rate is None or spec.modality == "video" else stride


def read_stream(
    entries: Sequence[Stored],
    ids: Sequence[str],
    *,
    stride: int = 1,
    first_only: bool = False,
    groups: NDArray[np.int64] | None = None,
    reference: NDArray[np.bool_] | None = None,
    allocate: Allocate = np.zeros,
    rows: Rows | None = None,
) -> StreamFrames:
    """Reads a stream from the cache.

    Args:
        entries: One entry per layer, of the same encoder.
        ids: Utterances, in the order of the study's table.
        stride: Mean of so many frames; the last group of an utterance may be smaller. See ``stride_of``.
        first_only: Keep position 0 only (``--text-input cls``).
        groups: Speaker number per utterance (utterances,), for normalisation per speaker; None for none.
        reference: Utterances whose frames give a speaker's mean and deviation; None for all of the speaker's.
        allocate: Where arrays come from: shape and dtype to zeros; shared memory for several workers.
        rows: Positions in ``ids`` of a sample; all others have no frames and are not read. None for all.
    """
    rate = entries[0].spec.frame_rate
    stride = stride_of(entries[0].spec, stride)
    original = np.asarray(entries[0].lengths(ids), dtype=np.int64)
    lengths = np.minimum(original, 1) if first_only else -(-original // stride)
    read = np.arange(len(ids)) if rows is None else np.unique(rows)
    if rows is not None:
        lengths = np.where(np.isin(np.arange(len(ids)), read), lengths, 0)
    offsets = allocate((len(ids) + 1,), np.int64)
    np.cumsum(lengths, out=offsets[1:])
    features = entries[0].spec.features
    layers = []
    means, variances = (allocate((len(entries), len(ids), features), np.float32) for _ in range(2))
    for entry, mean, variance in zip(entries, means, variances, strict=True):
        values = allocate((int(offsets[-1]), features), np.dtype(entry.spec.dtype))
        place = _Place(values, offsets, mean, variance, original, stride, first_only)
        side_by_side(partial(_read, entry, ids, place), read, int(original[read].sum()) * features)
        if groups is not None:
            _per_speaker(values, mean, variance, offsets, groups, reference)
        layers.append(values)
    content = allocate((int(offsets[-1]),), np.bool_)
    content[:] = True
    if rate is None and not first_only:
        for n in read:
            special = entries[0].special(ids[n])
            if special is not None and not special.all():
                content[offsets[n] : offsets[n + 1]] = ~special
    return StreamFrames(tuple(layers), offsets, content, means, variances, None if rate is None else rate / stride)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the frames of one layer go, and in which form."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    lengths: NDArray[np.int64]  # as stored
    stride: int
    first_only: bool


def _read(entry: Stored, ids: Sequence[str], place: _Place, rows: Rows) -> None:
    """Reads utterances, and takes their moments while they are in the processor's cache."""
    values, offsets = place.values, place.offsets
    whole = place.stride == 1 and not place.first_only
    longest = int(place.lengths[rows].max(initial=0))
    buffer = np.empty((longest, values.shape[1]), np.float32)  # fresh memory costs more than the copy
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        # whole utterances go straight to their place; those between them have no frames
        there = values[offsets[part[0]] : offsets[part[-1] + 1]] if whole else None
        ragged = entry.gather([ids[n] for n in part], there)
        for i, n in enumerate(part):
            exact = buffer[: place.lengths[n]]
            exact[:] = ragged[i]
            frames = _shorten(exact, place.stride, place.first_only)
            if not whole:
                values[offsets[n] : offsets[n + 1]] = frames
            if len(frames):
                place.mean[n], place.variance[n] = moments_over_time(frames)


def moments_over_time(frames: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``frames.mean(0)`` and ``frames.var(0)`` to the last bit, without new memory: what is in ``frames`` is lost.

    Args:
        frames: (frames, features), at least one frame.

    Returns:
        (features,) each; the variance with ddof 0.
    """
    mean: NDArray[np.float32] = frames.mean(0)
    frames -= mean
    frames *= frames
    return mean, frames.sum(0) / np.float32(len(frames))


def _shorten(frames: NDArray[np.float32], stride: int, first_only: bool) -> NDArray[np.float32]:
    if first_only:
        return frames[:1]
    if stride == 1 or not len(frames):
        return frames
    starts = np.arange(0, len(frames), stride)
    counts = np.diff(np.append(starts, len(frames)))
    means: NDArray[np.float32] = (np.add.reduceat(frames, starts, axis=0) / counts[:, None]).astype(np.float32)
    return means


def _per_speaker(
    values: NDArray[Any],
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    offsets: NDArray[np.int64],
    groups: NDArray[np.int64],
    reference: NDArray[np.bool_] | None,
) -> None:
    """Zero mean and unit deviation per speaker, in place; the utterances' own moments follow."""
    lengths = np.diff(offsets)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        seen = own if reference is None else own[reference[own]]
        part = StreamFrames((values,), offsets, np.empty(0, np.bool_), mean[None], variance[None], None)
        (centre,), (scale,) = part.moments(seen[lengths[seen] > 0])
        for n in own:
            rows = slice(offsets[n], offsets[n + 1])
            values[rows] = (values[rows].astype(np.float32) - centre) * scale
        mean[own] = (mean[own] - centre) * scale
        variance[own] *= scale**2


# Memory that several processes read: written once by the parent, mapped by its spawned workers, gone with the parent.
#
# On Linux it is anonymous memory (``memfd``): it does not depend on the size of /dev/shm, and a killed parent leaves nothing
# behind. Elsewhere it is a temporary file. Frames are copied into it once; attaching costs nothing. Frames that memory does not
# hold lie in files of a folder: the system keeps in memory what is read often. On Linux these files have no name, so that a
# killed parent leaves none of them behind either.
@dataclass(frozen=True, slots=True)
class Block:
    """An array in shared memory: a path to map, and how to read it."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    on_disk: bool


@dataclass(slots=True)
class Arena:
    """Allocates arrays that ``attach`` can find from another process.

    Attributes:
        folder: Where arrays lie as files if memory does not hold them; None: all lie in memory.
    """

    folder: Path | None = None
    _told: bool = False
    _held: int = 0  # bytes of the arrays in memory
    _blocks: dict[int, tuple[Block, NDArray[Any]]] = field(default_factory=dict)
    _descriptors: list[int] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Zeros of this shape, shared; a ``np.memmap`` where they lie on the disk."""
        dtype = np.dtype(dtype)
        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        linux, folder = hasattr(os, "memfd_create"), self._folder_for(size)
        if linux and folder is None:
            descriptor = os.memfd_create("ser-fuse")
        else:
            descriptor, path = tempfile.mkstemp(prefix=".ser-fuse-", dir=folder)
            if linux:
                Path(path).unlink()
            else:
                self._files.append(Path(path))
        if linux:
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
        self._descriptors.append(descriptor)
        os.ftruncate(descriptor, size)
        count, on_disk = int(np.prod(shape)), folder is not None and size > 1
        array: NDArray[Any]
        if on_disk:
            array = np.memmap(path, dtype, "r+", shape=shape)
        else:
            array = np.frombuffer(mmap.mmap(descriptor, size), dtype, count).reshape(shape)
        self._blocks[id(array)] = (Block(path, tuple(shape), dtype.str, on_disk), array)
        return array

    def _folder_for(self, size: int) -> Path | None:
        """The folder, if memory does not hold so many bytes.

        Raises:
            FramesTooLarge: Neither memory nor the disk holds them.
        """
        left = memory_left()
        if self.folder is None or left is None or self._held + size <= ROOM * (left + self._held):
            self._held += size  # of all layers together: each takes its share of what was free, not of what is left
            return None
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise FramesTooLarge(str(self.folder), size, left, free)
        if not self._told:
            self._told = True
            say(
                f"Frames ({(self._held + size) / 1e9:.1f} GB so far) do not fit in memory ({left / 1e9:.1f} GB are free): what is left lies in a file in "
                f"{self.folder} meanwhile. Training is slower so; a --stride makes them smaller."
            )
        return self.folder

    def handle(self, stream: StreamFrames) -> tuple[Any, ...]:
        """What a worker needs to see the same stream; picklable."""
        return (
            tuple(self._blocks[id(layer)][0] for layer in stream.layers),
            *(self._blocks[id(a)][0] for a in (stream.offsets, stream.content, stream.means, stream.variances)),
            stream.frame_rate,
            stream.context and tuple(self._blocks[id(a)][0] for a in (stream.context.tokens, stream.context.previous)),
        )

    def close(self) -> None:
        """Frees the memory once no process maps it."""
        self._blocks.clear()
        for descriptor in self._descriptors:
            os.close(descriptor)
        for path in self._files:
            path.unlink(missing_ok=True)
        self._descriptors.clear()


def attach(handle: tuple[Any, ...]) -> StreamFrames:
    """The stream behind ``Arena.handle``, read-only."""

    def view(block: Block) -> NDArray[Any]:
        if not np.prod(block.shape):
            return np.zeros(block.shape, block.dtype)
        # copy on write: torch refuses to view read-only memory without a warning, and nobody writes
        mapped = np.memmap(block.path, np.dtype(block.dtype), "c", shape=block.shape)
        return mapped if block.on_disk else np.asarray(mapped)

    layers, offsets, content, means, variances, rate, context = handle
    views = tuple(view(layer) for layer in layers)
    turns = context and Context(*(view(block) for block in context))
    return StreamFrames(views, view(offsets), view(content), view(means), view(variances), rate, turns)
