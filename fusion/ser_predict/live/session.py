"""One connection with a microphone: audio in, answers out, nothing grows.

Text frames are JSON: ``{"type": "start", "rate": 16000}`` first, ``{"type": "stop"}`` at the end. Binary frames between
them are 16-bit little-endian mono samples. Answers are JSON: ``ready``, ``window`` (one per window), ``done``, ``error``.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ser_predict.live.engine import HIGHEST_RATE, LOWEST_RATE, Engine, Stream
from ser_predict.recordings.pieces import SHORTEST_WINDOW

SILENT_FOR = 30.0
"""Seconds without a frame after which a connection is closed."""

LONGEST_SESSION = 3_600.0
"""Seconds of audio of one connection."""

SHORTEST_REST = 1.0
"""Seconds; a recording that stops earlier gets no answer."""


class Kept:
    """One session's folder: ``audio.wav`` (or the uploaded file) and ``windows.jsonl``; does nothing without a folder."""

    def __init__(self, folder: Path | None, rate: int | None) -> None:
        self._folder = folder
        self._audio: Any = None
        self._lines: Any = None
        if folder is None:
            return
        if rate is not None:
            import soundfile

            self._audio = soundfile.SoundFile(folder / "audio.wav", "w", rate, 1, "PCM_16")
        self._lines = (folder / "windows.jsonl").open("w", encoding="utf-8")

    def audio(self, pcm: bytes) -> None:
        """16-bit little-endian samples."""
        if self._audio is not None:
            self._audio.buffer_write(pcm[: len(pcm) // 2 * 2], dtype="int16")

    def file(self, path: Path) -> None:
        """An uploaded recording as it came."""
        if self._folder is not None:
            shutil.copyfile(path, self._folder / "upload")

    def line(self, answer: dict[str, Any]) -> None:
        """An answer as the page got it."""
        if self._lines is not None:
            self._lines.write(json.dumps(answer, ensure_ascii=False) + "\n")
            self._lines.flush()

    def close(self) -> None:
        """Completes the files."""
        for file in (self._audio, self._lines):
            if file is not None:
                file.close()


class Store:
    """Where sessions are kept, if they are.

    Args:
        folder: Of ``--save``; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._count = 0

    @contextmanager
    def session(self, rate: int | None = None) -> Iterator[Kept]:
        """A new session; ``rate`` (Hz) where it is a stream."""
        own = None
        if self.folder is not None:
            self._count += 1
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            own = self.folder / f"{stamp}-{os.getpid()}-{self._count}"
            own.mkdir(parents=True, mode=0o700)  # recordings of persons: not for other users of the machine
        kept = Kept(own, rate)
        try:
            yield kept
        finally:
            kept.close()


class BadFrame(Exception):
    """What a client sent is not of this protocol; the text is for the client."""


@dataclass(slots=True)
class _Talk:
    """What the two halves of a session share."""

    stream: Stream
    kept: Kept
    news: asyncio.Event
    over: bool = False


async def session(websocket: WebSocket, engine: Engine, store: Store) -> None:
    """Serves an accepted connection until it stops, disconnects, or breaks the protocol."""
    try:
        rate = await _start(websocket)
        window = engine.predictor.windowing.window
        stream = Stream(rate, window, engine.hop, min(window, SHORTEST_WINDOW))
        with store.session(rate) as kept:
            talk = _Talk(stream, kept, asyncio.Event())
            await websocket.send_json({"type": "ready", "window": window, "hop": engine.hop})
            async with asyncio.TaskGroup() as group:
                group.create_task(_answer(websocket, engine, talk))
                await _listen(websocket, talk)
        await websocket.send_json({"type": "done", "seconds": round(stream.seconds, 3)})
        await websocket.close(1000)
    except* (BadFrame, TimeoutError) as errors:
        first = errors.exceptions[0]
        await _refuse(websocket, str(first) or f"no audio came for {SILENT_FOR:g} s")
    except* WebSocketDisconnect:
        pass  # the client is gone


async def _start(websocket: WebSocket) -> int:
    first = await _frame(websocket)
    start = _read(first)
    rate = start.get("rate")
    if start.get("type") != "start" or not isinstance(rate, int) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise BadFrame(f"the first frame must be start with a rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    return rate


async def _listen(websocket: WebSocket, talk: _Talk) -> None:
    """Takes audio until the client stops."""
    while True:
        frame = await _frame(websocket)
        pcm = frame.get("bytes")
        if pcm is None:
            if _read(frame).get("type") != "stop":
                raise BadFrame("a text frame must be start or stop")
            break
        talk.stream.add(pcm)
        talk.kept.audio(pcm)
        talk.news.set()
        if talk.stream.seconds > LONGEST_SESSION:
            raise BadFrame(f"a session ends after {LONGEST_SESSION / 60:g} minutes; start another one")
    talk.over = True
    talk.news.set()


async def _answer(websocket: WebSocket, engine: Engine, talk: _Talk) -> None:
    """Computes the newest window whenever one is due, and once more at the end."""
    skipped = 0
    while True:
        await talk.news.wait()
        talk.news.clear()
        over = talk.over
        window = talk.stream.take() if talk.stream.due else talk.stream.rest(SHORTEST_REST) if over else None
        if window is not None:
            skipped += window.skipped
            answer = await engine.window(window, talk.stream.rate)
            answer |= {"waited": round(monotonic() - window.heard, 4), "skipped": skipped}
            talk.kept.line(answer)
            await websocket.send_json(answer)
        if over:
            return


async def _frame(websocket: WebSocket) -> dict[str, Any]:
    async with asyncio.timeout(SILENT_FOR):
        frame: dict[str, Any] = dict(await websocket.receive())
    if frame["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(frame.get("code", 1000))
    return frame


def _read(frame: dict[str, Any]) -> dict[str, Any]:
    try:
        content = json.loads(frame.get("text") or "")
    except (ValueError, RecursionError):  # also a number of thousands of digits, or brackets in thousands
        raise BadFrame("a text frame must be JSON") from None
    if not isinstance(content, dict):
        raise BadFrame("a text frame must be a JSON object")
    return content


def _open(websocket: WebSocket) -> bool:
    return (
        websocket.client_state is WebSocketState.CONNECTED and websocket.application_state is WebSocketState.CONNECTED
    )


async def _refuse(websocket: WebSocket, why: str) -> None:
    if _open(websocket):
        await websocket.send_json({"type": "error", "error": why})
        await websocket.close(1008)
