"""Words alone: the single-stream head on ``text``."""

from ser_fusion.heads.single import SingleHead


class TextHead(SingleHead):
    """Self-attention over the tokens, pooled."""

    stream = "text"
