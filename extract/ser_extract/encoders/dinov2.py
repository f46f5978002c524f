"""DINOv2 (Oquab et al. 2023), with registers or without: small, base, large, giant.

Positions are interpolated to the size that the folder's processor makes (224, while the models were trained at 518). The
final norm is behind `hidden_states`, so the last one is without it. Registers are tokens like patches, and left out.
"""

from typing import Any

from ser_extract.encoders.clip import PROCESSOR
from ser_extract.encoders.image import ImageFamily


def _blocks(model: Any) -> Any:
    return model.layers if hasattr(model, "layers") else model.encoder.layer


UNUSED = ("layernorm", "embeddings.mask_token")
FAMILY = ImageFamily("dinov2", _blocks, PROCESSOR, patch=14, any_size=True, unused=UNUSED)
REGISTERS = ImageFamily(
    "dinov2_with_registers",
    _blocks,
    PROCESSOR,
    patch=14,
    any_size=True,
    extra=lambda config: 1 + config.num_register_tokens,
    unused=UNUSED,
)
