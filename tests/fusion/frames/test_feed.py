"""Batches of several layers and of long utterances: exact, and of bounded size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ser_fusion.frames import feed as module
from ser_fusion.frames.batches import Packed
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.model import Input

NAMES = ("audio", "text")


@pytest.fixture
def layered(corpus, frames_of):
    """Frames of 20 utterances in four layers of each stream."""
    draw = np.random.default_rng(3)

    def several(stream):
        first = stream.layers[0]
        others = [draw.normal(size=first.shape).astype(np.float16) for _ in range(3)]
        return replace(
            stream,
            layers=(first, *others),
            means=np.repeat(stream.means, 4, 0),
            variances=np.repeat(stream.variances, 4, 0),
        )

    return {name: several(stream) for name, stream in frames_of(corpus("both", n=20)).items()}


def test_a_batch_holds_all_layers(layered):
    rows = np.array([7, 3, 3])
    batch = Feed(layered, NAMES).batch(rows)
    for name, stream in layered.items():
        whole = np.stack(stream.layers, 1).astype(np.float32)
        own = [whole[stream.offsets[row] : stream.offsets[row + 1]] for row in rows]
        assert batch[name].values.dtype == torch.float32
        assert np.array_equal(batch[name].values.numpy(), np.concatenate(own))


@pytest.mark.parametrize("fixed", [{}, {"audio": 50}])
def test_evaluation_takes_fewer_long_utterances_at_a_time(layered, monkeypatch, fixed):
    feed, rows = Feed(layered, NAMES, pad_to=fixed), np.arange(20)[::-1]

    def batches(most):
        monkeypatch.setattr(module, "MOST", most)
        return list(feed.by_length(rows, 8))

    usual = batches(10**9)
    assert [len(part) for part, _ in usual] == [8, 8, 4]
    largest = max(sum(frames.values.numel() for frames in batch.values()) for _, batch in usual)
    for most in (largest // 3, 1):
        few = batches(most)
        assert np.array_equal(np.concatenate([p for p, _ in few]), np.concatenate([p for p, _ in usual]))
        assert all(sum(f.values.numel() for f in batch.values()) <= most or len(part) == 1 for part, batch in few)
    assert len(few) == 20 and list(feed.by_length(rows[:0], 8)) == []


@pytest.mark.parametrize("normalise", [False, True])
def test_the_weighted_sum_of_layers_is_that_of_its_formula(normalise):
    torch.manual_seed(0)
    layer = Input(5, 6, normalise).double()
    for values in (layer.layer_weights.data, layer.mean):
        values.normal_()
    layer.scale.uniform_(0.5, 2.0)
    values = torch.randn(9, 5, 6, dtype=torch.float64)
    weights = layer.layer_weights.softmax(0)
    each = (values - layer.mean) * layer.scale if normalise else values
    plain = (weights[:, None] * each).sum(1)
    got = layer(Packed(values, [4, 5])).values
    torch.testing.assert_close(got, plain, rtol=1e-12, atol=1e-12)
    (ours,), (theirs,) = (torch.autograd.grad(out.square().sum(), [layer.layer_weights]) for out in (got, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
