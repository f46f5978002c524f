"""Hidden states of a transformers model, and not one block more than they need.

`hidden_states[L]`: 0 is the input of the first block, L the output of block L. transformers 5.24 means the same; some earlier
5.x put the norm behind the last block of large wav2vec 2.0, HuBERT and WavLM models into the last state, we never do. The
model is cut to the deepest wanted block, hooks catch the wanted states on their way, and the last of them ends the forward
pass, so that no pooler, adapter or final norm behind it runs. States equal those of the uncut model, bit for bit.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn


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
