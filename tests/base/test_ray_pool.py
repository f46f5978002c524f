"""An actor answers with results or with errors that survive the way back; the pool itself is tried by each stage's runners."""

import pickle
from typing import Any

import pytest

from ser_base.errors import UnknownName
from ser_base.ray_pool import Actor


class Halving(Actor):
    def do(self, unit: int) -> float:
        if unit < 0:
            raise UnknownName("number", str(unit), ("0", "1"))
        return 1 / unit


def answers(*units: int) -> list[Any]:
    batch = Halving()({"unit": [pickle.dumps(unit) for unit in units]})
    return [pickle.loads(result) for result in batch["result"]]


def test_results_and_errors_come_back():
    half, ours, python = answers(2, -1, 0)
    assert half == 0.5
    assert isinstance(ours, UnknownName) and "unknown number '-1'" in str(ours)
    assert isinstance(python, ZeroDivisionError)


def test_an_actor_without_work_says_so():
    with pytest.raises(NotImplementedError):
        Actor().do(1)
