"""Measures what a model of transformers gives for a waveform, without its weights: depth, width, frames by samples."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from ser_extract.encoders.base import Modality, first_line
from ser_extract.encoders.source import Source
from ser_extract.errors import EncoderBroken

TOWERS = ("audio_tower", "audio_encoder", "speech_encoder")
INPUTS = ("input_values", "input_features")
TRANSFORMERS, BLOCKS = "as transformers has it", "not included"
"""What the last state is: transformers' own, or, where an adapter makes other frames behind it, the last block's output."""
OTHER = "Give another encoder, or write one of your own: docs/guides/add-a-part.md"


def read_config(source: Source) -> Any:
    """Reads the config with transformers.

    Raises:
        EncoderBroken: It holds wrong values.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        return CONFIG_MAPPING[source.model_type].from_dict(dict(source.config))
    except Exception as error:  # a foreign file may make transformers raise anything
        raise EncoderBroken(
            source.name, f"transformers cannot read its config.json ({first_line(error)})", OTHER
        ) from error


def encoder_in(model: Any, modality: Modality) -> Any:
    """Returns the part of a model that encodes: a tower for audio, the encoder of an encoder and decoder, else the model."""
    tower = next((name for name in TOWERS if hasattr(model, name)), None) if modality == "audio" else None
    if tower is not None:
        return getattr(model, tower)
    return model.get_encoder() if model.config.is_encoder_decoder else model


def depth_of(source: Source, config: Any) -> int:
    """Returns the number of blocks that a config states.

    Raises:
        EncoderBroken: The config does not say how many, or far too many.
    """
    return _number(source, config, "num_hidden_layers", 1_000)  # published encoders have less than a tenth of it


def width_of(source: Source, config: Any) -> int:
    """Returns the width of a frame that a config states; see `depth_of`."""
    return _number(source, config, "hidden_size", 1 << 16)


def _number(source: Source, config: Any, key: str, most: int) -> int:
    value = getattr(config, key, None)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        problem = f"its config.json has {key} = {value!r}; a number from 1 to {most:,} is needed"
        raise EncoderBroken(source.name, problem, OTHER)
    return value


def extract(extractor: Any, waveform: Any, rate: int) -> dict[str, Any]:
    """Runs a feature extractor on a waveform; one that fills up a fixed window (Whisper's) also says how far it is full."""
    fixed = {"return_attention_mask": True} if fixed_window(extractor) else {}
    return dict(extractor(waveform, sampling_rate=rate, return_tensors="pt", **fixed))


def fixed_window(extractor: Any) -> int | None:
    """Returns the samples of the window that an extractor always fills up, or None."""
    return extractor.n_samples if hasattr(extractor, "nb_max_frames") else None


def valid(inputs: Mapping[str, Any], frames: int) -> int:
    """Counts the frames that are not padding: some extractors fill up the last one, or a window, and say so in a mask."""
    mask = inputs.get("attention_mask")
    return frames if mask is None else -(-int(mask.sum()) * frames // mask.shape[-1])


def with_masks(encoder: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Makes an encoder's inputs. The mask of a fixed window goes where the families of transformers want it, if anywhere."""
    mask, mel = inputs.get("attention_mask"), inputs.get("input_features")
    if mask is None or mel is None or mask.shape[-1] != mel.shape[-1]:
        return dict(inputs)
    if "input_features_mask" in signature(encoder.forward).parameters:
        return {"input_features": mel, "input_features_mask": mask}
    if encoder.config.model_type != "qwen2_audio_encoder":  # Voxtral's and GLM's towers see the silence too
        return {"input_features": mel}
    import torch
    from transformers.masking_utils import create_bidirectional_mask

    positions = encoder.config.max_source_positions
    own = (torch.arange(positions, device=mel.device) < valid(inputs, positions)).long()[None]
    embeds = torch.zeros(1, positions, 1, device=mel.device)
    wide = create_bidirectional_mask(config=encoder.config, inputs_embeds=embeds, attention_mask=own)
    return {"input_features": mel, "attention_mask": wide}


@dataclass(frozen=True)
class Grid:
    """Counts frames by samples: 0 below `shortest`, `first` from there, and `gain` more at `start` and every `step` behind it.

    All stacks of convolutions, poolings and frames of a spectrogram count so. `window` is the most that a model takes at once.
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
    window: int | None

    def frames(self, samples: int) -> int:
        """Counts the frames of a waveform."""
        if samples < self.start:
            return self.first if samples >= self.shortest else 0
        return self.first + self.gain * (1 + (samples - self.start) // self.step)


_measured: dict[tuple[str, str, str], Grid] = {}


def load_extractor(source: Source) -> Any:
    """Loads the feature extractor of a folder.

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
    except Exception as error:  # a foreign file may make transformers raise anything
        problem = f"its feature extractor for audio cannot be loaded ({first_line(error)})"
        raise EncoderBroken(source.name, problem, "Save the feature extractor into the same folder.") from error
    return extractor


def measure(source: Source) -> Grid:
    """Measures depth, width and frames of an audio model; the weights are not read.

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
        except Exception as error:  # a model that was not made for this may raise anything
            raise EncoderBroken(
                source.name, f"it does not take a waveform alone ({first_line(error)})", OTHER
            ) from error
    return _measured[key]


class _Reached(Exception):
    """Ends a pass where the first block is reached; carries the number of frames that it gets."""


class _Probe:
    """Runs a model on the meta device, where tensors have a shape and nothing else."""

    def __init__(self, source: Source) -> None:
        import torch
        from transformers.models.auto.modeling_auto import MODEL_MAPPING

        self._source, self._extractor = source, load_extractor(source)
        self._rate = int(self._extractor.sampling_rate)
        config = read_config(source)
        depth_of(source, getattr(config, "audio_config", config))
        with torch.device("meta"):
            self._encoder = encoder_in(MODEL_MAPPING[type(config)](config).eval(), "audio")

    def states(self, samples: int) -> Sequence[Any]:
        """Returns all hidden states of a waveform; `self.inputs` are what the extractor made of it."""
        import numpy as np
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of waveforms that are too short for one frame
            self.inputs = extract(self._extractor, np.zeros(samples, np.float32), self._rate)
        values = next(self.inputs[key] for key in INPUTS if key in self.inputs)
        with torch.device("meta"), torch.inference_mode():
            hidden: Sequence[Any] = self._encoder(values.to("meta"), output_hidden_states=True).hidden_states
        return hidden

    def stop_at_first_block(self, samples: int) -> list[tuple[int, ...]]:
        """Returns the shapes of all hidden states of a waveform; from now on a pass ends where the first of them is used."""
        calls: list[tuple[Any, tuple[Any, ...]]] = []

        def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.append((module, (*args, *kwargs.values())))

        hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in self._encoder.modules()]
        hidden = self.states(samples)
        for hook in hooks:
            hook.remove()
        block = next(module for module, values in calls if any(value is hidden[0] for value in values))

        def reached(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Reached((*args, *kwargs.values())[0].shape[1])

        block.register_forward_pre_hook(reached, with_kwargs=True)
        return [tuple(state.shape) for state in hidden]

    def count(self, samples: int) -> int:
        """Counts the frames of a waveform; 0 where it is too short for the model."""
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
        if not tied:  # the last state, if tied, comes out of the whole model, behind an adapter
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
            window=fixed_window(self._extractor),
        )
        for samples in (following, self._rate - 1, self._rate, 2 * self._rate, 3 * self._rate + 17):
            if self.count(samples) != grid.frames(samples) or grid.step % grid.gain:
                problem = f"its frames do not follow from the length in equal steps ({samples} samples: {self.count(samples)})"
                raise EncoderBroken(self._source.name, problem, OTHER)
        return grid

    def _rise(self, samples: int, frames: int) -> int:
        """Finds the fewest samples, above these and within a second of them, that give more frames."""
        low, high = samples, samples + self._rate
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.count(middle) > frames else (middle, high)
        return high
