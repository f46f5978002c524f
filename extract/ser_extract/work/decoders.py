"""The decoder processes of one worker: one on a CPU core, as many as keep it busy on a card."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from ser_data.media.isolated import IsolatedDecoder, IsolatedVideoDecoder

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """A decoder of sound and one of pictures; neither starts a process before it is asked."""

    sound: IsolatedDecoder
    pictures: IsolatedVideoDecoder


class Decoders:
    """So many decoders; each file is taken by one that is free.

    Args:
        count: How many.
        sound: Makes a decoder of sound.
        pictures: Makes a decoder of pictures.
    """

    def __init__(
        self, count: int, sound: Callable[[], IsolatedDecoder], pictures: Callable[[], IsolatedVideoDecoder]
    ) -> None:
        self._all = [Pair(sound(), pictures()) for _ in range(count)]
        self._free: SimpleQueue[Pair] = SimpleQueue()
        for pair in self._all:
            self._free.put(pair)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoder") if count > 1 else None

    def map(self, decode: Callable[[Pair, Any], T], items: Sequence[Any]) -> list[T]:
        """``decode`` with a free decoder for each item, in the order given; several at once."""
        if self._threads is None:
            return [self._with_free_pair(decode, item) for item in items]
        return list(self._threads.map(lambda item: self._with_free_pair(decode, item), items))

    def _with_free_pair(self, decode: Callable[[Pair, Any], T], item: Any) -> T:
        pair = self._free.get()
        try:
            return decode(pair, item)
        finally:
            self._free.put(pair)

    def close(self) -> None:
        """Ends them."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        for pair in self._all:
            pair.sound.close()
            pair.pictures.close()
