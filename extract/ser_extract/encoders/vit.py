"""ViT (Dosovitskiy et al. 2021): base, large, huge, and faces' and emotions' fine-tuned ones; heads are left out.

Pre-norm; the final norm is behind `hidden_states`, so the last one is without it.
"""

from typing import Any

from ser_extract.encoders.image import ImageFamily

PROCESSOR: dict[str, Any] = {
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def _blocks(model: Any) -> Any:
    return model.layers if hasattr(model, "layers") else model.encoder.layer


FAMILY = ImageFamily("vit", _blocks, PROCESSOR, patch=16, square=True, unused=("pooler", "layernorm"))
