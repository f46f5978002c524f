"""Every head and every pooling keeps the public contract (`ser_fusion.testing`); the tables are walked, so a new row is tested."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from ser_fusion import testing
from ser_fusion.frames.batches import Packed
from ser_fusion.heads import HEADS
from ser_fusion.heads.base import Head
from ser_fusion.heads.pooled import ConcatHead
from ser_fusion.poolings import POOLINGS
from ser_fusion.poolings.base import Pooling
from ser_fusion.training.losses import LOSSES
from ser_fusion.training.losses.base import Loss


@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.parametrize("shape", list(testing.SHAPES))
@pytest.mark.parametrize("check", list(testing.HEAD_CHECKS))
def test_a_head_keeps_the_contract(name: str, shape: str, check: str) -> None:
    testing.check_head(HEADS[name], name, [check], [shape])


@pytest.mark.parametrize("shape", list(testing.SHAPES))
def test_frames_behind_the_end_never_enter_the_recurrence(shape: str) -> None:
    """Not even as NaN: the gradients are equal, bit for bit."""
    head = testing.make_head(HEADS["mdre"], "mdre", testing.SHAPES[shape])
    padded = {stream: testing.pad(frames) for stream, frames in testing.random_batch(testing.LENGTHS).items()}
    weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    ours = testing.gradients(head, padded, weights)
    theirs = testing.gradients(head, testing.dirty(padded, float("nan")), weights)
    assert ours and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", list(POOLINGS))
@pytest.mark.parametrize("check", list(testing.POOLING_CHECKS))
def test_a_pooling_keeps_the_contract(name: str, check: str) -> None:
    testing.check_pooling(POOLINGS[name], [check])


class Peeking(Pooling):
    """Reads the padding: the mean over the longest utterance's length."""

    def forward(self, frames: Any) -> Tensor:
        if isinstance(frames, Packed):
            return frames.mean(content=False)
        return frames.values.mean(1)


class Meeting(ConcatHead):
    """Lets utterances meet."""

    def forward(self, batch: Any) -> Tensor:
        logits = super().forward(batch)
        return logits + logits.mean(0)


class Idle(ConcatHead):
    """Has a parameter that nothing uses."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unused = torch.nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize(
    ("ask", "part", "message"),
    [
        (testing.check_pooling, Peeking, "pooling ignores padding"),
        (testing.check_head, Meeting, "one is a row of many"),
        (testing.check_head, Idle, r"gradients reach every parameter \(corrected\): unused"),
    ],
)
def test_a_broken_part_is_found(ask: Any, part: type, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        ask(part)


def test_statistics_leave_special_tokens_out() -> None:
    values = torch.tensor([[9.0], [1.0], [3.0], [9.0]])
    frames = Packed(values, [4], torch.tensor([False, True, True, False]))
    assert POOLINGS["stats"](1)(frames).tolist() == [[2.0, pytest.approx(1.0, abs=1e-6)]]
    assert POOLINGS["mean"](1)(frames).item() == 2.0
    assert POOLINGS["max"](1)(frames).item() == 3.0
    assert POOLINGS["concat"](1)(frames).item() == 5.5
    assert POOLINGS["cls"](1)(frames).item() == 9.0


@pytest.mark.parametrize(("base", "table"), [(Head, HEADS), (Pooling, POOLINGS), (Loss, LOSSES)])
def test_every_class_is_in_its_table(base: type, table: Mapping[str, type]) -> None:
    package = base.__module__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
    kinds = [base]
    for kind in kinds:  # the list grows by the subclasses, and theirs
        kinds += [one for one in kind.__subclasses__() if one.__module__.startswith(f"{package}.")]
    assert {kind for kind in kinds if not kind.__subclasses__()} <= set(table.values())
    assert len(table) > 3
