"""What of a training differs from plain cross-entropy on majority labels: plain data, and the words for it. No torch here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ser_base.errors import UnknownName
from ser_base.options import Option
from ser_fusion.errors import FusionError
from ser_fusion.training.losses import LOSSES


# What can go wrong with a lever.
class LeverImpossible(FusionError, ValueError):
    """An option of the training cannot do anything sensible here."""

    option: str
    problem: str
    remedy: str
    got = "{option} is not possible: {problem}."
    next = "{remedy}"


# The levers among the options of ``ser-fuse``: fields of the job, checked before anything heavy is loaded.
PANEL = "Losses"
# What --task vad has no use for
_OF_CLASSES = (
    "loss", "smoothing", "targets", "contrastive", "vad_weight", "class_weights", "re_pair", "labels", "classifier", "tune",
)  # fmt: skip


class LeverOptions(BaseModel):
    """Losses, targets and sampling. The defaults are plain cross-entropy on the corpus's own labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    loss: Annotated[str, Option("Train with this loss.", PANEL, common=True, choices=LOSSES)] = "cross-entropy"
    loss_strength: Annotated[
        float | None,
        Option(
            "Parameter of the loss: beta of class-balanced (0.999), gamma of focal (2), tau of logit-adjust (1).",
            PANEL,
            metavar="X",
        ),
    ] = None
    targets: Annotated[
        Literal["majority", "votes"],
        Option(
            "Learn the majority label, or the votes of all annotators, also of turns without a majority (votes).",
            PANEL,
            common=True,
        ),
    ] = "majority"
    smoothing: Annotated[
        float,
        Option(
            "Label smoothing: the share of every label that is spread over all classes.",
            PANEL,
            common=True,
            metavar="E",
        ),
    ] = Field(0.0, ge=0, lt=1)
    mixup: Annotated[
        float, Option("Mixup of pooled vectors and labels, with shares from Beta(A, A).", PANEL, metavar="A")
    ] = Field(0.0, ge=0)
    task: Annotated[
        Literal["emotion", "vad"],
        Option("Learn emotion classes, or valence, arousal and dominance instead (vad).", PANEL, common=True),
    ] = "emotion"
    vad_weight: Annotated[
        float,
        Option(
            "Learn valence, arousal and dominance beside the classes, with this weight of their loss.",
            PANEL,
            common=True,
            metavar="W",
        ),
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
            "Confused pairs of classes, which the contrastive loss pushes apart more.",
            PANEL,
            default="angry-frustrated, happy-excited, where there are such",
            metavar="A-B,...",
        ),
    ] = ()
    pair_weight: Annotated[
        float,
        Option("Weight of the confused pairs in the contrastive loss; 1 treats all classes alike.", PANEL, metavar="V"),
    ] = Field(2.0, gt=0)

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
            own = [name for name in _OF_CLASSES if name in fields]
            strange = [name for name in own if getattr(self, name) != fields[name].default]
            if strange:
                raise ValueError(
                    f"--{strange[0].replace('_', '-')} is for classes, and --task vad does not have any. Give one of the two."
                )
        balanced = getattr(self, "class_weights", "none") == "balanced"
        if balanced and self.loss in ("class-balanced", "logit-adjust"):
            raise ValueError(
                f"--class-weights balanced and --loss {self.loss} both balance the classes. Give one of the two."
            )
        if self.targets == "votes" and getattr(self, "re_pair", False):
            raise ValueError("--re-pair joins streams of one class, and --targets votes has none. Give one of the two.")
        if self.confused_pairs and not self.contrastive:
            raise ValueError("--confused-pairs need the contrastive loss. Give --contrastive W as well.")
        return self


# Which classes people take for one another, by the names that corpora give them; only those that a study has are meant.
CONFUSED = (
    (("ang", "angry", "anger"), ("fru", "frustrated", "frustration")),
    (("hap", "happy", "happiness", "joy"), ("exc", "excited", "excitement")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levers:
    """The levers of one training.

    Attributes:
        loss: Name in the table of losses.
        strength: The loss's own number; None for its default.
        smoothing: Share of every target that is spread over all classes.
        votes: Targets are the annotators' votes.
        mixup: ``alpha`` of the Beta distribution; 0 for none.
        contrastive: Weight of the contrastive loss; 0 for none.
        pairs: Confused classes, by number.
        pair_weight: Weight of negatives of a confused pair.
        vad_weight: Weight of the ratings' loss beside the classes'; 0 for none.
        task: ``emotion``, or ``vad`` for ratings and no classes.
    """

    loss: str = "cross-entropy"
    strength: float | None = None
    smoothing: float = 0.0
    votes: bool = False
    mixup: float = 0.0
    contrastive: float = 0.0
    pairs: tuple[tuple[int, int], ...] = ()
    pair_weight: float = 1.0
    vad_weight: float = 0.0
    task: str = "emotion"

    @property
    def rates(self) -> bool:
        """Whether ratings are learned."""
        return self.task == "vad" or self.vad_weight > 0


PLAIN = Levers()


def levers_of(job: LeverOptions, classes: Sequence[str]) -> Levers:
    """The levers of a job on these classes.

    Raises:
        LeverImpossible: A declared pair is not two of the classes.
    """
    pairs = tuple(_pairs(job.confused_pairs, classes)) if job.contrastive else ()
    return Levers(
        loss=job.loss,
        strength=job.loss_strength,
        smoothing=job.smoothing,
        votes=job.targets == "votes",
        mixup=job.mixup,
        contrastive=job.contrastive,
        pairs=pairs,
        pair_weight=job.pair_weight if pairs else 1.0,
        vad_weight=job.vad_weight,
        task=job.task,
    )


def _pairs(declared: Sequence[str], classes: Sequence[str]) -> Iterator[tuple[int, int]]:
    place = {name: number for number, name in enumerate(classes)}
    if not declared:
        for ones, others in CONFUSED:
            yield from ((place[a], place[b]) for a in ones for b in others if a in place and b in place)
    for pair in declared:
        cuts = [n for n, letter in enumerate(pair) if letter == "-"]
        splits = [(pair[:n], pair[n + 1 :]) for n in cuts if pair[:n] in place and pair[n + 1 :] in place]
        if len(splits) != 1 or splits[0][0] == splits[0][1]:
            raise LeverImpossible(
                f"--confused-pairs {pair}",
                f"it is not two of the classes {', '.join(classes)}",
                f"Write two different ones with a hyphen, such as {classes[0]}-{classes[-1]}.",
            )
        yield place[splits[0][0]], place[splits[0][1]]
