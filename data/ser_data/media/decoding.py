"""Decoding audio in a child process that a poison file may kill or hang without harm to the run (`ser_data.media.isolated`).

The child loads soundfile and numpy but no torch (start about 0.2 s), and hands back mono samples at the file's own rate,
which the parent resamples. Cost beside `load_audio`: about 0.7 ms per utterance of 4 s.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_data.media.audio import LIMITS, AudioError, AudioInfo, Limits, decode, probe_audio, to_rate
from ser_data.media.isolated import Isolated, Outcome, serve_files


class IsolatedDecoder(Isolated):
    """`load_audio` with the decoder in a child process. A context manager; threads wait for each other.

    >>> with IsolatedDecoder() as decoder:
    ...     samples = decoder.load("speech.flac", rate=16_000)
    """

    module = "ser_data.media.decoding"
    error = AudioError

    def __init__(self, timeout: float = 60.0, limits: Limits = LIMITS) -> None:
        """Starts nothing yet.

        Args:
            timeout: Seconds of wall time, and of CPU time, that one file may take.
            limits: What is accepted of a file.
        """
        super().__init__(timeout)
        self.limits = limits

    def load(
        self, path: str | Path, rate: int = 16_000, start: float | None = None, end: float | None = None
    ) -> NDArray[np.float32]:
        """As `ser_data.media.audio.load_audio`, with the further reasons `decoder_crash` and `decoder_hang`."""
        samples, source = self.decode(path, start, end)
        return to_rate(path, samples, source, rate)

    def decode(
        self, path: str | Path, start: float | None = None, end: float | None = None
    ) -> tuple[NDArray[np.float32], int]:
        """As `ser_data.media.audio.decode`: (float32 (samples,), rate in Hz)."""
        head, data = self._ask(path, {"limits": asdict(self.limits), "start": start, "end": end})
        return np.frombuffer(data, np.float32), head["rate"]

    def probe(self, path: str | Path) -> AudioInfo:
        """As `ser_data.media.audio.probe_audio`: opening a file already runs its decoder's code (an mp3's is scanned whole)."""
        return AudioInfo(**self._ask(path, {"limits": asdict(self.limits), "probe": True})[0]["info"])


def _answer(path: str, question: dict[str, Any]) -> Outcome:
    limits = Limits(**question["limits"])
    if question.get("probe"):
        return {"info": asdict(probe_audio(path, limits))}, b""
    samples, rate = decode(path, question["start"], question["end"], limits)
    return {"rate": rate}, samples.view(np.uint8).data


if __name__ == "__main__":
    import soundfile  # noqa: F401  # not at the first file's expense

    serve_files(_answer)
