"""The heads: one class and one line each. Loading a row imports torch; reading the names does not."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ser_base.catalog import Catalog
from ser_fusion.heads.facts import FACTS, HeadFacts

if TYPE_CHECKING:
    from ser_fusion.heads.base import Head


HEADS: "Catalog[type[Head]]" = Catalog(
    "head",
    {
        "audio": "ser_fusion.heads.late:AudioHead",
        "text": "ser_fusion.heads.late:TextHead",
        "video": "ser_fusion.heads.late:VideoHead",
        "prosody": "ser_fusion.heads.late:ProsodyHead",
        "concat": "ser_fusion.heads.pooled:ConcatHead",
        "mdre": "ser_fusion.heads.pooled:MdreHead",
        "self": "ser_fusion.heads.attention:SelfHead",
        "cross": "ser_fusion.heads.attention:CrossHead",
        "self+cross": "ser_fusion.heads.attention:SelfCrossHead",
        "gated": "ser_fusion.heads.pooled:GatedHead",
        "bilinear": "ser_fusion.heads.pooled:BilinearHead",
        "bottleneck": "ser_fusion.heads.attention:BottleneckHead",
        "text-queries-audio": "ser_fusion.heads.attention:TextQueriesAudioHead",
        "late": "ser_fusion.heads.late:LateHead",
        "late-calibrated": "ser_fusion.heads.late:LateCalibratedHead",
        "late-average": "ser_fusion.heads.late:LateAverageHead",
    },
    group="ser.heads",
)


def facts_of(name: str) -> "type[HeadFacts]":
    """What a plan asks of a head; torch is loaded for heads of other packages alone: what they read is in their class."""
    return FACTS.get(name, HeadFacts) if HEADS.own(name) else HEADS[name]


def check_streams(names: Iterable[str], available: Sequence[str]) -> None:
    """Refuses heads whose streams are not there.

    Args:
        names: Names of heads of this table.
        available: Streams of the study.

    Raises:
        StreamMissing: A head needs another stream.
    """
    for name in names:
        facts_of(name).reads(name, available)
