"""What an entry was computed from, and its fingerprint.

The address (modality, encoder, layer, dtype) says which entry; everything else that changes a value is *declared*. Two
specs with equal address and any other field different are two different computations: refused until replaced. Never
declared: absolute paths, times, batch size, device, threads; those go into a commit's environment.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import xxhash

from ser_cache.errors import WrongRows

SCHEMA = 1
DTYPES = ("float16", "float32")
_ABSENT = "(not declared)"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values, equal bytes, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def slug(name: str) -> str:
    """A file name for an encoder's name; a short hash is added where letters had to be replaced.

    Examples:
        >>> from ser_cache.format.spec import slug
        >>> slug("facebook/wav2vec2-base")
        'facebook--wav2vec2-base'
    """
    plain = name.replace("/", "--")
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", plain).lstrip(".-")[:80]
    if safe != plain or "--" in name:
        safe = f"{safe}-{xxhash.xxh3_64(name.encode()).hexdigest()[:8]}"
    return safe


@dataclass(frozen=True, kw_only=True)
class EntrySpec:
    """The declared inputs of one entry.

    Attributes:
        modality: ``audio`` or ``text`` or another word in lower case.
        encoder: public name of the encoder, never an absolute path.
        layer: hidden state, 0 is the input of the first block.
        dtype: ``float16`` or ``float32``, as stored.
        features: values per frame.
        frame_rate: frames per second, None for text.
        declared: everything else that changes a value: hashes of weights and configuration, final norm, sample rate,
            preprocessing version, tokenizer files, text field and normalisation, windowing, batch policy. JSON values
            only.
    """

    modality: str
    encoder: str
    layer: int
    dtype: str
    features: int
    frame_rate: float | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", self.modality):
            raise WrongRows(f"modality {self.modality!r}", "give a word of lower-case letters, as 'audio' or 'text'")
        if not self.encoder or self.encoder.startswith("/") or len(self.encoder) > 500:
            raise WrongRows(f"encoder {self.encoder!r}", "give its public name, not an absolute path")
        if self.dtype not in DTYPES:
            raise WrongRows(f"dtype {self.dtype!r}", f"known are {', '.join(DTYPES)}")
        if not 0 <= int(self.layer) < 10_000 or not 1 <= int(self.features) < 2**24:
            raise WrongRows("spec", f"layer {self.layer} or features {self.features} is out of range")
        if self.frame_rate is not None and not 0 < self.frame_rate < 1e6:
            raise WrongRows(f"frame_rate {self.frame_rate!r}", "give frames per second, or None")
        try:
            plain = json.loads(canonical(dict(self.declared)))
        except (TypeError, ValueError) as error:
            raise WrongRows("declared", f"it must hold JSON values only ({error})") from error
        object.__setattr__(self, "declared", plain)

    @property
    def address(self) -> str:
        """Directory name of the entry, ``audio-facebook--wav2vec2-base-L12-float16``."""
        return f"{self.modality}-{slug(self.encoder)}-L{self.layer}-{self.dtype}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form, as in ``entry.json``."""
        return {
            "modality": self.modality,
            "encoder": self.encoder,
            "layer": int(self.layer),
            "dtype": self.dtype,
            "features": int(self.features),
            "frame_rate": None if self.frame_rate is None else float(self.frame_rate),
            "declared": dict(self.declared),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`; raises WrongRows on anything unexpected."""
        names = {"modality", "encoder", "layer", "dtype", "features", "frame_rate", "declared"}
        if set(values) != names:
            raise WrongRows("spec", f"fields {sorted(set(values) ^ names)} are missing or unknown")
        return cls(**{name: values[name] for name in names})

    @property
    def fingerprint(self) -> str:
        """xxh3-128 (32 hex digits) of the declared inputs and the schema version."""
        return xxhash.xxh3_128(canonical({"schema": SCHEMA, **self.as_dict()})).hexdigest()

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return 2 if self.dtype == "float16" else 4


def differences(old: Any, new: Any, prefix: str = "") -> tuple[tuple[str, object, object], ...]:
    """Every field in which two JSON values differ, as (dotted name, old, new)."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        fields: list[tuple[str, object, object]] = []
        for name in sorted(set(old) | set(new)):
            fields += differences(old.get(name, _ABSENT), new.get(name, _ABSENT), f"{prefix}{name}.")
        return tuple(fields)
    return () if old == new and type(old) is type(new) else ((prefix.rstrip("."), old, new),)
