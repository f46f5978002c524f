"""The options of ``ser-fuse`` that are levers: losses, targets, sampling. Nothing heavy is loaded here."""

from collections.abc import Callable
from typing import Any

import rich_click as click

from ser_fusion.cli import types
from ser_fusion.training.losses import LOSSES

_share = click.FloatRange(0, 1, max_open=True)
_weight = click.FloatRange(0)
_OPTIONS = (
    click.option("--loss", type=click.Choice(list(LOSSES)), help="What training minimises.  [default: cross-entropy]"),
    click.option(
        "--loss-strength",
        type=float,
        metavar="X",
        help="beta of class-balanced (0.999), gamma of focal (2), tau of logit-adjust (1).",
    ),
    click.option(
        "--targets",
        type=click.Choice(["majority", "votes"]),
        help="votes: learn the annotators' votes, also of turns without a majority.  [default: majority]",
    ),
    click.option("--smoothing", type=_share, metavar="E", help="Spread so much of every label over all classes."),
    click.option("--mixup", type=_weight, metavar="A", help="Mix pooled vectors and labels, shares from Beta(A, A)."),
    click.option(
        "--task",
        type=click.Choice(["emotion", "vad"]),
        help="vad: learn valence, arousal and dominance instead of classes.  [default: emotion]",
    ),
    click.option("--vad-weight", type=_weight, metavar="W", help="Learn them beside the classes, with this weight."),
    click.option(
        "--stream-dropout", type=_share, metavar="P", help="Drop a whole stream in training.  [default: the preset's]"
    ),
    click.option("--contrastive", type=_weight, metavar="W", help="Weight of a supervised contrastive loss as well."),
    click.option(
        "--confused-pairs",
        multiple=True,
        callback=types.words(),
        metavar="A-B,...",
        help="Classes that it pushes apart harder.  [default: angry-frustrated, happy-excited, where there are such]",
    ),
    click.option(
        "--pair-weight", type=click.FloatRange(0, min_open=True), metavar="V", help="How much harder.  [default: 2]"
    ),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the levers to a command, in the order above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
