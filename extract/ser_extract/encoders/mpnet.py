"""MPNet (Song et al. 2020), as in the sentence encoder all-mpnet-base-v2: BERT's blocks with relative position buckets."""

from ser_extract.encoders.tokens import TextFamily

# Positions start behind index 1, whatever the config's padding token (514 - 2 = 512).
FAMILY = TextFamily(
    "mpnet",
    lambda model: model.encoder.layer,
    positions=lambda config: int(config.get("max_position_embeddings", 514)) - 2,
)
