"""What a plan asks of a head, without torch: the streams that it reads, and whether it pools."""

from collections.abc import Sequence
from typing import ClassVar

from ser_fusion.errors import StreamMissing


class HeadFacts:
    """What is known of a head before torch is loaded; every ``Head`` is one.

    Attributes:
        pools: Whether ``--pooling`` means anything to this head.
        single_stream: The one stream that the head reads; None for heads that read two streams or more.
        departures: What a reader of its results must know of where it differs from its source.
    """

    pools: ClassVar[bool] = True
    single_stream: ClassVar[str | None] = None
    departures: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def reads(cls, name: str, available: Sequence[str]) -> tuple[str, ...]:
        """The streams this head will read, of those available.

        Raises:
            StreamMissing: It needs one that is not there.
        """
        if cls.single_stream is None:
            if len(available) < 2:
                raise StreamMissing(name, "two streams or more", tuple(available))
            return tuple(available)
        if cls.single_stream not in available:
            raise StreamMissing(name, f"the stream {cls.single_stream}", tuple(available))
        return (cls.single_stream,)

    @classmethod
    def may_read(cls, stream: str) -> bool:
        """Whether the head reads this stream where it is there."""
        return cls.single_stream in (None, stream)


class Audio(HeadFacts):
    """Of ``audio``."""

    single_stream = "audio"


class Text(HeadFacts):
    """Of ``text``."""

    single_stream = "text"


class Video(HeadFacts):
    """Of ``video``."""

    single_stream = "video"


class Prosody(HeadFacts):
    """Of ``prosody``."""

    single_stream = "prosody"


class Mdre(HeadFacts):
    """Of ``mdre``."""

    pools = False
    departures = ("MDRE on frozen frames: no prosody vector, softmax loss",)


FACTS: dict[str, type[HeadFacts]] = {"audio": Audio, "text": Text, "video": Video, "prosody": Prosody, "mdre": Mdre}
"""Of the heads of the table that differ from ``HeadFacts``; their classes inherit from these."""
