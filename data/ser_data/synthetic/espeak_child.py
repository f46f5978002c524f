"""The child process that holds libespeak-ng: `python -m ser_data.synthetic.espeak_child LIBRARY DATA`. Never imported.

libespeak-ng is GPL-3, so nothing of it is loaded into a process that runs our code; the two talk over a pipe
(`ser_base.child`). Question: text, voice, rate, volume, pitch, range; answer: rate in Hz, and 16-bit mono samples.

Source of the calls: `espeak-ng/speak_lib.h` of espeak-ng 1.52.
"""

import ctypes
import os
import sys
from typing import Any

from ser_base.child import Answer, serve

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: the callback is done when espeak_Synth returns
UTF8 = 1
CHARACTERS = 1
PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}
LONGEST = 120  # seconds of speech per question

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Engine:
    """One initialised libespeak-ng."""

    def __init__(self, library: str, data: str) -> None:
        self.library, self.data = ctypes.CDLL(library), data
        self.hertz: int = self.library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), 0)
        if self.hertz <= 0:
            raise SystemExit(f"espeak-ng does not start with {data}")
        self.samples = bytearray()
        self.callback = _Callback(self._heard)  # kept: the library only holds a pointer
        self.library.espeak_SetSynthCallback(self.callback)

    def _heard(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self.samples += ctypes.string_at(samples, 2 * count)
        return int(len(self.samples) > 2 * LONGEST * self.hertz)  # 1 stops the synthesis

    def answer(self, question: dict[str, Any]) -> Answer:
        """Speaks in a fork: the library carries state from line to line, and each line shall sound as if it were the first."""
        reader, writer = os.pipe()
        worker = os.fork()
        if not worker:
            try:
                os.close(reader)
                with os.fdopen(writer, "wb") as pipe:
                    pipe.write(self._spoken(question))
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            samples = pipe.read()
        os.waitpid(worker, 0)
        return ({"rate": self.hertz} if samples else {"error": f"espeak-ng has nothing to say to {question}"}), samples

    def _spoken(self, question: dict[str, Any]) -> bytes:
        if hasattr(self.library, "espeak_ng_SetRandSeed"):  # 1.52
            self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        _, _, variant = question["voice"].partition("+")
        # The library itself passes over a variant that it does not have.
        has_variant = not variant or os.path.isfile(os.path.join(self.data, "voices", "!v", variant))
        if not has_variant or self.library.espeak_SetVoiceByName(question["voice"].encode()):
            return b""
        for name, code in PARAMETERS.items():
            self.library.espeak_SetParameter(code, int(question[name]), 0)
        text = question["text"].encode()
        self.library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, CHARACTERS, 0, UTF8, None, None)
        self.library.espeak_Synchronize()
        return bytes(self.samples)


if __name__ == "__main__":
    serve(Engine(sys.argv[1], sys.argv[2]).answer)
