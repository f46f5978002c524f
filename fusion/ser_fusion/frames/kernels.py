"""Attention and recurrence over packed frames: what torch has no fast kernel for on a CPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nested import nested_tensor_from_jagged
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import PackedSequence

from ser_fusion.frames.device import sent

# Scaled dot-product attention inside each utterance: packed (no padding, no mask) and padded (mask).
#
# Source: Vaswani et al. 2017, eq. 1. Cost per utterance: 4 x T_query x T_key x width FLOP forward, about 2.5 times that
# backward. Packing saves the scores of the padding: on a CPU the utterances are looped over, each in a fused kernel (flash);
# elsewhere one fused kernel takes them all as a jagged nested tensor.
#
# There is no dropout on the attention weights: it would force the unfused kernel. Heads drop the attention's output.
_FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _cut(values: Tensor, lengths: Sequence[int], heads: int) -> Sequence[Tensor]:
    """Packed (sum of lengths, width) to a view of (1, heads, length, width / heads) for each utterance."""
    return values.reshape(1, -1, heads, values.shape[1] // heads).transpose(1, 2).split(lengths, 2)


def _joined(parts: Sequence[Tensor], width: int) -> Tensor:
    """What ``_cut`` undid: (sum of lengths, width)."""
    return torch.cat(list(parts), 2).transpose(1, 2).reshape(-1, width)


class _PackedAttention(torch.autograd.Function):
    """The fused CPU kernel per utterance, on views of the packed matrices.

    Autograd over slices would allocate one gradient of the whole batch per utterance; over splits it would keep a graph of
    three nodes for each.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        q_lengths: tuple[int, ...],
        k_lengths: tuple[int, ...],
        heads: int,
    ) -> Tensor:
        views = (_cut(query, q_lengths, heads), _cut(key, k_lengths, heads), _cut(value, k_lengths, heads))
        outs, kept = [], []
        for q, k, v in zip(*views, strict=True):
            # nothing to attend to: the attention adds nothing
            out, scale = _FORWARD(q, k, v) if q.shape[2] and k.shape[2] else (torch.zeros_like(q), None)
            outs.append(out)
            kept.append(scale)
        out = _joined(outs, query.shape[1])
        ctx.save_for_backward(query, key, value, out)
        ctx.kept, ctx.q_lengths, ctx.k_lengths, ctx.heads = kept, q_lengths, k_lengths, heads
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out = ctx.saved_tensors
        of_queries = [_cut(t, ctx.q_lengths, ctx.heads) for t in (grads[0], query, out)]
        of_keys = [_cut(t, ctx.k_lengths, ctx.heads) for t in (key, value)]
        parts = [
            (torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v))
            if scale is None
            else _BACKWARD(g, q, k, v, o, scale, 0.0, False)
            for g, q, o, k, v, scale in zip(*of_queries, *of_keys, ctx.kept, strict=True)
        ]
        return *(_joined(part, query.shape[1]) for part in zip(*parts, strict=True)), None, None, None


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, q_lengths: Sequence[int], k_lengths: Sequence[int], heads: int
) -> Tensor:
    """Attention of each utterance's queries over the same utterance's keys.

    Args:
        query: (sum of q_lengths, width), of any floating type.
        key: (sum of k_lengths, width).
        value: (sum of k_lengths, width).
        q_lengths: Queries per utterance, 0 allowed.
        k_lengths: Keys per utterance, 0 allowed: such an utterance's output is zero.
        heads: Attention heads; they divide the width.

    Returns:
        (sum of q_lengths, width).
    """
    if query.device.type == "cpu":
        return _PackedAttention.apply(query, key, value, tuple(q_lengths), tuple(k_lengths), heads)
    return jagged_attention(query, key, value, q_lengths, k_lengths, heads)


def jagged_attention(
    query: Tensor, key: Tensor, value: Tensor, q_lengths: Sequence[int], k_lengths: Sequence[int], heads: int
) -> Tensor:
    """`packed_attention` in one call for all utterances: the engine of a GPU, where a loop would keep the device waiting."""
    size = query.shape[1] // heads
    both = np.minimum(q_lengths, k_lengths) > 0
    if both.all():
        cuts = [sent(np.append(0, np.cumsum(lengths)), query.device) for lengths in (q_lengths, k_lengths)]
        q, k, v = (
            nested_tensor_from_jagged(t.view(-1, heads, size), at, min_seqlen=min(lengths), max_seqlen=max(lengths))
            for t, at, lengths in ((query, cuts[0], q_lengths), (key, cuts[1], k_lengths), (value, cuts[1], k_lengths))
        )
        attended = scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return attended.transpose(1, 2).values().reshape(query.shape)
    # the kernels allow no empty utterance: those with queries and keys alone, zeros for the others
    q_kept, k_kept = (np.asarray(lengths)[both].tolist() for lengths in (q_lengths, k_lengths))
    q_rows, k_rows = (
        sent(np.flatnonzero(np.repeat(both, lengths)), query.device) for lengths in (q_lengths, k_lengths)
    )
    out = query.new_zeros(query.shape)
    if not both.any():
        return out
    some = jagged_attention(query[q_rows], key[k_rows], value[k_rows], q_kept, k_kept, heads)
    return out.index_copy(0, q_rows, some)


def padded_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int) -> Tensor:
    """The same on padded batches.

    Args:
        query: (batch, longest query, width).
        key: (batch, longest key, width).
        value: (batch, longest key, width).
        mask: (batch, longest key), True where there is a frame.
        heads: Attention heads; they divide the width.

    Returns:
        (batch, longest query, width); rows behind an utterance's end hold garbage, as their queries do.
    """
    batch, frames, width = query.shape
    if not mask.shape[1] or not frames:
        return torch.zeros_like(query)
    keep = mask.unsqueeze(2)
    key, value = (torch.where(keep, t, t.new_zeros(())) for t in (key, value))  # NaN in the padding must not spread
    q, k, v = (t.view(batch, -1, heads, width // heads).transpose(1, 2) for t in (query, key, value))
    some = mask.any(1)
    # a row without any key would be softmax over nothing: let it see one zero key, its value is zero as well
    seen = mask | ~some.unsqueeze(1)
    out = scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
    return out.transpose(1, 2).reshape(batch, frames, width)


# A uni-directional GRU over packed frames, giving the state after each utterance's last frame; backward written out.
#
# torch's packed GRU keeps a graph of a dozen nodes per time step; a batch with one long utterance has 1,500 steps. Here the
# input's part of the gates is one matrix product over all frames, each step does the recurrent part alone, and the weights'
# gradients are one product at the end. A GPU has a kernel for all steps, which takes the same packed order. Same equations
# as ``torch.nn.GRU`` (which the padded engine uses, so the contract tests compare the two):
#
#     r = s(W_ir x + b_ir + W_hr h + b_hr);  z = s(W_iz x + b_iz + W_hz h + b_hz)
#     n = tanh(W_in x + b_in + r * (W_hn h + b_hn));  h' = (1 - z) * n + z * h
class _LastState(torch.autograd.Function):
    """From gates' inputs in step order to the last states; utterances are sorted by falling length."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, w: Tensor, b: Tensor, sizes: tuple[int, ...]) -> Tensor:
        width = w.shape[1]
        state = gates.new_zeros(sizes[0], width)
        before, reset, update, fresh, inner = (gates.new_empty(len(gates), width) for _ in range(5))
        start = 0
        for size in sizes:
            rows = slice(start, start + size)
            h = state[:size]
            before[rows] = h
            own = torch.addmm(b, h, w.t())
            fed = gates[rows]
            torch.sigmoid(fed[:, :width] + own[:, :width], out=reset[rows])
            torch.sigmoid(fed[:, width : 2 * width] + own[:, width : 2 * width], out=update[rows])
            inner[rows] = own[:, 2 * width :]
            torch.tanh(torch.addcmul(fed[:, 2 * width :], reset[rows], own[:, 2 * width :]), out=fresh[rows])
            torch.lerp(fresh[rows], h, update[rows], out=h)
            start += size
        ctx.save_for_backward(w, before, reset, update, fresh, inner)
        ctx.sizes = sizes
        return state

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        w, before, reset, update, fresh, inner = ctx.saved_tensors
        width = w.shape[1]
        d_gates = w.new_empty(len(before), 3 * width)  # of the input's part
        d_own = w.new_empty(len(before), 3 * width)  # of the recurrent part
        d_state = grads[0].clone()
        # what does not depend on the running gradient, for all steps at once
        d_fresh = (1 - update) * (1 - fresh.square())
        d_update = (before - fresh) * update * (1 - update)
        d_reset = inner * reset * (1 - reset)
        stop = len(before)
        for size in reversed(ctx.sizes):
            rows = slice(stop - size, stop)
            d = d_state[:size]
            n = d * d_fresh[rows]
            d_fed, own = d_gates[rows], d_own[rows]
            torch.mul(n, d_reset[rows], out=d_fed[:, :width])
            torch.mul(d, d_update[rows], out=d_fed[:, width : 2 * width])
            d_fed[:, 2 * width :] = n
            own[:, : 2 * width] = d_fed[:, : 2 * width]
            torch.mul(n, reset[rows], out=own[:, 2 * width :])
            torch.addmm(d * update[rows], own, w, out=d)
            stop -= size
        return d_gates, d_own.t() @ before, d_own.sum(0), None


def last_states(layer: nn.GRU, values: Tensor, lengths: Sequence[int], *, fused: bool | None = None) -> Tensor:
    """The state after the last frame of every utterance.

    Args:
        layer: One layer, one direction.
        values: (sum of lengths, features), utterance after utterance.
        lengths: Frames per utterance; 0 gives a zero state.
        fused: Let torch's own layer do it; None: where it has one kernel for all steps, so not on a CPU.

    Returns:
        (utterances, hidden).
    """
    counts = np.array(lengths)
    order = np.argsort(-counts, kind="stable")
    starts = (np.cumsum(counts) - counts)[order]
    sizes = np.cumsum(np.bincount(counts[counts > 0] - 1, minlength=1)[::-1])[::-1]  # utterances alive per step
    steps = np.repeat(np.arange(len(sizes)), sizes)
    who = np.arange(len(steps)) - (np.cumsum(sizes) - sizes)[steps]
    out = values.new_zeros(len(lengths), layer.hidden_size)
    if not len(steps):
        return out
    rows = sent(starts[who] + steps, values.device)
    if not (values.device.type != "cpu" if fused is None else fused):
        gates = nn.functional.linear(values, layer.weight_ih_l0, layer.bias_ih_l0)  # type: ignore[arg-type]
        alive = tuple(int(size) for size in sizes)
        state = _LastState.apply(gates.index_select(0, rows), layer.weight_hh_l0, layer.bias_hh_l0, alive)
    else:
        state = layer(PackedSequence(values.index_select(0, rows), torch.from_numpy(sizes.copy())))[1][0]
    return out.index_copy(0, sent(order[: sizes[0]], values.device), state)
