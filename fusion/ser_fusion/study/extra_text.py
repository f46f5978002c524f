"""More labelled text for the stream ``text``, for training only (``--extra-text FILE``).

Speech with labels is scarce, text is not. Where the pairs of a corpus are artificial, any text of the same class is as good a
partner as the given one: in every training epoch each utterance's text is drawn again from all texts of its class, the
training part's and the extra ones. The class frequencies stay those of the corpus. The extra lines lie in the cache's own
text entry (extract them first, then the corpus); development and test parts never see them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_data.errors import BadManifest
from ser_data.manifest.csv_file import csv_frame
from ser_data.manifest.text import clean_name, comparison_key, text_hash
from ser_data.protocols.folds import TEXT, key_values
from ser_fusion.errors import ExtraTextUnusable

if TYPE_CHECKING:
    import pandas as pd

    from ser_fusion.study.open import Study

COLUMNS = ("id", "text", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraText:
    """Extra lines; line i is row ``utterances of the study + i`` of the stream ``text``.

    Attributes:
        ids: Ids in the text entry of the cache.
        targets: Class numbers of the study, (lines,).
        folds: Fold a line belongs to, None for none; such a line is used where that fold trains.
        texts: The words (``ser_data.manifest.text.comparison_key``), by which a line is found to be tested.
        hashes: Of the text that the cache holds.
    """

    ids: tuple[str, ...]
    targets: NDArray[np.int64]
    folds: NDArray[np.object_]
    texts: tuple[str, ...]
    hashes: NDArray[np.object_]

    @property
    def fingerprint(self) -> str:
        """xxh3-128 of lines, labels, folds and text."""
        lines = zip(self.ids, self.targets, self.folds, self.hashes, strict=True)
        return xxhash.xxh3_128_hexdigest("\0".join(map(str, (part for line in lines for part in line))).encode())

    def rows(self, study: "Study", parts: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """The lines that may train, (2, lines): rows of the stream ``text``, and class numbers.

        A line may not belong to a development or test fold, and its words may not occur there.
        """
        held = study.table.iloc[np.concatenate([parts["dev"], parts["test"]])]
        closed = set(held["fold"].dropna().astype(str))
        seen = set(key_values(held, TEXT)) - {None}
        free = [fold not in closed and text not in seen for fold, text in zip(self.folds, self.texts, strict=True)]
        lines = np.flatnonzero(free)
        return np.stack([len(study.table) + lines, self.targets[lines]])


def read_extra_text(path: Path, study: "Study") -> ExtraText:
    """Reads the lines: a CSV with ``id``, ``text``, ``label`` and, where lines belong to folds of the corpus, ``fold``.

    Raises:
        ExtraTextUnusable: It cannot be read, lacks a column, names ids that the text entry does not hold, or no class fits.
    """
    if "text" not in study.streams:
        raise ExtraTextUnusable(str(path), "the study has no stream text")
    try:
        table = csv_frame(path)
    except BadManifest as error:
        raise ExtraTextUnusable(str(path), f"it {error.problem}") from error
    except OSError as error:
        raise ExtraTextUnusable(str(path), f"it cannot be read ({error})") from error
    if lacking := [name for name in COLUMNS if name not in table]:
        raise ExtraTextUnusable(str(path), f"it has no column {' and no column '.join(lacking)}")
    stored = study.layers["text"][-1]
    table["id"] = [name if name in stored else clean_name(name) for name in table["id"]]
    for column in {"label", "fold"} & set(table):
        table[column] = [clean_name(name) for name in table[column]]
    table = table[table["label"].isin(study.classes) & ~table["id"].isin(study.table.index)]
    if table.empty:
        raise ExtraTextUnusable(str(path), f"no line has a label of {', '.join(study.classes)}")
    entries = study.layers["text"]
    unknown = [name for name in table["id"] if any(name not in entry for entry in entries)]
    if unknown:
        raise ExtraTextUnusable(
            str(path),
            f"{len(unknown):,} of its {len(table):,} lines are not in the text entry of {study.cache}, as {unknown[0]}",
        )
    hashes = entries[-1].input_hashes
    others = [name for name, text in zip(table["id"], table["text"], strict=True) if text_hash(text) != hashes[name]]
    if others:
        problem = (
            f"{len(others):,} of its {len(table):,} texts are not those that were extracted, as that of {others[0]}"
        )
        raise ExtraTextUnusable(str(path), problem)
    folds = table["fold"] if "fold" in table else table["id"].map(lambda _: "")
    return ExtraText(
        ids=tuple(table["id"]),
        targets=np.array([study.classes.index(name) for name in table["label"]], dtype=np.int64),
        folds=np.array([fold or None for fold in folds], dtype=object),
        texts=tuple(comparison_key(text) for text in table["text"]),
        hashes=np.array([hashes[name] for name in table["id"]], dtype=object),
    )


def lines_behind(path: Path, study: "Study") -> "pd.DataFrame":
    """The lines as rows behind those of the study: ``id``, ``fold``, ``text``."""
    import pandas as pd

    extra = read_extra_text(path, study)
    return pd.DataFrame({"id": list(extra.ids), "fold": extra.folds, "text": list(extra.texts)}, dtype=object)
