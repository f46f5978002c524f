"""The heads: one class and one line each. Loading a row imports torch; reading the names does not."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ser_base.catalog import Catalog
from ser_fusion.errors import StreamMissing

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

SINGLE = {"audio": "audio", "text": "text", "video": "video", "prosody": "prosody"}
"""``Head.single_stream`` of the heads of this table, known before torch is loaded; None for all others. A test holds it true."""


def check_streams(names: Iterable[str], available: Sequence[str]) -> None:
    """Refuses heads whose streams are not there, before torch is loaded; the heads themselves ask again.

    Heads of other packages are asked at once: what they read is written in their class alone.

    Args:
        names: Names of heads of this table.
        available: Streams of the study.

    Raises:
        StreamMissing: A head needs another stream.
    """
    for name in names:
        if not HEADS.own(name):
            HEADS[name].reads(name, available)
        elif name in SINGLE and SINGLE[name] not in available:
            raise StreamMissing(name, f"the stream {SINGLE[name]}", tuple(available))
        elif name not in SINGLE and len(available) < 2:
            raise StreamMissing(name, "two streams or more", tuple(available))
