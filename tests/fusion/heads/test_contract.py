"""Every head and every pooling keeps the same promises; the tables are walked, so a new row is tested by being there."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from ser_fusion.frames.batches import Packed, Padded, pad
from ser_fusion.heads import HEADS
from ser_fusion.heads.base import Head
from ser_fusion.heads.pool_norm import PoolNorm
from ser_fusion.heads.shape import Shape
from ser_fusion.poolings import POOLINGS
from ser_fusion.poolings.base import Pooling
from ser_fusion.training.losses import LOSSES
from ser_fusion.training.losses.base import Loss

Maker = Callable[..., dict[str, Packed]]
DIMS = {"audio": 12, "text": 10, "video": 6}
LENGTHS = {"audio": [7, 1, 30, 12], "text": [5, 3, 1, 9], "video": [2, 8, 3, 1]}
SHAPES = {
    "corrected": Shape(width=16, frame_dropout=0.0, pool_dropout=0.0, pool_norm="batch", norm_first=True),
    "as-found": Shape(
        width=None,
        project_single=False,
        residual=False,
        hidden=0.25,
        frame_dropout=0.0,
        pool_dropout=0.0,
        pooling="modality-stats",
        attention_heads=4,
    ),
    "full": Shape(
        width=16,
        frame_dropout=0.0,
        pool_dropout=0.0,
        pooling="attention",
        feedforward=24,
        activation="gelu",
        text_pooling="cls",
    ),
}


def make_head(name: str, shape: Shape, streams: tuple[str, ...] = ()) -> Head:
    torch.manual_seed(1)
    kind, streams = HEADS[name], streams or (("video",) if name == "video" else ("audio", "text"))
    head = kind({s: DIMS[s] for s in kind.reads(name, streams)}, 4, shape).eval()
    head.prepare(torch.tensor([0, 0, 0, 1, 1, 2, 3]))
    for norm in (module for module in head.modules() if isinstance(module, PoolNorm)):  # as training would leave them
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.1, 2.0)
    return head


def gradients(head: Head, batch: object, weights: Tensor) -> dict[str, Tensor]:
    head.zero_grad()
    (head(batch) * weights).sum().backward()
    return {name: p.grad.clone() for name, p in head.named_parameters()}


def each(head: Head, batch: dict[str, Packed], index: int) -> dict[str, Packed]:
    """One utterance of a batch as a batch of one."""
    out = {}
    for stream, frames in batch.items():
        start = sum(frames.lengths[:index])
        rows = slice(start, start + frames.lengths[index])
        out[stream] = Packed(frames.values[rows], [frames.lengths[index]], frames.content[rows])
    return out


cases = pytest.mark.parametrize("shape", list(SHAPES))
heads = pytest.mark.parametrize("name", list(HEADS))


@heads
@cases
class TestHeads:
    def test_packed_equals_padded(self, name: str, shape: str, make_batch: Maker) -> None:
        head = make_head(name, SHAPES[shape])
        batch = make_batch(LENGTHS, DIMS)
        weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
        padded = {s: pad(f) for s, f in batch.items()}
        torch.testing.assert_close(head(batch), head(padded), rtol=1e-6, atol=1e-6)
        ours, theirs = gradients(head, batch, weights), gradients(head, padded, weights)
        for key in ours:
            torch.testing.assert_close(
                ours[key], theirs[key], rtol=1e-5, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}"
            )

    def test_garbage_in_the_padding_changes_nothing(self, name: str, shape: str, make_batch: Maker) -> None:
        head = make_head(name, SHAPES[shape])
        batch = {s: pad(f) for s, f in make_batch(LENGTHS, DIMS).items()}
        dirty = {}
        for stream, frames in batch.items():
            values = torch.where(frames.mask.unsqueeze(2), frames.values, torch.tensor(1e3))
            values[:, -1] = torch.where(frames.mask[:, -1:], values[:, -1], torch.tensor(float("nan")))
            dirty[stream] = Padded(values.detach(), frames.lengths, frames.content)
        weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
        assert torch.equal(head(batch), head(dirty))
        if name == "mdre":  # frames behind the end never enter the recurrence
            ours, theirs = gradients(head, batch, weights), gradients(head, dirty, weights)
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)
            return
        finite = {s: Padded(f.values.nan_to_num(1e3), f.lengths, f.content) for s, f in dirty.items()}
        ours, theirs = gradients(head, batch, weights), gradients(head, finite, weights)
        for key in ours:
            torch.testing.assert_close(
                ours[key], theirs[key], rtol=1e-5, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}"
            )

    def test_a_batch_of_one_is_a_row_of_many(self, name: str, shape: str, make_batch: Maker) -> None:
        head = make_head(name, SHAPES[shape])
        batch = make_batch(LENGTHS, DIMS)
        together = head(batch)
        for index in range(4):
            torch.testing.assert_close(head(each(head, batch, index))[0], together[index], rtol=1e-5, atol=1e-6)

    def test_order_in_the_batch_does_not_matter(self, name: str, shape: str, make_batch: Maker) -> None:
        head = make_head(name, SHAPES[shape])
        batch = make_batch(LENGTHS, DIMS)
        order = [2, 0, 3, 1]
        parts = [each(head, batch, index) for index in order]
        shuffled = {
            s: Packed(
                torch.cat([p[s].values for p in parts]),
                [p[s].lengths[0] for p in parts],
                torch.cat([p[s].content for p in parts]),
            )
            for s in batch
        }
        torch.testing.assert_close(head(shuffled), head(batch)[order], rtol=1e-5, atol=1e-6)

    def test_gradients_reach_every_parameter(self, name: str, shape: str, make_batch: Maker) -> None:
        head = make_head(name, SHAPES[shape]).train()
        head.zero_grad()
        head.loss(make_batch(LENGTHS, DIMS), torch.tensor([0, 1, 2, 3])).backward()
        for key, parameter in head.named_parameters():
            assert parameter.grad is not None, key
            grad = parameter.grad
            if key.endswith("key_value.bias"):  # softmax does not see a bias of the keys, in any attention
                grad = grad.chunk(2)[1]
            assert grad.abs().max() > 0, key

    def test_an_empty_stream_is_finite(self, name: str, shape: str, make_batch: Maker) -> None:
        head = make_head(name, SHAPES[shape])
        batch = make_batch({"audio": [3, 9, 4], "text": [0, 4, 2], "video": [2, 0, 3]}, DIMS)
        logits = head(batch)
        assert torch.isfinite(logits).all()
        torch.testing.assert_close(logits, head({s: pad(f) for s, f in batch.items()}), rtol=1e-5, atol=1e-6)
        assert all(torch.isfinite(g).all() for g in gradients(head, batch, torch.ones(3, 4)).values())
        nothing = make_batch({"audio": [3, 2], "text": [0, 0], "video": [0, 0]}, DIMS)
        assert torch.isfinite(head(nothing)).all()

    def test_one_frame_and_two_thousand(self, name: str, shape: str, make_batch: Maker) -> None:
        head = make_head(name, SHAPES[shape])
        batch = make_batch({"audio": [1, 2000], "text": [1, 40], "video": [1, 60]}, DIMS)
        together = head(batch)
        assert torch.isfinite(together).all()
        torch.testing.assert_close(head(each(head, batch, 0))[0], together[0], rtol=1e-4, atol=1e-5)
        assert all(torch.isfinite(g).all() for g in gradients(head, batch, torch.ones(2, 4)).values())


@pytest.mark.parametrize("name", [name for name in HEADS if not HEADS[name].single_stream])
@cases
def test_any_number_of_streams(name: str, shape: str, make_batch: Maker) -> None:
    head = make_head(name, SHAPES[shape], ("audio", "text", "video"))
    batch = make_batch(LENGTHS, DIMS)
    assert head(batch).shape == (4, 4)
    torch.testing.assert_close(head(batch), head({s: pad(f) for s, f in batch.items()}), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in HEADS if not HEADS[name].single_stream])
@cases
def test_a_third_stream_that_some_lack(name: str, shape: str, make_batch: Maker) -> None:
    """Who has no video changes nothing for the others, and what stands where the video would be is never read."""
    head = make_head(name, SHAPES[shape], ("audio", "text", "video"))
    batch = make_batch(LENGTHS | {"video": [2, 0, 3, 0]}, DIMS)
    logits = head(batch)
    torch.testing.assert_close(logits, head({s: pad(f) for s, f in batch.items()}), rtol=1e-5, atol=1e-5)
    for index in range(4):
        torch.testing.assert_close(head(each(head, batch, index))[0], logits[index], rtol=1e-5, atol=1e-5)
    other = {**batch, "video": batch["video"].with_values(batch["video"].values + 1.0)}
    same = (head(other) - logits).abs().amax(1) < 1e-6
    assert same.tolist() == [False, True, False, True]
    assert all(torch.isfinite(g).all() for g in gradients(head, batch, torch.ones(4, 4)).values())


@pytest.mark.parametrize("name", list(POOLINGS))
class TestPoolings:
    def test_packed_equals_padded_and_ignores_padding(self, name: str, make_batch: Maker) -> None:
        torch.manual_seed(0)
        pooling = POOLINGS[name](10)
        frames = make_batch({"text": [5, 1, 9, 2]}, DIMS)["text"]
        padded = pad(frames)
        dirty = Padded(
            torch.where(padded.mask.unsqueeze(2), padded.values, torch.tensor(7.0)), padded.lengths, padded.content
        )
        assert pooling(frames).shape == (4, pooling.out_width)
        torch.testing.assert_close(pooling(frames), pooling(padded), rtol=1e-6, atol=1e-6)
        assert torch.equal(pooling(padded), pooling(dirty))
        scale = torch.randn(4, pooling.out_width)
        grads = []
        for batch in (frames, padded):
            leaf = batch.values.clone().requires_grad_()
            (pooling(batch.with_values(leaf)) * scale).sum().backward()
            rows = leaf.grad if isinstance(batch, Packed) else leaf.grad[batch.mask]
            grads.append(rows)
            if isinstance(batch, Padded):
                assert not leaf.grad[~batch.mask].any()
        torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-5)

    def test_gradients_reach_every_parameter(self, name: str, make_batch: Maker) -> None:
        torch.manual_seed(0)
        pooling = POOLINGS[name](10)
        frames = make_batch({"text": [5, 3, 9, 4]}, DIMS)["text"]
        (pooling(frames) * torch.randn(4, pooling.out_width)).sum().backward() if list(pooling.parameters()) else None
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in pooling.parameters())

    def test_no_frames_pool_to_finite_numbers(self, name: str, make_batch: Maker) -> None:
        pooling = POOLINGS[name](10)
        frames = make_batch({"text": [0, 1, 4]}, DIMS)["text"]
        leaf = frames.values.clone().requires_grad_()
        out = pooling(frames.with_values(leaf))
        out.sum().backward()
        assert torch.isfinite(out).all() and torch.isfinite(leaf.grad).all()
        assert not out[0].any()


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
