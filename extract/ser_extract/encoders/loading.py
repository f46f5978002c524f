"""A transformers model from an encoder's files, safely, with every weight that is used really read; and its hidden states.

The files are read here and handed to transformers, which looks for none itself: what is hashed is what is loaded. No code of
the checkpoint runs, pickles are read as weights only, and weights that the files do not have are an error instead of
transformers' warning: a random block would give random features.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ser_extract.encoders.base import EngineOptions, first_line
from ser_extract.encoders.products import lay_out
from ser_extract.encoders.source import Source
from ser_extract.errors import EncoderBroken

if TYPE_CHECKING:
    import numpy as np

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
        problem = f"transformers cannot load it ({first_line(error)})"
        raise EncoderBroken(source.name, problem, "Copy or save the folder again.") from error
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


def _inside(key: str, modules: Collection[str]) -> bool:
    return any(key == module or key.startswith(f"{module}.") for module in modules)


def _is_zip(path: Path) -> bool:
    """Pytorch's files since 1.6 are zip archives, which can be mapped; older ones cannot."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def freeze(model: nn.Module, options: EngineOptions) -> nn.Module:
    """Evaluation mode, no gradients, on the device; on a CPU with bfloat16 the products are made of that type."""
    model = model.eval().requires_grad_(False).to(torch.device(options.device))
    if lowered(options):
        lay_out(model, torch.bfloat16)
    return model


def lowered(options: EngineOptions) -> bool:
    """Whether a model's products are in bfloat16 for good: autocast on a CPU would convert all weights at each pass."""
    return options.device == "cpu" and options.compute == "bfloat16"


def autocast(options: EngineOptions) -> Any:
    """A context for the arithmetic: nothing for float32 and for lowered models, else autocast."""
    import contextlib

    if options.compute == "float32" or lowered(options):
        return contextlib.nullcontext()
    return torch.autocast(torch.device(options.device).type, dtype=getattr(torch, options.compute))


# Hidden states of a transformers model, and not one block more than they need.
#
# `hidden_states[L]`: 0 is the input of the first block, L the output of block L. transformers 5.24 means the same; some earlier
# 5.x put the norm behind the last block of large wav2vec 2.0, HuBERT and WavLM models into the last state, we never do. The
# model is cut to the deepest wanted block, hooks catch the wanted states on their way, and the last of them ends the forward
# pass, so that no pooler, adapter or final norm behind it runs. States equal those of the uncut model, bit for bit.
class _Enough(Exception):
    """The deepest wanted state has been seen."""


class Taps:
    """Hooks on a stack of blocks; made once per engine.

    Args:
        blocks: The stack; blocks behind the deepest wanted layer are deleted from it.
        layers: Wanted hidden states.
        instead: Layer -> module whose output is that hidden state, where it is not the block's own output (a final norm
            that transformers counts in, a convolution after the first block).
    """

    def __init__(
        self, blocks: nn.ModuleList, layers: tuple[int, ...], instead: Mapping[int, nn.Module] | None = None
    ) -> None:
        self._deepest = max(layers)
        self._states: dict[int, torch.Tensor] = {}
        instead = instead or {}
        del blocks[max(self._deepest, 1) :]
        for layer in sorted(set(layers)):
            if layer == 0:
                blocks[0].register_forward_pre_hook(self._keep_input, with_kwargs=True)
            else:
                module = instead.get(layer, blocks[layer - 1])
                module.register_forward_hook(self._keep_output(layer))

    def run(self, forward: Callable[[], Any]) -> dict[int, torch.Tensor]:
        """Runs one forward pass and returns layer -> `(batch, frames, features)`."""
        self._states = {}
        with suppress(_Enough):
            forward()
        states, self._states = self._states, {}
        return states

    def _keep_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._keep(0, args[0] if args else kwargs["hidden_states"])

    def _keep_output(self, layer: int) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._keep(layer, output[0] if isinstance(output, tuple) else output)

        return hook

    def _keep(self, layer: int, state: torch.Tensor) -> None:
        self._states[layer] = state
        if layer == self._deepest:
            raise _Enough


# Batches to a device and hidden states back, without waiting on CUDA: while one batch is copied, the next one is computed.
Host = Callable[[], "dict[int, np.ndarray[Any, Any]]"]


def to_device(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """Moves a batch; from pinned memory, so that nobody waits for the copy."""
    if device == "cpu":
        return tensor
    if torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_host(states: Mapping[int, torch.Tensor]) -> Host:
    """Begins to copy hidden states; the function that is returned waits for them: layer -> float32 array."""
    on_card = any(state.is_cuda for state in states.values())
    if not on_card or not torch.cuda.is_available():
        arrays = {layer: state.float().cpu() for layer, state in states.items()}
        return lambda: {layer: state.numpy() for layer, state in arrays.items()}
    copies = {
        layer: torch.empty(state.shape, dtype=torch.float32, pin_memory=True).copy_(state.float(), non_blocking=True)
        for layer, state in states.items()
    }
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(next(iter(states.values())).device))

    def wait() -> "dict[int, np.ndarray[Any, Any]]":
        done.synchronize()
        return {layer: copy.numpy() for layer, copy in copies.items()}

    return wait
