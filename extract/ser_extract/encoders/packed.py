"""An exact fast engine for wav2vec 2.0 and HuBERT of the base type on a CPU. Optional: the stock engine gives the same.

Same mathematics in float32, in another order; relative L2 to transformers at batch 1 is about 2e-6 at base size, which is
mostly transformers' own rounding. What is done differently:

- the first convolution and its group norm become one GEMM: over time the norm's mean and variance are a linear and a
  quadratic form of the 10-sample frames, summed in float64, so the norm is folded into weight and bias;
- the other convolutions are GEMMs on channels-last activations: with stride 2 two taps lie next to each other in memory;
- the positional convolution (128 taps) goes through an FFT, overlap-save;
- query, key and value are one GEMM; utterances are packed into one matrix without padding, attention goes one by one.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from ser_extract.encoders.batches import States

FIRST = (10, 5)  # kernel and stride of the first convolution
LATER = ((3, 2), (2, 2))
TILE = 1024
"""Frames of the second convolution per tile: 4 MB of the first's output at 512 channels."""
TYPES = ("wav2vec2", "hubert")


class PackedForward:
    """Pieces `(samples,)` -> hidden states, packed. Made by `of`, which says None where the config is of another kind."""

    budget: ClassVar[int] = 16 * 16_000
    """Samples per pack; more costs only memory."""

    def __init__(self, model: Any, layers: tuple[int, ...]) -> None:
        self._layers = frozenset(layers)
        self._first = _FoldedFirst(model.feature_extractor.conv_layers[0])
        self._convolutions = [_StrideTwo(layer.conv) for layer in model.feature_extractor.conv_layers[1:]]
        self._projection = model.feature_projection
        self._position = _SpectralPosition(model.encoder.pos_conv_embed.conv)
        self._norm = model.encoder.layer_norm
        self._blocks = [_Block(block) for block in model.encoder.layers[: max(layers)]]

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        """All convolutions of one piece; the first two, at the highest rates, in tiles of time that stay in the cache."""
        frames, weight, bias = self._first.fold(x)
        second = self._convolutions[0]
        count = second.frames(len(frames))
        h = torch.empty(count, len(bias))
        for start in range(0, count, TILE):
            stop = min(start + TILE, count)
            tile = F.gelu(torch.addmm(bias, frames[2 * start : 2 * (stop - 1) + second.taps], weight))
            h[start:stop] = second(tile)
        for convolution in self._convolutions[1:]:
            h = convolution(h)
        return h

    @classmethod
    def of(cls, model: Any, layers: tuple[int, ...]) -> "PackedForward | None":
        """The engine of a loaded model, or None."""
        config = model.config
        extractor = getattr(model, "feature_extractor", None)
        if config.model_type not in TYPES or extractor is None:
            return None
        shapes = [(layer.conv.kernel_size[0], layer.conv.stride[0]) for layer in extractor.conv_layers]
        fits = (
            config.feat_extract_norm == "group"
            and not config.do_stable_layer_norm
            and not getattr(config, "conv_pos_batch_norm", False)
            and getattr(config, "feat_proj_layer_norm", True)
            and config.feat_extract_activation == config.hidden_act == "gelu"
            and config.num_conv_pos_embeddings % 2 == 0
            and len(set(config.conv_dim)) == 1
            and shapes[0] == FIRST
            and all(shape in LATER for shape in shapes[1:])
        )
        return cls(model, layers) if fits else None

    @torch.inference_mode()
    def __call__(self, pieces: "Sequence[np.ndarray[Any, Any]]") -> list[States]:
        rows = []
        for piece in pieces:
            rows.append(self._convolve(torch.from_numpy(np.ascontiguousarray(piece, np.float32))))
        lengths = [len(h) for h in rows]
        h = torch.cat(rows) if len(rows) > 1 else rows[0]
        projection = self._projection
        h = projection.projection(projection.layer_norm(h))
        h = self._norm(h + self._position(h, lengths))
        states = {0: h} if 0 in self._layers else {}
        for layer, block in enumerate(self._blocks, 1):
            h = block(h, lengths)
            if layer in self._layers:
                states[layer] = h
        ends = np.cumsum(lengths)
        host = {layer: state.numpy() for layer, state in states.items()}
        return [{k: state[end - n : end] for k, state in host.items()} for n, end in zip(lengths, ends, strict=True)]


class _FoldedFirst:
    """Convolution of kernel 10 and stride 5 with the group norm over time behind it, one group per channel."""

    def __init__(self, layer: Any) -> None:
        self._weight = layer.conv.weight.detach()[:, 0].double()  # (channels, 10); a bias would cancel in the norm
        norm = layer.layer_norm
        self._gamma, self._beta, self._eps = norm.weight.detach().double(), norm.bias.detach().double(), norm.eps

    def fold(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`(frames, 10)` of a waveform, and the weight `(10, channels)` and bias that make normed outputs of them."""
        frames = x.unfold(0, *FIRST)  # (frames, 10), a view
        mean = frames.mean(0, dtype=torch.float64)
        centred = frames.double() - mean
        covariance = centred.T @ centred / len(frames)
        scale = self._gamma / torch.sqrt(((self._weight @ covariance) * self._weight).sum(1) + self._eps)
        bias = self._beta - scale * (self._weight @ mean)
        return frames, (self._weight * scale[:, None]).T.float(), bias.float()


class _StrideTwo:
    """Convolution of kernel 2 or 3 and stride 2 over channels-last activations, GELU."""

    def __init__(self, conv: Any) -> None:
        weight = conv.weight.detach()  # (out, in, taps)
        self._pair = torch.cat([weight[:, :, 0], weight[:, :, 1]], 1).T.contiguous()
        self._third = weight[:, :, 2].T.contiguous() if weight.shape[2] == 3 else None
        self._bias = None if conv.bias is None else conv.bias.detach()
        self.taps = weight.shape[2]

    def frames(self, count: int) -> int:
        """Frames that come out of `count`."""
        return (count - self.taps) // 2 + 1

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        frames = self.frames(len(h))
        taps = h[: 2 * frames].view(frames, -1)  # two neighbours as one row, without a copy
        out = taps @ self._pair if self._bias is None else torch.addmm(self._bias, taps, self._pair)
        if self._third is not None:
            out.addmm_(h[2 : 2 * frames + 1 : 2], self._third)
        return F.gelu(out)


class _SpectralPosition:
    """Grouped convolution over time with an even kernel, same length, GELU; as a product of spectra."""

    def __init__(self, conv: Any) -> None:
        weight, taps, groups = (
            conv.weight.detach(),
            conv.kernel_size[0],
            conv.groups,
        )  # weight norm is applied here, once
        width = weight.shape[0] // groups
        self._taps, self._groups, self._width = taps, groups, width
        self._hop, self._size = 2 * taps, 3 * taps
        spectrum = torch.fft.rfft(weight.reshape(groups, width, width, taps), n=self._size)
        self._spectrum = spectrum.conj().permute(3, 0, 2, 1).contiguous()  # (frequencies, groups, in, out)
        self._bias = conv.bias.detach()

    def __call__(self, h: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        hop, size, half = self._hop, self._size, self._taps // 2
        blocks = []
        for rows in h.split(lengths):
            count = -(-len(rows) // hop)
            behind = count * hop - len(rows) + size - hop - half
            blocks.append(F.pad(rows, (0, 0, half, behind)).unfold(0, size, hop))
        features, bins = h.shape[1], size // 2 + 1
        spectra = torch.fft.rfft(torch.cat(blocks)).view(-1, self._groups, self._width, bins)
        product = spectra.permute(3, 1, 0, 2).contiguous() @ self._spectrum
        product = product.permute(2, 1, 3, 0).reshape(-1, features, bins)
        y = torch.fft.irfft(product, n=size)[:, :, :hop].transpose(1, 2).split([len(block) for block in blocks])
        whole = [block.reshape(-1, features)[:n] for block, n in zip(y, lengths, strict=True)]
        return F.gelu(torch.cat(whole) + self._bias)


class _Block:
    """A post-norm transformer block over packed rows."""

    def __init__(self, block: Any) -> None:
        attention = block.attention
        self._heads = attention.num_heads
        scale = (attention.q_proj.out_features // self._heads) ** -0.5
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        self._weight = torch.cat([part.weight.detach() * (scale if part is parts[0] else 1.0) for part in parts])
        self._bias = torch.cat([part.bias.detach() * (scale if part is parts[0] else 1.0) for part in parts])
        self._out, self._norm, self._last = attention.out_proj, block.layer_norm, block.final_layer_norm
        self._up, self._down = block.feed_forward.intermediate_dense, block.feed_forward.output_dense

    def __call__(self, h: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        mixed = F.linear(h, self._weight, self._bias)
        attended = []
        for rows in mixed.split(lengths):
            q, k, v = rows.view(1, len(rows), 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            one = F.scaled_dot_product_attention(q, k, v, scale=1.0)
            attended.append(one.transpose(1, 2).reshape(len(rows), -1))
        h = self._norm(h + self._out(torch.cat(attended) if len(attended) > 1 else attended[0]))
        return self._last(h + self._down(F.gelu(self._up(h))))
