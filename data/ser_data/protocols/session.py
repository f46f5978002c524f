"""`session`: leave one session out, develop on the next. The literature's default on IEMOCAP (5 folds).

It holds out the two speakers, but not what they were told to play: on IEMOCAP a table of scenarios alone reaches WA .551
on 7 classes. For that see `session+scenario`.
"""

from typing import TYPE_CHECKING

from ser_data.protocols.base import Draft, Protocol, rotate

if TYPE_CHECKING:
    import pandas as pd


def _draft(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    return rotate(table, "session"), []


SESSION = Protocol(
    name="session",
    title="one session is tested, the next one is the development part",
    needs=("session",),
    held_out=("session", "speaker"),
    dev="next",
    draft=_draft,
)
