"""The table of corpora: one file each, loaded when asked for."""

from ser_data.catalog import Catalog
from ser_data.corpora.base import Corpus


def _demo() -> Corpus:
    from ser_data.corpora.demo import CORPUS

    return CORPUS


def _csv() -> Corpus:
    from ser_data.corpora.table_file import CSV

    return CSV


CORPORA: Catalog[Corpus] = Catalog(
    "corpus",
    {
        "demo": _demo,
        "csv": _csv,
    },
)

__all__ = ["CORPORA", "Corpus"]
