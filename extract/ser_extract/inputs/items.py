"""From manifest rows to items of a plan: what is encoded, under which hash, and what it will cost.

An audio item's hash is that of the file's bytes and the span, a video item's that of bytes, span and crop, a text item's that
of the normalised text. An utterance without a video is no failure: its row has no frames, and its hash says so. An input that
cannot be read now gets a hash of its reason, so that the run lists it as failed and a later run, when the file is there,
sees a change and encodes it.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_cache import Item
from ser_data.manifest.columns import Utterance
from ser_data.media.video import frame_count
from ser_extract.encoders.base import Description, Modality

if TYPE_CHECKING:
    from ser_data.media.isolated import IsolatedDecoder

HASHING_THREADS = 4
UNREADABLE = "unreadable:"
NO_VIDEO = "none"
"""Input hash of an utterance that has no video."""


@dataclass(frozen=True)
class Input:
    """One utterance's input of one modality.

    Attributes:
        item: For the plan.
        units: Samples at the encoder's rate (an estimate until decoded), characters, or frames of video.
        seconds: Duration in seconds; 0 for text.
        unknown: Why nothing tells whether the recording is whole; empty where its header says how long it is.
    """

    item: Item
    units: int
    seconds: float
    unknown: str = ""


def collect(
    utterances: Iterable[Utterance],
    modality: Modality,
    description: Description,
    tick: Callable[[], None] = lambda: None,
) -> list[Input]:
    """The inputs of all utterances, in their order; `tick` is called after each. Reads every audio or video file once."""
    results = []
    if modality == "video":
        return _videos(list(utterances), description, tick)
    if modality == "text":
        for utterance in utterances:
            results.append(_text(utterance, description))
            tick()
        return results
    from ser_data.media.isolated import IsolatedDecoder

    with IsolatedDecoder() as decoder, ThreadPoolExecutor(HASHING_THREADS) as pool:
        for entry in pool.map(lambda utterance: _audio(utterance, description, decoder), utterances):
            results.append(entry)
            tick()
    return results


def _text(utterance: Utterance, description: Description) -> Input:
    from ser_data.manifest.text import text_hash

    text = utterance.text_normalised or ""
    item = Item(utterance.id, text_hash(text), description.cost(len(text)), description.frames(len(text)))
    return Input(item, len(text), 0.0)


def _audio(utterance: Utterance, description: Description, decoder: "IsolatedDecoder") -> Input:
    from ser_data.media.audio import AudioError, audio_hash, probe_audio
    from ser_data.media.av_audio import needs_av

    rate = description.rate or 16_000
    if utterance.path is None:
        return Input(Item(utterance.id, f"{UNREADABLE}missing", 0.0, 0), 0, 0.0)
    unknown = ""
    try:
        identity = audio_hash(utterance.path, utterance.start, utterance.end)
        if utterance.end is not None:
            seconds = utterance.end - (utterance.start or 0.0)
        else:
            probe = decoder.probe if needs_av(utterance.path) else probe_audio
            info = probe(utterance.path)
            seconds, unknown = max(info.duration - (utterance.start or 0.0), 0.0), info.unknown
    except AudioError as error:
        return Input(Item(utterance.id, f"{UNREADABLE}{error.reason}", 0.0, 0), 0, 0.0)
    units = round(min(seconds, 1e6) * rate)
    item = Item(utterance.id, identity, description.cost(units), description.frames(units))
    return Input(item, units, units / rate, unknown)


def _videos(utterances: list[Utterance], description: Description, tick: Callable[[], None]) -> list[Input]:
    from ser_data.media.isolated import IsolatedVideoDecoder
    from ser_data.media.video import VideoError, video_hash

    fps = description.frame_rate or 1.0

    def hashed(path: str) -> None:
        with suppress(VideoError):  # told per utterance, below
            video_hash(path)

    def video_input(utterance: Utterance, decoder: IsolatedVideoDecoder) -> Input:
        if utterance.video_path is None:
            return Input(Item(utterance.id, NO_VIDEO, 0.0, 0), 0, 0.0)
        start, end = utterance.video_span
        try:
            identity = video_hash(utterance.video_path, start, end, utterance.video_crop)
            if end is None:
                end = decoder.probe(utterance.video_path).duration
        except VideoError as error:
            return Input(Item(utterance.id, f"{UNREADABLE}{error.reason}", 0.0, 0), 0, 0.0)
        seconds = min(max(end - (start or 0.0), 0.0), 1e5)
        frames = frame_count(seconds, fps)
        return Input(
            Item(utterance.id, identity, description.cost(frames), description.frames(frames)), frames, seconds
        )

    # one file may hold the videos of hundreds of utterances: each is read once, by one thread
    files = dict.fromkeys(utterance.video_path for utterance in utterances)
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        list(pool.map(hashed, (path for path in files if path is not None)))
    results = []
    with IsolatedVideoDecoder() as decoder:
        for utterance in utterances:
            results.append(video_input(utterance, decoder))
            tick()
    return results
