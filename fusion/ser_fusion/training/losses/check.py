"""Which heads can follow which levers; asked before anything is trained."""

from collections.abc import Iterable

from ser_fusion.heads import HEADS
from ser_fusion.heads.base import Head
from ser_fusion.training.losses.errors import LeverImpossible
from ser_fusion.training.losses.levers import PLAIN, levers_of
from ser_fusion.training.losses.options import LeverOptions

_REMEDY = "Leave the option out, or choose other heads with --fusion."


def check_heads(job: LeverOptions, names: Iterable[str], classes: tuple[str, ...]) -> None:
    """Refuses what could have no effect, or not the one that is meant.

    Args:
        job: The options.
        names: Heads of the job's rows.
        classes: Class names of the study.

    Raises:
        LeverImpossible: A head has a loss of its own, or none of the heads can lose a stream.
    """
    levers, heads = levers_of(job, classes), dict.fromkeys(names)
    for name in heads:
        if levers != PLAIN and HEADS[name].loss is not Head.loss:
            raise LeverImpossible("Another loss", f"the head {name!r} has its own (it overrides Head.loss)", _REMEDY)
    if job.stream_dropout and heads and not any(HEADS[name].drops_streams for name in heads):
        problem = f"of the heads {', '.join(heads)} none pools several streams for one classifier"
        raise LeverImpossible("--stream-dropout", problem, _REMEDY)
