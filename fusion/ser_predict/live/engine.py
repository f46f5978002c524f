"""One thread that computes, for all connections in turn: windows of streams, and uploaded files."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_data.media.audio import Limits, quiet
from ser_data.media.isolated import IsolatedDecoder
from ser_data.media.resampling import resample
from ser_predict.errors import PredictError
from ser_predict.recordings.pieces import Piece

if TYPE_CHECKING:
    from ser_predict.recordings.predictor import Predictor


# The audio of one connection, cut into windows as it comes; holds one window of samples and never more.
LOWEST_RATE, HIGHEST_RATE = 8_000, 96_000
"""Hz of a microphone that are accepted."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window that is due.

    Attributes:
        start: First second, of the stream.
        end: Last second.
        samples: int16 (samples,) at the stream's rate.
        heard: ``time.monotonic()`` when its last sample came.
        skipped: Windows that were due since the last one taken and will not be computed.
    """

    start: float
    end: float
    samples: NDArray[np.int16]
    heard: float
    skipped: int


class Stream:
    """Samples in, windows out; always the newest: what could not be computed in time is skipped and counted.

    Args:
        rate: Samples per second, in Hz.
        window: Seconds of a window.
        hop: Seconds of new audio from one window to the next.
        first: Seconds after which the first, shorter window is due.
    """

    def __init__(self, rate: int, window: float, hop: float, first: float) -> None:
        self.rate = rate
        self._kept = np.zeros(round(window * rate), dtype=np.int16)
        self._hop = max(1, round(hop * rate))
        self._next = max(1, min(round(first * rate), len(self._kept)))
        self._heard, self._at, self._taken = 0, monotonic(), 0

    @property
    def seconds(self) -> float:
        """Of audio that came, in all."""
        return self._heard / self.rate

    @property
    def due(self) -> bool:
        """Whether a window can be taken."""
        return self._heard >= self._next

    def add(self, pcm: bytes) -> None:
        """Takes 16-bit little-endian mono samples; an odd last byte is left out."""
        new = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2")
        self._heard += len(new)
        self._at = monotonic()
        new = new[-len(self._kept) :]
        if len(new):
            self._kept[: -len(new)] = self._kept[len(new) :]
            self._kept[-len(new) :] = new

    def take(self) -> Window:
        """The window that ends with the newest sample."""
        missed = max(0, self._heard - self._next) // self._hop
        self._next += (missed + 1) * self._hop
        return self._window(missed)

    def rest(self, shortest: float) -> Window | None:
        """After the last sample: the last window, if it holds something new and at least ``shortest`` seconds."""
        if self._heard == self._taken or self._heard < shortest * self.rate:
            return None
        return self._window(0)

    def _window(self, skipped: int) -> Window:
        count = min(self._heard, len(self._kept))
        self._taken = self._heard
        samples = self._kept[len(self._kept) - count :].copy()
        return Window((self._heard - count) / self.rate, self._heard / self.rate, samples, self._at, skipped)


LONGEST_UPLOAD = 600.0
"""Seconds of an uploaded recording."""

BARS = 400
"""Values of an uploaded recording's outline."""

STREAM = "microphone"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An uploaded recording, decoded.

    Attributes:
        samples: float32 (samples,) at the heads' rate.
        seconds: Its length.
        outline: Largest absolute value in each of at most ``BARS`` stretches, 0 to 1.
    """

    samples: NDArray[np.float32]
    seconds: float
    outline: list[float]


class Engine:
    """A predictor behind one thread, so that torch serves one window at a time and connections take turns.

    Args:
        predictor: Whose heads answer.
        hop: Seconds between the windows of a stream.

    Attributes:
        wordless: Slug of the row that answered while warming up, when there were no words; None before.
    """

    def __init__(self, predictor: "Predictor", hop: float) -> None:
        self.predictor = predictor
        self.hop = hop
        self.wordless: str | None = None
        self._worker = ThreadPoolExecutor(1, "heads")
        self._reader = ThreadPoolExecutor(1, "decoder")
        self._decoder = IsolatedDecoder(
            timeout=30.0, limits=Limits(longest=LONGEST_UPLOAD, file_bytes=1 << 30, channel=predictor.channel)
        )

    def warm(self) -> str | None:
        """Loads the weights; returns why nothing can be predicted from speech alone, or None."""
        rate = self.predictor.rate
        noise = np.random.default_rng(0).normal(0, 0.05, 2 * rate).astype(np.float32)
        (line,) = self.predictor.predict_pieces([Piece(STREAM, 0.0, 2.0, noise)])
        self.wordless = line.row
        return line.error

    async def window(self, window: Window, rate: int) -> dict[str, Any]:
        """What the page shows of one window of a stream."""
        return await self._turn(self._window, window, rate)

    async def decode(self, path: Path) -> Uploaded:
        """An uploaded file; an ``AudioError`` says what is wrong with it."""
        loop = asyncio.get_running_loop()
        samples = await loop.run_in_executor(self._reader, self._decoder.load, path, self.predictor.rate)
        stretches = np.array_split(np.abs(samples), min(BARS, len(samples)))
        outline = [round(min(1.0, float(part.max())), 3) for part in stretches]
        return Uploaded(samples, len(samples) / self.predictor.rate, outline)

    async def answers(self, name: str, upload: Uploaded) -> AsyncIterator[dict[str, Any]]:
        """Window after window of an uploaded recording; other connections have their turn in between."""
        for piece in await self._turn(self.predictor.pieces, name, upload.samples):
            yield await self._turn(self._answer, piece)

    async def _turn(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, partial(function, *arguments))

    def _window(self, window: Window, rate: int) -> dict[str, Any]:
        heard = (window.samples / np.float32(32_768)).astype(np.float32)
        samples, find = resample(heard, rate, self.predictor.rate), self.predictor.detector
        piece = Piece(STREAM, window.start, window.end, samples, window=True)
        return self._answer(piece, speech=find is None or bool(find([samples], self.predictor.rate)))

    def _answer(self, piece: Piece, *, speech: bool = True) -> dict[str, Any]:
        began = monotonic()
        samples = piece.samples
        answer: dict[str, Any] = {"type": "window", "start": round(piece.start, 3), "end": round(piece.end or 0.0, 3)}
        if not speech or (samples is not None and quiet(samples)):  # no head is asked
            return answer | {"quiet": True}
        try:
            (line,) = self.predictor.predict_pieces([piece])
        except PredictError as error:
            return answer | {"error": str(error).splitlines()[0]}
        return answer | {
            "label": line.label,
            "best": line.best,
            "confidence": line.confidence,
            "posteriors": line.posteriors,
            "row": line.row,
            "text": line.text,
            "error": line.error,
            "computing": round(monotonic() - began, 4),
        }

    def close(self) -> None:
        """Ends the threads and the decoder."""
        for pool in (self._worker, self._reader):
            pool.shutdown(wait=False, cancel_futures=True)
        self._decoder.close()
