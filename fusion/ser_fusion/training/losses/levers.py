"""What of a training differs from plain cross-entropy on majority labels: plain data, and the words for it. No torch here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ser_fusion.training.losses.errors import LeverImpossible
from ser_fusion.training.losses.options import LeverOptions

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
        found = [(pair[:n], pair[n + 1 :]) for n in cuts if pair[:n] in place and pair[n + 1 :] in place]
        if len(found) != 1 or found[0][0] == found[0][1]:
            raise LeverImpossible(
                f"--confused-pairs {pair}",
                f"it is not two of the classes {', '.join(classes)}",
                f"Write two different ones with a hyphen, such as {classes[0]}-{classes[-1]}.",
            )
        yield place[found[0][0]], place[found[0][1]]


def spoken(job: LeverOptions, classes: Sequence[str], fusion: str) -> list[str]:
    """What of a job's row with this head differs by its levers, in words; empty for the defaults."""
    from ser_fusion.heads import HEADS
    from ser_fusion.training.losses import LOSSES

    levers, said = levers_of(job, classes), []
    if levers.loss != "cross-entropy":
        kind = LOSSES[levers.loss]
        number = kind.default if levers.strength is None else levers.strength
        said.append(f"loss {levers.loss}, {kind.symbol} {number:g}, instead of cross-entropy")
    if levers.smoothing:
        said.append(f"labels smoothed by {levers.smoothing:g}")
    if levers.votes:
        said.append("targets are the annotators' votes; turns without a majority train too and are never scored")
    if levers.mixup:
        said.append(f"pooled vectors mixed up, alpha {levers.mixup:g}")
    if levers.contrastive:
        names = [f"{classes[a]} and {classes[b]}" for a, b in levers.pairs]
        pairs = f"negatives of {', '.join(names)} weigh {levers.pair_weight:g}" if names else "no confused pair"
        said.append(f"supervised contrastive loss, weight {levers.contrastive:g}; {pairs}")
    if job.stream_dropout is not None:
        useless = "" if HEADS[fusion].drops_streams else ", which this head has no use for"
        said.append(f"stream dropout {job.stream_dropout:g}{useless}")
    if levers.vad_weight:
        said.append(f"valence, arousal and dominance learned as well (CCC loss), weight {levers.vad_weight:g}")
    return said
