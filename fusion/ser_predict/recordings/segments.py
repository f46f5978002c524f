"""Finds segments of speech in a recording by energy or by Silero VAD, and writes timelines of their predictions.

The recording is read in blocks, so that memory stays bounded; only one number per 10 or 32 ms is kept of it.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ser_base.errors import PackageMissing, UnknownName
from ser_data.media.audio import AudioError, quiet
from ser_data.media.isolated import IsolatedDecoder
from ser_data.media.resampling import resample
from ser_predict.recordings.pieces import Piece, Prediction, Windowing, broken

Samples = NDArray[np.float32]
Spans = list[tuple[float, float]]
"""Start and end of segments in seconds, ascending."""
Detector = Callable[[Iterable[Samples], int], Spans]
"""From the blocks of a recording and their samples per second to its segments of speech."""
Tell = Callable[[float, float], None]
"""Called with the seconds of a recording that are read, and all of them."""

FRAME = 0.01
"""Seconds of a frame."""
BLOCK = 60.0
"""Seconds of audio that are in memory at a time."""
PAUSE = 0.4
"""Seconds; a shorter pause does not end a segment."""
SHORTEST = 0.2
"""Seconds; a shorter sound is a click and not speech."""
FLOOR = -80.0
"""dBFS; quieter frames count as this loud."""
BEGINS, LASTS = 0.4, 0.2
"""Where a segment begins, and down to where it lasts: shares of the range from the noise to loud speech, in dB."""
NARROW = 12.0
"""dB; a recording whose levels lie closer than this has no pauses to find."""
SILERO_RATE, SILERO_FRAME = 16_000, 512
"""What Silero VAD hears: samples per second, and samples of a frame."""
SILERO_BEGINS, SILERO_LASTS = 0.5, 0.35
"""Its own defaults: the probability at which speech begins, and down to which it lasts."""


def blocks_of(
    decoder: IsolatedDecoder, file: str, rate: int, tell: Tell = lambda read, whole: None
) -> Iterator[Samples]:
    """Yields a recording in blocks of samples; digital silence is zeros.

    Raises:
        AudioError: The recording cannot be decoded.
    """
    duration = decoder.probe(file).duration
    blocks = max(1, math.ceil(duration / BLOCK - 0.01))  # the last one may be a little longer
    for number in range(blocks):
        start, end = number * BLOCK, None if number == blocks - 1 else (number + 1) * BLOCK
        try:
            samples = decoder.load(file, rate, start, end)
        except AudioError as error:
            if error.reason != "silent":
                raise
            samples = np.zeros(round(((end or duration) - start) * rate), np.float32)
        yield samples
        tell(min(duration, end or duration), duration)


def levels(decoder: IsolatedDecoder, file: str, rate: int) -> NDArray[np.float64]:
    """Returns the level of each frame of a recording in dBFS.

    Raises:
        AudioError: The recording cannot be decoded.
    """
    return np.concatenate([levels_of(block, rate) for block in blocks_of(decoder, file, rate)])


def levels_of(samples: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """Returns the level of each frame of some samples in dBFS; the rest behind the last whole frame is left out."""
    length = round(FRAME * rate)
    frames = samples[: len(samples) // length * length].reshape(-1, length).astype(np.float64)
    return np.maximum(10 * np.log10(np.maximum((frames**2).mean(axis=1), 1e-12)), FLOOR)


def segments(level: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Returns start and end of each segment of speech, in seconds, ascending.

    Args:
        level: dBFS of each frame. The noise is the level that a tenth of the frames stay below; loud speech is the level
            that a tenth exceed.
    """
    if not len(level):
        return []
    noise, loud = np.percentile(level, [10, 90])
    if loud - noise < NARROW:
        return [(0.0, round(len(level) * FRAME, 6))]
    begins, lasts = (noise + share * (loud - noise) for share in (BEGINS, LASTS))
    return _spans(level, begins, lasts, FRAME)


def _spans(values: NDArray[np.float64], begins: float, lasts: float, frame: float) -> Spans:
    """Finds stretches of frames above ``lasts`` that reach ``begins``, joined over short pauses, without clicks."""
    runs = [run for run in _runs(values > lasts) if values[slice(*run)].max() > begins]
    joined: list[list[int]] = []
    for first, last in runs:
        if joined and (first - joined[-1][1]) * frame < PAUSE:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    return [(round(a * frame, 6), round(b * frame, 6)) for a, b in joined if (b - a) * frame >= SHORTEST]


def _runs(inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Returns the first frame of each stretch of True, and the first frame behind it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def by_energy(blocks: Iterable[Samples], rate: int) -> Spans:
    """Finds speech by its level, relative to the noise and to the loud speech of the same recording."""
    return segments(np.concatenate([levels_of(block, rate) for block in blocks]))


def by_silero(blocks: Iterable[Samples], rate: int) -> Spans:
    """Finds speech by Silero VAD (MIT licence; its package carries its weights, nothing is fetched)."""
    import torch

    model, rest, probabilities = _silero(), np.zeros(0, np.float32), list[float]()
    model.reset_states()
    with torch.inference_mode():
        for block in blocks:
            samples = np.concatenate([rest, resample(block, rate, SILERO_RATE)])
            whole = len(samples) // SILERO_FRAME * SILERO_FRAME
            frames, rest = torch.from_numpy(samples[:whole].reshape(-1, SILERO_FRAME)), samples[whole:]
            probabilities += [float(model(frame, SILERO_RATE)) for frame in frames]
    return _spans(np.array(probabilities), SILERO_BEGINS, SILERO_LASTS, SILERO_FRAME / SILERO_RATE)


@cache
def _silero() -> Any:
    import torch

    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    with warnings.catch_warnings(action="ignore"):  # of the loader that its release calls
        model = load_silero_vad()
    torch.set_num_threads(threads)  # its import sets their number to one
    return model


DETECTORS: dict[str, Detector] = {"energy": by_energy, "silero": by_silero}
"""The detectors of speech by their names."""


def detector(name: str) -> Detector:
    """Returns the detector of speech of this name.

    Raises:
        UnknownName: There is none of this name.
        PackageMissing: Its package is not installed.
    """
    if name not in DETECTORS:
        raise UnknownName("voice activity detector", name, tuple(DETECTORS))
    if name == "silero" and find_spec("silero_vad") is None:
        raise PackageMissing("--vad silero", "silero_vad", "vad")
    return DETECTORS[name]


def cut_samples(file: str, samples: Samples, rate: int, windowing: Windowing, find: Detector) -> list[Piece]:
    """Cuts a recording that is in memory at its pauses; without speech there is one piece that says so."""
    spans = _windows(find([samples], rate), windowing)
    parts = ((start, end, samples[round(start * rate) : round(end * rate)]) for start, end in spans)
    pieces = [Piece(file, a, b, part, window=True, error=quiet(part) or None) for a, b, part in parts]
    return pieces or [Piece(file, error=SPEECHLESS)]


SPEECHLESS = "it does not have a segment of speech"


def _windows(spans: Spans, windowing: Windowing) -> Spans:
    """Returns segments, and the windows of those that are longer than a long recording."""
    return [(a + start, a + end) for a, b in spans for start, end in windowing.cut(b - a)]


def cut_at_pauses(
    decoder: IsolatedDecoder,
    file: str,
    rate: int,
    windowing: Windowing,
    find: Detector = by_energy,
    tell: Tell = lambda read, whole: None,
) -> tuple[int, Iterable[Piece]]:
    """Returns the number of pieces between the pauses of a recording, and the pieces; each is decoded when it is asked for.

    Raises:
        AudioError: The recording cannot be decoded.
    """
    spans = _windows(find(blocks_of(decoder, file, rate, tell), rate), windowing)

    def piece(start: float, end: float) -> Piece:
        try:
            samples = decoder.load(file, rate, start, end)
        except AudioError as error:
            return broken(file, error, start, end)
        return Piece(file, start, end, samples, window=True, error=quiet(samples) or None)

    if not spans:
        return 1, [Piece(file, error=SPEECHLESS)]
    return len(spans), (piece(*span) for span in spans)


# Timelines for Praat, ELAN and Audacity: one tier of emotions, and one of words where there are any.
Tier = list[tuple[float, float, str]]


def tiers(predictions: Sequence[Prediction]) -> dict[str, Tier]:
    """Makes the tiers ``emotion`` and ``words`` of one recording. Windows that overlap are cut in the middle of what they share."""
    lines = [line for line in predictions if line.error is None and line.end is not None]
    marks: dict[str, Tier] = {"emotion": [], "words": []}
    for number, line in enumerate(lines):
        start, end = line.start, line.end or line.start
        if number and (before := lines[number - 1].end or 0.0) > start:
            start = (start + before) / 2
        if number + 1 < len(lines) and lines[number + 1].start < end:
            end = (end + lines[number + 1].start) / 2
        marks["emotion"].append((start, end, str(line.label)))
        if line.text:
            marks["words"].append((start, end, line.text))
    return {name: tier for name, tier in marks.items() if tier}


def audacity(predictions: Sequence[Prediction]) -> str:
    """Writes a label track of Audacity: start, end and label, separated by tabs."""
    marks = tiers(predictions).get("emotion", [])
    return "".join(f"{start:.6f}\t{end:.6f}\t{label}\n" for start, end, label in marks)


def textgrid(predictions: Sequence[Prediction]) -> str:
    """Writes a TextGrid of Praat (long text format); pauses are intervals without text."""
    marks = tiers(predictions)
    last = max((line.end or 0.0 for line in predictions), default=0.0)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {last:.6f}"]
    lines += ["tiers? <exists>", f"size = {len(marks)}", "item []:"]
    for number, (name, tier) in enumerate(marks.items(), 1):
        whole = list(_with_pauses(tier, last))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
        ]
        lines += [f"        xmax = {last:.6f}", f"        intervals: size = {len(whole)}"]
        for place, (start, end, text) in enumerate(whole, 1):
            quoted = text.replace('"', '""')
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start:.6f}",
                f"            xmax = {end:.6f}",
            ]
            lines += [f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def _with_pauses(tier: Tier, last: float) -> Iterator[tuple[float, float, str]]:
    at = 0.0
    for start, end, text in tier:
        if start > at:
            yield at, start, ""
        yield start, end, text
        at = end
    if last > at:
        yield at, last, ""


def eaf(predictions: Sequence[Prediction]) -> str:
    """Writes an annotation document of ELAN (EAF 3.0), linked to the recording."""
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT", AUTHOR="", DATE="1970-01-01T00:00:00+00:00", FORMAT="3.0", VERSION="3.0"
    )
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if predictions:
        place = Path(predictions[0].file)
        address = place.resolve().as_uri()
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=address, MIME_TYPE=f"audio/{place.suffix[1:]}")
    order, marks, count = ElementTree.SubElement(root, "TIME_ORDER"), tiers(predictions), 0
    for name, tier in marks.items():
        own = ElementTree.SubElement(root, "TIER", LINGUISTIC_TYPE_REF="default-lt", TIER_ID=name)
        for start, end, text in tier:
            count += 1
            slots = {"TIME_SLOT_REF1": f"ts{2 * count - 1}", "TIME_SLOT_REF2": f"ts{2 * count}"}
            for slot, second in zip(slots.values(), (start, end), strict=True):
                ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(round(1000 * second)))
            outer = ElementTree.SubElement(own, "ANNOTATION")
            inner = ElementTree.SubElement(outer, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{count}", **slots})
            ElementTree.SubElement(inner, "ANNOTATION_VALUE").text = text
    ElementTree.SubElement(
        root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID="default-lt", TIME_ALIGNABLE="true", GRAPHIC_REFERENCES="false"
    )
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


TIMELINES = {".txt": audacity, ".TextGrid": textgrid, ".eaf": eaf}
"""Suffix of ``--save`` -> the text of one recording's timeline."""
