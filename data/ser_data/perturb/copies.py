"""Clean and perturbed utterances in one table, and folds in which a copy is always where its original is, or in no part.

``augment``     train: clean and copies; development and test: clean. Is training on more kinds of speech better?
``robustness``  train and development: clean; test: the copies of the tested utterances. What does a clean model lose?
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ser_data.protocols import Folds, make_folds

if TYPE_CHECKING:
    import pandas as pd


def copy_id(utterance: str, effects: str) -> str:
    """The id of a copy beside its original."""
    return f"{utterance}~{effects}"


def both(clean: "pd.DataFrame", copies: "pd.DataFrame", effects: str) -> "pd.DataFrame":
    """One table of both; speakers, sessions, dialogues, folds and parts of a copy are its original's."""
    import pandas as pd

    names = [copy_id(name, effects) for name in copies["id"]]
    own = clean.drop(columns=["corpus", "audio_hash", "text_normalised", "text_hash"], errors="ignore")
    first = own.assign(source=own["id"], perturbation="none")
    second = copies.assign(id=names, source=copies["id"], perturbation=effects)
    second = second.reindex(columns=first.columns)  # spans and durations stay empty: a copy is a file of its own
    return pd.concat([first.astype(object), second.astype(object)], ignore_index=True)


@dataclass(frozen=True, slots=True)
class Planned:
    """Folds over clean utterances and copies, before it is known which copies there are."""

    folds: Folds

    def keeping(self, ids: Iterable[str]) -> "Planned":
        """Without the ids that are not there."""
        known = set(ids)

        def part(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name in known)

        cut = [replace(f, train=part(f.train), dev=part(f.dev), test=part(f.test)) for f in self.folds.folds]
        return Planned(replace(self.folds, folds=tuple(cut)))

    def to_csv(self, path: Path) -> None:
        """As ``ser-fuse --folds`` takes them."""
        self.folds.to_csv(path)


def plan_folds(clean: "pd.DataFrame", effects: str, protocol: str, dev: str = "next") -> dict[str, Planned]:
    """``augment`` and ``robustness``, made from the protocol's folds of the clean utterances alone.

    Raises:
        CorpusError: The protocol cannot be followed.
    """
    made = make_folds(clean, protocol, dev=dev)

    def copied(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(copy_id(name, effects) for name in names)

    more = [replace(fold, train=tuple(sorted((*fold.train, *copied(fold.train))))) for fold in made.folds]
    hard = [replace(fold, test=copied(fold.test)) for fold in made.folds]
    return {
        "augment": Planned(replace(made, folds=tuple(more))),
        "robustness": Planned(replace(made, folds=tuple(hard))),
    }
