"""How the development part is chosen: `next`, `partner`, `speaker`, `random:SHARE` or `none`.

- `next`: the protocol's own rule, normally the next session, speaker, group or fold in circular order.
- `partner`: the other speakers of the tested session (`speaker` only).
- `speaker`: one whole speaker of the next session, the others of that session train.
- `random:0.2`: that share of the training pool, drawn per utterance: shares speakers with training, so early stopping is
  too hopeful.
- `none`: no development part.
"""

from typing import TYPE_CHECKING

import numpy as np

from ser_data.errors import BadFolds, suggestion
from ser_data.protocols.base import Draft, Mask, Protocol, values_in_order
from ser_data.protocols.speaker import partners

if TYPE_CHECKING:
    import pandas as pd

RULES = ("next", "partner", "speaker", "random:0.2", "none")


def resolve_rule(protocol: Protocol, dev: str) -> str:
    """The rule that is meant, checked.

    Raises:
        BadFolds: No such rule, or one that this protocol cannot follow.
    """
    rule = protocol.dev if dev in ("next", protocol.dev) else dev
    if rule.startswith("random:"):
        try:
            share = float(rule.removeprefix("random:"))
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            raise BadFolds(protocol.name, f"--dev {dev}: the share must lie between 0 and 1", "Give --dev random:0.2.")
    elif rule not in RULES and rule != protocol.dev:
        remedy = f"{suggestion(dev, RULES)}Known are {', '.join(RULES)}."
        raise BadFolds(protocol.name, f"unknown rule --dev {dev}", remedy)
    if rule == "partner" and protocol.name != "speaker":
        raise BadFolds(
            protocol.name, "--dev partner is for the protocol 'speaker'", "Give --dev next or --dev speaker."
        )
    return rule


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
    none = np.zeros(len(table), dtype=bool)
    if rule == "none":
        return none
    if rule.startswith("random:"):
        rows = np.flatnonzero(draft.pool)
        count = max(1, round(float(rule.removeprefix("random:")) * len(rows)))
        none[np.random.default_rng(seed).permutation(rows)[:count]] = True
        return none
    if rule == "speaker":
        own = draft.dev if draft.dev is not None and draft.dev.any() else draft.pool
        speakers = values_in_order(table["speaker"][own])
        if not speakers:
            raise BadFolds(protocol.name, "--dev speaker, but no speakers are known", "Give --dev next or random:0.2.")
        return (table["speaker"] == speakers[0]).to_numpy(dtype=bool) & draft.pool
    if rule == "partner" and draft.dev is None:
        return partners(table, draft)
    if draft.dev is None or not draft.dev.any():
        what = f"fold {draft.name} has no development part of its own"
        raise BadFolds(protocol.name, what, "Give --dev random:0.2, --dev speaker or --dev none.")
    return draft.dev
