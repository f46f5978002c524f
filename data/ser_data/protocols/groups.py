"""Protocols that hold out whom or what was recorded, and the one that draws at random.

`session`: leave one session out, develop on the next. The literature's default on IEMOCAP (5 folds).

It holds out the two speakers, but not the scenario that they play: on IEMOCAP a table of scenarios alone reaches WA .551
on 7 classes. For that see `session+scenario`.

`speaker`: leave one speaker out. `speaker-5`: the same in five groups of speakers, for corpora with many.

Where speakers come in sessions (IEMOCAP: two each), the session's other speakers are the development part, so that 8 train;
else the next speaker is. The partner's turns hold the tested speaker's voice where the two overlap, which is why the
partner never trains under the default `--dev`.

`scenario` and `session+scenario`: hold out what was played, alone and together with who played it.

IEMOCAP's 15 scenarios are played in every session, and a scenario predicts the class. Scripted turns fall from WA .596 to .232
(bag of words, 7 classes) once the scenario is held out as well. Removing as many turns of other scenarios changes
nothing. `session+scenario` has 25 cells: the test part is a session within a group of scenarios; training is the other
sessions within the other groups; development is the next session within those groups. Every utterance is tested once, and
each fold trains on about half of the corpus.

`random`: five folds drawn per utterance, stratified by label. For comparison with papers that did so, and a warning.

Speakers, dialogues and scripts are on both sides: on IEMOCAP a bag of words gains 4.0 points WA (7 classes) and 4.7
(4 classes) over session folds by it alone.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ser_data.protocols.base import Draft, Protocol, balanced_groups, firsts, in_turn, rotate, values_in_order

if TYPE_CHECKING:
    import pandas as pd


def _by_session(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    return rotate(table, "session"), []


SESSION = Protocol(
    name="session",
    title="one session is tested, the next one is the development part",
    needs=("session",),
    held_out=("session", "speaker"),
    draft=_by_session,
)


def partners(table: "pd.DataFrame", draft: Draft) -> "np.typing.NDArray[np.bool_]":
    """Rows of the pool that share a session with the tested ones."""
    tested = table["session"][draft.test].dropna().unique()
    mask: np.typing.NDArray[np.bool_] = table["session"].isin(tested).to_numpy(dtype=bool) & draft.pool
    return mask


def _by_speaker(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    drafts, lonely = [], 0
    for draft in rotate(table, "speaker"):
        others = partners(table, draft)
        if others.any() and not (others == draft.pool).all():  # a corpus of one session has partners only
            drafts.append(replace(draft, dev=others, own="partner"))
        else:
            drafts.append(draft)
            lonely += 1
    return drafts, [f"{lonely} speakers have no session partner: there the next speaker develops"] if lonely else []


def _by_groups_of_speakers(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    groups = balanced_groups(table["speaker"], 5)
    grouped = table.assign(group=[f"g{groups[speaker] + 1}" for speaker in table["speaker"]])
    return rotate(grouped, "group"), []


SPEAKER = Protocol(
    name="speaker",
    title="one speaker is tested, the session's partner (else the next speaker) is the development part",
    needs=("speaker",),
    held_out=("speaker",),
    draft=_by_speaker,
)
SPEAKER_5 = Protocol(
    name="speaker-5",
    title="five groups of speakers of about equal size; one is tested, the next is the development part",
    needs=("speaker",),
    held_out=("speaker",),
    draft=_by_groups_of_speakers,
)


# IEMOCAP's own grouping: chosen so that groups are of like size and every group has improvised and scripted scenes.
IEMOCAP_GROUPS: tuple[frozenset[str], ...] = (
    frozenset({"impro06", "impro07", "script01_1"}),
    frozenset({"impro08", "script01_2", "script02_2"}),
    frozenset({"impro03", "impro04", "script03_2"}),
    frozenset({"impro01", "script01_3", "script02_1"}),
    frozenset({"impro02", "impro05", "script03_1"}),
)
_IEMOCAP = {name: number for number, names in enumerate(IEMOCAP_GROUPS) for name in names}


def scenario_groups(scenarios: "pd.Series[str]") -> dict[str, int]:
    """Scenario -> group number from 0: IEMOCAP's own groups where all names are IEMOCAP's, else up to 5 of like size."""
    names = set(scenarios)
    # a part of IEMOCAP with fewer than three of its groups could not train on any
    if names <= set(_IEMOCAP) and len({_IEMOCAP[name] for name in names}) >= 3:
        return {name: _IEMOCAP[name] for name in sorted(names)}
    return balanced_groups(scenarios, 5)


def _grouped(table: "pd.DataFrame") -> tuple["pd.Series[int]", list[int], list[str]]:
    groups = scenario_groups(table["scenario"])
    numbers = sorted(set(groups.values()))
    said = "; ".join(
        f"g{n + 1}: {', '.join(sorted(name for name in groups if groups[name] == n))}" for n in numbers[:5]
    )
    note = (
        f"{len(numbers)} scenario groups: {said}"
        if len(groups) <= 40
        else f"{len(numbers)} groups of {len(groups)} scenarios"
    )
    return table["scenario"].map(groups), numbers, [note]


def _scenario(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    group, numbers, notes = _grouped(table)
    return in_turn({f"g{number + 1}": (group == number).to_numpy(dtype=bool) for number in numbers}), notes


def _session_scenario(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    group, numbers, notes = _grouped(table)
    sessions = values_in_order(table["session"])
    rows = {session: (table["session"] == session).to_numpy(dtype=bool) for session in sessions}
    drafts = []
    for i, session in enumerate(sessions):
        following = rows[sessions[(i + 1) % len(sessions)]]
        for number in numbers:
            inside = (group == number).to_numpy(dtype=bool)
            pool = ~rows[session] & ~inside
            drafts.append(
                Draft(name=f"{session}+g{number + 1}", test=rows[session] & inside, pool=pool, dev=following & pool)
            )
    return drafts, notes


SCENARIO = Protocol(
    name="scenario",
    title="one of five groups of scenarios is tested, the next is the development part (speakers are shared)",
    needs=("scenario",),
    held_out=("scenario",),
    draft=_scenario,
)
SESSION_SCENARIO = Protocol(
    name="session+scenario",
    title="a session within a group of scenarios is tested, other sessions in other groups train: the honest one",
    needs=("session", "scenario"),
    held_out=("session", "scenario", "speaker"),
    draft=_session_scenario,
)


FOLDS = 5
WARNING = (
    "random folds put the same speakers, dialogues and scripts on both sides: on IEMOCAP that alone is worth +4.0 points WA "
    "(7 classes; +4.7 with 4) to a bag of words over session folds. Do not compare with speaker-independent results"
)


def _at_random(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    rng = np.random.default_rng(seed)
    heads, place = firsts(table, np.arange(len(table)))  # versions of one utterance are dealt together
    labels = table["label"].fillna("").to_numpy()[heads]
    fold = np.empty(len(heads), dtype=np.int64)
    dealt = 0
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fold[rows] = (dealt + np.arange(len(rows))) % FOLDS  # goes on where the last class ended: folds of equal size
        dealt += len(rows)
    return in_turn({str(n + 1): fold[place] == n for n in range(min(FOLDS, len(heads)))}), [WARNING]


RANDOM = Protocol(
    name="random",
    title="five random folds of utterances (leaks speakers and scripts; warned)",
    held_out=(),
    draft=_at_random,
)
