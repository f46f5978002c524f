"""The poolings: one class and one line each. Loading a row imports torch; reading the names does not."""

from typing import TYPE_CHECKING

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.poolings.base import Pooling


POOLINGS: "Catalog[type[Pooling]]" = Catalog(
    "pooling",
    {
        "stats": "ser_fusion.poolings.base:StatsPooling",
        "mean": "ser_fusion.poolings.base:MeanPooling",
        "max": "ser_fusion.poolings.base:MaxPooling",
        "attention": "ser_fusion.poolings.base:AttentionPooling",
        "concat": "ser_fusion.poolings.base:ConcatPooling",
        "modality-stats": "ser_fusion.poolings.base:ModalityStatsPooling",
        "cls": "ser_fusion.poolings.base:ClsPooling",
    },
    group="ser.poolings",
)
