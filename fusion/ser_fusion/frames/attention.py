"""Scaled dot-product attention inside each utterance: packed (no padding, no mask) and padded (mask).

Source: Vaswani et al. 2017, eq. 1. Cost per utterance: 4 x T_query x T_key x width FLOP forward, about 2.5 times that
backward. Packing saves the scores of the padding; the utterances are looped over, and each kernel call is fused (flash).

There is no dropout on the attention weights: it would force the unfused kernel. Heads drop the attention's output.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _cuts(lengths: Sequence[int]) -> list[int]:
    ends, total = [0], 0
    for length in lengths:
        total += length
        ends.append(total)
    return ends


class _PackedAttention(torch.autograd.Function):
    """The fused CPU kernel per utterance, writing straight into packed outputs and gradients.

    Autograd over slices would allocate one gradient of the whole batch per utterance; over splits it would still copy
    every input once. Here each kernel reads views of the packed matrices.
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
        width = query.shape[1]
        size = width // heads
        q, k, v = (t.view(-1, heads, size) for t in (query, key, value))
        out = torch.empty_like(q)
        q_cuts, k_cuts = _cuts(q_lengths), _cuts(k_lengths)
        kept: list[Tensor | None] = []
        for i in range(len(q_lengths)):
            qs, ks = slice(q_cuts[i], q_cuts[i + 1]), slice(k_cuts[i], k_cuts[i + 1])
            if qs.start == qs.stop or ks.start == ks.stop:
                out[qs] = 0  # nothing to attend to: the attention adds nothing
                kept.append(None)
                continue
            o, lse = _FORWARD(q[qs].transpose(0, 1)[None], k[ks].transpose(0, 1)[None], v[ks].transpose(0, 1)[None])
            out[qs] = o[0].transpose(0, 1)
            kept.append(lse)
        ctx.save_for_backward(query, key, value, out)
        ctx.kept, ctx.q_cuts, ctx.k_cuts, ctx.heads = kept, q_cuts, k_cuts, heads
        return out.view(-1, width)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out = ctx.saved_tensors
        size = query.shape[1] // ctx.heads
        q, k, v, g = (t.reshape(-1, ctx.heads, size) for t in (query, key, value, grads[0].contiguous()))
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for i, lse in enumerate(ctx.kept):
            if lse is None:
                continue
            qs, ks = slice(ctx.q_cuts[i], ctx.q_cuts[i + 1]), slice(ctx.k_cuts[i], ctx.k_cuts[i + 1])
            one_q, one_k, one_v, one_o, one_g = (
                t[s].transpose(0, 1)[None] for t, s in ((q, qs), (k, ks), (v, ks), (out, qs), (g, qs))
            )
            a, b, c = _BACKWARD(one_g, one_q, one_k, one_v, one_o, lse, 0.0, False)
            dq[qs], dk[ks], dv[ks] = a[0].transpose(0, 1), b[0].transpose(0, 1), c[0].transpose(0, 1)
        return dq.view_as(query), dk.view_as(key), dv.view_as(value), None, None, None


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, q_lengths: Sequence[int], k_lengths: Sequence[int], heads: int
) -> Tensor:
    """Attention of each utterance's queries over the same utterance's keys.

    Args:
        query: (sum of q_lengths, width), float32.
        key: (sum of k_lengths, width).
        value: (sum of k_lengths, width).
        q_lengths: Queries per utterance, 0 allowed.
        k_lengths: Keys per utterance, 0 allowed: such an utterance's output is zero.
        heads: Attention heads; they divide the width.

    Returns:
        (sum of q_lengths, width).
    """
    if query.device.type == "cpu" and query.dtype is torch.float32:
        return _PackedAttention.apply(
            query.contiguous(), key.contiguous(), value.contiguous(), tuple(q_lengths), tuple(k_lengths), heads
        )
    parts = []
    split = zip(query.split(list(q_lengths)), key.split(list(k_lengths)), value.split(list(k_lengths)), strict=True)
    for q, k, v in split:
        if not len(q) or not len(k):
            parts.append(torch.zeros_like(q))
            continue
        q, k, v = (t.view(1, len(t), heads, -1).transpose(1, 2) for t in (q, k, v))
        parts.append(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(q.shape[2], -1))
    return torch.cat(parts)


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
