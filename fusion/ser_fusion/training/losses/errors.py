"""What can go wrong with a lever."""

from ser_fusion.errors import FusionError


class LeverImpossible(FusionError, ValueError):
    """An option of the training cannot do anything sensible here."""

    option: str
    problem: str
    remedy: str
    got = "{option} is not possible: {problem}."
    next = "{remedy}"
