"""The heads: one file and one line each. Loading a row imports torch; reading the names does not."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ser_data.catalog import Catalog
from ser_fusion.errors import StreamMissing

if TYPE_CHECKING:
    from ser_fusion.heads.base import Head


def _audio() -> "type[Head]":
    from ser_fusion.heads.audio import AudioHead

    return AudioHead


def _text() -> "type[Head]":
    from ser_fusion.heads.text import TextHead

    return TextHead


def _video() -> "type[Head]":
    from ser_fusion.heads.video import VideoHead

    return VideoHead


def _concat() -> "type[Head]":
    from ser_fusion.heads.concat import ConcatHead

    return ConcatHead


def _mdre() -> "type[Head]":
    from ser_fusion.heads.mdre import MdreHead

    return MdreHead


def _self() -> "type[Head]":
    from ser_fusion.heads.self_attention import SelfHead

    return SelfHead


def _cross() -> "type[Head]":
    from ser_fusion.heads.cross_attention import CrossHead

    return CrossHead


def _self_cross() -> "type[Head]":
    from ser_fusion.heads.self_cross import SelfCrossHead

    return SelfCrossHead


def _gated() -> "type[Head]":
    from ser_fusion.heads.gated import GatedHead

    return GatedHead


def _bilinear() -> "type[Head]":
    from ser_fusion.heads.bilinear import BilinearHead

    return BilinearHead


def _bottleneck() -> "type[Head]":
    from ser_fusion.heads.bottleneck import BottleneckHead

    return BottleneckHead


def _text_queries_audio() -> "type[Head]":
    from ser_fusion.heads.text_queries_audio import TextQueriesAudioHead

    return TextQueriesAudioHead


def _late() -> "type[Head]":
    from ser_fusion.heads.late import LateHead

    return LateHead


def _late_calibrated() -> "type[Head]":
    from ser_fusion.heads.late import LateCalibratedHead

    return LateCalibratedHead


def _late_average() -> "type[Head]":
    from ser_fusion.heads.late import LateAverageHead

    return LateAverageHead


HEADS: "Catalog[type[Head]]" = Catalog(
    "head",
    {
        "audio": _audio,
        "text": _text,
        "video": _video,
        "concat": _concat,
        "mdre": _mdre,
        "self": _self,
        "cross": _cross,
        "self+cross": _self_cross,
        "gated": _gated,
        "bilinear": _bilinear,
        "bottleneck": _bottleneck,
        "text-queries-audio": _text_queries_audio,
        "late": _late,
        "late-calibrated": _late_calibrated,
        "late-average": _late_average,
    },
)

SINGLE = ("audio", "text", "video")
"""Heads of one stream: each reads the stream of its own name. All others read two streams or more."""


def check_streams(names: Iterable[str], available: Sequence[str]) -> None:
    """Refuses heads whose streams are not there, before torch is loaded; the heads themselves ask again.

    Args:
        names: Names of heads of this table.
        available: Streams of the study.

    Raises:
        StreamMissing: A head needs another stream.
    """
    for name in names:
        if name in SINGLE and name not in available:
            raise StreamMissing(name, f"the stream {name}", tuple(available))
        if name not in SINGLE and len(available) < 2:
            raise StreamMissing(name, "two streams or more", tuple(available))
