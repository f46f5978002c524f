"""The vision tower of CLIP (Radford et al. 2021), from a whole CLIP folder or from a tower saved alone.

`hidden_states[0]` has been through the norm before the blocks; the norm behind them belongs to the pooled output only.
"""

from typing import Any

from ser_extract.encoders.image import ImageFamily

PROCESSOR: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

NORM = "post_layernorm"
FAMILY = ImageFamily(
    "clip",
    lambda tower: tower.encoder.layers,
    PROCESSOR,
    patch=32,
    part="vision_config",
    unused=("text_model", "text_projection", "visual_projection", "logit_scale", f"vision_model.{NORM}"),
)
TOWER = ImageFamily(
    "clip_vision_model",
    lambda tower: tower.encoder.layers,
    PROCESSOR,
    patch=32,
    unused=(NORM, f"vision_model.{NORM}"),  # transformers before 5.5 keeps the tower's own name in front
)
