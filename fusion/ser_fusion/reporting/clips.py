"""Audio of single utterances as data URLs, for `--embed-audio`. The page then holds corpus content: mind its licence."""

import base64
import io
from collections.abc import Sequence

import pandas as pd

RATE = 16_000
SECONDS = 15.0  # longer utterances are cut
TOTAL = 12 * 2**20  # bytes of all clips together


def audio_clips(utterances: pd.DataFrame, ids: Sequence[str]) -> dict[str, str]:
    """Clips of these utterances as FLAC data URLs; what cannot be read, or would make the page too large, is left out.

    Args:
        utterances: index = id, columns `path`, and `start`, `end` in seconds.
        ids: which.
    """
    import soundfile

    from ser_data.media.audio import AudioError, Limits
    from ser_data.media.decoding import IsolatedDecoder

    clips: dict[str, str] = {}
    size = 0
    with IsolatedDecoder(limits=Limits(keep_truncated=True)) as decoder:
        for name in ids:
            path = utterances["path"].get(name) if "path" in utterances else None
            if not isinstance(path, str):
                continue
            start, end = (
                float(value) if column in utterances and pd.notna(value := utterances[column].get(name)) else None
                for column in ("start", "end")
            )
            try:
                samples = decoder.load(path, RATE, start=start, end=end)[: int(SECONDS * RATE)]
            except AudioError:
                continue
            buffer = io.BytesIO()
            soundfile.write(buffer, samples, RATE, format="FLAC", subtype="PCM_16")
            size += buffer.tell()
            if size > TOTAL:
                break
            clips[name] = "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return clips
