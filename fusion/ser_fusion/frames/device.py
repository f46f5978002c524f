"""Frames and small tables on their way to a device, and the frames that stay there for every batch to gather from."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_fusion.frames.features import Rows, StreamFrames

ROOM = 0.6
"""Share of a card's free memory that frames may take; the rest is for models and activations."""
OnDisk = tuple[mmap.mmap, int]
"""A layer in a file: its map, and the bytes of a frame."""


def sent(values: Tensor | NDArray[np.generic] | Sequence[int], device: torch.device) -> Tensor:
    """The values on the device; integers of a sequence as int64.

    A copy from ordinary memory waits until the device has done all that it was given before; one from pinned memory does not.
    """
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.asarray(values, dtype=None if isinstance(values, np.ndarray) else np.int64))
    if device.type == "cpu":
        return values
    if device.type == "cuda" and torch.cuda.is_available():
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


# The frames of one stream, on the GPU if they fit there, else in the host's memory. A process keeps them once for each device,
# in the stored type, for as long as the stream itself is kept: all trainings of the process share them.
@dataclass(frozen=True, slots=True)
class Resident:
    """Frames to gather from.

    Attributes:
        layers: Per layer (frames, features), as stored.
        content: (frames,) bool, on the same device.
        special: Per utterance whether any of its frames is no content, (utterances,) bool.
        files: Those of the layers that lie on the disk and not on a card.
    """

    layers: tuple[Tensor, ...]
    content: Tensor
    special: NDArray[np.bool_]
    files: tuple[OnDisk, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.content.device


_KEPT: "WeakKeyDictionary[StreamFrames, dict[torch.device, Resident]]" = WeakKeyDictionary()


def resident(stream: StreamFrames, device: torch.device) -> Resident:
    """The frames of a stream, on the device if they fit, else on the host; made once."""
    kept = _KEPT.setdefault(stream, {})
    if device not in kept:
        host = [torch.from_numpy(np.asarray(layer)) for layer in stream.layers]
        place = device if fits(sum(layer.nbytes for layer in host), device) else torch.device("cpu")
        marks = np.asarray(stream.content)
        passed = np.append(0, np.cumsum(~marks))
        special = passed[stream.offsets[1:]] > passed[stream.offsets[:-1]]
        layers = tuple(layer.to(place) for layer in host)
        files = on_disk(stream.layers) if place.type == "cpu" else ()
        kept[device] = Resident(layers, torch.from_numpy(marks).to(place), special, files)
    return kept[device]


def fits(size: int, device: torch.device, free: int | None = None) -> bool:
    """Whether a card has room for so many bytes beside its work; on the host they lie already.

    Args:
        size: Bytes of the frames.
        device: Where they are to lie.
        free: Bytes that are free there; None: ask the card.
    """
    if device.type != "cuda" or (free is None and not torch.cuda.is_available()):
        return True
    return size <= ROOM * (torch.cuda.mem_get_info(device)[0] if free is None else free)


# Layers that lie on the disk. The system guesses what to read ahead: for rows drawn at random many times too much on some
# machines, and a page at a time on others. It is told instead, one batch ahead.
def on_disk(layers: Sequence[NDArray[Any]]) -> tuple[OnDisk, ...]:
    """Those of the layers that are whole mapped files, which from now on are read as they are asked for alone."""
    if not hasattr(mmap, "MADV_RANDOM"):
        return ()
    files: list[OnDisk] = []
    for layer in layers:
        if isinstance(layer, np.memmap) and isinstance(layer.base, mmap.mmap):
            layer.base.madvise(mmap.MADV_RANDOM)
            files.append((layer.base, layer.shape[1] * layer.itemsize))
    return tuple(files)


def read_ahead(files: Sequence[OnDisk], offsets: Rows, rows: Rows) -> None:
    """Asks the disk for the frames of some utterances, and does not wait for them.

    Args:
        files: From ``on_disk``.
        offsets: First frame of each utterance, (utterances + 1,).
        rows: Utterances.
    """
    for mapped, width in files:
        for begin, size in pages(offsets, rows, width):
            mapped.madvise(mmap.MADV_WILLNEED, begin, size)


def pages(offsets: Rows, rows: Rows, width: int) -> list[tuple[int, int]]:
    """First byte, on the border of a page, and number of bytes of the utterances that have frames of ``width`` bytes."""
    starts, ends = offsets[rows] * width, offsets[rows + 1] * width
    return [
        (start - start % mmap.PAGESIZE, end - start + start % mmap.PAGESIZE)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        if end > start
    ]
