"""A study as torch data sets: map-style (random access) and iterable (in storage order), with ragged collates.

What the collates give goes straight into a head: ``model(batch.streams)``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ser_fusion.errors import StreamMissing
from ser_fusion.frames.batches import Frames, Packed, pad

if TYPE_CHECKING:
    from ser_fusion.study.data import StudyData


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance.

    Attributes:
        id: Its id.
        target: Class number.
        frames: Stream -> (frames, features) float32.
        content: Stream -> (frames,) bool; False at special tokens.
    """

    id: str
    target: int
    frames: dict[str, Tensor]
    content: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class TorchBatch:
    """Several utterances.

    Attributes:
        ids: Their ids.
        targets: Class numbers, (batch,) int64.
        streams: What heads read: packed (sum of T, features), or padded (batch, longest T, features) with a mask.
    """

    ids: tuple[str, ...]
    targets: Tensor
    streams: dict[str, Frames]


def collate_packed(examples: Sequence[Example]) -> TorchBatch:
    """Utterance after utterance, no padding."""
    streams: dict[str, Frames] = {
        name: Packed(
            torch.cat([example.frames[name] for example in examples]),
            [len(example.frames[name]) for example in examples],
            torch.cat([example.content[name] for example in examples]),
        )
        for name in examples[0].frames
    }
    return TorchBatch(
        tuple(example.id for example in examples), torch.tensor([example.target for example in examples]), streams
    )


def collate_padded(examples: Sequence[Example]) -> TorchBatch:
    """Zeros behind shorter utterances, and a mask."""
    packed = collate_packed(examples)
    streams: dict[str, Frames] = {name: pad(f) for name, f in packed.streams.items() if isinstance(f, Packed)}
    return TorchBatch(packed.ids, packed.targets, streams)


class UtteranceDataset(Dataset[Example]):
    """Random access to utterances of a study; picklable, so ``DataLoader`` may use worker processes.

    Attributes:
        ids: Utterances in order.
        collate: For ``DataLoader(dataset, collate_fn=dataset.collate)``.
    """

    collate: Callable[[Sequence[Example]], TorchBatch] = staticmethod(collate_packed)

    def __init__(self, study: "StudyData", ids: Sequence[str], streams: Sequence[str]) -> None:
        self.ids = tuple(ids)
        self._entries = {name: study.streams[name] for name in streams}
        self._targets = study.targets[study.rows(self.ids)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        """The utterance at this place of ``ids``."""
        name = self.ids[index]
        frames, content = {}, {}
        for stream, entry in self._entries.items():
            values = np.asarray(entry.read(name), dtype=np.float32)
            special = entry.special(name) if entry.spec.frame_rate is None else None
            kept = np.ones(len(values), dtype=bool) if special is None or special.all() else ~special
            frames[stream], content[stream] = torch.from_numpy(values.copy()), torch.from_numpy(kept)
        return Example(name, int(self._targets[index]), frames, content)


class UtteranceStream(IterableDataset[Example]):
    """Utterances in the order of storage, shuffled within a buffer; worker processes share them.

    Args:
        dataset: The utterances to read.
        buffer: Number of utterances from which the next one is drawn; 1 keeps the order.
        seed: Seed of the draws; every pass has its own.
    """

    collate: Callable[[Sequence[Example]], TorchBatch] = staticmethod(collate_packed)

    def __init__(self, dataset: UtteranceDataset, buffer: int = 256, seed: int = 0) -> None:
        self._dataset, self._buffer, self._seed, self._pass = dataset, max(1, buffer), seed, 0

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Example]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        draw = np.random.default_rng([self._seed, self._pass, first])
        self._pass += 1
        held: list[int] = []
        for index in range(first, len(self._dataset), step):
            held.append(index)
            if len(held) >= self._buffer:
                yield self._dataset[held.pop(int(draw.integers(len(held))))]
        while held:
            yield self._dataset[held.pop(int(draw.integers(len(held))) if self._buffer > 1 else 0)]


def to_torch(
    study: "StudyData",
    *,
    fold: str | int | None = None,
    part: str = "train",
    streams: Sequence[str] | None = None,
    iterable: bool = False,
    buffer: int = 256,
    seed: int = 0,
) -> UtteranceDataset | UtteranceStream:
    """A data set of a study.

    Args:
        study: From ``open_study``.
        fold: Name or number of a fold; None for all utterances.
        part: ``train``, ``dev`` or ``test`` of that fold.
        streams: Streams to read; None for all.
        iterable: In storage order with a shuffle buffer, instead of random access.
        buffer: Size of that buffer, in utterances.
        seed: Of its draws.

    Raises:
        KeyError: No such fold or part.
        StreamMissing: No such stream.
    """
    wanted = tuple(streams or study.streams)
    for name in wanted:
        if name not in study.streams:
            raise StreamMissing("to_torch", f"the stream {name}", tuple(study.streams))
    dataset = UtteranceDataset(study, _ids(study, fold, part), wanted)
    return UtteranceStream(dataset, buffer, seed) if iterable else dataset


def _ids(study: "StudyData", fold: str | int | None, part: str) -> Sequence[str]:
    if fold is None:
        return list(study.table.index)
    folds = study.folds.folds
    chosen = folds[fold] if isinstance(fold, int) else next((other for other in folds if other.name == fold), None)
    if chosen is None or part not in ("train", "dev", "test"):
        raise KeyError(f"no part {part!r} of a fold {fold!r}; folds are {', '.join(other.name for other in folds)}")
    ids: NDArray[np.str_] | tuple[str, ...] = getattr(chosen, part)
    return list(ids)
