"""RoBERTa (Liu et al. 2019), XLM-RoBERTa and CamemBERT: BERT's blocks; positions start behind the padding index."""

from collections.abc import Mapping
from typing import Any

from ser_extract.encoders.tokens import TextFamily


def positions(config: Mapping[str, Any]) -> int:
    """Tokens that have a position: those up to and including the padding index are never used (514 - 2 = 512)."""
    return int(config.get("max_position_embeddings", 514)) - first(config)


def first(config: Mapping[str, Any]) -> int:
    """Position of the first token."""
    return int(config.get("pad_token_id", 1)) + 1


FAMILY = TextFamily("roberta", lambda model: model.encoder.layer, positions=positions, packs=first)
XLM_ROBERTA = TextFamily("xlm-roberta", lambda model: model.encoder.layer, positions=positions, packs=first)
CAMEMBERT = TextFamily("camembert", lambda model: model.encoder.layer, positions=positions, packs=first)
