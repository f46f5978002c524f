"""The table of encoder families, keyed by the `model_type` of an encoder's config.

A new family is one file here and one line below (docs/add-an-encoder.md); the contract test walks the table.
"""

from typing import TYPE_CHECKING

from ser_data.catalog import Catalog

if TYPE_CHECKING:
    from ser_extract.encoders.base import Family


def _wav2vec2() -> "Family":
    from ser_extract.encoders.wav2vec2 import FAMILY

    return FAMILY


def _hubert() -> "Family":
    from ser_extract.encoders.hubert import FAMILY

    return FAMILY


def _wavlm() -> "Family":
    from ser_extract.encoders.wavlm import FAMILY

    return FAMILY


def _data2vec_audio() -> "Family":
    from ser_extract.encoders.data2vec_audio import FAMILY

    return FAMILY


def _whisper() -> "Family":
    from ser_extract.encoders.whisper import FAMILY

    return FAMILY


def _bert() -> "Family":
    from ser_extract.encoders.bert import FAMILY

    return FAMILY


def _electra() -> "Family":
    from ser_extract.encoders.bert import ELECTRA

    return ELECTRA


def _roberta() -> "Family":
    from ser_extract.encoders.roberta import FAMILY

    return FAMILY


def _xlm_roberta() -> "Family":
    from ser_extract.encoders.roberta import XLM_ROBERTA

    return XLM_ROBERTA


def _camembert() -> "Family":
    from ser_extract.encoders.roberta import CAMEMBERT

    return CAMEMBERT


def _distilbert() -> "Family":
    from ser_extract.encoders.distilbert import FAMILY

    return FAMILY


def _deberta_v2() -> "Family":
    from ser_extract.encoders.deberta_v2 import FAMILY

    return FAMILY


def _mpnet() -> "Family":
    from ser_extract.encoders.mpnet import FAMILY

    return FAMILY


def _vit() -> "Family":
    from ser_extract.encoders.vit import FAMILY

    return FAMILY


def _clip() -> "Family":
    from ser_extract.encoders.clip import FAMILY

    return FAMILY


def _clip_vision_model() -> "Family":
    from ser_extract.encoders.clip import TOWER

    return TOWER


def _dinov2() -> "Family":
    from ser_extract.encoders.dinov2 import FAMILY

    return FAMILY


def _dinov2_with_registers() -> "Family":
    from ser_extract.encoders.dinov2 import REGISTERS

    return REGISTERS


ENCODERS: "Catalog[Family]" = Catalog(
    "encoder family",
    {
        "wav2vec2": _wav2vec2,
        "hubert": _hubert,
        "wavlm": _wavlm,
        "data2vec-audio": _data2vec_audio,
        "whisper": _whisper,
        "bert": _bert,
        "electra": _electra,
        "roberta": _roberta,
        "xlm-roberta": _xlm_roberta,
        "camembert": _camembert,
        "distilbert": _distilbert,
        "deberta-v2": _deberta_v2,
        "mpnet": _mpnet,
        "vit": _vit,
        "clip": _clip,
        "clip_vision_model": _clip_vision_model,
        "dinov2": _dinov2,
        "dinov2_with_registers": _dinov2_with_registers,
    },
)
