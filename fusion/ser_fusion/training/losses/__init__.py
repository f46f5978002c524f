"""The losses: one class and one line each. Loading a row imports torch; reading the names does not."""

from typing import TYPE_CHECKING

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.training.losses.base import Loss


LOSSES: "Catalog[type[Loss]]" = Catalog(
    "loss",
    {
        "cross-entropy": "ser_fusion.training.losses.base:CrossEntropy",
        "class-balanced": "ser_fusion.training.losses.base:ClassBalanced",
        "focal": "ser_fusion.training.losses.base:Focal",
        "logit-adjust": "ser_fusion.training.losses.base:LogitAdjust",
    },
)
