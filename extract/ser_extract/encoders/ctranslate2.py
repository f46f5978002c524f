"""Reads the Whisper weights of a CTranslate2 `model.bin` under the names that transformers gives them; bounded, numpy only.

The file (version 6, little endian): u32 version, string spec, u32 revision, u32 number of variables; per variable a string
name, u8 rank, u32 dims, u8 dtype, u32 bytes, data; u32 number of aliases, pairs of strings. A string is a u16 length
(counting a final NUL) and bytes. Every length is checked against what is left of the file before it is used.

Source: `ctranslate2/specs/model_spec.py` of OpenNMT/CTranslate2 4.8 (MIT), compared tensor by tensor with OpenAI's weights.
"""

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

VERSION: Final = 6
SPEC: Final = "WhisperSpec"
DTYPES: Final = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
MOST_VARIABLES = 10_000

Variables = Mapping[str, NDArray[np.generic]]


class _Reader:
    """A cursor over mapped bytes that never goes behind the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        self.position = 0

    def take(self, count: int) -> NDArray[np.uint8]:
        if count > len(self.bytes) - self.position:
            raise ValueError(f"{self.path}: {count:,} bytes at {self.position:,}, but the file has {len(self.bytes):,}")
        self.position += count
        return self.bytes[self.position - count : self.position]

    def number(self, form: str) -> int:
        value: int = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)).tobytes())[0]
        return value

    def string(self) -> str:
        return self.take(self.number("H")).tobytes().rstrip(b"\0").decode("utf-8")

    def variable(self) -> tuple[str, NDArray[np.generic]]:
        name = self.string()
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        code, size = self.number("B"), self.number("I")
        if code not in DTYPES:
            raise ValueError(f"{self.path}: {name} has the dtype code {code}; known are {', '.join(map(str, DTYPES))}")
        dtype = np.dtype(DTYPES[code]).newbyteorder("<")
        if math.prod(shape) * dtype.itemsize != size:
            raise ValueError(f"{self.path}: {name} has the shape {shape} of {dtype.name}, but {size:,} bytes")
        return name, np.frombuffer(self.take(size), dtype).reshape(shape)


def read_variables(path: Path) -> dict[str, NDArray[np.generic]]:
    """All variables of a `model.bin` by their CTranslate2 names; arrays are views of the mapped file.

    Raises:
        ValueError: The file is not a WhisperSpec of version 6, or its lengths do not fit each other.
    """
    reader = _Reader(path)
    version, spec, revision = reader.number("I"), reader.string(), reader.number("I")
    if (version, spec) != (VERSION, SPEC):
        raise ValueError(f"{path}: {spec} version {version} (revision {revision}); {SPEC} version {VERSION} is read")
    count = reader.number("I")
    if count > MOST_VARIABLES:
        raise ValueError(f"{path}: {count:,} variables, at most {MOST_VARIABLES:,}")
    variables = dict(reader.variable() for _ in range(count))
    for _ in range(reader.number("I")):
        reader.string(), reader.string()  # decoder/projection is the embedding once more: transformers ties it itself
    if reader.position != len(reader.bytes):
        raise ValueError(f"{path}: {len(reader.bytes) - reader.position:,} bytes are left over at the end")
    return variables


def whisper_tensors(variables: Variables) -> dict[str, NDArray[np.generic]]:
    """Weights under the names of transformers' `WhisperModel`; settings (rank 0) and fused biases without a name left out."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, values in variables.items():
        if values.ndim:
            tensors.update(_renamed(name, values))
    return tensors


_ENDS: Final = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias", "encodings": "weight"}
_SINGLE: Final = {
    "conv1": "conv1",
    "conv2": "conv2",
    "position_encodings": "embed_positions",
    "embeddings": "embed_tokens",
    "layer_norm": "layer_norm",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_FUSED: Final = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
}
_NAME: Final = re.compile(r"(encoder|decoder)/(?:layer_(\d+)/)?(.+)/(\w+)")


def _renamed(name: str, values: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    match = _NAME.fullmatch(name)
    if match is None or match[4] not in _ENDS or (match[3] not in _SINGLE and match[3] not in _FUSED):
        raise ValueError(f"the variable {name} {values.shape} has no place in a Whisper model")
    stem = match[1] + (f".layers.{match[2]}" if match[2] else "")
    end = _ENDS[match[4]]
    if match[3] in _SINGLE:
        return {f"{stem}.{_SINGLE[match[3]]}.{end}": values}
    parts = _FUSED[match[3]]
    if len(values) % len(parts):
        raise ValueError(f"the variable {name} {values.shape} cannot be split into {len(parts)}")
    pieces = dict(zip(parts, np.split(values, len(parts)), strict=True))
    if end == "bias":
        # Whisper's key projections have no bias; CTranslate2 fills its place with zeros.
        key = next(part for part in parts if part.endswith("k_proj"))
        if pieces.pop(key).any():
            raise ValueError(f"{name}: the key projection has a bias, which no Whisper model has")
    return {f"{stem}.{part}.{end}": piece for part, piece in pieces.items()}
