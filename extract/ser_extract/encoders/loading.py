"""A transformers model from an encoder's files, safely, and with every weight that is used really read.

The files are read here and handed to transformers, which looks for none itself: what is hashed is what is loaded. No code of
the checkpoint runs, pickles are read as weights only, and weights that the files do not have are an error instead of
transformers' warning: a random block would give random features.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ser_extract.encoders.base import EngineOptions
from ser_extract.encoders.source import Source
from ser_extract.errors import EncoderBroken

NAMED = 5
"""Missing weights that a message names."""
MOST = 20
"""Weights of the model that a config describes, as a multiple of those in the files. Whisper without its decoder has 1/5."""


def quiet() -> None:
    """Keeps transformers' progress bars and notes out of ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_model(source: Source, options: EngineOptions, unused: Collection[str] = ()) -> Any:
    """The base model of a checkpoint (a fine-tuned head is left out), float32, in evaluation mode, on the device.

    Args:
        source: Its files; those that were hashed are read, and no others.
        options: The device.
        unused: Module paths (`pooler`, `vision_model.post_layernorm`) that no hidden state goes through. Their weights
            may be missing; all others must be there.

    Raises:
        EncoderBroken: The files lack weights of the encoder, or hold them in other shapes, or are no checkpoint, or the
            config describes a model that cannot be built or is far larger than the files.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    quiet()
    try:
        state = read_weights(source)
        config = CONFIG_MAPPING[source.model_type].from_dict(dict(source.config))
        kind = MODEL_MAPPING[type(config)]
        check_size(kind, config, state)
        model, info = kind.from_pretrained(
            None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # whatever a foreign file makes transformers and its readers raise
        told = f"transformers cannot load it ({first_line(error)})"
        raise EncoderBroken(source.name, told, "Copy or save the folder again.") from error
    missing = sorted(key for key in info["missing_keys"] if not _inside(key, unused))
    if missing:
        named = ("such as " if len(missing) > NAMED else "") + ", ".join(missing[:NAMED])
        raise EncoderBroken(
            source.name,
            f"its weight files lack {len(missing)} weights of a {source.model_type} encoder: {named}",
            "Give the folder of a whole model; features of random weights would be worthless.",
        )
    return freeze(model, options)


def read_weights(source: Source) -> dict[str, torch.Tensor]:
    """Name -> tensor of all weight files; of safetensors the bytes are mapped, not copied."""
    state: dict[str, torch.Tensor] = {}
    for path in source.files.paths:
        if source.files.safetensors:
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                state |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        else:
            state |= torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError("the weight file holds other things than weights")
    return state


def check_size(kind: Any, config: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Refuses a model that is far larger than its files, before memory is taken for it.

    Raises:
        ValueError: A config of a few bytes describes a model of terabytes.
    """
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in kind(config).parameters())
    held = sum(tensor.numel() for tensor in state.values())
    if wanted > MOST * held:
        raise ValueError(f"its config.json describes {wanted:,} weights, its weight files hold {held:,}")


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _inside(key: str, modules: Collection[str]) -> bool:
    return any(key == module or key.startswith(f"{module}.") for module in modules)


def _is_zip(path: Path) -> bool:
    """Pytorch's files since 1.6 are zip archives, which can be mapped; older ones cannot."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def freeze(model: nn.Module, options: EngineOptions) -> nn.Module:
    """Evaluation mode, no gradients, on the device."""
    return model.eval().requires_grad_(False).to(torch.device(options.device))


def autocast(options: EngineOptions) -> Any:
    """A context for the arithmetic: nothing for float32, autocast for bfloat16 and float16."""
    import contextlib

    if options.compute == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(options.device).type, dtype=getattr(torch, options.compute))
