"""Sizes and switches of a head: what a preset decides and every head understands. No torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a head is built; the same for all streams.

    Attributes:
        pooling: Name in the table of poolings.
        text_pooling: Another pooling for the stream ``text``, or None for the same.
        width: Width that every stream is projected to; None keeps the width of ``audio`` (or of the first stream), projects
            the others to it, and leaves a single stream as it is, as the study's published code does.
        project_single: Project a head's only stream as well.
        activation: Non-linearity after the projection: ``none``, ``relu`` or ``gelu``.
        attention: Whether single streams and ``self`` attend at all; False leaves projection and pooling.
        attention_heads: Heads of every multi-head attention; lowered to the greatest divisor of the width.
        residual: Add the attention's input to its output, and normalise (LayerNorm).
        norm_first: Normalise what the attention reads instead of that sum.
        feedforward: Width of the two-layer network after each attention; 0 for none.
        hidden: Width of a second linear layer before the classes, as a fraction of the pooled width; 0 for none. There is
            no non-linearity in the classifier: what streams have to do with each other is the head's business alone, so
            that heads can be told apart.
        frame_dropout: Probability of dropping a feature of a projected frame or of an attention's output.
        pool_dropout: Probability of dropping a feature of the vector that the classifier sees.
        pool_norm: ``batch`` brings each feature of a pooled vector to zero mean and unit deviation over the training
            utterances (``ser_fusion.heads.pool_norm``); ``none`` leaves it as it is.
        input_dropout: Probability of dropping an input feature of a frame.
        stream_dropout: Probability of dropping a whole pooled stream of an utterance in training, never all of them (ModDrop,
            Neverova et al. 2016). Without it the stream that is learned by heart first, usually the text, leaves the others
            without a gradient.
    """

    pooling: str = "stats"
    text_pooling: str | None = None
    width: int | None = 128
    project_single: bool = True
    activation: str = "none"
    attention: bool = True
    attention_heads: int = 4
    residual: bool = True
    norm_first: bool = False
    feedforward: int = 0
    hidden: float = 0.0
    frame_dropout: float = 0.1
    pool_dropout: float = 0.5
    pool_norm: Literal["none", "batch"] = "none"
    input_dropout: float = 0.0
    stream_dropout: float = 0.0

    def pooling_of(self, stream: str) -> str:
        """Name of the pooling for a stream."""
        return self.text_pooling if stream == "text" and self.text_pooling else self.pooling

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From what ``as_dict`` gave, in this version or in an earlier one (``split_dropout``)."""
        return cls(**split_dropout(values))


def split_dropout(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which ``dropout``, the one probability of earlier versions, is both, without a norm of pooled vectors."""
    rest = {name: value for name, value in values.items() if name != "dropout"}
    if len(rest) == len(values):
        return rest
    return {**rest, "frame_dropout": values["dropout"], "pool_dropout": values["dropout"], "pool_norm": "none"}
