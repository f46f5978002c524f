"""Which comparisons were declared beforehand, and which are looked at because they are there.

Primary, on UWA only, Holm over three: self - cross, the named head - audio, the named head - text. The named head is
declared with the job (`named_head` in run.json's job), by default cross, the study's question. Second family: ablations,
pairs of heads of one fusion that differ in pooling, text input or preset. All else is exploratory and not corrected.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

PRIMARY, ABLATION, EXPLORATORY = "primary", "ablation", "exploratory"
DEFAULT_NAMED = "cross"
DERIVED = ("ensemble", "lost")  # rows made of trained ones: compared with these only, and never called the best


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


def declared_pairs(rows: Sequence[dict[str, Any]], named: str = DEFAULT_NAMED) -> list[tuple[str, str, str]]:
    """All pairs of trained rows as (family, a, b); primary first, then ablations, then the rest."""
    families = [(PRIMARY, a, b) for a, b in primary_pairs(rows, named)]
    families += [(ABLATION, a, b) for a, b in ablation_pairs(rows)]
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
