"""Runs an encoder that is one small class, your own or a set of hand-crafted features, as `ser extract` runs families.

The class is named by its path, `--encoder audio=package.module:Class`, or by the name of an entry point `ser.encoders` of an
installed package. Python imports only what the user types; a file of a checkpoint never names code.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Protocol

from ser_base.catalog import resolve
from ser_cache.format.spec import canonical
from ser_extract.encoders import ENCODERS, FEATURES
from ser_extract.encoders.base import (
    CORE_FLOPS,
    Description,
    Encoded,
    Engine,
    EngineOptions,
    Family,
    InputOptions,
    Modality,
    Refused,
    Windowing,
    first_line,
)
from ser_extract.encoders.source import Source, WeightFiles, file_hash, hash_bytes
from ser_extract.errors import EncoderBroken

if TYPE_CHECKING:
    import numpy as np

INSTALL = "Install its package, or put its folder on PYTHONPATH."
PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
SOUND = ("audio", "prosody")
"""Modalities of encoders that hear a waveform."""
FRAME_COST = 2e8
"""Operations of one frame, roughly: an unknown encoder is cut into shards like a small one."""
CHARACTERS = 4
"""Characters per token, roughly."""
EDGE = 2
"""Frames by which an encoder may differ from `(samples - shortest) * frame_rate / rate + 1`: borders that are padded or not."""
WINDOWS = 4
"""Steps of `shortest` that a window needs, so that two windows overlap by a quarter at most."""
PROTOCOL = "See ser_extract.Encoder in docs/guides/add-a-part.md; ser_extract.testing.check_encoder tests a class."


class Encoder(Protocol):
    """Describes an encoder of your own. Everything but `frames` is a class attribute: planning makes no instance.

    Attributes:
        name: Public name; part of the cache's address, as `lab/prosody`.
        modality: `audio` or `text`; `prosody` is a stream of its own beside that of the audio encoder.
        layers: Number of hidden states that `frames` gives; `--layer` counts them from 0.
        features: Width of a frame.
        identity: What makes the values: versions, settings, `Path`s of weight files (their bytes are hashed). It enters
            the fingerprint, so that features of two versions never meet in one cache.
        rate: Samples per second that `frames` wants, in Hz (sound).
        frame_rate: Frames per second (sound); None where `frames` gives one vector of the whole utterance.
        shortest: Fewest samples that give a frame (sound); below it an utterance is listed as `too_short`. Default 1.
        window: Most samples of one call (sound); longer recordings go in overlapping windows. Default: `--max-seconds`.

    Examples:
        >>> from ser_extract.encoders.prosody import Acoustic
        >>> Acoustic.modality, Acoustic.layers
        ('prosody', 1)
    """

    name: str
    modality: Modality
    layers: int
    features: int
    identity: Any

    def __init__(self, device: str) -> None:
        """Loads the weights on `cpu`, `cuda` or `cuda:0`; called once in each worker."""
        ...

    def frames(self, utterance: Any, /) -> Any:
        """Encodes one utterance; its result depends on nothing else.

        Args:
            utterance: Waveform `(samples,)` float32 at `rate`, or a normalised text of any length.

        Returns:
            Sound: `(layers, frames, features)`. Text: a pair of `(layers, tokens, features)` and `(tokens,)` bool, true
            at special tokens. The first token is what `--text-pooling cls` reads.
        """
        ...


def find_class(name: str) -> str | None:
    """Returns `package.module:Class` for what the user typed, or None where it is a folder or a hub id.

    Raises:
        EncoderBroken: The package of an entry point cannot be imported.
    """
    if name in FEATURES:
        return FEATURES.path(name)
    if Path(name).expanduser().exists():
        return None
    if PATH.fullmatch(name):
        return name
    if name not in ENCODERS or ENCODERS.own(name):
        return None
    path = ENCODERS.path(name)
    return path if is_class(imported(path)) else None


def is_class(part: object) -> bool:
    """Says whether a part is an `Encoder` and not a family of transformers models."""
    return isinstance(part, type) and callable(getattr(part, "frames", None))


def open_class(path: str, modality: Modality) -> Source:
    """Makes a source of the class: its identity stands where a folder has the hashes of its files.

    Raises:
        EncoderBroken: It cannot be imported, or an attribute is missing or of the wrong kind.
    """
    kind = load_class(path)
    check_attributes(kind, path, modality)
    identity = hash_bytes(canonical(plain(kind.identity)))
    files = WeightFiles((), safetensors=True)
    return Source(kind.name, Path(path), None, {}, identity, identity, identity, files, _home(kind, path))


def _home(kind: Any, path: str) -> str:
    """Names the place of a class, so that another name of it is not another encoder; a class made by a call has only the name."""
    module, name = str(kind.__module__), str(kind.__qualname__)
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is kind else path


def imported(path: str) -> Any:
    """Imports the object at `package.module:name`.

    Raises:
        EncoderBroken: There is none, or its module cannot be imported.
    """
    try:
        return resolve(path)
    except Exception as error:  # a module of the user's may raise anything
        raise EncoderBroken(path, f"it cannot be imported ({first_line(error)})", INSTALL) from error


def load_class(path: str) -> Any:
    """Imports the class.

    Raises:
        EncoderBroken: There is none at that path.
    """
    kind = imported(path)
    if not is_class(kind):
        raise EncoderBroken(path, "it is not a class with a method frames", PROTOCOL)
    return kind


def check_attributes(kind: Any, path: str, modality: Modality | None = None) -> None:
    """Refuses a class whose attributes do not describe an encoder.

    Raises:
        EncoderBroken: The message names the first attribute.
    """
    numbers = ("layers", "features") + (("rate", "frame_rate") if getattr(kind, "modality", "") in SOUND else ())
    wrong = next((key for key in ("name", "modality", *numbers, "identity") if not hasattr(kind, key)), None)
    if wrong is not None:
        raise EncoderBroken(path, f"it has no attribute {wrong}", PROTOCOL)
    if kind.modality not in ("text", *SOUND):
        raise EncoderBroken(path, f"its modality is {kind.modality!r}", "Known are 'audio', 'text' and 'prosody'.")
    if modality not in (None, kind.modality):
        raise EncoderBroken(path, f"it encodes {kind.modality}", f"Give it as --encoder {kind.modality}={path}")
    for key in numbers:
        value = getattr(kind, key)
        if value is None and key == "frame_rate":
            continue
        whole = isinstance(value, int) or (key == "frame_rate" and isinstance(value, float))
        if isinstance(value, bool) or not whole or not 0 < value < 1 << 24:
            raise EncoderBroken(path, f"its {key} is {value!r}", "Give a number above 0.")
    if kind.modality in SOUND:
        _check_grid(kind, path)
    try:
        empty = plain(kind.identity) in (None, "", [], {})
        canonical(plain(kind.identity))
    except (OSError, TypeError, ValueError) as error:
        why = f"its identity is not usable ({first_line(error)})"
        raise EncoderBroken(path, why, "Give JSON values and Paths.") from error
    if empty:
        remedy = "Say what makes the values: version, settings, Paths of weights."
        raise EncoderBroken(path, "its identity is empty", remedy)


def _check_grid(kind: Any, path: str) -> None:
    wrong = next((key for key in ("shortest", "window") if not _samples(getattr(kind, key, None))), None)
    if wrong is not None:
        raise EncoderBroken(
            path, f"its {wrong} is {getattr(kind, wrong)!r}", "Give a number of samples, or leave it out."
        )
    if kind.frame_rate is None:
        return
    if not float(kind.rate / kind.frame_rate).is_integer():
        why = f"a frame takes {kind.rate / kind.frame_rate:g} samples (rate / frame_rate)"
        remedy = "Give rates with a whole number of samples per frame, so that windows lie on the grid of frames."
        raise EncoderBroken(path, why, remedy)
    shortest, step, window = _grid(kind)
    least = WINDOWS * least_overlap(shortest, step)
    if window is not None and window < least:
        why = f"its window of {window} samples is too short to overlap with the next"
        raise EncoderBroken(path, why, f"Give at least {least} samples.")


def _samples(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _grid(kind: Any) -> tuple[int, int, int | None]:
    """Returns fewest samples of a frame, samples per frame, and most samples of one call, of an audio class."""
    return getattr(kind, "shortest", None) or 1, round(kind.rate / kind.frame_rate), getattr(kind, "window", None)


def least_overlap(shortest: int, step: int) -> int:
    """Returns the least overlap of two windows in samples: a frame and a step, on the grid of frames."""
    return (-(-shortest // step) + 1) * step


def plain(identity: Any) -> Any:
    """Turns an identity into JSON values: a `Path` becomes the hash of the file's bytes."""
    if isinstance(identity, Path):
        return f"xxh3:{file_hash(identity)}"
    if isinstance(identity, Mapping):
        return {str(key): plain(value) for key, value in identity.items()}
    if isinstance(identity, list | tuple):
        return [plain(value) for value in identity]
    return identity


class ClassFamily:
    """Makes an `Encoder` class a family of its own.

    Args:
        path: `package.module:Class`.
    """

    def __init__(self, path: str) -> None:
        self._kind = load_class(path)
        self.modality: Modality = self._kind.modality

    def describe(self, source: Source, options: InputOptions) -> Description:
        text = Description(
            modality=self.modality,
            family=source.plugin or "",
            depth=self._kind.layers - 1,
            features=self._kind.features,
            rate=None,
            frame_rate=None,
            shortest=1,
            frames=tokens,
            cost=lambda characters: tokens(characters) * FRAME_COST / CORE_FLOPS,
            windowing=Windowing("characters", 1 << 62, 0),
            declared={"identity": plain(self._kind.identity)},
        )
        if self.modality == "text":
            return text
        return self._vector(text) if self._kind.frame_rate is None else self._frames(text, options)

    def _vector(self, shared: Description) -> Description:
        rate, shortest = self._kind.rate, getattr(self._kind, "shortest", None) or 1
        return replace(
            shared,
            rate=rate,
            shortest=shortest,
            frames=lambda samples: int(samples >= shortest),
            cost=lambda samples: 100 * samples / rate * FRAME_COST / CORE_FLOPS,  # it costs as much as frames of 10 ms
            windowing=Windowing("samples", 1 << 62, 0),
            declared={**shared.declared, "rate": rate},
        )

    def _frames(self, shared: Description, options: InputOptions) -> Description:
        rate, (shortest, step, window) = self._kind.rate, _grid(self._kind)
        least = least_overlap(shortest, step)
        length = max(min(window or 1 << 62, round(options.max_seconds * rate)) // step * step, WINDOWS * least)
        overlap = max(min(round(options.overlap_seconds * rate), length // WINDOWS) // step * step, least)

        def frames(samples: int) -> int:
            return (samples - shortest) // step + 1 if samples >= shortest else 0

        return replace(
            shared,
            rate=rate,
            frame_rate=float(self._kind.frame_rate),
            shortest=shortest,
            frames=frames,
            cost=lambda samples: frames(samples) * FRAME_COST / CORE_FLOPS,
            windowing=Windowing("samples", length, overlap),
            declared={
                **shared.declared,
                "rate": rate,
                "windowing": {"unit": "samples", "length": length, "overlap": overlap},
            },
        )

    def load(self, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions) -> Engine:
        try:
            encoder = self._kind(options.device)
        except Exception as error:  # a class of the user's may raise anything
            why = f"{source.plugin} cannot be made for the device {options.device} ({_message(error)})"
            raise EncoderBroken(source.name, why, PROTOCOL) from error
        return ClassEngine(encoder, description, layers, options, source.name)


def tokens(characters: int) -> int:
    """Estimates the number of tokens of a text."""
    return -(-characters // CHARACTERS)


class ClassEngine:
    """Runs an `Encoder` on one input at a time, and refuses what is not of the described shape."""

    def __init__(
        self, encoder: Any, description: Description, layers: tuple[int, ...], options: EngineOptions, name: str
    ) -> None:
        self._encoder, self._description, self._layers, self._name = encoder, description, layers, name
        self.policy: Mapping[str, Any] = {"engine": description.family, "batch": "solo", "device": options.device}

    def encode(self, inputs: Sequence[Any]) -> "list[Encoded | Refused]":
        """Encodes waveforms `(samples,)` float32 at the encoder's rate, or normalised texts."""
        return [self._text(value) if isinstance(value, str) else self._audio(value) for value in inputs]

    def _text(self, text: str) -> Encoded:
        import numpy as np

        output = self._frames(text)
        if not isinstance(output, tuple) or len(output) != 2:
            remedy = "Give a pair: (layers, tokens, features) and the mask of special tokens."
            raise EncoderBroken(self._name, f"frames of a text gave {type(output).__name__}", remedy)
        states, special = self._states(output[0]), np.asarray(output[1])
        if special.dtype != bool or special.shape != states.shape[1:2]:
            problem = f"its special is {special.dtype} {special.shape} for {states.shape[1]} tokens"
            raise EncoderBroken(self._name, problem, "Give (tokens,) bool, true at special tokens.")
        return Encoded({layer: states[layer] for layer in self._layers}, special)

    def _audio(self, waveform: "np.ndarray[Any, Any]") -> Encoded | Refused:
        from ser_extract.encoders.batches import cut, join_layers

        about = self._description
        if len(waveform) < about.shortest:
            return Refused("too_short", f"{len(waveform)} samples; a frame of {self._name} needs {about.shortest}")
        step = round((about.rate or 1) / (about.frame_rate or 1.0))
        windows = cut(len(waveform), about.windowing.length, about.windowing.overlap, step)
        pieces = [self._piece(waveform[start:stop]) for start, stop in windows]
        states = [{layer: piece[layer] for layer in self._layers} for piece in pieces]
        return Encoded(join_layers(states, [start // step for start, _ in windows]))

    def _piece(self, waveform: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        states, about = self._states(self._frames(waveform)), self._description
        foretold = about.frames(len(waveform))
        if abs(states.shape[1] - foretold) > EDGE:
            problem = f"frames gave {states.shape[1]} for {len(waveform)} samples; its frame_rate foretells {foretold}"
            raise EncoderBroken(self._name, problem, f"Correct rate, frame_rate or shortest; {EDGE} frames may differ.")
        return states

    def _frames(self, utterance: Any) -> Any:
        try:
            return self._encoder.frames(utterance)
        except Exception as error:  # a class of the user's may raise anything
            raise EncoderBroken(self._name, f"frames fails on an input ({_message(error)})", PROTOCOL) from error

    def _states(self, output: Any) -> "np.ndarray[Any, Any]":
        import numpy as np

        expected = (self._description.depth + 1, self._description.features)
        remedy = f"Give ({expected[0]}, frames, {expected[1]}): (layers, frames, features)."
        try:
            values: np.ndarray[Any, Any] = np.asarray(output, np.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            why = f"frames gave a {type(output).__name__} that is not an array ({first_line(error)})"
            raise EncoderBroken(self._name, why, remedy) from error
        if values.ndim != 3 or (values.shape[0], values.shape[2]) != expected:
            raise EncoderBroken(self._name, f"frames gave the shape {values.shape}", remedy)
        return values


def _message(error: Exception) -> str:
    """Says what the user's own code raised, and in which line."""
    place = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first_line(error)}; line {place.lineno} of {Path(place.filename).name}"


def family_of(source: Source, modality: Modality) -> Family | None:
    """Returns the family of a source: a class's own, or the table's; None where neither has one of this modality."""
    if source.plugin is not None:
        return ClassFamily(source.plugin)
    if source.model_type not in ENCODERS:
        return None
    part: Any = ENCODERS[source.model_type]
    return part if not is_class(part) and part.modality == modality else None
