"""The table of corpora, each loaded when it is asked for."""

from ser_base.catalog import Catalog
from ser_data.corpora.base import Corpus

CORPORA: Catalog[Corpus] = Catalog(
    "corpus",
    {
        "demo": "ser_data.corpora.demo:CORPUS",
        "iemocap": "ser_data.corpora.iemocap:CORPUS",
        "meld": "ser_data.corpora.meld:CORPUS",
        "ravdess": "ser_data.corpora.acted:RAVDESS",
        "cremad": "ser_data.corpora.cremad:CORPUS",
        "emodb": "ser_data.corpora.acted:EMODB",
        "savee": "ser_data.corpora.acted:SAVEE",
        "tess": "ser_data.corpora.acted:TESS",
        "emovo": "ser_data.corpora.acted:EMOVO",
        "cafe": "ser_data.corpora.acted:CAFE",
        "shemo": "ser_data.corpora.acted:SHEMO",
        "aesdd": "ser_data.corpora.acted:AESDD",
        "subesco": "ser_data.corpora.acted:SUBESCO",
        "jl-corpus": "ser_data.corpora.acted:JL_CORPUS",
        "esd": "ser_data.corpora.acted:ESD",
        "nemo": "ser_data.corpora.acted:NEMO",
        "msp-podcast": "ser_data.corpora.msp_podcast:CORPUS",
        "cmu-mosei": "ser_data.corpora.mosei:CORPUS",
        "emorynlp": "ser_data.corpora.emorynlp:CORPUS",
        "csv": "ser_data.corpora.table_file:CSV",
        "jsonl": "ser_data.corpora.table_file:JSONL",
        "audiofolder": "ser_data.corpora.audiofolder:CORPUS",
        "hf": "ser_data.corpora.hf:CORPUS",
        "audformat": "ser_data.corpora.audformat:CORPUS",
    },
    group="ser.corpora",
)

__all__ = ["CORPORA", "Corpus"]
