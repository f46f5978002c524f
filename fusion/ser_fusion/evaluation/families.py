"""Which comparisons were declared beforehand, and which are looked at because they are there.

Primary, on UWA only, Holm over three: self - cross, the named head - audio, the named head - text. The named head is
declared with the first job of a run directory (`declared` in run.json), by default cross, the study's question. Second family: ablations,
pairs of heads of one fusion that differ in pooling, text input or preset. All else is exploratory and not corrected.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

PRIMARY, ABLATION, EXPLORATORY = "primary", "ablation", "exploratory"
DEFAULT_NAMED = "cross"
DERIVED = (
    "ensemble",
    "lost",
    "stacked",
)  # rows made of trained ones: compared with these only, and never called the best


def trained_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that were trained, without the transductive ones unless there are no others."""
    trained = [row for row in rows if row.get("kind") not in ("reference", *DERIVED)]
    return [row for row in trained if not row.get("transductive")] or trained


def _whole_heads(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Heads that saw all training speakers (`fraction` 1)."""
    return [
        row for row in trained_rows(rows) if row.get("kind") == "head" and row.get("fraction", 1.0) in (None, 1, 1.0)
    ]


def _first(rows: Sequence[dict[str, Any]], fusion: str) -> str | None:
    return next((row["slug"] for row in rows if row.get("fusion") == fusion), None)


def primary_pairs(rows: Sequence[dict[str, Any]], named: str = DEFAULT_NAMED) -> list[tuple[str, str]]:
    """Slugs of the declared pairs that this run can answer; of several rows of one fusion the first in the table counts.

    Args:
        rows: row information of the trained heads, in the table's order.
        named: slug or fusion of the head declared beforehand.
    """
    heads = _whole_heads(rows)
    chosen = next((row["slug"] for row in heads if row["slug"] == named), None) or _first(heads, named)
    wanted = [
        (_first(heads, "self"), _first(heads, "cross")),
        (chosen, _first(heads, "audio")),
        (chosen, _first(heads, "text")),
    ]
    return [(a, b) for a, b in wanted if a and b and a != b]


def ablation_pairs(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Slugs of pairs of one fusion: the first row of each fusion against its variants."""
    pairs = []
    heads = _whole_heads(rows)
    for fusion in dict.fromkeys(row.get("fusion") for row in heads):
        first, *variants = [row["slug"] for row in heads if row.get("fusion") == fusion]
        pairs += [(first, variant) for variant in variants]
    return pairs


def named_head(run: Mapping[str, Any]) -> str:
    """The named head of the last command, from ``run.json``."""
    return str(run.get("job", {}).get("named_head") or DEFAULT_NAMED)


def first_declared(rows: Sequence[dict[str, Any]], run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The primary pairs of the first declaration; those of the job where a run is too old to have kept it.

    Args:
        rows: row information, in the table's order.
        run: ``run.json``.
    """
    declared = run.get("declared")
    if declared is None:
        return primary_pairs(rows, named_head(run))
    known = {row["slug"] for row in _whole_heads(rows)}
    return [(one["a"], one["b"]) for one in declared["primary"] if {one["a"], one["b"]} <= known]


def declared_later(rows: Sequence[dict[str, Any]], run: Mapping[str, Any]) -> dict[frozenset[str], str]:
    """Pairs that a later command declared, with the words that make them exploratory."""
    declared, found = run.get("declared"), dict[frozenset[str], str]()
    if declared is None:
        return found
    first = first_declared(rows, run)
    for one in run.get("asked", []):
        named = one["job"].get("named_head", DEFAULT_NAMED)
        for pair in primary_pairs(rows, named):
            if pair not in first:
                since = f"the first declaration ({declared['named_head']}, {declared['time'] or 'time not kept'})"
                found.setdefault(frozenset(pair), f"exploratory: {named} was named at {one['time']}, after {since}")
    return found


def declared_pairs(
    rows: Sequence[dict[str, Any]], named: str = DEFAULT_NAMED, primary: Sequence[tuple[str, str]] | None = None
) -> list[tuple[str, str, str]]:
    """All pairs of trained rows as (family, a, b); primary first, then ablations, then the rest.

    Args:
        rows: row information, in the table's order.
        named: slug or fusion of the head declared beforehand.
        primary: the primary pairs, where a run kept its declaration.
    """
    families = [(PRIMARY, a, b) for a, b in (primary_pairs(rows, named) if primary is None else primary)]
    first = {frozenset(pair[1:]) for pair in families}
    families += [(ABLATION, a, b) for a, b in ablation_pairs(rows) if frozenset((a, b)) not in first]
    done = {frozenset(pair[1:]) for pair in families}
    slugs = [row["slug"] for row in rows if row.get("kind") in ("head", "classifier")]
    known = {row["slug"] for row in rows}
    made = [row for row in rows if row.get("kind") in DERIVED and row.get("of") in known]
    families += [(EXPLORATORY, row["slug"], str(row["of"])) for row in made]
    return families + [(EXPLORATORY, a, b) for a, b in combinations(slugs, 2) if frozenset((a, b)) not in done]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down corrected p-values, in the order given."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if len(p_values) else []
