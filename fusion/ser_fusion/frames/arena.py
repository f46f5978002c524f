"""Memory that several processes read: written once by the parent, mapped by its spawned workers, gone with the parent.

On Linux it is anonymous memory (``memfd``): it does not depend on the size of /dev/shm, and a killed parent leaves nothing
behind. Elsewhere it is a temporary file. Frames are copied into it once; attaching costs nothing.
"""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.frames.features import Context, StreamFrames


@dataclass(frozen=True, slots=True)
class Block:
    """An array in shared memory: a path to map, and how to read it."""

    path: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(slots=True)
class Arena:
    """Allocates arrays that ``attach`` can find from another process."""

    _blocks: dict[int, tuple[Block, NDArray[Any]]] = field(default_factory=dict)
    _descriptors: list[int] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Zeros of this shape in shared memory."""
        dtype = np.dtype(dtype)
        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("ser-fuse")
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
        else:
            descriptor, path = tempfile.mkstemp(prefix="ser-fuse-")
            self._files.append(Path(path))
        self._descriptors.append(descriptor)
        os.ftruncate(descriptor, size)
        array: NDArray[Any] = np.memmap(path, dtype, "r+", shape=shape) if np.prod(shape) else np.zeros(shape, dtype)
        self._blocks[id(array)] = (Block(path, tuple(shape), dtype.str), array)
        return array

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
        return np.memmap(block.path, np.dtype(block.dtype), "c", shape=block.shape)

    layers, offsets, content, means, variances, rate, context = handle
    views = tuple(view(layer) for layer in layers)
    turns = context and Context(*(view(block) for block in context))
    return StreamFrames(views, view(offsets), view(content), view(means), view(variances), rate, turns)
