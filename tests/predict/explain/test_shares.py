"""Shares of streams: equal to the closed form where heads are additive, and always adding up to the score."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from ser_fusion.frames.batches import Packed
from ser_fusion.frames.features import StreamFrames
from ser_fusion.heads import HEADS
from ser_fusion.heads.late import LateHead
from ser_fusion.heads.model import Model
from ser_fusion.heads.shape import Shape
from ser_predict.explain.shares import Member, centred, interaction, shapley, subset_scores
from ser_predict.explain.tracks import frame_contributions

DIMS = {"audio": 6, "text": 5, "video": 4}


def frames(length: int, width: int, seed: int) -> StreamFrames:
    values = np.random.default_rng(seed).normal(size=(length, width)).astype(np.float32)
    content, none = np.ones(length, dtype=bool), np.zeros((1, 1, width), np.float32)
    return StreamFrames((values,), np.array([0, length]), content, none, none, 50.0)


def made(fusion: str, names: tuple[str, ...], seed: int = 0, **shape: Any) -> tuple[Member, dict[str, StreamFrames]]:
    torch.manual_seed(seed)
    dims = {name: DIMS[name] for name in names}
    model = Model(fusion, dims, dict.fromkeys(names, 1), 3, Shape(width=8, attention_heads=2, **shape), True).eval()
    model.head.prepare(torch.tensor([0] * 5 + [1] + [2] * 3))
    if hasattr(model.head, "temperature"):
        model.head.temperature.copy_(torch.linspace(0.5, 2.0, len(names)))
    streams = {name: frames(4 + 3 * number, DIMS[name], number) for number, name in enumerate(names)}
    return Member(model.double(), 1.7, {}), streams


@pytest.mark.parametrize("names", [names for size in (2, 3) for names in combinations(DIMS, size)])
@pytest.mark.parametrize("fusion", ["late", "late-calibrated"])
def test_shares_of_an_additive_head_equal_the_closed_form(fusion: str, names: tuple[str, ...]) -> None:
    """Each stream's log-posterior less the log prior, by the temperature."""
    member, streams = made(fusion, names)
    scores = subset_scores([member], streams, 0)
    head = member.model.head
    assert isinstance(head, LateHead)
    batch = {s: Packed(torch.from_numpy(f.layers[0]).double(), [len(f.layers[0])]) for s, f in streams.items()}
    with torch.inference_mode():
        logs, _ = head.opinions(member.model.frames(batch))
    closed = centred((logs[:, 0] - head.log_prior) / member.temperature).numpy()
    shares = shapley(scores)
    for name, expected in zip(names, closed, strict=True):
        assert np.abs(shares[name] - expected).max() < 1e-6
    assert np.abs(interaction(scores)).max() < 1e-6


@pytest.mark.parametrize("fusion", ["cross", "self", "gated", "bilinear", "concat"])
def test_shares_add_up_to_the_score(fusion: str) -> None:
    member, streams = made(fusion, tuple(DIMS))
    scores = subset_scores([member, made(fusion, tuple(DIMS), seed=1)[0]], streams, 0)
    whole = scores[frozenset(DIMS)] - scores[frozenset()]
    assert np.abs(sum(shapley(scores).values()) - whole).max() < 1e-9
    assert len(scores) == 8 and (np.abs(interaction(scores)).max() > 1e-6) == HEADS[fusion].interacts


def test_a_stream_without_frames_contributes_nothing() -> None:
    member, streams = made("late", ("audio", "text"))
    streams["text"] = frames(0, DIMS["text"], 0)
    assert np.abs(shapley(subset_scores([member], streams, 0))["text"]).max() < 1e-9


@pytest.mark.parametrize("pooling", ["stats", "attention"])
@pytest.mark.parametrize("fusion", ["cross", "late", "concat"])
def test_contributions_of_frames_add_up_to_the_change_of_the_score(fusion: str, pooling: str) -> None:
    member, streams = made(fusion, ("audio", "text"), pooling=pooling)
    batch = {s: Packed(torch.from_numpy(f.layers[0]), [len(f.layers[0])]) for s, f in streams.items()}
    values, gap = frame_contributions([member], batch, 1, steps=64)
    assert {name: len(each) for name, each in values.items()} == {"audio": 4, "text": 7}
    assert gap < 0.01


def test_the_frame_that_carries_the_score_is_found() -> None:
    """A linear head that reads one channel: the contribution of a frame is that channel of it, exactly."""
    member, streams = made("concat", ("audio", "text"), pooling="mean")
    streams["audio"].layers[0][2] *= 20
    batch = {s: Packed(torch.from_numpy(f.layers[0]), [len(f.layers[0])]) for s, f in streams.items()}
    values, _ = frame_contributions([member], batch, 0)
    assert np.abs(values["audio"]).argmax() == 2
