"""A fast engine for wav2vec 2.0 and HuBERT of the base type on a CPU. Optional: the stock engine gives the same.

In float32 it is exact: the same mathematics in another order, relative L2 to transformers at batch 1 about 2e-6 at base size,
which is mostly transformers' own rounding. In bfloat16 products and attention are, norms and the sums around them are not.
It needs the weights and the config, and neither a model of transformers nor transformers itself, which takes longer to load
than a short clip to encode. What is done differently:

- the first convolution and its group norm become one GEMM: over time the norm's mean and variance are a linear and a
  quadratic form of the 10-sample frames, summed in float64, so the norm is folded into weight and bias;
- the other convolutions are GEMMs on channels-last activations, where the taps lie next to each other, over a whole pack;
- the positional convolution (128 taps) goes through an FFT, overlap-save;
- query, key and value are one GEMM; utterances are packed into one matrix without padding, attention goes one by one;
- weights are laid out for the processor once, and GELU is part of a product (`products.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from ser_extract.encoders.batches import States
from ser_extract.encoders.products import Product
from ser_extract.encoders.stated import FIRST, POSITION, Packable

# The weights of a checkpoint, asked for exactly. Where one is missing or a shape is another one, the answer is None, and
# transformers' own loader decides: it knows more kinds, and its errors are the ones that users see.
PROBE = "feature_projection.projection.weight"
WEIGHT_NORM = (("parametrizations.weight.original0", "parametrizations.weight.original1"), ("weight_g", "weight_v"))


class Names:
    """Weights by name below a prefix, as float32; the bytes of a mapped file are not copied."""

    def __init__(self, state: Mapping[str, torch.Tensor], prefix: str = "") -> None:
        self._state, self._prefix = state, prefix

    def below(self, name: str) -> "Names":
        """Those whose names begin with this one and a dot."""
        return Names(self._state, f"{self._prefix}{name}.")

    def __contains__(self, name: str) -> bool:
        return f"{self._prefix}{name}" in self._state

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._state[f"{self._prefix}{name}"].detach().float()

    def get(self, name: str) -> torch.Tensor | None:
        """A weight that not every model has."""
        held = self._state.get(f"{self._prefix}{name}")
        return None if held is None else held.detach().float()

    def position(self) -> torch.Tensor:
        """The weight `(out, in, taps)` of a convolution with weight norm over its taps."""
        size, direction = next(pair for pair in WEIGHT_NORM if pair[0] in self)
        return torch._weight_norm(self[direction], self[size], 2)


def names_of(config: Packable, state: Mapping[str, torch.Tensor]) -> Names | None:
    """The weights of the base model in a checkpoint, or None where one is missing or has another shape."""
    prefixes = [prefix for prefix in ("", f"{config.model_type}.") if f"{prefix}{PROBE}" in state]
    if len(prefixes) != 1:
        return None
    prefix, width, taps = prefixes[0], config.hidden_size, config.num_conv_pos_embeddings
    wanted = config.shapes()
    for size, direction in WEIGHT_NORM:
        if f"{prefix}{POSITION}.{size}" in state:
            wanted[f"{POSITION}.{size}"] = (1, 1, taps)
            wanted[f"{POSITION}.{direction}"] = (width, width // config.num_conv_pos_embedding_groups, taps)
    whole = any(f"{POSITION}.{size}" in wanted for size, _ in WEIGHT_NORM) and all(
        (held := state.get(f"{prefix}{name}")) is not None and tuple(held.shape) == shape and held.is_floating_point()
        for name, shape in wanted.items()
    )
    return Names(state, prefix) if whole else None


TILE = 1024
"""Frames of the second convolution per tile: 4 MB of the first's output at 512 channels."""
MOST = 8192
"""Frames of any other convolution at once: a product copies what it takes, 50 MB at 512 channels and three taps."""


class PackedForward:
    """Pieces `(samples,)` -> hidden states, packed. Made by `of`, which says None where the checkpoint is of another kind."""

    budget: ClassVar[int] = 10 * 16_000
    """Samples per pack; more costs only memory."""

    def __init__(self, config: Packable, weights: Names, layers: tuple[int, ...], dtype: torch.dtype) -> None:
        self._layers, self._dtype = frozenset(layers), dtype
        convolutions = weights.below("feature_extractor.conv_layers")
        self._first = _FoldedFirst(convolutions.below("0"), config.norm_eps)
        self._convolutions = [
            _StrideTwo(convolutions.below(f"{k}.conv"), dtype) for k in range(1, len(config.conv_dim))
        ]
        projection = weights.below("feature_projection")
        self._features = _Norm(projection.below("layer_norm"), config.layer_norm_eps)
        self._projection = _linear(projection.below("projection"), dtype)
        self._position = _SpectralPosition(weights.below("encoder.pos_conv_embed.conv"), config)
        self._norm = _Norm(weights.below("encoder.layer_norm"), config.layer_norm_eps)
        blocks = weights.below("encoder.layers")
        self._blocks = [_Block(blocks.below(str(k)), config, dtype) for k in range(max(layers))]

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        state: Mapping[str, torch.Tensor],
        layers: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> "PackedForward | None":
        """The engine of a checkpoint, or None where config or weights are not exactly those of the type.

        Args:
            config: `config.json`, parsed.
            state: Name -> tensor, as the weight files or transformers' model have it.
            layers: Wanted hidden states.
            dtype: Type of products and attention: float32 or bfloat16.
        """
        stated = Packable.fitting(config)
        weights = None if stated is None else names_of(stated, state)
        return None if stated is None or weights is None else cls(stated, weights, layers, dtype)

    def _convolve(self, pieces: "Sequence[np.ndarray[Any, Any]]") -> tuple[torch.Tensor, list[int]]:
        """All convolutions of all pieces, and the frames of each.

        The first two, at the highest rates, go in tiles of time that stay in the cache. The others take the pieces as one row:
        each begins at a row that stays whole when it is halved by each of them, and what comes out between two pieces is left
        out at the end.
        """
        second, others = self._convolutions[0], self._convolutions[1:]
        step = 2 ** len(others)
        waves = [torch.from_numpy(np.ascontiguousarray(piece, np.float32)) for piece in pieces]
        counts = [second.frames(self._first.frames(len(x))) for x in waves]
        starts = np.concatenate([[0], np.cumsum([-(-count // step) * step for count in counts])]).tolist()
        h = torch.empty(starts[-1], second.width, dtype=self._dtype)
        for x, begin, end in zip(waves, starts, starts[1:], strict=False):
            frames, product = self._first.fold(x, 2 * (end - begin - 1) + second.taps)
            for start in range(0, end - begin, TILE):
                stop = min(start + TILE, end - begin)
                tile = product(frames[2 * start : 2 * (stop - 1) + second.taps], gelu=True)
                h[begin + start : begin + stop] = second(tile)
        for convolution in others:
            h = convolution(h)
            counts = [convolution.frames(count) for count in counts]
        return torch.cat([h[start // step :][:count] for start, count in zip(starts, counts, strict=False)]), counts

    @torch.inference_mode()
    def __call__(self, pieces: "Sequence[np.ndarray[Any, Any]]") -> list[States]:
        h, lengths = self._convolve(pieces)
        h = self._projection(self._features(h.float())).float()
        h = self._norm(h + self._position(h, lengths))
        states = {0: h} if 0 in self._layers else {}
        for layer, block in enumerate(self._blocks, 1):
            h = block(h, lengths)
            if layer in self._layers:
                states[layer] = h
        ends = np.cumsum(lengths)
        host = {layer: state.numpy() for layer, state in states.items()}
        ranges = zip(ends - lengths, ends, strict=True)
        return [{k: state[start:end] for k, state in host.items()} for start, end in ranges]


class _Norm:
    """A layer norm, in float32."""

    def __init__(self, weights: Names, eps: float) -> None:
        self._weight, self._bias, self._eps = weights["weight"], weights["bias"], eps

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(h, self._weight.shape, self._weight, self._bias, self._eps)


def _linear(weights: Names, dtype: torch.dtype) -> Product:
    return Product(weights["weight"], weights["bias"], dtype)


class _FoldedFirst:
    """Convolution of kernel 10 and stride 5 with the group norm over time behind it, one group per channel."""

    def __init__(self, weights: Names, eps: float) -> None:
        self._weight = weights["conv.weight"][:, 0].double()  # (channels, 10); a bias would cancel in the norm
        self._gamma, self._beta = weights["layer_norm.weight"].double(), weights["layer_norm.bias"].double()
        self._eps = eps

    def frames(self, samples: int) -> int:
        """Frames of so many samples."""
        return (samples - FIRST[0]) // FIRST[1] + 1

    def fold(self, x: torch.Tensor, count: int) -> tuple[torch.Tensor, Product]:
        """`(count, 10)` of a waveform, with zeros behind it, and the product that makes normed outputs `(count, channels)`."""
        frames = x.unfold(0, *FIRST)  # (frames, 10), a view
        mean = frames.mean(0, dtype=torch.float64)
        centred = frames.double() - mean
        covariance = centred.T @ centred / len(frames)
        scale = self._gamma / torch.sqrt(((self._weight @ covariance) * self._weight).sum(1) + self._eps)
        bias = self._beta - scale * (self._weight @ mean)
        behind = (count - 1) * FIRST[1] + FIRST[0] - len(x)
        return F.pad(x, (0, max(behind, 0))).unfold(0, *FIRST), Product(self._weight * scale[:, None], bias)


class _StrideTwo:
    """Convolution of kernel 2 or 3 and stride 2 over channels-last activations, GELU."""

    def __init__(self, weights: Names, dtype: torch.dtype) -> None:
        weight = weights["weight"]  # (out, in, taps)
        self.width, _, self.taps = weight.shape
        self._product = Product(weight.permute(0, 2, 1).flatten(1), weights.get("bias"), dtype)

    def frames(self, count: int) -> int:
        """Frames that come out of `count`."""
        return (count - self.taps) // 2 + 1

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        width = h.shape[1]
        taps = h.as_strided((self.frames(len(h)), self.taps * width), (2 * width, 1))  # neighbours as one row, a view
        parts = [self._product(part, gelu=True) for part in taps.split(MOST)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]


class _SpectralPosition:
    """Grouped convolution over time with an even kernel, same length, GELU; as a product of spectra, in float32."""

    def __init__(self, weights: Names, config: Packable) -> None:
        weight, taps, groups = weights.position(), config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
        width = weight.shape[0] // groups
        self._taps, self._groups, self._width = taps, groups, width
        self._hop, self._size = 2 * taps, 3 * taps
        spectrum = torch.fft.rfft(weight.reshape(groups, width, width, taps), n=self._size)
        self._spectrum = spectrum.conj().permute(3, 0, 2, 1).contiguous()  # (frequencies, groups, in, out)
        self._bias = weights["bias"]

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

    def __init__(self, weights: Names, config: Packable, dtype: torch.dtype) -> None:
        attention, self._heads, self._dtype = weights.below("attention"), config.num_attention_heads, dtype
        scale = (config.hidden_size // self._heads) ** -0.5
        scales = {"q_proj": scale, "k_proj": 1.0, "v_proj": 1.0}
        weight = torch.cat([attention[f"{name}.weight"] * each for name, each in scales.items()])
        bias = torch.cat([attention[f"{name}.bias"] * each for name, each in scales.items()])
        self._mixed = Product(weight, bias, dtype)
        self._out = _linear(attention.below("out_proj"), dtype)
        self._norm = _Norm(weights.below("layer_norm"), config.layer_norm_eps)
        self._last = _Norm(weights.below("final_layer_norm"), config.layer_norm_eps)
        self._up = _linear(weights.below("feed_forward.intermediate_dense"), dtype)
        self._down = _linear(weights.below("feed_forward.output_dense"), dtype)

    def __call__(self, h: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        mixed = self._mixed(h)
        attended = []
        for rows in mixed.split(lengths):
            q, k, v = rows.view(1, len(rows), 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            mean = F.scaled_dot_product_attention(q, k, v, scale=1.0)
            attended.append(mean.transpose(1, 2).reshape(len(rows), -1))
        h = self._norm(h + self._out(torch.cat(attended) if len(attended) > 1 else attended[0]))
        return self._last(h + self._down(self._up(h, gelu=True)))
