"""What can go wrong with a lever, as facts."""

from ser_fusion.errors import FusionError


class LeverImpossible(FusionError, ValueError):
    """An option of the training cannot do anything sensible here."""

    def __init__(self, option: str, problem: str, remedy: str) -> None:
        super().__init__(option, problem, remedy)
        self.option, self.problem, self.remedy = option, problem, remedy

    def __str__(self) -> str:
        return f"{self.option} is not possible: {self.problem}.\n{self.remedy}"
