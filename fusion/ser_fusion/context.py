"""Dialogue context: which turns came before which, and what a head gets to know of them (``--context K``).

Per stream the mean over the content frames of each of the K previous turns of the same dialogue, as tokens behind the
utterance's own frames. Features only: no label of any turn is read. Turns without a usable label are previous turns like any
other, as long as the cache holds them. Nothing later than the utterance is seen.

Source of the idea: the context models of conversation corpora (Poria et al. 2017, bc-LSTM; Hazarika et al. 2018, CMN), here
without their recurrence over whole dialogues.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_fusion.errors import ContextImpossible
from ser_fusion.features import Allocate, Context, StreamFrames

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Entry
    from ser_fusion.study import Study

NOT_READ = frozenset({"concat", "gated"})  # heads without attention: tokens that are not content mean nothing to them
_WITHOUT_ATTENTION = frozenset(
    {"audio", "text", "late", "late-average"}
)  # under presets whose shape says attention=False


@dataclass(frozen=True, slots=True)
class Before:
    """Who came before whom.

    Attributes:
        extra: Turns that are not in the study's table (no usable label, or failed in some stream), in sorted order.
        previous: (utterances, K) int64; column k - 1 is the k-th turn before: its row in the table, or the table's length
            plus its place in ``extra``; -1 where the dialogue had not begun.
        hashes: Per stream the digest of what ``extra`` was extracted from.
    """

    extra: tuple[str, ...]
    previous: NDArray[np.int64]
    hashes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """xxh3-128 of all of it."""
        digest = xxhash.xxh3_128("\0".join((*self.extra, "", *self.hashes)).encode())
        digest.update(self.previous.tobytes())
        return digest.hexdigest()


def previous_turns(study: "Study", count: int) -> Before:
    """The ``count`` turns before each utterance of the study.

    The order is the manifest's ``turn`` where a whole dialogue has it, else ``start``.

    Raises:
        ContextImpossible: No dialogues, no order, or a dialogue on two sides of a fold.
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
    orders = [_in_order(str(name), group) for name, group in turns.dropna(subset=["dialogue"]).groupby("dialogue")]
    wanted: set[str] = set()
    before: dict[str, list[str]] = {}
    for order in orders:
        for place, name in enumerate(order):
            if name in rows:
                before[name] = order[max(0, place - count) : place][::-1]
                wanted.update(before[name])
    extra = tuple(sorted(wanted - rows.keys()))
    rows |= {name: len(ids) + number for number, name in enumerate(extra)}
    previous = np.full((len(ids), count), -1, dtype=np.int64)
    for number, name in enumerate(ids):
        near = [rows[other] for other in before.get(name, ())]
        previous[number, : len(near)] = near
    hashes = []
    for stream in sorted(study.layers):
        known = study.layers[stream][-1].input_hashes
        hashes.append(xxhash.xxh3_128_hexdigest("\0".join(str(known.get(name, "")) for name in extra).encode()))
    return Before(extra, previous, tuple(hashes))


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
        "previous_turns_without_label": len(before.extra),
        "previous_turns_without_features": missing,
        "fingerprint": before.fingerprint,
    }


def departure(fusion: str, attention: bool, count: int) -> str:
    """What a row's reader must know."""
    if fusion in NOT_READ or (fusion in _WITHOUT_ATTENTION and not attention):
        return "does not read the previous turns: no attention"
    return f"reads the {count} previous turns of the dialogue (their features, never their labels)"
