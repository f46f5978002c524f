"""A transformers model from a local folder, safely, and with every weight that is used really read.

No code of the checkpoint runs (`trust_remote_code=False`), pickles are read as weights only, and weights that the file
does not have are an error instead of transformers' warning: a random block would give random features.
"""

from typing import Any

import torch
from torch import nn

from ser_extract.encoders.base import EngineOptions
from ser_extract.encoders.source import Source
from ser_extract.errors import EncoderBroken

UNUSED = ("pooler", "decoder", "masked_spec_embed", "adapter", "lm_head", "classifier", "position_ids")
"""Parts of a state dict that hidden states of an encoder never go through."""


def quiet() -> None:
    """Keeps transformers' progress bars and notes out of ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_model(source: Source, options: EngineOptions) -> Any:
    """The base model of a checkpoint (a fine-tuned head is left out), float32, in evaluation mode, on the device.

    Raises:
        EncoderBroken: The file lacks weights of the encoder, or holds them in other shapes, or is no checkpoint.
    """
    from transformers import AutoModel

    quiet()
    try:
        model, info = AutoModel.from_pretrained(
            str(source.folder),
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=source.safetensors,
            weights_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a foreign file makes transformers and its readers raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EncoderBroken(
            source.name, f"transformers cannot load it ({first})", "Copy or save the folder again."
        ) from error
    missing = sorted(key for key in info["missing_keys"] if not any(part in key for part in UNUSED))
    if missing:
        raise EncoderBroken(
            source.name,
            f"its weight file lacks {len(missing)} weights of a {source.model_type} encoder, such as {missing[0]}",
            "Give the folder of a whole model; features of random weights would be worthless.",
        )
    return freeze(model, options)


def freeze(model: nn.Module, options: EngineOptions) -> nn.Module:
    """Evaluation mode, no gradients, on the device."""
    return model.eval().requires_grad_(False).to(torch.device(options.device))


def autocast(options: EngineOptions) -> Any:
    """A context for the arithmetic: nothing for float32, autocast for bfloat16 and float16."""
    import contextlib

    if options.compute == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(options.device).type, dtype=getattr(torch, options.compute))
