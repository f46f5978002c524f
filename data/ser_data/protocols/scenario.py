"""`scenario` and `session+scenario`: hold out what was played, alone and together with who played it.

IEMOCAP's 15 scenarios are played in every session, and a scenario tells the class: scripted turns fall from WA .596 to .232
(bag of words, 7 classes) once the scenario is held out too, while removing as many turns of other scenarios changes
nothing. `session+scenario` has 25 cells: the test part is a session within a group of scenarios, training is the other
sessions within the other groups, development is the next session within those groups. Every utterance is tested once, and
each fold trains on about half of the corpus.
"""

from typing import TYPE_CHECKING

from ser_data.protocols.base import Draft, Protocol, balanced_groups, values_in_order

if TYPE_CHECKING:
    import pandas as pd

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
    tests = [(group == number).to_numpy(dtype=bool) for number in numbers]
    drafts = [
        Draft(name=f"g{number + 1}", test=tests[i], pool=~tests[i], dev=tests[(i + 1) % len(tests)] & ~tests[i])
        for i, number in enumerate(numbers)
    ]
    return drafts, notes


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
    dev="next",
    draft=_scenario,
)
SESSION_SCENARIO = Protocol(
    name="session+scenario",
    title="a session within a group of scenarios is tested, other sessions in other groups train: the honest one",
    needs=("session", "scenario"),
    held_out=("session", "scenario", "speaker"),
    dev="next",
    draft=_session_scenario,
)
