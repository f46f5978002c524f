"""Frames and small tables on their way to a device, and the frames that stay there for every batch to gather from."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_fusion.frames.features import StreamFrames

ROOM = 0.6
"""Share of a card's free memory that frames may take; the rest is for models and activations."""


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
    """

    layers: tuple[Tensor, ...]
    content: Tensor
    special: NDArray[np.bool_]

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
        kept[device] = Resident(layers, torch.from_numpy(marks).to(place), special)
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
