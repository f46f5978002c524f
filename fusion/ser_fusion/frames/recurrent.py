"""A uni-directional GRU over packed frames, giving the state after each utterance's last frame; backward written out.

torch's packed GRU keeps a graph of a dozen nodes per time step; a batch with one long utterance has 1,500 steps. Here the
input's part of the gates is one matrix product over all frames, each step does the recurrent part alone, and the weights'
gradients are one product at the end. Same equations as ``torch.nn.GRU`` (which the padded engine uses, so the contract
tests compare the two):

    r = s(W_ir x + b_ir + W_hr h + b_hr);  z = s(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn));  h' = (1 - z) * n + z * h
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


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
            given = gates[rows]
            torch.sigmoid(given[:, :width] + own[:, :width], out=reset[rows])
            torch.sigmoid(given[:, width : 2 * width] + own[:, width : 2 * width], out=update[rows])
            inner[rows] = own[:, 2 * width :]
            torch.tanh(torch.addcmul(given[:, 2 * width :], reset[rows], own[:, 2 * width :]), out=fresh[rows])
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
            given, own = d_gates[rows], d_own[rows]
            torch.mul(n, d_reset[rows], out=given[:, :width])
            torch.mul(d, d_update[rows], out=given[:, width : 2 * width])
            given[:, 2 * width :] = n
            own[:, : 2 * width] = given[:, : 2 * width]
            torch.mul(n, reset[rows], out=own[:, 2 * width :])
            torch.addmm(d * update[rows], own, w, out=d)
            stop -= size
        return d_gates, d_own.t() @ before, d_own.sum(0), None


def last_states(layer: nn.GRU, values: Tensor, lengths: Sequence[int]) -> Tensor:
    """The state after the last frame of every utterance.

    Args:
        layer: One layer, one direction.
        values: (sum of lengths, features), utterance after utterance.
        lengths: Frames per utterance; 0 gives a zero state.

    Returns:
        (utterances, hidden).
    """
    counts = torch.tensor(lengths)
    order = torch.argsort(counts, descending=True, stable=True)
    starts = (counts.cumsum(0) - counts)[order]
    sizes = torch.bincount(counts[counts > 0] - 1, minlength=1).flip(0).cumsum(0).flip(0)  # utterances alive per step
    steps = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    who = torch.arange(len(steps)) - (sizes.cumsum(0) - sizes)[steps]
    rows = (starts[who] + steps).to(values.device)
    gates = nn.functional.linear(values, layer.weight_ih_l0, layer.bias_ih_l0)  # type: ignore[arg-type]
    gates = gates.index_select(0, rows)
    filled = int(sizes[0]) if len(steps) else 0
    out = values.new_zeros(len(lengths), layer.hidden_size)
    if not filled:
        return out
    alive = tuple(int(size) for size in sizes)
    state = _LastState.apply(gates, layer.weight_hh_l0, layer.bias_hh_l0, alive)
    return out.index_copy(0, order[:filled].to(values.device), state)
