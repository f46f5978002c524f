"""DeBERTa v2 and v3 (He et al. 2021): disentangled attention with relative positions.

The largest v2 models have a convolution beside the first block; transformers counts its output as hidden state 1.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ser_extract.encoders.tokens import TextFamily

if TYPE_CHECKING:
    from torch import nn


def _instead(model: Any) -> "Mapping[int, nn.Module]":
    return {} if model.encoder.conv is None else {1: model.encoder.conv}


FAMILY = TextFamily("deberta-v2", lambda model: model.encoder.layer, instead=_instead)
