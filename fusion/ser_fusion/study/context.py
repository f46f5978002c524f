"""Dialogue context: which turns came before which, and what a head reads of them (``--context K``).

Per stream the mean over the content frames of each of the K previous turns of the same dialogue, as tokens behind the
utterance's own frames. Features only: no label of any turn is read. Turns without a usable label are previous turns like any
other, as long as the cache holds them. A turn that had not ended when the utterance began is not read, where the manifest
says when turns begin and end; where it does not, "previous" means earlier in the dialogue's order, and nothing more.

Source of the idea: the context models of conversation corpora (Poria et al. 2017, bc-LSTM; Hazarika et al. 2018, CMN), here
without their recurrence over whole dialogues.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_fusion.errors import ContextImpossible
from ser_fusion.frames.features import Allocate, Context, StreamFrames
from ser_fusion.study.separation import Leak, Separation

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Entry
    from ser_fusion.study.open import Study

TOLERANCE = 1e-3  # seconds that times in tables are rounded to


@dataclass(frozen=True, slots=True)
class Before:
    """The previous turns of every utterance.

    Attributes:
        extra: Turns that are not in the study's table (no usable label, or failed in some stream), in sorted order.
        previous: (utterances, K) int64; column k - 1 is the k-th turn before: its row in the table, or the table's length
            plus its place in ``extra``; -1 where the dialogue had not begun.
        hashes: Per stream the digest of what ``extra`` was extracted from.
        overlapped: Utterances for which a nearer turn was passed over, because it had not ended.
        timed: Utterances of which begin and end in the dialogue are known.
    """

    extra: tuple[str, ...]
    previous: NDArray[np.int64]
    hashes: tuple[str, ...]
    overlapped: int = 0
    timed: int = 0

    @property
    def fingerprint(self) -> str:
        """xxh3-128 of all of it."""
        digest = xxhash.xxh3_128("\0".join((*self.extra, "", *self.hashes)).encode())
        digest.update(self.previous.tobytes())
        return digest.hexdigest()


def previous_turns(study: "Study", count: int) -> Before:
    """The ``count`` turns before each utterance of the study that had ended when it began.

    The order is the manifest's ``turn`` where a whole dialogue has it, else ``start``. Begin and end are ``dialogue_start``
    and ``dialogue_end``, else ``start`` and ``end`` (or ``duration``) where all turns of a dialogue lie in one file.

    Raises:
        ContextImpossible: No dialogues, no order, a dialogue on two sides of a fold, or previous turns of speakers (or
            sessions, ...) that are tested.
    """
    turns = study.turns
    if turns is None or turns["dialogue"].isna().all():
        problem = "the manifest does not say which dialogue a turn belongs to (column 'dialogue')"
        raise ContextImpossible(
            problem, "Fill 'dialogue' and 'turn' (or 'start'), and extract again or give --manifest."
        )
    _check_whole(study)
    ids = list(study.table.index)
    rows = {name: number for number, name in enumerate(ids)}
    wanted: set[str] = set()
    before: dict[str, list[str]] = {}
    overlapped = timed = 0
    for name, group in turns.dropna(subset=["dialogue"]).groupby("dialogue"):
        order = _in_order(str(name), group)
        spans = _spans(group)
        for place, own in enumerate(order):
            if own not in rows:
                continue
            limit = spans[own][0] + TOLERANCE
            ended = (other for other in order[:place][::-1] if not spans[other][1] > limit)  # not known: by order alone
            before[own] = list(islice(ended, count))
            wanted.update(before[own])
            overlapped += before[own] != order[max(0, place - count) : place][::-1]
            timed += not isnan(sum(spans[own]))
    extra = tuple(sorted(wanted - rows.keys()))
    rows |= {name: len(ids) + number for number, name in enumerate(extra)}
    previous = np.full((len(ids), count), -1, dtype=np.int64)
    for number, name in enumerate(ids):
        near = [rows[other] for other in before.get(name, ())]
        previous[number, : len(near)] = near
    hashes = []
    for stream in sorted(study.layers):
        hashed = study.layers[stream][-1].input_hashes
        hashes.append(xxhash.xxh3_128_hexdigest("\0".join(str(hashed.get(name, "")) for name in extra).encode()))
    context = Before(extra, previous, tuple(hashes), overlapped, timed)
    _check_apart(study, context)
    return context


def turns_behind(study: "Study", count: int) -> "pd.DataFrame":
    """The previous turns that are not in the study's table, with the manifest's columns, as its streams hold them."""
    return _turns(study, previous_turns(study, count))


def _turns(study: "Study", before: Before) -> "pd.DataFrame":
    assert study.turns is not None
    return study.turns.set_index("id", drop=False).loc[list(before.extra)]


def _spans(turns: "pd.DataFrame") -> dict[str, tuple[float, float]]:
    """Begin and end of each turn in its dialogue, in seconds; NaN where they are not known."""
    import pandas as pd

    ids = turns["id"].tolist()
    if {"dialogue_start", "dialogue_end"} <= set(turns.columns):
        begin, end = (pd.to_numeric(turns[name], errors="coerce") for name in ("dialogue_start", "dialogue_end"))
    elif turns["path"].nunique() > 1:  # seconds in files of their own say nothing about each other
        return dict.fromkeys(ids, (float("nan"), float("nan")))
    else:
        begin, end = turns["start"], turns["end"].fillna(turns["start"] + turns["duration"])
    return dict(zip(ids, zip(begin.tolist(), end.tolist(), strict=True), strict=True))


def _in_order(dialogue: str, turns: "pd.DataFrame") -> list[str]:
    for column in ("turn", "start"):
        if turns[column].notna().all():
            ordered = turns.sort_values([column, "id"], kind="stable")
            same = ordered[column].duplicated(keep=False)
            if same.any():
                first, second = ordered["id"][same].tolist()[:2]
                problem = f"{first} and {second} have the same place in dialogue {dialogue} (column {column!r})"
                raise ContextImpossible(problem, "Number the turns of each dialogue in the column 'turn'.")
            return [str(name) for name in ordered["id"]]
    gaps = int(turns["turn"].isna().sum())
    problem = f"the order of dialogue {dialogue} is unknown: {gaps} of its {len(turns)} turns have no 'turn', and not all a 'start'"
    raise ContextImpossible(problem, "Fill the column 'turn' (or 'start' in seconds) for all turns of a dialogue.")


def _check_whole(study: "Study") -> None:
    """Refuses folds in which turns of one dialogue are in two parts: their context would carry speech across."""
    dialogues = study.table["dialogue"]
    for fold in study.folds.folds:
        seen: dict[Any, str] = {}
        for part, names in (("train", fold.train), ("dev", fold.dev), ("test", fold.test)):
            for dialogue in dialogues[list(names)].dropna().unique():
                other = seen.setdefault(dialogue, part)
                if other != part:
                    problem = f"fold {fold.name} has turns of dialogue {dialogue} in {other} and in {part}"
                    remedy = "Give a --protocol and a --dev that keep dialogues whole, such as session or official."
                    raise ContextImpossible(problem, remedy)


def _check_apart(study: "Study", before: Before) -> None:
    """Refuses context in which a training would read turns of whom (or of what) it is tested on.

    Turns without a label are in no fold, so the folds' own guard does not see them.
    """
    apart = Separation.of(study.table, study.folds.held_out, len(study.table), _turns(study, before))
    for fold in study.folds.folds:
        try:
            parts = {"train": study.rows(fold.train), "dev": study.rows(fold.dev), "test": study.rows(fold.test)}
            apart.check(parts, [before.previous])
        except Leak as leak:
            problem = f"what fold {fold.name} learns from has {leak.count:,} previous turns whose {leak.key} is tested in that fold"
            remedy = "Give a --protocol that keeps all who speak in a dialogue together, such as session."
            raise ContextImpossible(problem, remedy) from leak


def with_context(
    frames: StreamFrames,
    entries: Sequence["Entry"],
    before: Before,
    read: Callable[[list[str]], StreamFrames],
    allocate: Allocate = np.zeros,
) -> StreamFrames:
    """The stream with tokens of the previous turns beside its frames.

    Args:
        frames: The stream of the study's utterances.
        entries: Where the turns that are not in the study lie.
        before: From ``previous_turns``.
        read: Reads such turns as ``frames`` were read.
        allocate: Where arrays come from.
    """
    there = [name for name in before.extra if all(name in entry for entry in entries)]
    own, more = pool_content(frames), pool_content(read(there)) if there else None
    count = len(frames.lengths)
    tokens = allocate((own.shape[0], count + len(before.extra), own.shape[2]), np.float32)
    tokens[:, :count] = own
    filled = np.zeros(tokens.shape[1], dtype=bool)
    filled[:count] = frames.lengths > 0
    places = {name: count + number for number, name in enumerate(before.extra)}
    if more is not None:
        where = np.array([places[name] for name in there])
        tokens[:, where] = more
        filled[where] = True
    previous = allocate(before.previous.shape, np.int64)
    previous[:] = np.where((before.previous >= 0) & filled[before.previous], before.previous, -1)
    return replace(frames, context=Context(tokens, previous))


def pool_content(frames: StreamFrames) -> NDArray[np.float32]:
    """Mean over each utterance's content frames, (layers, utterances, features); zeros without frames."""
    out = np.zeros((len(frames.layers), len(frames.lengths), frames.features), dtype=np.float32)
    for number, (start, stop) in enumerate(zip(frames.offsets[:-1], frames.offsets[1:], strict=True)):
        kept = frames.content[start:stop]
        if stop > start:
            for layer, values in enumerate(frames.layers):
                out[layer, number] = values[start:stop][kept].astype(np.float32).mean(0)
    return out


def described(before: Before, study: "Study") -> dict[str, Any]:
    """What ``run.json`` says of the context."""
    usable = before.previous >= 0
    missing = {
        stream: sum(any(name not in entry for entry in entries) for name in before.extra)
        for stream, entries in study.layers.items()
    }
    return {
        "turns": int(before.previous.shape[1]),
        "pooled": "mean over the content frames of each previous turn",
        "utterances_with_context": int(usable.any(1).sum()),
        "utterances_with_known_times": before.timed,
        "utterances_with_overlapping_turns_left_out": before.overlapped,
        "previous_turns_without_label": len(before.extra),
        "previous_turns_without_features": missing,
        "fingerprint": before.fingerprint,
    }


def departure(reads: bool, count: int) -> str:
    """What a row's reader must know, by ``Head.reads_context``."""
    if not reads:
        return "does not read the previous turns: no attention"
    return f"reads the {count} previous turns of the dialogue (their features, never their labels)"
