"""One stream alone: projection, self-attention, pooling, classifier. The yardstick of every fusion.

``audio``, ``text`` and ``video`` are this head on the stream of that name.
"""

from collections.abc import Mapping

from torch import Tensor

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Attention, Head, Projection, Readout
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


class AudioHead(SingleHead):
    """Self-attention over the speech frames, pooled."""

    single_stream = "audio"


class TextHead(SingleHead):
    """Self-attention over the tokens, pooled."""

    single_stream = "text"


class VideoHead(SingleHead):
    """Self-attention over the frames, pooled."""

    single_stream = "video"
