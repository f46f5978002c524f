"""Speech alone: the single-stream head on ``audio``."""

from ser_fusion.heads.single import SingleHead


class AudioHead(SingleHead):
    """Self-attention over the speech frames, pooled."""

    stream = "audio"
