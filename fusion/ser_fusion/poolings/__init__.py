"""The poolings: one file and one line each. Loading a row imports torch; reading the names does not."""

from typing import TYPE_CHECKING

from ser_data.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.poolings.base import Pooling


def _stats() -> "type[Pooling]":
    from ser_fusion.poolings.stats import StatsPooling

    return StatsPooling


def _mean() -> "type[Pooling]":
    from ser_fusion.poolings.mean import MeanPooling

    return MeanPooling


def _max() -> "type[Pooling]":
    from ser_fusion.poolings.max import MaxPooling

    return MaxPooling


def _attention() -> "type[Pooling]":
    from ser_fusion.poolings.attention import AttentionPooling

    return AttentionPooling


def _concat() -> "type[Pooling]":
    from ser_fusion.poolings.concat import ConcatPooling

    return ConcatPooling


def _modality_stats() -> "type[Pooling]":
    from ser_fusion.poolings.modality_stats import ModalityStatsPooling

    return ModalityStatsPooling


def _cls() -> "type[Pooling]":
    from ser_fusion.poolings.cls import ClsPooling

    return ClsPooling


POOLINGS: "Catalog[type[Pooling]]" = Catalog(
    "pooling",
    {
        "stats": _stats,
        "mean": _mean,
        "max": _max,
        "attention": _attention,
        "concat": _concat,
        "modality-stats": _modality_stats,
        "cls": _cls,
    },
)
