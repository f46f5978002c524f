"""MPNet (Song et al. 2020), as in the sentence encoder all-mpnet-base-v2: BERT's blocks with relative position buckets."""

from ser_extract.encoders.stated import Positions, Text
from ser_extract.encoders.tokens import TextFamily


class MPNet(Text):
    """Positions start behind index 1, whatever the config's padding token (514 - 2 = 512)."""

    max_position_embeddings: Positions = 514

    @property
    def first(self) -> int:
        return 2


FAMILY = TextFamily("mpnet", lambda model: model.encoder.layer, stated=MPNet)
