"""The losses: one file and one line each. Loading a row imports torch; reading the names does not."""

from typing import TYPE_CHECKING

from ser_data.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.losses.base import Loss


def _cross_entropy() -> "type[Loss]":
    from ser_fusion.losses.cross_entropy import CrossEntropy

    return CrossEntropy


def _class_balanced() -> "type[Loss]":
    from ser_fusion.losses.class_balanced import ClassBalanced

    return ClassBalanced


def _focal() -> "type[Loss]":
    from ser_fusion.losses.focal import Focal

    return Focal


def _logit_adjust() -> "type[Loss]":
    from ser_fusion.losses.logit_adjust import LogitAdjust

    return LogitAdjust


LOSSES: "Catalog[type[Loss]]" = Catalog(
    "loss",
    {
        "cross-entropy": _cross_entropy,
        "class-balanced": _class_balanced,
        "focal": _focal,
        "logit-adjust": _logit_adjust,
    },
)
