"""The losses: one file and one line each. Loading a row imports torch; reading the names does not."""

from typing import TYPE_CHECKING

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.training.losses.base import Loss


LOSSES: "Catalog[type[Loss]]" = Catalog(
    "loss",
    {
        "cross-entropy": "ser_fusion.training.losses.cross_entropy:CrossEntropy",
        "class-balanced": "ser_fusion.training.losses.class_balanced:ClassBalanced",
        "focal": "ser_fusion.training.losses.focal:Focal",
        "logit-adjust": "ser_fusion.training.losses.logit_adjust:LogitAdjust",
    },
)
