"""The table of encoder families, keyed by the `model_type` of an encoder's config.

A new family is one file here and one line below (docs/add-an-encoder.md); the contract test walks the table.
"""

from typing import TYPE_CHECKING

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_extract.encoders.base import Family


ENCODERS: "Catalog[Family]" = Catalog(
    "encoder family",
    {
        "wav2vec2": "ser_extract.encoders.wav2vec2:FAMILY",
        "hubert": "ser_extract.encoders.hubert:FAMILY",
        "wavlm": "ser_extract.encoders.wavlm:FAMILY",
        "data2vec-audio": "ser_extract.encoders.data2vec_audio:FAMILY",
        "whisper": "ser_extract.encoders.whisper:FAMILY",
        "bert": "ser_extract.encoders.bert:FAMILY",
        "electra": "ser_extract.encoders.bert:ELECTRA",
        "roberta": "ser_extract.encoders.roberta:FAMILY",
        "xlm-roberta": "ser_extract.encoders.roberta:XLM_ROBERTA",
        "camembert": "ser_extract.encoders.roberta:CAMEMBERT",
        "distilbert": "ser_extract.encoders.distilbert:FAMILY",
        "deberta-v2": "ser_extract.encoders.deberta_v2:FAMILY",
        "mpnet": "ser_extract.encoders.mpnet:FAMILY",
        "vit": "ser_extract.encoders.vit:FAMILY",
        "clip": "ser_extract.encoders.clip:FAMILY",
        "clip_vision_model": "ser_extract.encoders.clip:TOWER",
        "dinov2": "ser_extract.encoders.dinov2:FAMILY",
        "dinov2_with_registers": "ser_extract.encoders.dinov2:REGISTERS",
    },
    group="ser.encoders",
)
