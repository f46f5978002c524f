"""The table of encoder families, keyed by the `model_type` of an encoder's config; and that of encoder classes, by name.

A new family is one object in `speech`, `text` or `vision` (or a file of its own) and one line below (docs/guides/add-a-part.md); the contract test walks the table.
"""

from typing import TYPE_CHECKING, Any

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_extract.encoders.base import Family


ENCODERS: "Catalog[Family]" = Catalog(
    "encoder family",
    {
        "wav2vec2": "ser_extract.encoders.speech:WAV2VEC2",
        "hubert": "ser_extract.encoders.speech:HUBERT",
        "wavlm": "ser_extract.encoders.speech:WAVLM",
        "data2vec-audio": "ser_extract.encoders.speech:DATA2VEC",
        "whisper": "ser_extract.encoders.speech:WHISPER",
        "bert": "ser_extract.encoders.text:BERT",
        "electra": "ser_extract.encoders.text:ELECTRA",
        "roberta": "ser_extract.encoders.text:ROBERTA",
        "xlm-roberta": "ser_extract.encoders.text:XLM_ROBERTA",
        "camembert": "ser_extract.encoders.text:CAMEMBERT",
        "distilbert": "ser_extract.encoders.text:DISTILBERT",
        "deberta-v2": "ser_extract.encoders.text:DEBERTA",
        "mpnet": "ser_extract.encoders.text:MPNET",
        "vit": "ser_extract.encoders.vision:VIT",
        "clip": "ser_extract.encoders.vision:CLIP",
        "clip_vision_model": "ser_extract.encoders.vision:CLIP_TOWER",
        "dinov2": "ser_extract.encoders.vision:DINOV2",
        "dinov2_with_registers": "ser_extract.encoders.vision:DINOV2_REGISTERS",
    },
    group="ser.encoders",
)

FEATURES: "Catalog[Any]" = Catalog(
    "set of hand-crafted features",
    {
        "acoustic": "ser_extract.encoders.prosody:Acoustic",
        "egemaps": "ser_extract.encoders.prosody:Egemaps",
        "egemaps-lld": "ser_extract.encoders.prosody:EgemapsFrames",
    },
)
"""Names of `--encoder prosody=NAME`; each is a `ser_extract.Encoder`."""
