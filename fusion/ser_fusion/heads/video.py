"""Pictures alone: the single-stream head on ``video``."""

from ser_fusion.heads.single import SingleHead


class VideoHead(SingleHead):
    """Self-attention over the frames, pooled."""

    stream = "video"
