"""The levers among the options of ``ser-fuse``: fields of the job, checked before anything heavy is loaded."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ser_base.errors import UnknownName
from ser_base.options import Option
from ser_fusion.training.losses import LOSSES

PANEL = "Losses"
# What --task vad has no use for
_OF_CLASSES = (
    "loss", "smoothing", "targets", "contrastive", "vad_weight", "class_weights", "re_pair", "labels", "classifier", "tune",
)  # fmt: skip


class LeverOptions(BaseModel):
    """Losses, targets and sampling. The defaults are plain cross-entropy on the corpus's own labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    loss: Annotated[str, Option("What training minimises.", PANEL, common=True, known=LOSSES)] = "cross-entropy"
    loss_strength: Annotated[
        float | None,
        Option("beta of class-balanced (0.999), gamma of focal (2), tau of logit-adjust (1).", PANEL, metavar="X"),
    ] = None
    targets: Annotated[
        Literal["majority", "votes"],
        Option("votes: learn the annotators' votes, also of turns without a majority.", PANEL, common=True),
    ] = "majority"
    smoothing: Annotated[
        float, Option("Spread so much of every label over all classes.", PANEL, common=True, metavar="E")
    ] = Field(0.0, ge=0, lt=1)
    mixup: Annotated[float, Option("Mix pooled vectors and labels, shares from Beta(A, A).", PANEL, metavar="A")] = (
        Field(0.0, ge=0)
    )
    task: Annotated[
        Literal["emotion", "vad"],
        Option("vad: learn valence, arousal and dominance instead of classes.", PANEL, common=True),
    ] = "emotion"
    vad_weight: Annotated[
        float, Option("Learn them beside the classes, with this weight.", PANEL, common=True, metavar="W")
    ] = Field(0.0, ge=0)
    stream_dropout: Annotated[
        float | None,
        Option("Probability of dropping a whole stream in training.", PANEL, default="the preset's", metavar="P"),
    ] = Field(None, ge=0, lt=1)
    contrastive: Annotated[
        float, Option("Weight of a supervised contrastive loss on the pooled vectors.", PANEL, metavar="W")
    ] = Field(0.0, ge=0)
    confused_pairs: Annotated[
        tuple[str, ...],
        Option(
            "Classes that it pushes apart harder.",
            PANEL,
            default="angry-frustrated, happy-excited, where there are such",
            metavar="A-B,...",
        ),
    ] = ()
    pair_weight: Annotated[float, Option("How much harder; 1 treats all classes alike.", PANEL, metavar="V")] = Field(
        2.0, gt=0
    )

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
