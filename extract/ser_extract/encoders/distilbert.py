"""DistilBERT (Sanh et al. 2019): half of BERT's blocks, no token types."""

from ser_extract.encoders.stated import Depth, Text, Width
from ser_extract.encoders.tokens import TextFamily


class DistilBert(Text):
    """DistilBERT has names of its own for depth and width."""

    n_layers: Depth = 6
    dim: Width = 768

    @property
    def depth(self) -> int:
        return self.n_layers

    @property
    def width(self) -> int:
        return self.dim


FAMILY = TextFamily("distilbert", lambda model: model.transformer.layer, stated=DistilBert, packs=True)
