"""Training on a GPU, as far as it can be asked without one: shapes and devices of every head, and the engine's own parts.

Under torch's ``FakeTensorMode`` tensors have a device and a shape and no values. A tensor on the wrong device is an error there,
and so is a number that is read back from the device, for which a GPU would have to be waited for. A backward pass needs a card;
so does the recurrence of ``mdre``, whose kernel asks for the sizes of its steps. ``make gpu-check`` does both on one.
"""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nested._internal import sdpa

from ser_fusion.frames.device import fits, resident
from ser_fusion.frames.feed import Feed
from ser_fusion.frames.kernels import jagged_attention, last_states, packed_attention
from ser_fusion.heads import HEADS
from ser_fusion.heads.model import Model
from ser_fusion.heads.shape import Shape
from ser_fusion.runs.runners.local import default_workers, usual_workers

CUDA = torch.device("cuda", 0)
PLAIN = Shape(width=8, attention_heads=2, pool_norm="batch", stream_dropout=0.2)
FULL = Shape(width=8, attention_heads=2, pooling="attention", feedforward=8, text_pooling="cls", residual=True)


@pytest.mark.parametrize("shape", [PLAIN, FULL], ids=["plain", "full"])
@pytest.mark.parametrize("name", [name for name in HEADS if name not in ("video", "prosody", "mdre")])
def test_every_head_computes_on_the_device_of_its_batch_and_never_waits_for_it(
    name, shape, corpus, frames_of, monkeypatch
):
    for kernel in ("cudnn", "flash", "efficient"):  # which kernels a card has is asked of the card
        monkeypatch.setattr(sdpa, f"can_use_{kernel}_attention", lambda *_, own=kernel == "efficient": own)
    streams = frames_of(corpus("both", n=12))
    names = HEADS[name].reads(name, ("audio", "text"))
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        dims = {stream: streams[stream].features for stream in names}
        with CUDA:
            model = Model(name, dims, dict.fromkeys(names, 1), 3, shape, True).train()
        feed = Feed(streams, names, device=CUDA)
        batch = feed.batch(np.arange(7))
        assert {frames.values.device for frames in batch.values()} == {CUDA}
        loss = model.loss(batch, torch.zeros(7, dtype=torch.int64, device=CUDA))
        assert loss.device == CUDA and loss.shape == ()


@pytest.mark.parametrize("lengths", [([3, 7, 1], [2, 5, 9]), ([3, 0, 4, 0], [0, 5, 2, 0])], ids=["full", "empty"])
def test_one_kernel_for_all_utterances_equals_one_for_each(lengths):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(sum(n), 8, generator=generator) for n in (lengths[0], lengths[1], lengths[1])]
    found = []
    for attention in (packed_attention, jagged_attention):
        given = [one.clone().requires_grad_() for one in made]
        out = attention(*given, *lengths, heads=2)
        found.append([out, *torch.autograd.grad(out.sin().sum(), given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_recurrence_of_a_gpu_equals_ours():
    torch.manual_seed(0)
    layer, values, lengths = torch.nn.GRU(5, 4), torch.randn(12, 5), [3, 0, 7, 2]
    ours, theirs = (last_states(layer, values, lengths, fused=fused) for fused in (False, True))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_frames_from_far_are_gathered_ahead_and_equal(corpus, frames_of):
    streams = frames_of(corpus("both", n=20))
    parts = [(np.arange(start, start + 5), {}) for start in (0, 5, 10, 15)]
    feed = Feed(streams, ("audio", "text"))
    near = list(feed.batches(parts))
    feed.far = True
    far = list(feed.batches(parts))
    assert all(torch.equal(a[s].values, b[s].values) for a, b in zip(near, far, strict=True) for s in a)
    assert list(feed.batches([])) == []


def test_frames_lie_on_a_card_once_and_only_if_they_fit(corpus, frames_of):
    stream = frames_of(corpus("both", n=12))["audio"]
    assert resident(stream, torch.device("cpu")) is resident(stream, torch.device("cpu"))
    assert fits(60, CUDA, free=100) and not fits(61, CUDA, free=100) and fits(10**12, torch.device("cpu"), free=100)


def test_every_card_trains_one_job_at_a_time_unless_workers_says_more():
    assert usual_workers(("cuda:0", "cuda:2")) == 2
    assert usual_workers(("cpu",)) == default_workers(10**6)
