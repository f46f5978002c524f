"""Lines of text to speech: `espeakng-loader`'s library in a child process, or else the command `espeak-ng`.

About 5 ms per second of speech. The same line gives the same samples with the same espeak-ng, independent of earlier lines.
"""

import importlib.util
import io
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_base.child import Child, ChildDied
from ser_data.errors import CorpusError

TIMEOUT = 60.0
"""Seconds that one line may take, the start of the child included."""

LONGEST_TEXT = 2_000
"""Characters of one line."""

LIBRARIES = ("libespeak-ng.so", "libespeak-ng.dylib", "espeak-ng.dll")


class SpeechError(CorpusError, OSError):
    """The synthesiser is missing, or it failed on a line."""

    what: str
    got = "speech synthesis failed: {what}."
    known = "It needs the package espeakng-loader, or the command espeak-ng (Debian: apt install espeak-ng)."
    next = "Run: pip install espeakng-loader==0.2.4"


@dataclass(frozen=True)
class Line:
    """What is said, and how.

    Attributes:
        text: English text, at most `LONGEST_TEXT` characters.
        voice: espeak-ng's voice and variant, e.g. `en-us+f3`.
        rate: Words per minute, 80 to 450.
        volume: 0 to 200, 100 is normal.
        pitch: 0 to 99, 50 is normal.
        range: Intonation, 0 (monotone) to 99, 50 is normal.
    """

    text: str
    voice: str = "en-us"
    rate: int = 175
    volume: int = 100
    pitch: int = 50
    range: int = 50

    def __post_init__(self) -> None:
        bounds = {"rate": (80, 450), "volume": (0, 200), "pitch": (0, 99), "range": (0, 99)}
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} {getattr(self, name)} is not within {low} to {high}")
        if not 0 < len(self.text) <= LONGEST_TEXT:
            raise ValueError(f"a line of {len(self.text):,} characters; 1 to {LONGEST_TEXT:,} can be spoken")


Speech = tuple[NDArray[np.float32], int]


def synthesise(lines: Iterable[Line]) -> Iterator[Speech]:
    """Each line's speech in order: (float32 (samples,) in -1..1, rate in Hz, 22,050 as a rule).

    Raises:
        SpeechError: Neither the package nor the command is there, or a line could not be spoken.
    """
    library = find_library()
    if library is not None:
        return _by_library(lines, *library)
    command = shutil.which("espeak-ng")
    if command is None:
        raise SpeechError("neither the package espeakng-loader nor the command espeak-ng is installed")
    return _by_command(lines, command)


def find_library() -> tuple[Path, Path] | None:
    """libespeak-ng and its data folder in the installed `espeakng-loader`, whose code is not run; None without it."""
    spec = importlib.util.find_spec("espeakng_loader")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for name in LIBRARIES:
            if (library := Path(place, name)).is_file():
                return library, Path(place, "espeak-ng-data")
    return None


def _by_library(lines: Iterable[Line], library: Path, data: Path) -> Iterator[Speech]:
    child = Child("ser_data.synthetic.espeak_child", [str(library), str(data)])
    try:
        for line in lines:
            try:
                head, samples = child.ask(asdict(line), TIMEOUT)
            except TimeoutError as error:
                raise SpeechError(f"espeak-ng did not finish {line.text!r} in {TIMEOUT:g} s") from error
            except ChildDied as error:
                raise SpeechError(f"espeak-ng ended with exit code {error.code} at {line.text!r}") from error
            if "error" in head:
                raise SpeechError(head["error"])
            yield np.frombuffer(samples, "<i2").astype(np.float32) / np.float32(32768), head["rate"]
    finally:
        child.close()


def _by_command(lines: Iterable[Line], command: str) -> Iterator[Speech]:
    import soundfile

    for line in lines:
        call = [command, "--stdin", "--stdout", "-b", "1", "-v", line.voice, "-s", str(line.rate)]
        call += ["-a", str(line.volume), "-p", str(line.pitch), "-P", str(line.range)]
        try:
            done = subprocess.run(call, input=line.text.encode(), capture_output=True, timeout=TIMEOUT, check=True)
            samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
        except subprocess.CalledProcessError as error:
            raise SpeechError(f"{command}: {error.stderr.decode(errors='replace').strip()[:200]}") from error
        except subprocess.TimeoutExpired as error:
            raise SpeechError(f"{command} did not finish {line.text!r} in {TIMEOUT:g} s") from error
        except RuntimeError as error:  # soundfile's
            raise SpeechError(f"{command} gave no audio for {line.text!r}") from error
        yield samples, int(rate)
