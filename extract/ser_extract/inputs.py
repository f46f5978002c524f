"""From manifest rows to items of a plan: what is encoded, under which hash, and what it will cost.

An audio item's hash is that of the file's bytes and the span; a text item's is that of the normalised text. An input that
cannot be read now gets a hash of its reason, so that the run lists it as failed and a later run, when the file is there,
sees a change and encodes it.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ser_cache import Item
from ser_data.utterance import Utterance
from ser_extract.encoders.base import Description, Modality

HASHING_THREADS = 4
UNREADABLE = "unreadable:"


@dataclass(frozen=True)
class Input:
    """One utterance's input of one modality.

    Attributes:
        item: For the plan.
        units: Samples at the encoder's rate (an estimate until decoded) or characters.
        seconds: Duration in seconds; 0 for text.
    """

    item: Item
    units: int
    seconds: float


def collect(
    utterances: Iterable[Utterance],
    modality: Modality,
    description: Description,
    tick: Callable[[], None] = lambda: None,
) -> list[Input]:
    """The inputs of all utterances, in their order; `tick` is called after each. Reads every audio file once."""
    results = []
    if modality == "text":
        for utterance in utterances:
            results.append(_text(utterance, description))
            tick()
        return results
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        for found in pool.map(lambda utterance: _audio(utterance, description), utterances):
            results.append(found)
            tick()
    return results


def _text(utterance: Utterance, description: Description) -> Input:
    from ser_data.text import text_hash

    text = utterance.text_normalised or ""
    item = Item(utterance.id, text_hash(text), description.cost(len(text)), description.frames(len(text)))
    return Input(item, len(text), 0.0)


def _audio(utterance: Utterance, description: Description) -> Input:
    from ser_data.audio import AudioError, audio_hash, probe_audio

    rate = description.rate or 16_000
    if utterance.path is None:
        return Input(Item(utterance.id, f"{UNREADABLE}missing", 0.0, 0), 0, 0.0)
    try:
        identity = audio_hash(utterance.path, utterance.start, utterance.end)
        if utterance.end is not None:
            seconds = utterance.end - (utterance.start or 0.0)
        else:
            seconds = max(probe_audio(utterance.path).duration - (utterance.start or 0.0), 0.0)
    except AudioError as error:
        return Input(Item(utterance.id, f"{UNREADABLE}{error.reason}", 0.0, 0), 0, 0.0)
    units = round(min(seconds, 1e6) * rate)
    return Input(Item(utterance.id, identity, description.cost(units), description.frames(units)), units, units / rate)
