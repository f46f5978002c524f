"""The levers among the options of ``ser-fuse``: fields of the job, checked before anything heavy is loaded."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ser_base.errors import UnknownName
from ser_fusion.training.losses import LOSSES

# What --task vad has no use for
_OF_CLASSES = (
    "loss", "smoothing", "targets", "contrastive", "vad_weight", "class_weights", "re_pair", "labels", "classifier", "tune",
)  # fmt: skip


class LeverOptions(BaseModel):
    """Losses, targets and sampling. The defaults are plain cross-entropy on the corpus's own labels.

    Attributes:
        loss: Name in the table of losses.
        loss_strength: The loss's own number: beta of ``class-balanced``, gamma of ``focal``, tau of ``logit-adjust``.
        smoothing: Label smoothing: so much of every target is spread over all classes.
        targets: ``votes`` trains on the annotators' votes, and on turns without a majority as well.
        contrastive: Weight of a supervised contrastive loss on the pooled vectors; 0 for none.
        confused_pairs: Classes (``angry-frustrated``) whose negatives weigh more in it; empty for those known to be confused.
        pair_weight: How much more; 1 treats all classes alike.
        mixup: ``alpha`` of mixup on the pooled vectors; 0 for none.
        task: ``vad`` learns valence, arousal and dominance instead of classes.
        vad_weight: Weight of a loss that learns them beside the classes; 0 for none.
        stream_dropout: Probability of dropping a whole stream of an utterance in training; None for the preset's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: str = "cross-entropy"
    loss_strength: float | None = None
    smoothing: float = Field(0.0, ge=0, lt=1)
    targets: Literal["majority", "votes"] = "majority"
    contrastive: float = Field(0.0, ge=0)
    confused_pairs: tuple[str, ...] = ()
    pair_weight: float = Field(2.0, gt=0)
    mixup: float = Field(0.0, ge=0)
    task: Literal["emotion", "vad"] = "emotion"
    vad_weight: float = Field(0.0, ge=0)
    stream_dropout: float | None = Field(None, ge=0, lt=1)

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, value: str) -> str:
        if value not in LOSSES:
            raise UnknownName("loss", value, tuple(LOSSES))
        return value

    @model_validator(mode="after")
    def _levers_fit(self) -> "LeverOptions":
        if self.loss_strength is not None:
            refusal = LOSSES[self.loss].refusal(self.loss_strength)
            if refusal:
                raise ValueError(f"--loss-strength {self.loss_strength:g} with --loss {self.loss}: {refusal}")
        if self.task == "vad":
            fields = type(self).model_fields
            known = [name for name in _OF_CLASSES if name in fields]
            strange = [name for name in known if getattr(self, name) != fields[name].default]
            if strange:
                raise ValueError(
                    f"--{strange[0].replace('_', '-')} is about classes, and --task vad has none: give one of them"
                )
        balanced = getattr(self, "class_weights", "none") == "balanced"
        if balanced and self.loss in ("class-balanced", "logit-adjust"):
            raise ValueError(
                f"--class-weights balanced and --loss {self.loss} both undo the classes' frequencies: give one"
            )
        if self.targets == "votes" and getattr(self, "re_pair", False):
            raise ValueError(
                "--re-pair joins streams of one class, and --targets votes has no classes: give one of them"
            )
        if self.confused_pairs and not self.contrastive:
            raise ValueError("--confused-pairs belong to the contrastive loss: give --contrastive W as well")
        return self
