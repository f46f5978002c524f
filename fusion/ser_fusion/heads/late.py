"""``audio``, ``text``, ``video``, ``prosody``: one stream alone, the yardstick of every fusion; and fusions of such heads' posteriors.

``late``, ``late-calibrated`` and ``late-average`` train one single-stream head for each stream; only their posteriors meet.

``late``             product of experts: ``log p = sum_s log p_s - (S - 1) log prior``; the best rule where the streams are
                     independent given the emotion and each posterior is worth its face value.
``late-calibrated``  the same product with ``p_s = softmax(z_s / t_s)``: each expert keeps its own best epoch and has a
                     temperature fitted on the development part, so an overconfident stream cannot shout the others down.
``late-average``     the mean of the posteriors; more robust when one stream is overconfident.

Sources: Kittler et al., PAMI 1998 (product and sum rules); Guo et al., ICML 2017 (temperature scaling). Each stream has its
own cross-entropy, so no stream can lean on another in training. Additive in the streams: sees no interaction.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Attention, Head, Projection, Readout
from ser_fusion.heads.facts import Audio, Prosody, Text, Video
from ser_fusion.heads.shape import Shape


class SingleHead(Head):
    """Self-attention over the frames of one stream, pooled."""

    interacts = False
    drops_streams = False

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        (self.stream_read,) = self.streams
        self.project = Projection(dims, shape)
        self.attend = Attention(self.project.width, shape) if shape.attention else None
        self.readout = Readout(self.streams, self.project.width, classes, shape)

    @classmethod
    def reads_context(cls, shape: Shape) -> bool:
        """Where it has attention."""
        return shape.attention

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        frames = self.project({self.stream_read: batch[self.stream_read]})[self.stream_read]
        if self.attend is not None:
            frames = self.attend(frames, frames)
        return self.readout({self.stream_read: frames})


class AudioHead(Audio, SingleHead):
    """Self-attention over the speech frames, pooled."""


class TextHead(Text, SingleHead):
    """Self-attention over the tokens, pooled."""


class VideoHead(Video, SingleHead):
    """Self-attention over the frames, pooled."""


class ProsodyHead(Prosody, SingleHead):
    """Self-attention over hand-crafted features of the sound, pooled."""


class LateHead(Head):
    """Product of the streams' posteriors, divided by the prior."""

    interacts = False
    drops_streams = False
    log_prior: Tensor

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.experts = nn.ModuleDict({s: SingleHead({s: d}, classes, shape) for s, d in dims.items()})
        self.register_buffer("log_prior", torch.zeros(classes))

    @classmethod
    def reads_context(cls, shape: Shape) -> bool:
        """Where its experts have attention."""
        return shape.attention

    def prepare(self, targets: Tensor, prior: Tensor | None = None) -> None:
        """Takes the class prior from the training targets, or as given: what the experts' posteriors share is divided out."""
        counts = torch.bincount(targets, minlength=self.classes) if prior is None else prior
        counts = counts.to(self.log_prior)
        self.log_prior.copy_((counts / counts.sum()).clamp(min=1e-6).log())

    def expert_logits(self, batch: Batch) -> list[Tensor]:
        """Each stream's own logits; each has its own loss."""
        return [expert(batch) for expert in self.experts.values()]

    def classifiers(self) -> list[nn.Module]:
        """Each stream's own."""
        return [module for expert in self.experts.values() for module in expert.classifiers()]  # type: ignore[operator]

    def forward(self, batch: Batch) -> Tensor:
        """Unnormalised log-posteriors, (batch, classes)."""
        logs, heard = self.opinions(batch)
        logs = torch.where(heard, logs, self.log_prior)  # which the division below takes out again
        return logs.sum(0) - (len(logs) - 1) * self.log_prior

    def opinions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each stream's log-posteriors, (streams, batch, classes), and whether it has a frame, (streams, batch, 1).

        A stream without frames has no opinion; where all are without, each counts, with what its classifier says of nothing.
        """
        logs = torch.stack([logits.log_softmax(1) for logits in self.expert_logits(batch)])
        heard = torch.stack([batch[stream].counts for stream in self.experts]) > 0
        return logs, (heard | ~heard.any(0)).unsqueeze(2)


class LateCalibratedHead(LateHead):
    """Product of the streams' posteriors at one temperature per stream, divided by the prior."""

    apart = True
    temperature: Tensor

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.register_buffer("temperature", torch.ones(len(dims)))

    def calibrate(self, logits: Tensor, heard: Tensor, targets: Tensor) -> None:
        """Fits each expert's temperature on the utterances that have frames of its stream, by the rule of all temperatures.

        It sees one fold's development part, so that fewer experts reach the errors that the rule asks for.
        """
        from ser_fusion.evaluation.temperatures import fit_temperature  # pandas: not needed to predict

        for number, (expert, rows) in enumerate(zip(logits, heard, strict=True)):
            if rows.any():
                posteriors = expert[rows].softmax(1).double().cpu().numpy()
                self.temperature[number] = fit_temperature(posteriors, targets[rows.cpu()].numpy()).value

    def calibrate_like(self, other: Head) -> None:
        """Takes the temperatures of another one."""
        if isinstance(other, LateCalibratedHead):
            self.temperature.copy_(other.temperature)

    def opinions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As ``late``, each stream at its temperature."""
        logs, heard = super().opinions(batch)
        return (logs / self.temperature.view(-1, 1, 1)).log_softmax(2), heard


class LateAverageHead(LateHead):
    """Mean of the streams' posteriors."""

    def forward(self, batch: Batch) -> Tensor:
        """Log of the mean posterior, (batch, classes)."""
        logs, heard = self.opinions(batch)
        return logs.masked_fill(~heard, -torch.inf).logsumexp(0) - heard.sum(0).to(logs.dtype).log()
