"""The poolings: one file and one line each. Loading a row imports torch; reading the names does not."""

from typing import TYPE_CHECKING

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.poolings.base import Pooling


POOLINGS: "Catalog[type[Pooling]]" = Catalog(
    "pooling",
    {
        "stats": "ser_fusion.poolings.stats:StatsPooling",
        "mean": "ser_fusion.poolings.mean:MeanPooling",
        "max": "ser_fusion.poolings.max:MaxPooling",
        "attention": "ser_fusion.poolings.attention:AttentionPooling",
        "concat": "ser_fusion.poolings.concat:ConcatPooling",
        "modality-stats": "ser_fusion.poolings.modality_stats:ModalityStatsPooling",
        "cls": "ser_fusion.poolings.cls:ClsPooling",
    },
    group="ser.poolings",
)
