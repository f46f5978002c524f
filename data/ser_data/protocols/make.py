"""Folds made by name, checked and noted, with their development part; and the protocol that fits a table.

How the development part is chosen (`--dev`):

- `next`: the protocol's own rule, normally the next session, speaker, group or fold in circular order.
- `partner`: the other speakers of the tested session (`speaker` only).
- `speaker`: one whole speaker of the next session, the others of that session train.
- `random:0.2`: that share of the training pool, drawn per utterance (versions of one utterance together): shares speakers
  with training, so early stopping is too hopeful.
- `none`: no development part.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
import pandas as pd

from ser_base.errors import SerError, listing, suggestion
from ser_data.errors import BadFolds, BadManifest, MissingColumn
from ser_data.protocols import PROTOCOLS
from ser_data.protocols.base import MARK, SOURCE, Draft, Mask, Protocol, firsts, has_copies, values_in_order
from ser_data.protocols.folds import SPARSE, Fold, Folds, shared_values, values_by_id
from ser_data.protocols.given import published_folds
from ser_data.protocols.groups import partners

if TYPE_CHECKING:
    from ser_data.manifest.table import Manifest


KEYS = ("session", "speaker", "scenario", "dialogue")
RULES = ("next", "partner", "speaker", "random:0.2", "none")
_COLUMNS = ("id", "path", "corpus", "label", "fold", "part", "audio_hash", SOURCE, MARK, *KEYS)


def make_folds(
    manifest: Union["Manifest", pd.DataFrame],
    protocol: str,
    *,
    dev: str = "next",
    seed: int = 0,
    allow_overlap: Iterable[str] = (),
    folds_root: str | Path | None = None,
) -> Folds:
    """The folds of a protocol.

    Args:
        manifest: A manifest or its table; all rows are split, so leave out beforehand what has no label or no embedding.
        protocol: A name of `PROTOCOLS`.
        dev: `next`, `partner`, `speaker`, `random:SHARE` or `none`; see the module's text.
        seed: For what is drawn at random.
        allow_overlap: Held-out keys that may be broken; what is shared is then said in the notes.
        folds_root: Folder with EmoBox's fold files, for `emobox`.

    Returns:
        Folds in which every tested id is tested once (`source-target`: once per pair), checked against the keys that the protocol holds out.

    Raises:
        UnknownName: No such protocol.
        MissingColumn: A column that the protocol needs has gaps; the message says which protocols would work.
        BadFolds: Too few sessions, speakers or groups, an unknown rule, or a held-out key on both sides.

    Examples:
        >>> from pathlib import Path
        >>> from ser_data import CORPORA, make_folds
        >>> folds = make_folds(CORPORA["csv"].read(Path("corpus.csv")), "session")
        >>> for fold in folds.folds:
        ...     print(fold.name, len(fold.train), len(fold.dev), len(fold.test))
        0 12 12 12
        1 12 12 12
        2 12 12 12
    """
    rule_of = PROTOCOLS[protocol]
    table = _sorted_table(manifest if isinstance(manifest, pd.DataFrame) else manifest.table)
    _require(rule_of, table, {name: PROTOCOLS[name].needs for name in PROTOCOLS})
    if folds_root is None:
        drafts, notes = rule_of.draft(table, seed)
    elif protocol == "emobox":
        drafts, notes = published_folds(table, Path(folds_root))
    else:
        raise BadFolds(protocol, "--folds-root is for the protocol emobox", "Give --protocol emobox, or leave it out.")
    rule = resolve_rule(rule_of, dev, drafts)
    ids = table["id"].to_numpy()
    folds: list[Fold] = []
    for number, draft in enumerate(drafts):
        if not draft.test.any():
            notes.append(f"fold {draft.name} has nothing to test and is left out")
            continue
        chosen = development(table, rule_of, draft, rule, (seed, number))
        train = draft.pool & ~chosen
        if not train.any():
            what = f"fold {draft.name} has nothing to train on ({len(drafts)} folds, --dev {rule})"
            raise BadFolds(protocol, what, "Give --dev random:0.2 or --dev none, or a protocol with more folds.")
        folds.append(Fold(draft.name, *(tuple(ids[mask].tolist()) for mask in (train, chosen, draft.test))))
    if not folds:
        raise BadFolds(protocol, "no fold has anything to test", "Check the labels and columns with ser data describe.")
    held_out, more = _held_out(rule_of, table, folds, tuple(allow_overlap))
    result = Folds(protocol, rule, held_out, tuple(folds), (*notes, *more), seed, rule_of.once)
    result.check(table)
    return result


def resolve_rule(protocol: Protocol, dev: str, drafts: Sequence[Draft]) -> str:
    """The rule that is meant, by the name that is printed with results.

    Raises:
        BadFolds: No such rule, or one that this protocol cannot follow.
    """
    name = protocol.name
    if dev == "next":
        if all(draft.dev is not None for draft in drafts):
            return "+".join(sorted({draft.own for draft in drafts}))
        if protocol.dev == "next":
            remedy = "Give --dev random:0.2, --dev speaker or --dev none."
            raise BadFolds(name, "the split has no development part of its own", remedy)
        return protocol.dev
    if dev.startswith("random:"):
        try:
            share = float(dev.removeprefix("random:"))
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            raise BadFolds(name, f"--dev {dev}: the share must lie between 0 and 1", "Give --dev random:0.2.")
    elif dev not in RULES:
        raise BadFolds(name, f"unknown rule --dev {dev}", f"{suggestion(dev, RULES)}Known are {', '.join(RULES)}.")
    if dev == "partner" and name != "speaker":
        raise BadFolds(name, "--dev partner is for the protocol 'speaker'", "Give --dev next or --dev speaker.")
    return dev


def development(table: pd.DataFrame, protocol: Protocol, draft: Draft, rule: str, seed: tuple[int, int]) -> Mask:
    """The rows of the development part, a subset of the draft's pool.

    Args:
        table: Manifest sorted by id.
        protocol: Whose draft it is.
        draft: The fold without its development part.
        rule: As `resolve_rule` gave it.
        seed: Seed and fold number, for `random`.

    Raises:
        BadFolds: The rule finds no utterance.
    """
    chosen: Mask = np.zeros(len(table), dtype=bool)
    if rule == "none":
        return chosen
    if rule.startswith("random:"):
        rows = np.flatnonzero(draft.pool)
        heads, place = firsts(table, rows)
        count = max(1, round(float(rule.removeprefix("random:")) * len(heads)))
        drawn = np.random.default_rng(seed).permutation(len(heads))[:count]
        chosen[rows[np.isin(place, drawn)]] = True
        return chosen
    if rule == "speaker":
        own = draft.dev if draft.dev is not None and draft.dev.any() else draft.pool
        speakers = values_in_order(table["speaker"][own])
        if not speakers:
            raise BadFolds(protocol.name, "--dev speaker, but no speakers are known", "Give --dev next or random:0.2.")
        return (table["speaker"] == speakers[0]).to_numpy(dtype=bool) & draft.pool
    if rule == "partner":
        chosen = partners(table, draft)
    elif draft.dev is not None:
        chosen = draft.dev
    if not chosen.any():
        what = f"fold {draft.name} has no utterance for --dev {rule}"
        raise BadFolds(protocol.name, what, "Give --dev random:0.2, --dev speaker or --dev none.")
    return chosen


def _sorted_table(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        raise BadManifest("manifest", "no utterance to split", "Check what was left out, and why.")
    columns = {
        name: table[name].to_numpy(dtype=object) if name in table.columns else np.full(len(table), None)
        for name in _COLUMNS
    }
    twice = pd.Series(columns["id"]).duplicated()
    if twice.any():
        what = f"{int(twice.sum()):,} ids occur more than once: {listing(columns['id'][twice.to_numpy()], 3)}"
        raise BadManifest("manifest", what, "Make every id unique.")
    return pd.DataFrame(columns, dtype=object).sort_values("id", kind="stable", ignore_index=True)


def _require(protocol: Protocol, table: pd.DataFrame, needs: dict[str, tuple[str, ...]]) -> None:
    gaps = {key: int(table[key].isna().sum()) for key in (*KEYS, "fold", "part")}
    filled = tuple(key for key, empty in gaps.items() if not empty)
    gaps["corpus"] = int(table["corpus"].isna().sum())
    for column in protocol.needs:
        if gaps[column]:
            possible = tuple(
                name
                for name, columns in needs.items()
                if columns and all(not gaps[key] for key in columns) and table[columns[0]].nunique() > 1
            )
            by_table = ("manifest",) if gaps["fold"] < len(table) or gaps["part"] < len(table) else ()
            raise MissingColumn(
                protocol.name, column, gaps[column], len(table), filled, (*possible, *by_table, "random")
            )
    for column in protocol.needs:
        if table[column].nunique() < 2:
            what = f"all {len(table):,} utterances have the same {column} '{table[column].iloc[0]}'"
            raise BadFolds(protocol.name, what, f"It needs at least two; the filled columns are {listing(filled)}.")


def _held_out(
    protocol: Protocol, table: pd.DataFrame, folds: list[Fold], allowed: tuple[str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    """The keys that are promised, and notes about those that are not."""
    if protocol.held_out is None:
        kept, note = measured(table, folds)
        return kept, [f"folds as given; {note}"]
    promised = (*protocol.held_out, SOURCE) if has_copies(table) else protocol.held_out
    unknown = [key for key in allowed if key not in promised]
    if unknown:
        what = f"--allow-overlap {unknown[0]}, but only {listing(promised)} are held out"
        raise BadFolds(protocol.name, what, f"{suggestion(unknown[0], promised)}Leave it out.")
    held, notes = [], []
    for key in promised:
        if key in allowed:
            values = values_by_id(table, key)
            counts = [len(shared_values(values, fold)) for fold in folds]
            notes.append(
                f"overlap allowed: {key} ({sum(map(bool, counts))} of {len(folds)} folds share up to {max(counts)})"
            )
        elif key != SOURCE and (table[key].isna().all() if key in SPARSE else table[key].isna().any()):
            notes.append(f"'{key}' is not filled, so it cannot be held out")
        else:
            held.append(key)
    return tuple(held), notes


def measured(table: pd.DataFrame, folds: Iterable[Fold]) -> tuple[tuple[str, ...], str]:
    """Which keys the folds of others hold out, and a sentence about it.

    Args:
        table: Manifest with all ids of the folds.
        folds: The folds.
    """
    folds = list(folds)
    kept: list[str] = []
    shared: list[str] = []
    keys = [key for key in KEYS if key in table and table[key].notna().all()]
    for key in [*keys, SOURCE] if has_copies(table) else keys:
        values = values_by_id(table, key)
        worst = max((len(shared_values(values, fold)) for fold in folds), default=0)
        (shared if worst else kept).append(f"{key} ({worst} on both sides)" if worst else key)
    return tuple(kept), f"held out as measured: {listing(kept)}; not held out: {listing(shared)}"


PREFERRED = ("session", "official", "manifest", "speaker", "speaker-5", "random")
"""In this order: published folds before folds of our own, disjoint speakers before random folds."""
MOST_FOLDS = 10
"""With more speakers than this, `speaker-5` comes before `speaker`: the first answer should take minutes."""


def fitting_protocol(table: "pd.DataFrame") -> str | None:
    """The first protocol that works on a table.

    Args:
        table: Utterances that can be used, with a column `class` that holds each one's class, and the manifest's columns.

    Returns:
        A name of `PROTOCOLS`: its folds can be made, and every training part holds every class. None if none fits.
    """
    if table.empty:
        return None
    names = list(PREFERRED)
    if table["speaker"].nunique() > MOST_FOLDS:
        names.remove("speaker")
    classes = table.set_index("id")["class"]
    for name in names:
        try:
            folds = make_folds(table, name)
        except SerError:
            continue
        if all(classes.loc[list(fold.train)].nunique() == classes.nunique() for fold in folds.folds):
            return name
    return None
