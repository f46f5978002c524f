"""Checks what every encoder promises, the public contract of encoders, with functions that raise AssertionError.

`check_encoder(MyEncoder)` asks an encoder class of your own everything (docs/guides/add-a-part.md). The other functions
take a loaded engine; the repository's own contract test asks them of every family of the table.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_extract.encoders.base import Description, Encoded, Engine, EngineOptions, InputOptions, Refused, load_engine
from ser_extract.encoders.plugged import EDGE, SOUND, ClassFamily, check_attributes, load_class, open_class

if TYPE_CHECKING:
    from ser_extract.encoders.plugged import Encoder

TOLERANCE = 1e-5
"""Largest relative L2 distance of a hidden state to that of the encoder alone."""
TEXTS = ("a b c", "I can't believe it!", "z", "What a day: first the rain, then the sun, and you.")
SECONDS = (0.31, 0.1, 1.7, 0.93)

Array = np.ndarray[Any, Any]


def relative_error(got: Array, expected: Array) -> float:
    """Returns the relative L2 distance of two arrays, which must have one shape."""
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    norm = float(np.linalg.norm(expected.astype(np.float64)))
    distance = float(np.linalg.norm(got.astype(np.float64) - expected))
    return distance / norm if norm else distance


def waveform(seconds: float, rate: int, seed: int = 0) -> Array:
    """Makes noise that swells and falls, with an offset: `(samples,)` float32 between about -0.6 and 0.6."""
    random = np.random.default_rng(seed)
    samples = round(seconds * rate)
    envelope = 0.2 + np.abs(np.sin(np.arange(samples) * 16 / (3 * rate) + seed))
    return (0.1 * random.standard_normal(samples) * envelope + 0.01 * (seed % 3)).astype(np.float32)


def worst_error(engine: Engine, inputs: Sequence[Any], expected: Sequence[Sequence[Array]]) -> float:
    """Measures the largest relative error of an engine to the encoder alone, one input at a time.

    Args:
        engine: Loaded with all layers.
        inputs: Waveforms or texts that it encodes together.
        expected: Per input all hidden states of the encoder itself.
    """
    worst = 0.0
    for encoded, states in zip(engine.encode(inputs), expected, strict=True):
        assert isinstance(encoded, Encoded), encoded
        assert set(encoded.states) == set(range(len(states))), f"layers {sorted(encoded.states)}"
        worst = max(worst, *(relative_error(encoded.states[layer], state) for layer, state in enumerate(states)))
    return worst


def check_exact(engine: Engine, inputs: Sequence[Any], expected: Sequence[Sequence[Array]]) -> None:
    """Checks that an engine gives the states of the encoder alone; see `worst_error`."""
    worst = worst_error(engine, inputs, expected)
    assert worst < TOLERANCE, f"relative error {worst:.2g} to the encoder alone"


def check_company(engine: Engine, inputs: Sequence[Any]) -> None:
    """Checks that neighbours, order and a second pass change nothing beyond rounding."""
    alone = [engine.encode([value])[0] for value in inputs]
    together = engine.encode(list(inputs)[::-1])[::-1]
    for single, joint in zip(alone, together, strict=True):
        assert isinstance(single, Encoded), single
        assert isinstance(joint, Encoded), joint
        for layer, state in single.states.items():
            error = relative_error(joint.states[layer], state)
            assert error < TOLERANCE, f"layer {layer} depends on the company: relative error {error:.2g}"


def check_shape(engine: Engine, description: Description, example: Any, edge: int = 0) -> None:
    """Checks that the description foretells depth, width and (audio, video) the number of frames, up to `edge` frames."""
    encoded = engine.encode([example])[0]
    assert isinstance(encoded, Encoded), encoded
    assert set(encoded.states) == set(range(description.depth + 1)), f"layers {sorted(encoded.states)}"
    lengths = {len(state) for state in encoded.states.values()}
    assert len(lengths) == 1, f"layers of different lengths: {lengths}"
    assert all(state.shape[1] == description.features for state in encoded.states.values())
    assert all(np.isfinite(state).all() for state in encoded.states.values())
    if description.modality == "text":
        assert encoded.special is not None and encoded.special.shape == (lengths.pop(),)
        assert not encoded.special.all(), "no token of the text is content"
    else:
        foretold = description.frames(len(example))
        assert encoded.special is None
        assert not description.frames(description.shortest - 1) or description.shortest == 1
        assert abs(lengths.pop() - foretold) <= edge, f"{foretold} frames are foretold for {len(example)} units"


def check_short(engine: Engine, description: Description, signal: Array) -> None:
    """Checks that an engine refuses audio below the shortest input, and encodes the rest."""
    refused, encoded = engine.encode([signal[: description.shortest - 1], signal])
    assert isinstance(refused, Refused) and refused.reason == "too_short", refused
    assert isinstance(encoded, Encoded), encoded


def check_encoder(encoder: "type[Encoder] | str", inputs: Sequence[Any] = (), device: str = "cpu") -> None:
    """Checks all that an encoder class promises: attributes, identity, exactness, determinism, lengths, windows.

    Args:
        encoder: The class, or its path `package.module:Class`.
        inputs: Waveforms at its rate, or texts, beside those of this module.
        device: Where it runs.

    Raises:
        AssertionError: A promise is not kept; the message says which.
        EncoderBroken: The class is not usable at all.

    Examples:
        >>> from ser_extract.testing import check_encoder
        >>> check_encoder("ser_extract.encoders.prosody:Acoustic")  # every promise is kept
    """
    path = encoder if isinstance(encoder, str) else f"{encoder.__module__}:{encoder.__qualname__}"
    kind = load_class(path)
    check_attributes(kind, path)
    source, family = open_class(path, kind.modality), ClassFamily(path)
    description = family.describe(source, InputOptions())
    json.dumps(description.declared, allow_nan=False)
    assert source == open_class(path, kind.modality), "its identity is another one each time"
    assert description.declared == family.describe(source, InputOptions()).declared
    examples: list[Any] = [*(_waveforms(description) if kind.modality in SOUND else TEXTS), *inputs]
    layers = tuple(range(description.depth + 1))
    engine = load_engine(family, source, description, layers, EngineOptions(device))
    alone, again = kind(device), kind(device)
    expected = [_states(alone, example) for example in examples]
    for first, second in zip(expected, [_states(again, example) for example in examples[::-1]][::-1], strict=True):
        assert np.array_equal(first, second), "a second instance, in another order, gives other values"
    check_exact(engine, examples, [list(states) for states in expected])
    check_company(engine, examples)
    for example in examples:
        check_shape(engine, description, example, EDGE)
    deepest = load_engine(family, source, description, layers[-1:], EngineOptions(device)).encode(examples[:1])[0]
    assert isinstance(deepest, Encoded) and set(deepest.states) == {layers[-1]}
    if kind.modality in SOUND and description.shortest > 1:
        check_short(engine, description, examples[0])
    if description.frame_rate is not None:
        _check_windows(kind, path, device)


def _waveforms(description: Description) -> list[Array]:
    rate = description.rate or 16_000
    edges = [description.shortest / rate, (description.shortest + 1) / rate]
    return [
        waveform(seconds, rate, seed)
        for seed, seconds in enumerate((*SECONDS, *edges))
        if seconds * rate >= description.shortest
    ]


def _states(encoder: Any, example: Any) -> Array:
    output = encoder.frames(example)
    return np.asarray(output[0] if isinstance(example, str) else output, np.float32)


def _check_windows(kind: Any, path: str, device: str) -> None:
    """Checks that a long recording in windows has the frames of the whole, within `EDGE` for each border."""
    family = ClassFamily(path)
    source = open_class(path, kind.modality)
    description = family.describe(source, InputOptions(max_seconds=1.0, overlap_seconds=0.25))
    samples = description.windowing.length * 5 // 2
    recording = waveform(samples / kind.rate, kind.rate, 5)
    engine = load_engine(family, source, description, tuple(range(description.depth + 1)), EngineOptions(device))
    check_shape(engine, description, recording, EDGE)
