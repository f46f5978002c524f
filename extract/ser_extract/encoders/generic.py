"""Any other model of transformers: no line in the table, one input at a time, all blocks.

It fits models whose `hidden_states` are `(1, frames, features)`, where the number of frames follows from the input's length
alone. Every input goes through transformers' own forward pass by itself, so features are exact by construction, and slower
than those of the families of the table. What does not fit (patches of a fixed picture, as in AST and CLAP) is one sentence.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ser_extract.encoders import ENCODERS
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
    block_flops,
    first_line,
)
from ser_extract.encoders.source import Source, read_json
from ser_extract.encoders.stated import LEAST_POSITIONS, TOKENIZER, Tokenizer
from ser_extract.errors import EncoderBroken

if TYPE_CHECKING:
    import numpy as np

PREPROCESSING = 1
DEEPEST = 1_000
LONGEST_TEXT = 4_096
"""Tokens of one piece of text, however many positions a model has."""
OVERLAP_TEXT = 64
BEHIND = 2
"""Positions that some families leave out in front (RoBERTa's kin begin behind the padding index)."""
UNUSED = ("pooler", "decoder", "adapter", "masked_spec_embed", "text_encoder", "text_decoder", "t2u_model", "vocoder")
"""Modules that no hidden state goes through; their weights may be missing."""
TOWERS = ("audio_tower", "audio_encoder", "speech_encoder")
INPUTS = ("input_values", "input_features")
TRANSFORMERS, BLOCKS = "as transformers has it", "not included"
"""What the last state is: transformers' own, or, where an adapter makes other frames behind it, the last block's output."""
OTHER = "Give another encoder, or write one of your own: docs/guides/add-a-part.md"


class GenericFamily:
    """A model of transformers that the table does not have, as a family.

    Args:
        modality: `audio` or `text`.
    """

    def __init__(self, modality: Modality) -> None:
        self.modality: Modality = modality

    def describe(self, source: Source, options: InputOptions) -> Description:
        """Reads the config with transformers. For audio, counts frames on a model without weights."""
        return _describe_audio(source, options) if self.modality == "audio" else _describe_text(source)

    def load(self, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions) -> Engine:
        from ser_extract.encoders.loading import load_model

        encoder = encoder_in(load_model(source, options, UNUSED), self.modality)
        encoder.config.use_cache = False
        if description.declared["final_norm"] == BLOCKS:
            encoder.config.tie_last_hidden_states = False
        states = States(encoder, description, layers, source.name)
        if self.modality == "audio":
            from ser_extract.encoders.batches import BatchRule
            from ser_extract.encoders.speech_engine import WaveformEngine

            step = round((description.rate or 1) / (description.frame_rate or 1.0))
            forward = _OneWaveform(states, load_extractor(source), description, options)
            policy = {"engine": "generic", "device": options.device, "compute": options.compute}
            return WaveformEngine(description, forward, BatchRule(), step, False, policy)
        from ser_extract.encoders.text_engine import TextEngine, load_tokenizer

        tokens: Any = states
        engine = TextEngine(tokens, load_tokenizer(source), tokens, description, replace(options, batch=0))
        return _WithStandIn(engine, str(description.declared["cls"]))


def generic_family(source: Source, modality: Modality) -> Family | None:
    """The family of a model type that transformers has and the table has not, or None."""
    if modality == "video" or source.model_type in ENCODERS or not source.model_type:
        return None
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return GenericFamily(modality) if source.model_type in MODEL_MAPPING_NAMES else None


def read_config(source: Source) -> Any:
    """The config as transformers reads it.

    Raises:
        EncoderBroken: It holds wrong values.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        return CONFIG_MAPPING[source.model_type].from_dict(dict(source.config))
    except Exception as error:  # whatever a foreign file makes transformers raise
        raise EncoderBroken(
            source.name, f"transformers cannot read its config.json ({first_line(error)})", OTHER
        ) from error


def encoder_in(model: Any, modality: Modality) -> Any:
    """The part of a model that encodes: a tower for audio, the encoder of an encoder and decoder, else the model."""
    tower = next((name for name in TOWERS if hasattr(model, name)), None) if modality == "audio" else None
    if tower is not None:
        return getattr(model, tower)
    return model.get_encoder() if model.config.is_encoder_decoder else model


class States:
    """An encoder that gives its hidden states by layer, and refuses those that are not one vector per frame.

    It stands in the text engine where the families of the table have a model with hooks on its blocks.
    """

    def __init__(self, encoder: Any, description: Description, layers: tuple[int, ...], name: str) -> None:
        self._encoder, self._description, self._layers, self._name = encoder, description, layers, name
        self.config = encoder.config

    def run(self, forward: Callable[[], Any]) -> Any:
        """The states of a forward pass."""
        return forward()

    def __call__(self, frames: int | None = None, **inputs: Any) -> dict[int, Any]:
        """Layer -> `(1, frames, features)` of one input; the number of frames is that of the tokens unless given."""
        hidden = self._encoder(**inputs, output_hidden_states=True).hidden_states or ()
        wanted = (1, inputs["input_ids"].shape[1] if frames is None else frames, self._description.features)
        shapes = {(*state.shape[:1], valid(inputs, state.shape[1]), *state.shape[2:]) for state in hidden}
        if shapes != {wanted} or len(hidden) != self._description.depth + 1:
            got = f"{len(hidden)} hidden states of {' and '.join(map(str, sorted(shapes, key=str))) or 'no shape'}"
            problem = f"it gives {got}, and {self._description.depth + 1} of {wanted} are needed"
            raise EncoderBroken(self._name, problem, OTHER)
        return {layer: hidden[layer][:, : wanted[1]] for layer in self._layers}


def valid(inputs: Mapping[str, Any], frames: int) -> int:
    """How many frames of a model's are not padding: some extractors fill up the last one and say so in a mask."""
    mask = inputs.get("attention_mask")
    return frames if mask is None or mask.shape[-1] != frames else int(mask.sum())


# Text: tokens and a mask are all that a model gets.
#
# What reads a text from its first token alone (`--text-pooling cls`) needs a token there that has seen the whole text. BERT's
# kin have one. In a decoder the first token sees only itself, and XLNet's CLS stands at the end: there the last token's state
# is put in front, marked as special. A model that was trained with neither (T5's encoder) has the mean there.
def stand_in(model_type: str) -> str:
    """`own`, `last token` or `mean`: what stands in front of a text's tokens, by what transformers trains a model for."""
    from transformers.models.auto import modeling_auto as auto

    if model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "own"
    return "last token" if model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else "mean"


def _describe_text(source: Source) -> Description:
    from ser_extract.encoders.text import tokens

    config = read_config(source).get_text_config()
    depth, width = _number(source, config, "num_hidden_layers"), _number(source, config, "hidden_size")
    positions = getattr(config, "max_position_embeddings", None)
    positions = (
        positions if isinstance(positions, int) and positions > LEAST_POSITIONS + BEHIND else LONGEST_TEXT + BEHIND
    )
    path = source.folder / TOKENIZER
    stated = (
        Tokenizer.of(read_json(path, source.name), source.name, TOKENIZER).model_max_length if path.is_file() else None
    )
    inside = stated is not None and LEAST_POSITIONS <= stated <= positions
    length = min(int(stated) if inside and stated is not None else positions - BEHIND, LONGEST_TEXT)
    windowing = Windowing("tokens", length, min(OVERLAP_TEXT, length // 4))
    return Description(
        modality="text",
        family="generic",
        depth=depth,
        features=width,
        rate=None,
        frame_rate=None,
        shortest=1,
        frames=tokens,
        cost=lambda characters: depth * block_flops(tokens(characters), width) / CORE_FLOPS,
        windowing=windowing,
        declared=_declared(windowing, cls=stand_in(source.model_type)),
        note=_note(source),
    )


def _number(source: Source, config: Any, key: str) -> int:
    value = getattr(config, key, None)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise EncoderBroken(source.name, f"its config.json has {key} = {value!r}", OTHER)
    return value


def _declared(windowing: Windowing, **more: Any) -> dict[str, Any]:
    return {
        "preprocessing": PREPROCESSING,
        "engine": "generic",
        "final_norm": TRANSFORMERS,
        "windowing": {"unit": windowing.unit, "length": windowing.length, "overlap": windowing.overlap},
        **more,
    }


def _note(source: Source) -> str:
    return (
        f"{source.name} ('{source.model_type}') runs on the generic engine, one input at a time and through all blocks. "
        "It is exact, and slower than the families of the table."
    )


class _WithStandIn:
    """A text engine that puts the stand-in for CLS in front of each text's tokens."""

    def __init__(self, engine: Engine, kind: str) -> None:
        self._engine, self._kind = engine, kind
        self.policy: Mapping[str, Any] = {**engine.policy, "engine": "generic"}

    def encode(self, inputs: Sequence[str]) -> "list[Encoded | Refused]":
        encoded = self._engine.encode(inputs)
        return encoded if self._kind == "own" else [self._led(each) for each in encoded]

    def _led(self, encoded: "Encoded | Refused") -> "Encoded | Refused":
        import numpy as np

        if isinstance(encoded, Refused) or encoded.special is None or not len(encoded.special):
            return encoded
        content = ~encoded.special if not encoded.special.all() else encoded.special
        last = self._kind == "last token"
        states = {
            layer: np.concatenate([state[-1:] if last else state[content].mean(0, keepdims=True), state])
            for layer, state in encoded.states.items()
        }
        return Encoded(states, np.concatenate([[True], encoded.special]))


# Audio: how many frames a waveform gives is measured, on a model without weights.
@dataclass(frozen=True)
class Grid:
    """Frames by samples: 0 below `shortest`, `first` from there, and `gain` more at `start` and every `step` behind it.

    All stacks of convolutions, poolings and frames of a spectrogram count so.
    """

    depth: int
    features: int
    rate: int
    shortest: int
    first: int
    start: int
    step: int
    gain: int
    last: str

    def frames(self, samples: int) -> int:
        """Frames of a waveform."""
        if samples < self.start:
            return self.first if samples >= self.shortest else 0
        return self.first + self.gain * (1 + (samples - self.start) // self.step)


_measured: dict[tuple[str, str, str], Grid] = {}


def load_extractor(source: Source) -> Any:
    """The feature extractor of a folder.

    Raises:
        EncoderBroken: There is none, or it is of another kind.
    """
    from transformers import AutoFeatureExtractor

    try:
        extractor = AutoFeatureExtractor.from_pretrained(
            str(source.folder), local_files_only=True, trust_remote_code=False
        )
        if not 1_000 <= int(extractor.sampling_rate) <= 384_000:
            raise ValueError(f"its sampling_rate is {extractor.sampling_rate}")
    except Exception as error:  # whatever a foreign file makes transformers raise
        problem = f"its feature extractor for audio cannot be loaded ({first_line(error)})"
        raise EncoderBroken(source.name, problem, "Save the feature extractor into the same folder.") from error
    return extractor


def measure(source: Source) -> Grid:
    """Depth, width and frames of an audio model; the weights are not read.

    Raises:
        EncoderBroken: Its hidden states are not one vector per frame, or their number does not follow from the length.
    """
    key = (str(source.folder), source.config_hash, source.preprocessing_hash)
    if key not in _measured:
        from ser_extract.encoders.loading import quiet

        quiet()
        try:
            _measured[key] = _Probe(source).grid()
        except EncoderBroken:
            raise
        except Exception as error:  # whatever a model that was not made for this raises
            raise EncoderBroken(
                source.name, f"it does not take a waveform alone ({first_line(error)})", OTHER
            ) from error
    return _measured[key]


class _Reached(Exception):
    """The first block is reached; says how many frames it gets."""


class _Probe:
    """Runs a model on the meta device, where tensors have a shape and nothing else."""

    def __init__(self, source: Source) -> None:
        import torch
        from transformers.models.auto.modeling_auto import MODEL_MAPPING

        self._source, self._extractor = source, load_extractor(source)
        self._rate = int(self._extractor.sampling_rate)
        config = read_config(source)
        if _number(source, config, "num_hidden_layers") > DEEPEST:
            raise EncoderBroken(source.name, f"its config.json describes more than {DEEPEST} blocks", OTHER)
        with torch.device("meta"):
            self._encoder = encoder_in(MODEL_MAPPING[type(config)](config).eval(), "audio")

    def states(self, samples: int) -> Sequence[Any]:
        """All hidden states of a waveform; `self.inputs` are what the extractor made of it."""
        import numpy as np
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy on waveforms that are too short for one frame
            self.inputs = self._extractor(np.zeros(samples, np.float32), sampling_rate=self._rate, return_tensors="pt")
        values = next(self.inputs[key] for key in INPUTS if key in self.inputs)
        with torch.device("meta"), torch.inference_mode():
            hidden: Sequence[Any] = self._encoder(values.to("meta"), output_hidden_states=True).hidden_states
        return hidden

    def stop_at_first_block(self, samples: int) -> list[tuple[int, ...]]:
        """Shapes of all hidden states of a waveform; from now on a pass ends where the first of them is used."""
        calls: list[tuple[Any, tuple[Any, ...]]] = []

        def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.append((module, (*args, *kwargs.values())))

        hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in self._encoder.modules()]
        hidden = self.states(samples)
        for hook in hooks:
            hook.remove()
        block = next(module for module, given in calls if any(value is hidden[0] for value in given))

        def reached(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Reached((*args, *kwargs.values())[0].shape[1])

        block.register_forward_pre_hook(reached, with_kwargs=True)
        return [tuple(state.shape) for state in hidden]

    def count(self, samples: int) -> int:
        """Frames of a waveform; 0 where it is too short for the model."""
        try:
            self.states(samples)
        except _Reached as reached:
            return valid(self.inputs, reached.args[0])
        except Exception:  # noqa: BLE001  # a convolution or a spectrogram that does not fit says so in its own way
            return 0
        return 0

    def grid(self) -> Grid:
        samples = 2 * self._rate
        shapes = [tuple(state.shape) for state in self.states(samples)]
        tied = len({*shapes[:-1]}) > 1 or shapes[-1] == shapes[0]
        if not tied:  # a tied last state is what comes out of the whole model, behind an adapter
            self._encoder.config.tie_last_hidden_states = False
        shapes = self.stop_at_first_block(samples)
        if len(set(shapes)) != 1 or len(shapes[0]) != 3 or shapes[0][0] != 1:
            several = " and ".join(map(str, dict.fromkeys(shapes)))
            raise EncoderBroken(self._source.name, f"its hidden states are {several}, not one vector per frame", OTHER)
        if self.count(self._rate) == self.count(samples):
            problem = f"it gives {shapes[0][1]} vectors whatever the length (patches of a fixed picture), not frames"
            raise EncoderBroken(self._source.name, problem, OTHER)
        shortest = self._rise(0, 0)
        first = self.count(shortest)
        start = self._rise(shortest, first)
        second = self.count(start)
        following = self._rise(start, second)
        grid = Grid(
            depth=len(shapes) - 1,
            features=shapes[0][2],
            rate=self._rate,
            shortest=shortest,
            first=first,
            start=start,
            step=following - start,
            gain=second - first,
            last=TRANSFORMERS if tied else BLOCKS,
        )
        for samples in (following, self._rate - 1, self._rate, 2 * self._rate, 3 * self._rate + 17):
            if self.count(samples) != grid.frames(samples) or grid.step % grid.gain:
                problem = f"its frames do not follow from the length in equal steps ({samples} samples: {self.count(samples)})"
                raise EncoderBroken(self._source.name, problem, OTHER)
        return grid

    def _rise(self, samples: int, frames: int) -> int:
        """Fewest samples, above the given ones and within a second of them, that give more frames."""
        low, high = samples, samples + self._rate
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.count(middle) > frames else (middle, high)
        return high


def _describe_audio(source: Source, options: InputOptions) -> Description:
    grid = measure(source)
    step, rate = grid.step, grid.rate
    least = -(-(grid.start + step) // step) * step
    overlap = max(round(options.overlap_seconds * rate) // step * step, least)
    windowing = Windowing("samples", max(round(options.max_seconds * rate) // step * step, 2 * overlap), overlap)
    return Description(
        modality="audio",
        family="generic",
        depth=grid.depth,
        features=grid.features,
        rate=rate,
        frame_rate=rate * grid.gain / step,
        shortest=grid.shortest,
        frames=grid.frames,
        cost=lambda samples: (
            samples / rate * 4.9e9 / CORE_FLOPS
            + grid.depth * block_flops(grid.frames(samples), grid.features) / CORE_FLOPS
        ),
        windowing=windowing,
        declared=_declared(windowing, rate=rate, final_norm=grid.last),
        note=_note(source),
    )


class _OneWaveform:
    """Waveform -> feature extractor -> hidden states; pieces come one at a time."""

    def __init__(self, states: States, extractor: Any, description: Description, options: EngineOptions) -> None:
        self._states, self._extractor, self._description, self._options = states, extractor, description, options

    def __call__(self, pieces: "Sequence[np.ndarray[Any, Any]]") -> "list[Mapping[int, np.ndarray[Any, Any]]]":
        import torch

        from ser_extract.encoders.loading import autocast, to_device, to_host

        results = []
        for piece in pieces:
            made = self._extractor(piece, sampling_rate=self._description.rate, return_tensors="pt")
            inputs = {key: to_device(value, self._options.device) for key, value in made.items()}
            with torch.inference_mode(), autocast(self._options):
                states = self._states(self._description.frames(len(piece)), **inputs)
            results.append({layer: state[0] for layer, state in to_host(states)().items()})
        return results
