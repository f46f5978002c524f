"""Attention weights of a trained head on a few test utterances, for looking at (``--save-attention N``).

``attention.safetensors`` holds one tensor per utterance and attention, named ``<utterance number>/<attention>``, (heads,
queries, keys) float16; the metadata map utterance numbers to ids. Not an explanation: weights say where a head looked, not
why it decided.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Frames
from ser_fusion.frames.features import StreamFrames
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.base import Attention
from ser_fusion.heads.model import Model
from ser_fusion.runs.task import Task


@torch.inference_mode()
def save_attention(
    model: Model, task: Task, streams: Mapping[str, StreamFrames], ids: Sequence[str], path: Path, count: int
) -> None:
    """Writes the weights of every attention for the first ``count`` test utterances."""
    from safetensors.torch import save_file

    rows = task.parts["test"][:count]
    feed = Feed(streams, task.plan.streams, pad_to=task.plan.pad_to)
    model = model.cpu().eval()
    seen: dict[str, Tensor] = {}
    found: dict[str, list[Tensor]] = {}

    def look(name: str, module: nn.Module, inputs: tuple[Any, ...], _: Any) -> None:
        frames, source = inputs
        if isinstance(module, Attention) and isinstance(frames, Frames):
            found[name] = module.weights(frames, source)

    hooks = [
        module.register_forward_hook(partial(look, name))
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    try:
        model(feed.batch(rows))
    finally:
        for hook in hooks:
            hook.remove()
    for name, maps in found.items():
        for number, weights in enumerate(maps):
            seen[f"{number}/{name}"] = weights.half().contiguous()
    save_file(seen, path, metadata={str(number): ids[row] for number, row in enumerate(rows)})
