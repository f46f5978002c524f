"""What `config.json` and the preprocessor's file state, checked: one model for each kind of file. No torch.

Only the keys that planning reads are here; transformers checks the others when it loads the model. Defaults are those of
transformers' config classes. A wrong value is an `EncoderBroken` that names file, key and value.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ser_extract.errors import EncoderBroken

Depth = Annotated[int, Field(ge=1, le=1_000)]
"""Blocks; no encoder known has a tenth of the bound."""
Width = Annotated[int, Field(ge=1, le=1 << 16)]
LEAST_POSITIONS = 8
Positions = Annotated[int, Field(ge=LEAST_POSITIONS, le=1 << 22)]
Index = Annotated[int, Field(ge=0, le=1 << 22)]
Convolutions = Annotated[tuple[Annotated[int, Field(ge=1, le=10_000)], ...], Field(min_length=1, max_length=64)]
Rate = Annotated[int, Field(ge=1_000, le=384_000)]
CONFIG, PREPROCESSOR, TOKENIZER = "config.json", "preprocessor_config.json", "tokenizer_config.json"


class Stated(BaseModel):
    """A file of an encoder's folder; keys that are not declared are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def of(cls, values: Mapping[str, Any], name: str, file: str) -> Self:
        """Checks what a file says.

        Args:
            values: The file, parsed.
            name: The encoder, for messages.
            file: Name of the file, for messages.

        Raises:
            EncoderBroken: A value is of the wrong type or out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            got = f" has {key} = {json.dumps(first['input'], default=str)[:60]}" if key else ""
            problem = f"its {file}{got}: {first['msg']}"
            raise EncoderBroken(
                name, problem, f"Copy {file} from the model's repository again, or correct it."
            ) from error


class Waveform(Stated):
    """wav2vec 2.0, HuBERT, WavLM, data2vec-audio."""

    num_hidden_layers: Depth = 12
    hidden_size: Width = 768
    conv_kernel: Convolutions = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: Convolutions = (5, 2, 2, 2, 2, 2, 2)

    @model_validator(mode="after")
    def _in_pairs(self) -> Self:
        if len(self.conv_kernel) != len(self.conv_stride):
            raise ValueError(
                f"conv_kernel has {len(self.conv_kernel)} values and conv_stride has {len(self.conv_stride)}"
            )
        return self


FIRST = (10, 5)  # kernel and stride of the first convolution
LATER = ((3, 2), (2, 2))
POSITION = "encoder.pos_conv_embed.conv"


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
            stated = cls.model_validate(config)
        except ValidationError:
            return None
        shapes = list(zip(stated.conv_kernel, stated.conv_stride, strict=True))
        whole = (
            len(set(stated.conv_dim)) == 1
            and len(stated.conv_dim) == len(shapes) > 1
            and shapes[0] == FIRST
            and all(shape in LATER for shape in shapes[1:])
            and stated.hidden_size % stated.num_attention_heads == 0
            and stated.hidden_size % stated.num_conv_pos_embedding_groups == 0
        )
        return stated if whole else None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight but those of the positional convolution's weight norm."""
        wide, width, up = self.conv_dim[0], self.hidden_size, self.intermediate_size
        sizes: dict[str, tuple[int, ...]] = {}

        def linear(name: str, out: int, into: int) -> None:
            sizes[f"{name}.weight"], sizes[f"{name}.bias"] = (out, into), (out,)

        def norm(name: str, size: int) -> None:
            sizes[f"{name}.weight"] = sizes[f"{name}.bias"] = (size,)

        for k, kernel in enumerate(self.conv_kernel):
            name = f"feature_extractor.conv_layers.{k}"
            sizes[f"{name}.conv.weight"] = (wide, wide if k else 1, kernel)
            if self.conv_bias:
                sizes[f"{name}.conv.bias"] = (wide,)
        norm("feature_extractor.conv_layers.0.layer_norm", wide)
        norm("feature_projection.layer_norm", wide)
        linear("feature_projection.projection", width, wide)
        sizes[f"{POSITION}.bias"] = (width,)
        norm("encoder.layer_norm", width)
        for k in range(self.num_hidden_layers):
            name = f"encoder.layers.{k}"
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                linear(f"{name}.attention.{part}", width, width)
            norm(f"{name}.layer_norm", width)
            linear(f"{name}.feed_forward.intermediate_dense", up, width)
            linear(f"{name}.feed_forward.output_dense", width, up)
            norm(f"{name}.final_layer_norm", width)
        return sizes


class WaveformExtractor(Stated):
    """The feature extractor of a raw-waveform encoder."""

    sampling_rate: Rate = 16_000
    do_normalize: bool = True


class Whisper(Stated):
    """Whisper."""

    encoder_layers: Depth = 4
    d_model: Width = 384
    max_source_positions: Positions = 1500
    num_mel_bins: Annotated[int, Field(ge=1, le=1_024)] = 80


class WhisperExtractor(Stated):
    """Whisper's log-mel; `feature_size` None: as many bins as the config has."""

    feature_size: Annotated[int, Field(ge=1, le=1_024)] | None = None
    sampling_rate: Rate = 16_000
    hop_length: Annotated[int, Field(ge=1, le=10_000)] = 160
    chunk_length: Annotated[int, Field(ge=1, le=3_600)] = 30
    n_fft: Annotated[int, Field(ge=2, le=1 << 16)] = 400
    padding_value: float = 0.0
    dither: float = 0.0


class Text(Stated):
    """BERT and ELECTRA; the base of the others."""

    num_hidden_layers: Depth = 12
    hidden_size: Width = 768
    max_position_embeddings: Positions = 512

    @property
    def depth(self) -> int:
        return self.num_hidden_layers

    @property
    def width(self) -> int:
        return self.hidden_size

    @property
    def first(self) -> int:
        """Position of a text's first token."""
        return 0

    @property
    def positions(self) -> int:
        """Most tokens of one piece, special tokens included."""
        return self.max_position_embeddings - self.first

    @model_validator(mode="after")
    def _has_positions(self) -> Self:
        if self.positions < LEAST_POSITIONS:
            raise ValueError(f"max_position_embeddings = {self.max_position_embeddings} leaves no position for a text")
        return self


class Tokenizer(Stated):
    """Of a tokenizer's config only the length that it states; some state 1e30 for none."""

    model_max_length: float | None = None


class Image(Stated):
    """ViT, a CLIP tower, DINOv2."""

    num_hidden_layers: Depth = 12
    hidden_size: Width = 768
    image_size: Annotated[int, Field(ge=1, le=1 << 14)] = 224
    num_register_tokens: Index = 4
    patch_size: Annotated[int, Field(ge=1, le=1 << 14)] | None = None
