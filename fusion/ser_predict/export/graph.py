"""An ensemble as one module of tensors in, tensors out: what an exporter can follow with any number of utterances and frames."""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from ser_fusion.evaluation.temperatures import FLOOR
from ser_fusion.frames.batches import Padded
from ser_predict.models.ensemble import Ensemble

LOWEST = log(FLOOR)


class Traced(Padded):
    """``Padded`` whose lengths are a tensor, so that no Python number of them ends up in the graph.

    Args:
        values: (batch, frames, width).
        mask: (batch, frames), True where there is a frame.
        content: (batch, frames), True where poolings look.
    """

    def __init__(self, values: Tensor, mask: Tensor, content: Tensor) -> None:
        self.values, self.mask, self.content = values, mask, content
        self.lengths = ()

    @property
    def utterances(self) -> int:
        return self.values.shape[0]

    @property
    def counts(self) -> Tensor:
        return self.mask.sum(1)

    def last_state(self, layer: nn.GRU) -> Tensor:
        """A GRU looks back only: run over the padding as well, its state after the last frame stands at that frame."""
        states, _ = layer(self._kept(self.values, self.mask))
        last = self.counts
        place = (last - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, layer.hidden_size)
        return torch.where(last.unsqueeze(1) > 0, states.gather(1, place).squeeze(1), states.new_zeros(()))


class Graph(nn.Module):
    """The heads of an ensemble, each with its temperature.

    Args:
        ensemble: The heads.
        marked: Streams that come with a mask of content (special tokens are none).
    """

    temperatures: Tensor

    def __init__(self, ensemble: Ensemble, marked: Sequence[str]) -> None:
        super().__init__()
        self.streams, self.marked = ensemble.streams, tuple(marked)
        self.models = nn.ModuleList(member.model for member in ensemble.members if member.model is not None)
        self.pads = [dict(member.pad_to) for member in ensemble.members]
        folds = list(dict.fromkeys(member.fold for member in ensemble.members)) if ensemble.by_seed else []
        self.groups = [[n for n, member in enumerate(ensemble.members) if member.fold == fold] for fold in folds]
        self.register_buffer("temperatures", torch.tensor([m.temperature for m in ensemble.members]).reshape(-1, 1, 1))

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in order: per stream frames, lengths, and content where it is marked."""
        return [
            name
            for stream in self.streams
            for name in (stream, f"{stream}_lengths", *([f"{stream}_content"] if stream in self.marked else []))
        ]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Posteriors (batch, classes), calibrated and averaged; and each head's own logits (heads, batch, classes)."""
        given = dict(zip(self.inputs, inputs, strict=True))
        logits = torch.stack(
            [model(self._batch(given, pad)) for model, pad in zip(self.models, self.pads, strict=True)]
        )
        if not self.groups:
            return (logits / self.temperatures).softmax(2).mean(0), logits
        logs = (logits / self.temperatures).log_softmax(2).clamp(min=LOWEST)
        return torch.stack([logs[group].mean(0).softmax(1) for group in self.groups]).mean(0), logits

    def _batch(self, given: dict[str, Tensor], pad: dict[str, int]) -> dict[str, Any]:
        return {stream: self._frames(given, stream, pad.get(stream)) for stream in self.streams}

    def _frames(self, given: dict[str, Tensor], stream: str, fixed: int | None) -> Traced:
        values, lengths = given[stream], given[f"{stream}_lengths"]
        mask = torch.arange(values.shape[1], device=values.device).unsqueeze(0) < lengths.unsqueeze(1)
        if fixed is None:
            content = given[f"{stream}_content"] & mask if stream in self.marked else mask
            return Traced(values, mask, content)
        # as found: filled with zeros, or cut, to so many frames, which all count
        values = torch.where(mask.reshape(*mask.shape, *[1] * (values.dim() - 2)), values, values.new_zeros(()))
        behind = values.new_zeros(values.shape[0], fixed, *values.shape[2:])
        values = torch.cat([values, behind], 1)[:, :fixed]
        every = torch.ones_like(values.reshape(values.shape[0], fixed, -1)[:, :, 0], dtype=torch.bool)
        return Traced(values, every, every)
