"""Errors of worker processes reach the parent."""

from ser_extract import errors
from ser_extract.work.workers import portable


class Unpicklable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} {b}")


def test_an_error_that_does_not_survive_pickling_is_told_in_ours():
    found = portable(Unpicklable(1, 2))
    assert isinstance(found, errors.ExtractError)
    assert "Unpicklable: 1 2" in str(found)
