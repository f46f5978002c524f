"""DistilBERT (Sanh et al. 2019): half of BERT's blocks, no token types."""

from ser_extract.encoders.tokens import TextFamily

FAMILY = TextFamily(
    "distilbert",
    lambda model: model.transformer.layer,
    depth=("n_layers", 6),
    features=("dim", 768),
    packs=lambda config: 0,
)
