"""`speaker`: leave one speaker out. `speaker-5`: the same in five groups of speakers, for corpora with many.

Where speakers come in sessions (IEMOCAP: two each), the session's other speakers are the development part, so that 8 train;
else the next speaker is. The partner's turns hold the tested speaker's voice where the two overlap, which is why the
partner never trains under the default `--dev`.
"""

from typing import TYPE_CHECKING

import numpy as np

from ser_data.protocols.base import Draft, Protocol, balanced_groups, rotate

if TYPE_CHECKING:
    import pandas as pd


def partners(table: "pd.DataFrame", draft: Draft) -> "np.typing.NDArray[np.bool_]":
    """Rows of the pool that share a session with the tested ones."""
    tested = table["session"][draft.test].dropna().unique()
    mask: np.typing.NDArray[np.bool_] = table["session"].isin(tested).to_numpy(dtype=bool) & draft.pool
    return mask


def _draft(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    drafts, lonely = [], 0
    for draft in rotate(table, "speaker"):
        others = partners(table, draft)
        if others.any() and not (others == draft.pool).all():  # a corpus of one session has partners only
            drafts.append(Draft(name=draft.name, test=draft.test, pool=draft.pool, dev=others, own="partner"))
        else:
            drafts.append(draft)
            lonely += 1
    return drafts, [f"{lonely} speakers have no session partner: there the next speaker develops"] if lonely else []


def _draft_groups(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    groups = balanced_groups(table["speaker"], 5)
    grouped = table.assign(group=[f"g{groups[speaker] + 1}" for speaker in table["speaker"]])
    return rotate(grouped, "group"), []


SPEAKER = Protocol(
    name="speaker",
    title="one speaker is tested, the session's partner (else the next speaker) is the development part",
    needs=("speaker",),
    held_out=("speaker",),
    dev="next",
    draft=_draft,
)
SPEAKER_5 = Protocol(
    name="speaker-5",
    title="five groups of speakers of about equal size; one is tested, the next is the development part",
    needs=("speaker",),
    held_out=("speaker",),
    dev="next",
    draft=_draft_groups,
)
