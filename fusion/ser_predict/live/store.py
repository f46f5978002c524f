"""``--save DIR``: sessions as WAV and JSON lines. Without it, nothing of a session outlives its connection."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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

    def line(self, told: dict[str, Any]) -> None:
        """What the page was told."""
        if self._lines is not None:
            self._lines.write(json.dumps(told, ensure_ascii=False) + "\n")
            self._lines.flush()

    def close(self) -> None:
        """Completes the files."""
        for one in (self._audio, self._lines):
            if one is not None:
                one.close()


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
