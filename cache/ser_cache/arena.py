"""A whole entry in read-only memory that any number of worker processes share.

The memory is an anonymous file (memfd): it needs no space in /dev/shm, is sealed against writing once it is filled, and
the kernel frees it when the last process that maps it is gone, also after SIGKILL. A worker finds it through
``/proc/PID/fd``, so the process that loaded it must be alive (and of the same user) when the worker attaches; later it
need not.
"""

import fcntl
import json
import mmap
import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ser_cache.errors import ArenaGone, MissingRow
from ser_cache.ragged import offsets_of

_PAGE = 4096
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE
_F_ADD_SEALS = 1033


@dataclass(frozen=True, slots=True)
class ArenaHandle:
    """Where an arena is; small, and can be pickled.

    Attributes:
        path: ``/proc/PID/fd/N`` of the process that loaded it.
        token: random text that the arena begins with, so that another file under a reused number is noticed.
        size: bytes.
    """

    path: str
    token: str
    size: int


class Arena:
    """Rows of an entry in shared memory.

    Attributes:
        ids: in the order of `values`.
        values: ``(total frames, features)``, read-only.
        offsets: ``(rows + 1,)`` int64.
        special: ``(total frames,)`` bool, or None where no row has special tokens.
        handle: to be sent to a worker, which calls ``Arena.attach(handle)``.
    """

    def __init__(self, memory: mmap.mmap, handle: ArenaHandle, descriptor: int | None) -> None:
        self._memory, self.handle, self._descriptor = memory, handle, descriptor
        length = int.from_bytes(memory[:8], "little")
        head = json.loads(memory[8 : 8 + length])
        if head["token"] != handle.token:
            raise ArenaGone(handle.path, "is another one")
        self.ids: tuple[str, ...] = tuple(head["ids"])
        rows, (frames, features) = len(self.ids), head["shape"]
        parts = head["parts"]
        self.values: NDArray[Any] = np.frombuffer(
            memory, dtype=head["dtype"], count=frames * features, offset=parts["values"]
        ).reshape(frames, features)
        self.offsets: NDArray[np.int64] = np.frombuffer(memory, np.int64, rows + 1, parts["offsets"])
        self.special: NDArray[np.bool_] | None = (
            np.frombuffer(memory, np.bool_, frames, parts["special"]) if head["special"] else None
        )
        self._position = {name: index for index, name in enumerate(self.ids)}
        self._edges: list[int] = self.offsets.tolist()

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, utterance: object) -> bool:
        return utterance in self._position

    def __getitem__(self, utterance: str) -> NDArray[Any]:
        """Read-only view of one utterance, ``(frames, features)``."""
        index = self._position.get(utterance)
        if index is None:
            raise MissingRow("this arena", (utterance,), 1)
        return self.values[self._edges[index] : self._edges[index + 1]]

    @classmethod
    def load(cls, entry: Any, ids: Sequence[str]) -> Self:
        """Copies ``ids`` of an entry into new shared memory; used by `Entry.arena`."""
        lengths = entry.lengths(ids)
        offsets = offsets_of(lengths)
        frames, features = int(offsets[-1]), entry.spec.features
        masks = [entry.special(name) for name in ids]
        has_special = any(mask is not None for mask in masks)
        token = uuid.uuid4().hex
        parts = {"offsets": 0, "special": 0, "values": 0}
        head: dict[str, Any] = {
            "token": token,
            "ids": list(ids),
            "shape": [frames, features],
            "dtype": entry.dtype.str,
            "special": has_special,
            "parts": parts,
        }
        # numbers in parts grow by some digits; 200 bytes leave room for them
        place = _PAGE * -(-(len(json.dumps(head)) + 200) // _PAGE)
        for name, size in (
            ("offsets", offsets.nbytes),
            ("special", frames),
            ("values", frames * features * entry.dtype.itemsize),
        ):
            parts[name] = place
            place += _PAGE * -(-size // _PAGE)
        descriptor = _anonymous(place)
        with mmap.mmap(descriptor, place) as memory:
            text = json.dumps(head).encode()
            memory[:8] = len(text).to_bytes(8, "little")
            memory[8 : 8 + len(text)] = text
            memory[parts["offsets"] : parts["offsets"] + offsets.nbytes] = offsets.tobytes()
            if has_special:
                flags = np.frombuffer(memory, np.bool_, frames, parts["special"])
                for mask, start, stop in zip(masks, offsets[:-1], offsets[1:], strict=True):
                    flags[start:stop] = False if mask is None else mask
                del flags
        edges = (parts["values"] + offsets * (features * entry.dtype.itemsize)).tolist()
        for number, view in entry.views(ids):
            # pwrite instead of a copy into a map: no page faults, which would double the time
            _write_all(descriptor, np.ascontiguousarray(view), edges[number])
        if hasattr(os, "memfd_create"):
            fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEALS)
        handle = ArenaHandle(f"/proc/{os.getpid()}/fd/{descriptor}", token, place)
        return cls(mmap.mmap(descriptor, place, prot=mmap.PROT_READ), handle, descriptor)

    @classmethod
    def attach(cls, handle: ArenaHandle) -> Self:
        """Maps an arena that another process loaded; nothing is copied."""
        try:
            descriptor = os.open(handle.path, os.O_RDONLY)
        except OSError as error:
            raise ArenaGone(handle.path, f"cannot be mapped ({error.strerror})") from error
        try:
            if os.fstat(descriptor).st_size != handle.size:
                raise ArenaGone(handle.path, "is another one")
            memory = mmap.mmap(descriptor, handle.size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return cls(memory, handle, None)

    def close(self) -> None:
        """Lets go of the descriptor, so that no further worker can attach; views stay valid."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()


def _write_all(descriptor: int, values: NDArray[Any], place: int) -> None:
    left = values.reshape(-1).view(np.uint8).data
    while left:
        count = os.pwrite(descriptor, left, place)
        left, place = left[count:], place + count


def _anonymous(size: int) -> int:
    """Descriptor of ``size`` bytes that belong to no name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("ser-cache-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:  # not Linux: an unlinked file; only forked workers inherit it
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
