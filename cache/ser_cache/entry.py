"""The reader of one entry: random access, batches, scans, and the whole entry in shared memory.

Data are mapped, so several processes that read the same cache hold it in memory once; no handle is open that a fork
could break, and an entry can be pickled to a spawned worker, where it opens its shards again. Each utterance is compared
with its crc32c when it is first read (about 0.1 s per GB, once); ``verify_reads=False`` in `open_cache` leaves that
out.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ser_cache.containers.base import Frames, map_frames, open_data, read_special
from ser_cache.errors import Damaged, MissingRow, StaleEntry, WrongRows
from ser_cache.format.commit import Commit
from ser_cache.format.layout import commit_path
from ser_cache.format.ledger import Ledger, uncollected
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Failure, Ragged, offsets_of


class Entry:
    """A snapshot of one entry: the rows that were live when it was opened.

    Attributes:
        path: directory of the entry.
        spec: what it was computed from.
        ids: utterances with a live row, sorted.
        failures: id -> why there is no row.
        failure_hashes: id -> hash of the input that failed.
        input_hashes: id -> hash of the input its row was computed from.
        missing: ids that are planned and neither committed nor failed nor withdrawn.
        verify_reads: whether each utterance is checked when it is first read.

    Examples:
        >>> from ser_cache import open_cache
        >>> entry = open_cache("cache").select(modality="audio", layer=1)
        >>> len(entry), entry.ids[0], entry.spec.frame_rate
        (36, 'u00', 50.0)
        >>> batch = entry.gather(["u00", "u01"])  # one behind the other, without padding
        >>> batch.lengths.tolist() == [entry.frames("u00"), entry.frames("u01")]
        True
    """

    @uncollected()
    def __init__(self, path: Path, spec: EntrySpec, withdrawn: frozenset[str], verify_reads: bool = True) -> None:
        self.path, self.spec, self.verify_reads = path, spec, verify_reads
        ledger = Ledger.read(path, spec.fingerprint)
        wanted = ledger.wanted(withdrawn)
        rows = ledger.rows(wanted)
        failures = {name: failure for name, (failure, _) in ledger.failures(wanted).items() if name not in rows}
        self.ids: tuple[str, ...] = tuple(sorted(rows))
        complete = tuple(wanted) == self.ids  # then the table is there already
        self.input_hashes: Mapping[str, str] = wanted if complete else {name: wanted[name] for name in self.ids}
        self.failures: Mapping[str, Failure] = dict(sorted(failures.items()))
        self.failure_hashes: Mapping[str, str] = {name: wanted[name] for name in self.failures}
        self.missing: tuple[str, ...] = tuple(
            sorted(name for name in wanted if name not in rows and name not in failures)
        )
        self._commits: list[Commit] = [commit for _, commit in ledger.ordered()]
        self._place(rows)
        self._forget()

    def _place(self, rows: dict[str, int]) -> None:
        """Where each row lies: its commit, its first frame there and the one behind its last, and its checksum."""
        commits, count = self._commits, len(self.ids)
        first = offsets_of(np.array([len(commit.ids) for commit in commits], dtype=np.int64))
        frames = np.fromiter(chain.from_iterable(commit.frames for commit in commits), np.int64, first[-1])
        crc = np.fromiter(chain.from_iterable(commit.crc32c for commit in commits), np.int64, first[-1])
        row = np.fromiter(map(rows.__getitem__, self.ids), np.int64, count)
        shard = np.searchsorted(first, row, side="right") - 1
        for commit in map(commits.__getitem__, np.unique(shard)):
            commit.check_fits(self.spec, f"{self.path}/commits/{commit.generation:04d}/{commit.shard:08d}")
        edges = offsets_of(frames)
        start = edges[row] - edges[first[shard]]
        in_order = np.array_equal(row, np.arange(count))
        self._position = rows if in_order else dict(zip(self.ids, range(count), strict=True))
        # plain lists: reading one number from a list is far cheaper than from an array
        self._shard, self._start = shard.tolist(), start.tolist()
        self._stop, self._crc = (start + frames[row]).tolist(), crc[row].tolist()

    def _forget(self) -> None:
        self._frames: list[Frames | None] = [None] * len(self._commits)
        self._special: dict[int, NDArray[np.bool_] | None] = {}
        self._unchecked = bytearray(b"\1" * len(self.ids) if self.verify_reads else len(self.ids))

    def with_empty(self, ids: Iterable[str]) -> "Entry":
        """The same entry, in which these utterances have rows without frames; those that have rows keep them.

        For streams that an utterance may lack: what reads rows then needs no case of its own. Nothing is written.
        """
        other = copy.copy(self)
        added = [name for name in dict.fromkeys(ids) if name not in self]
        nothing, none = [0] * len(added), [-1] * len(added)
        other.ids = (*self.ids, *added)
        other._position = {name: index for index, name in enumerate(other.ids)}
        other._shard, other._start = [*self._shard, *none], [*self._start, *nothing]
        other._stop, other._crc = [*self._stop, *nothing], [*self._crc, *nothing]
        other._forget()
        return other

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("_frames", "_special", "_unchecked"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        return (
            f"Entry({self.address!r}, {len(self):,} utterances, {self.total_frames:,} frames of {self.spec.features})"
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, utterance: object) -> bool:
        return utterance in self._position

    @property
    def address(self) -> str:
        """Directory name of the entry."""
        return self.spec.address

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the declared inputs."""
        return self.spec.fingerprint

    @cached_property
    def total_frames(self) -> int:
        """Frames of all live rows."""
        return sum(self._stop) - sum(self._start)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return np.dtype(self.spec.dtype)

    def _index(self, utterance: str) -> int:
        try:
            return self._position[utterance]
        except KeyError:
            raise MissingRow(str(self.path), (utterance,), 1) from None

    def _indices(self, ids: Sequence[str]) -> list[int]:
        try:
            return [self._position[name] for name in ids]
        except KeyError:
            absent = tuple(name for name in ids if name not in self._position)
            raise MissingRow(str(self.path), absent, len(ids)) from None

    def _open(self, shard: int) -> Frames:
        commit = self._commits[shard]
        try:
            opened = open_data(self.path, commit)
        except Damaged as error:
            if not commit_path(self.path, commit.generation, commit.shard, commit.revision).exists():
                raise StaleEntry(str(self.path)) from error
            raise
        if shard not in self._special:
            self._special[shard] = read_special(opened, commit, self.path)
        frames, _ = map_frames(opened, commit)
        self._frames[shard] = frames
        return frames

    def _view(self, index: int) -> NDArray[np.floating]:
        """Frames of one row as they are mapped, checked on first use."""
        if self._shard[index] < 0:
            return np.empty((0, self.spec.features), self.dtype)
        frames = self._frames[self._shard[index]]
        if frames is None:
            frames = self._open(self._shard[index])
        view = frames[self._start[index] : self._stop[index]]
        if self._unchecked[index]:
            self._check(index, view)
        return view

    def _check(self, index: int, values: NDArray[np.floating]) -> None:
        if google_crc32c.value(values) != self._crc[index]:
            where = f"{self.path}/data/{self._commits[self._shard[index]].path}"
            raise Damaged(where, f"the checksum of utterance {self.ids[index]!r} does not fit its bytes")
        self._unchecked[index] = 0

    def __getitem__(self, utterance: str) -> NDArray[np.floating]:
        """Frames of one utterance, a new array ``(frames, features)``."""
        return self._view(self._index(utterance)).copy()

    def read(self, utterance: str, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Frames of one utterance.

        Args:
            utterance: its id.
            out: buffer ``(at least frames, features)`` of any floating dtype to copy into.

        Returns:
            ``(frames, features)``: the front of ``out``, or a new array.
        """
        index = self._position.get(utterance)
        if index is None:
            raise MissingRow(str(self.path), (utterance,), 1)
        view = self._view(index)
        if out is None:
            return view.copy()
        target = out[: len(view)]
        if target.shape != view.shape:
            raise WrongRows("out", f"it has shape {out.shape}, {utterance!r} needs {view.shape}")
        np.copyto(target, view, casting="same_kind")
        return target

    def frames(self, utterance: str) -> int:
        """Number of frames of one utterance; reads nothing."""
        index = self._index(utterance)
        return self._stop[index] - self._start[index]

    def lengths(self, ids: Sequence[str] | None = None) -> NDArray[np.int64]:
        """Frames of each utterance, ``(len(ids),)``; of all in the order of `ids` by default. Reads nothing."""
        indices = range(len(self.ids)) if ids is None else self._indices(ids)
        return np.fromiter((self._stop[each] - self._start[each] for each in indices), np.int64, len(indices))

    def environment(self, utterance: str) -> Mapping[str, Any]:
        """What may differ between equal rows, as the commit of this utterance recorded it; reads nothing."""
        shard = self._shard[self._index(utterance)]
        return self._commits[shard].environment if shard >= 0 else {}

    def special(self, utterance: str) -> NDArray[np.bool_] | None:
        """Mask of special tokens ``(frames,)``, or None where the shard has none."""
        index = self._index(utterance)
        shard = self._shard[index]
        if shard < 0:
            return None
        if shard not in self._special:
            self._open(shard)
        mask = self._special[shard]
        return None if mask is None else mask[self._start[index] : self._stop[index]].copy()

    def gather(self, ids: Sequence[str], out: NDArray[Any] | None = None) -> Ragged:
        """Several utterances one behind the other.

        Args:
            ids: in the order wanted; an id may come twice.
            out: buffer ``(at least total frames, features)`` of any floating dtype, to be used again for the next
                batch: fresh memory for each batch costs more than the copy.

        Returns:
            values (the front of ``out``, or a new array) and offsets.
        """
        indices = self._indices(ids)
        starts, stops = self._start, self._stop
        edges = [0]
        for index in indices:
            edges.append(edges[-1] + stops[index] - starts[index])
        if out is None:
            out = np.empty((edges[-1], self.spec.features), dtype=self.spec.dtype)
        elif out.ndim != 2 or out.shape[1] != self.spec.features or len(out) < edges[-1]:
            raise WrongRows("out", f"it has shape {out.shape}, the batch needs ({edges[-1]:,}, {self.spec.features})")
        for number, index in enumerate(indices):
            out[edges[number] : edges[number + 1]] = self._view(index)
        return Ragged(out[: edges[-1]], np.array(edges, dtype=np.int64))

    def views(self, ids: Sequence[str]) -> Iterator[tuple[int, NDArray[np.floating]]]:
        """(position in ``ids``, frames) of utterances in the order of the disk, checked.

        Nothing is copied where a shard is mapped.
        """
        indices = self._indices(ids)
        order = sorted(range(len(ids)), key=lambda each: (self._shard[indices[each]], self._start[indices[each]]))
        for number in order:
            yield number, self._view(indices[number])

    def scan(self) -> Iterator[tuple[str, NDArray[np.floating]]]:
        """Every utterance in the order of the disk; arrays are read-only views where the shard is mapped."""
        for number, view in self.views(self.ids):
            view.flags.writeable = False
            yield self.ids[number], view
