"""How the development part is chosen: `next`, `partner`, `speaker`, `random:SHARE` or `none`.

- `next`: the protocol's own rule, normally the next session, speaker, group or fold in circular order.
- `partner`: the other speakers of the tested session (`speaker` only).
- `speaker`: one whole speaker of the next session, the others of that session train.
- `random:0.2`: that share of the training pool, drawn per utterance (versions of one utterance together): shares speakers
  with training, so early stopping is too hopeful.
- `none`: no development part.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ser_base.errors import suggestion
from ser_data.errors import BadFolds
from ser_data.protocols.base import Draft, Mask, Protocol, values_in_order
from ser_data.protocols.groups import partners
from ser_data.protocols.originals import firsts

if TYPE_CHECKING:
    import pandas as pd

RULES = ("next", "partner", "speaker", "random:0.2", "none")


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


def development(table: "pd.DataFrame", protocol: Protocol, draft: Draft, rule: str, seed: tuple[int, int]) -> Mask:
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
