"""Perturbed copies of a corpus: the table with its folds, and the files.

Clean and perturbed utterances in one table, and folds in which a copy is always where its original is, or in no part.

``augment``     train: clean and copies; development and test: clean. Is training on more kinds of speech better?
``robustness``  train and development: clean; test: the copies of the tested utterances. What does a clean model lose?

A perturbed copy of a corpus in a folder of its own: wav files, and a table that ``--corpus csv`` reads.

One utterance is in memory at a time. Files that are there from an earlier, interrupted call are kept; a folder with other
effects is refused.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from ser_data.errors import BadManifest, CorpusError
from ser_data.media.audio import AudioError
from ser_data.media.isolated import IsolatedDecoder
from ser_data.media.sound_file import write_wav
from ser_data.perturb.effects import Effects, perturb
from ser_data.protocols import Folds, make_folds
from ser_data.protocols.base import MARK, SOURCE

if TYPE_CHECKING:
    import pandas as pd

    from ser_data.manifest.table import Manifest


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


def keeping(folds: Folds, ids: Iterable[str]) -> Folds:
    """The folds without ids that are not among these."""
    kept = set(ids)

    def part(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in kept)

    cut = [replace(f, train=part(f.train), dev=part(f.dev), test=part(f.test)) for f in folds.folds]
    return replace(folds, folds=tuple(cut))


def plan_folds(clean: "pd.DataFrame", effects: str, protocol: str, dev: str = "next") -> dict[str, Folds]:
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
        "augment": replace(made, folds=tuple(more)),
        "robustness": replace(made, folds=tuple(hard)),
    }


RATE = 16_000
_DROPPED = ["corpus", "path", "start", "end", "duration", "audio_hash", "text_normalised", "text_hash"]


class OtherCopy(CorpusError, FileExistsError):
    """The folder holds something that is not the beginning of this very copy."""

    folder: str
    problem: str
    got = "{folder} {problem}, so nothing was written."
    next = "Give another OUT, or delete the folder."


@dataclass(frozen=True, slots=True)
class Copied:
    """What was written.

    Attributes:
        manifest: The table.
        utterances: Perturbed utterances in it.
        skipped: Id and reason of those left out.
        folds: Files of folds, by what they are for.
    """

    manifest: Path
    utterances: int
    skipped: tuple[tuple[str, str], ...]
    folds: tuple[tuple[str, Path], ...]


def write_copy(
    manifest: "Manifest",
    out: Path,
    effects: Effects,
    *,
    with_clean: bool = False,
    protocol: str | None = None,
    dev: str = "next",
    progress: Callable[[int, int], None] | None = None,
) -> Copied:
    """Writes ``audio/*.wav`` (16 kHz, 16 bit, mono), ``manifest.csv``, ``perturb.json``, and ``skipped.csv`` if any.

    Args:
        manifest: The corpus. Ids, labels, speakers, sessions, dialogues, folds and texts stay.
        out: A folder that is empty, absent, or this copy's own.
        effects: What to do to every utterance.
        with_clean: Put the clean utterances into the table too, the copies' ids then end in ``~`` and the effects' name.
        protocol: With ``with_clean``: also write folds for augmentation and for robustness, by this protocol.
        dev: How those folds' development part is chosen.
        progress: Called with utterances done and all.

    Raises:
        OtherCopy: The folder holds something else.
        BadManifest: Not one utterance could be perturbed.
        CorpusError: Folds cannot be made.
        ValueError: The codec cannot be written here.
    """
    import pandas as pd

    clean = manifest.table
    folds = plan_folds(clean, effects.name, protocol, dev) if with_clean and protocol else {}
    _claim(out, {"corpus": manifest.info.name, "with_clean": with_clean, **effects.as_dict()})
    kept, paths, skipped = [], [], []
    rows = zip(clean["id"], clean["path"], clean["start"], clean["end"], strict=True)
    with IsolatedDecoder() as decoder:
        for number, (name, path, start, end) in enumerate(rows):
            target = out / "audio" / file_name(name)
            reason = None
            if path is None:
                reason = "no audio"
            elif not target.is_file():
                try:
                    write_wav(target, perturb(decoder.load(path, RATE, start, end), RATE, effects, name), RATE)
                except AudioError as error:
                    reason = error.reason
            if reason is None:
                kept.append(number)
                paths.append(f"audio/{target.name}")
            else:
                skipped.append((str(name), reason))
            if progress is not None:
                progress(number + 1, len(clean))
    if not kept:
        reasons = ", ".join(sorted({reason for _, reason in skipped})) or "the corpus is empty"
        what = f"none of its utterances could be perturbed ({reasons})"
        raise BadManifest(manifest.info.name, what, "Check its audio files with ser data validate.")
    copies = clean.iloc[kept].drop(columns=_DROPPED, errors="ignore").assign(path=paths)
    table = both(clean, copies, effects.name) if with_clean else copies
    _table(table, out / "manifest.csv")
    if skipped:
        pd.DataFrame(skipped, columns=["id", "reason"]).to_csv(out / "skipped.csv", index=False)
    done = []
    present = set(table["id"])
    for purpose, made in folds.items():
        keeping(made, present).to_csv(out / f"folds-{purpose}.csv")
        done.append((purpose, out / f"folds-{purpose}.csv"))
    return Copied(out / "manifest.csv", len(copies), tuple(skipped), tuple(done))


def file_name(utterance: str) -> str:
    """The id as a file's name; an id with other characters than letters, digits, ``_ . -`` gets a mark of its own."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", utterance).lstrip(".")[:150]
    if plain == utterance:
        return f"{plain}.wav"
    return f"{plain}-{xxhash.xxh3_64_hexdigest(utterance.encode())}.wav"


def _claim(out: Path, recipe: dict[str, Any]) -> None:
    card = out / "perturb.json"
    if card.is_file():
        try:
            same = json.loads(card.read_text(encoding="utf-8")) == recipe
        except (json.JSONDecodeError, UnicodeDecodeError):
            same = False
        if not same:
            raise OtherCopy(str(out), "holds another copy (its perturb.json differs)")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OtherCopy(str(out), "is not empty and holds no perturb.json")
    (out / "audio").mkdir(parents=True, exist_ok=True)
    card.write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")


def _table(table: "pd.DataFrame", path: Path) -> None:
    first = [name for name in ("id", SOURCE, MARK, "path", "label") if name in table]
    table = table[[*first, *(name for name in table if name not in first)]]
    table.loc[:, [name for name in table if name in first or table[name].notna().any()]].to_csv(path, index=False)
