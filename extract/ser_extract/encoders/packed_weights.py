"""Which checkpoints the packed speech engine takes: their config, and the names and shapes of their weights.

Everything is asked for exactly. Where a value is odd, a weight is missing or a shape is another one, the answer is None, and
transformers' own loader decides: it knows more kinds, and its errors are the ones that are told. Loads no torch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError

from ser_extract.encoders.stated import Waveform

if TYPE_CHECKING:
    import torch

FIRST = (10, 5)  # kernel and stride of the first convolution
LATER = ((3, 2), (2, 2))
PROBE = "feature_projection.projection.weight"
POSITION = "encoder.pos_conv_embed.conv"
WEIGHT_NORM = (("parametrizations.weight.original0", "parametrizations.weight.original1"), ("weight_g", "weight_v"))


class Packable(Waveform):
    """The base type of wav2vec 2.0 and HuBERT; defaults are those of transformers' config classes."""

    model_type: Literal["wav2vec2", "hubert"]
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_bias: bool = False
    feat_extract_norm: Literal["group"] = "group"
    feat_extract_activation: Literal["gelu"] = "gelu"
    feat_proj_layer_norm: Literal[True] = True
    hidden_act: Literal["gelu"] = "gelu"
    do_stable_layer_norm: Literal[False] = False
    conv_pos_batch_norm: Literal[False] = False
    adapter_attn_dim: None = None
    num_attention_heads: int = Field(default=12, ge=1)
    intermediate_size: int = Field(default=3072, ge=1)
    num_conv_pos_embeddings: int = Field(default=128, ge=2, le=4096, multiple_of=2)
    num_conv_pos_embedding_groups: int = Field(default=16, ge=1)
    layer_norm_eps: float = Field(default=1e-5, gt=0)

    @property
    def norm_eps(self) -> float:
        """Of the group norm, which transformers makes with torch's default."""
        return 1e-5

    @classmethod
    def fitting(cls, config: Mapping[str, Any]) -> Self | None:
        """The config, checked, or None where it is of another kind."""
        try:
            found = cls.model_validate(config)
        except ValidationError:
            return None
        shapes = list(zip(found.conv_kernel, found.conv_stride, strict=True))
        whole = (
            len(set(found.conv_dim)) == 1
            and len(found.conv_dim) == len(shapes) > 1
            and shapes[0] == FIRST
            and all(shape in LATER for shape in shapes[1:])
            and found.hidden_size % found.num_attention_heads == 0
            and found.hidden_size % found.num_conv_pos_embedding_groups == 0
        )
        return found if whole else None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight but those of the positional convolution's weight norm."""
        wide, width, up = self.conv_dim[0], self.hidden_size, self.intermediate_size
        found: dict[str, tuple[int, ...]] = {}

        def linear(name: str, out: int, into: int) -> None:
            found[f"{name}.weight"], found[f"{name}.bias"] = (out, into), (out,)

        def norm(name: str, size: int) -> None:
            found[f"{name}.weight"] = found[f"{name}.bias"] = (size,)

        for k, kernel in enumerate(self.conv_kernel):
            name = f"feature_extractor.conv_layers.{k}"
            found[f"{name}.conv.weight"] = (wide, wide if k else 1, kernel)
            if self.conv_bias:
                found[f"{name}.conv.bias"] = (wide,)
        norm("feature_extractor.conv_layers.0.layer_norm", wide)
        norm("feature_projection.layer_norm", wide)
        linear("feature_projection.projection", width, wide)
        found[f"{POSITION}.bias"] = (width,)
        norm("encoder.layer_norm", width)
        for k in range(self.num_hidden_layers):
            name = f"encoder.layers.{k}"
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                linear(f"{name}.attention.{part}", width, width)
            norm(f"{name}.layer_norm", width)
            linear(f"{name}.feed_forward.intermediate_dense", up, width)
            linear(f"{name}.feed_forward.output_dense", width, up)
            norm(f"{name}.final_layer_norm", width)
        return found


class Names:
    """Weights by name below a prefix, as float32; the bytes of a mapped file are not copied."""

    def __init__(self, state: "Mapping[str, torch.Tensor]", prefix: str = "") -> None:
        self._state, self._prefix = state, prefix

    def below(self, name: str) -> "Names":
        """Those whose names begin with this one and a dot."""
        return Names(self._state, f"{self._prefix}{name}.")

    def __contains__(self, name: str) -> bool:
        return f"{self._prefix}{name}" in self._state

    def __getitem__(self, name: str) -> "torch.Tensor":
        return self._state[f"{self._prefix}{name}"].detach().float()

    def position(self) -> "torch.Tensor":
        """The weight `(out, in, taps)` of a convolution with weight norm over its taps."""
        import torch

        size, direction = next(pair for pair in WEIGHT_NORM if pair[0] in self)
        return torch._weight_norm(self[direction], self[size], 2)


def names_of(config: Packable, state: "Mapping[str, torch.Tensor]") -> Names | None:
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
