"""The table of corpora: one file each, loaded when asked for."""

from collections.abc import Callable

from ser_data.catalog import Catalog
from ser_data.corpora.base import Corpus


def _demo() -> Corpus:
    from ser_data.corpora.demo import CORPUS

    return CORPUS


def _iemocap() -> Corpus:
    from ser_data.corpora.iemocap import CORPUS

    return CORPUS


def _meld() -> Corpus:
    from ser_data.corpora.meld import CORPUS

    return CORPUS


def _ravdess() -> Corpus:
    from ser_data.corpora.ravdess import CORPUS

    return CORPUS


def _cremad() -> Corpus:
    from ser_data.corpora.cremad import CORPUS

    return CORPUS


def _emodb() -> Corpus:
    from ser_data.corpora.emodb import CORPUS

    return CORPUS


def _acted(name: str) -> Callable[[], Corpus]:
    def load() -> Corpus:
        from ser_data.corpora.acted import ACTED

        return ACTED[name]

    return load


def _csv() -> Corpus:
    from ser_data.corpora.table_file import CSV

    return CSV


def _jsonl() -> Corpus:
    from ser_data.corpora.table_file import JSONL

    return JSONL


def _audiofolder() -> Corpus:
    from ser_data.corpora.audiofolder import CORPUS

    return CORPUS


def _hf() -> Corpus:
    from ser_data.corpora.hf import CORPUS

    return CORPUS


def _audformat() -> Corpus:
    from ser_data.corpora.audformat import CORPUS

    return CORPUS


CORPORA: Catalog[Corpus] = Catalog(
    "corpus",
    {
        "demo": _demo,
        "iemocap": _iemocap,
        "meld": _meld,
        "ravdess": _ravdess,
        "cremad": _cremad,
        "emodb": _emodb,
        **{name: _acted(name) for name in ("savee", "tess", "emovo", "cafe", "shemo", "aesdd", "subesco", "jl-corpus")},
        "csv": _csv,
        "jsonl": _jsonl,
        "audiofolder": _audiofolder,
        "hf": _hf,
        "audformat": _audformat,
    },
)

__all__ = ["CORPORA", "Corpus"]
