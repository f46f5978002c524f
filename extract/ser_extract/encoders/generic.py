"""Runs any other model of transformers: it has no line in the table; inputs go one at a time, through all blocks.

It fits models whose `hidden_states` are `(1, frames, features)`, where the number of frames follows from the input's length
alone. Every input goes through transformers' own forward pass by itself, so features are exact by construction, and slower
than those of the families of the table. What does not fit (patches of a fixed picture, as in AST and CLAP) is one sentence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
)
from ser_extract.encoders.probing import (
    BLOCKS,
    OTHER,
    TRANSFORMERS,
    depth_of,
    encoder_in,
    extract,
    load_extractor,
    measure,
    read_config,
    valid,
    width_of,
    with_masks,
)
from ser_extract.encoders.source import Source, read_json
from ser_extract.encoders.stated import LEAST_POSITIONS, TOKENIZER, Tokenizer
from ser_extract.errors import EncoderBroken

if TYPE_CHECKING:
    import numpy as np

PREPROCESSING = 1
LONGEST_TEXT = 4_096
"""Tokens of one piece of text, however many positions a model has."""
OVERLAP_TEXT = 64
BEHIND = 2
"""Positions that some families leave out in front (RoBERTa's kin begin behind the padding index)."""
UNUSED = ("pooler", "decoder", "adapter", "masked_spec_embed", "text_encoder", "text_decoder", "t2u_model", "vocoder")
"""Modules that no hidden state goes through; their weights may be missing."""


class GenericFamily:
    """Makes a model of transformers that the table does not have a family.

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
    """Returns the family of a model type that transformers has and the table does not have, or None."""
    if modality == "video" or source.model_type in ENCODERS or not source.model_type:
        return None
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return GenericFamily(modality) if source.model_type in MODEL_MAPPING_NAMES else None


class States:
    """Gives the hidden states of an encoder by layer, and refuses those that are not one vector per frame.

    It stands in the text engine where the families of the table have a model with hooks on its blocks.
    """

    def __init__(self, encoder: Any, description: Description, layers: tuple[int, ...], name: str) -> None:
        self._encoder, self._description, self._layers, self._name = encoder, description, layers, name
        self.config = encoder.config

    def run(self, forward: Callable[[], Any]) -> Any:
        """Returns the states of a forward pass."""
        return forward()

    def __call__(self, frames: int | None = None, **inputs: Any) -> dict[int, Any]:
        """Returns layer -> `(1, frames, features)` of one input; without `frames` their number is that of the tokens."""
        hidden = self._encoder(**with_masks(self._encoder, inputs), output_hidden_states=True).hidden_states or ()
        expected = (1, inputs["input_ids"].shape[1] if frames is None else frames, self._description.features)
        shapes = {(*state.shape[:1], valid(inputs, state.shape[1]), *state.shape[2:]) for state in hidden}
        if shapes != {expected} or len(hidden) != self._description.depth + 1:
            states = f"{len(hidden)} hidden states of {' and '.join(map(str, sorted(shapes, key=str))) or 'no shape'}"
            problem = f"it gives {states}, and {self._description.depth + 1} of {expected} are needed"
            raise EncoderBroken(self._name, problem, OTHER)
        return {layer: hidden[layer][:, : expected[1]] for layer in self._layers}


# Text: a model gets tokens and a mask, and nothing else.
#
# `--text-pooling cls` reads a text from its first token alone, so that token must have seen the whole text. BERT's kin have
# one. In a decoder the first token sees only itself, and XLNet's CLS stands at the end: there the last token's state goes in
# front, marked as special. A model that was trained with neither (T5's encoder) has the mean there.
def stand_in(model_type: str) -> str:
    """Says what stands in front of a text's tokens: `own`, `last token` or `mean`, by what transformers trains a model for."""
    from transformers.models.auto import modeling_auto as auto

    if model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "own"
    return "last token" if model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else "mean"


def _describe_text(source: Source) -> Description:
    from ser_extract.encoders.text import describe_text

    config = read_config(source).get_text_config()
    depth, width = depth_of(source, config), width_of(source, config)
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
    declared = _declared(windowing, cls=stand_in(source.model_type))
    return describe_text("generic", depth, width, windowing, declared, _note(source))


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
    """Puts the stand-in for CLS in front of each text's tokens."""

    def __init__(self, engine: Engine, kind: str) -> None:
        self._engine, self._kind = engine, kind
        self.policy: Mapping[str, Any] = {**engine.policy, "engine": "generic"}

    def encode(self, inputs: Sequence[str]) -> "list[Encoded | Refused]":
        encoded = self._engine.encode(inputs)
        return encoded if self._kind == "own" else [self._with_stand_in(result) for result in encoded]

    def _with_stand_in(self, encoded: "Encoded | Refused") -> "Encoded | Refused":
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


def _describe_audio(source: Source, options: InputOptions) -> Description:
    grid = measure(source)
    step, rate = grid.step, grid.rate
    least = -(-(grid.start + step) // step) * step
    overlap = max(round(options.overlap_seconds * rate) // step * step, least)
    length = max(round(options.max_seconds * rate) // step * step, 2 * overlap)
    if grid.window is not None:
        length = min(length, grid.window // step * step)
        overlap = min(overlap, length // 2 // step * step)
    windowing = Windowing("samples", length, overlap)
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
    """Runs the feature extractor and the model on one waveform at a time."""

    def __init__(self, states: States, extractor: Any, description: Description, options: EngineOptions) -> None:
        self._states, self._extractor, self._description, self._options = states, extractor, description, options

    def __call__(self, pieces: "Sequence[np.ndarray[Any, Any]]") -> "list[Mapping[int, np.ndarray[Any, Any]]]":
        import torch

        from ser_extract.encoders.loading import autocast, to_device, to_host

        results: list[Mapping[int, np.ndarray[Any, Any]]] = []
        for piece in pieces:
            features = extract(self._extractor, piece, self._description.rate or 0)
            inputs = {key: to_device(value, self._options.device) for key, value in features.items()}
            with torch.inference_mode(), autocast(self._options):
                states = self._states(self._description.frames(len(piece)), **inputs)
            results.append({layer: state[0] for layer, state in to_host(states)().items()})
        return results
