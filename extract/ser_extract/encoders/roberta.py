"""RoBERTa (Liu et al. 2019), XLM-RoBERTa and CamemBERT: BERT's blocks; positions start behind the padding index."""

from ser_extract.encoders.stated import Index, Positions, Text
from ser_extract.encoders.tokens import TextFamily


class Roberta(Text):
    """Positions up to and including the padding index are never used (514 - 2 = 512)."""

    max_position_embeddings: Positions = 514
    pad_token_id: Index = 1

    @property
    def first(self) -> int:
        return self.pad_token_id + 1


FAMILY = TextFamily("roberta", lambda model: model.encoder.layer, stated=Roberta, packs=True)
XLM_ROBERTA = TextFamily("xlm-roberta", lambda model: model.encoder.layer, stated=Roberta, packs=True)
CAMEMBERT = TextFamily("camembert", lambda model: model.encoder.layer, stated=Roberta, packs=True)
