"""From what was typed (``RUN``, ``RUN:ROW``) to pairs of rows, and their comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import pandas as pd

from ser_base.errors import listing
from ser_fusion.errors import NotComparable, RowsNotNamed, UnknownRow
from ser_fusion.evaluation.comparison import (
    EXPLORATORY,
    Comparison,
    Judged,
    compare_rows,
    correct_families,
    declared_later,
    declared_pairs,
    first_declared,
    fold_sizes,
    named_head,
)
from ser_fusion.evaluation.metrics import unit_counts
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.statistics import DRAWS


# Whether the numbers of two runs belong side by side, and if not, how they differ.
def differences(a: RunDirectory, b: RunDirectory) -> tuple[str, ...]:
    """Sentences about every difference in corpus, classes, labels, utterances and folds; empty if comparable."""
    problems = []
    left, right = a.run["corpus"].get("name"), b.run["corpus"].get("name")
    if left != right:
        problems.append(f"corpora differ: {left} and {right}")
    if a.classes != b.classes:
        problems.append(f"classes differ: {', '.join(a.classes)} and {', '.join(b.classes)}")
    problems += _label_differences(a.utterances["label"].astype(str), b.utterances["label"].astype(str))
    if a.run["folds_fingerprint"] != b.run["folds_fingerprint"]:
        problems += _fold_differences(a, b)
    return tuple(problems)


def _label_differences(left: pd.Series, right: pd.Series) -> list[str]:
    problems = []
    for ids, where in ((left.index.difference(right.index), "first"), (right.index.difference(left.index), "second")):
        if len(ids):
            problems.append(f"{len(ids):,} utterances are only in the {where} run: {listing(sorted(ids), 3)}")
    shared = left.index.intersection(right.index)
    other = shared[(left[shared] != right[shared]).to_numpy()]
    if len(other):
        example = other[0]
        problems.append(
            f"{len(other):,} utterances have other labels: {example} is {left[example]} and {right[example]}"
        )
    return problems


def _fold_differences(a: RunDirectory, b: RunDirectory) -> list[str]:
    protocols = [f"{run.run['protocol']} (development part: {run.run.get('dev')})" for run in (a, b)]
    problems = [f"protocols differ: {protocols[0]} and {protocols[1]}"] if protocols[0] != protocols[1] else []
    parts = [run.folds.set_index(["fold", "id"])["part"] for run in (a, b)]
    names = [sorted(part.index.get_level_values("fold").unique()) for part in parts]
    if names[0] != names[1]:
        problems.append(
            f"folds differ: {len(names[0])} ({listing(names[0], 3)}) and {len(names[1])} ({listing(names[1], 3)})"
        )
        return problems
    shared = parts[0].index.intersection(parts[1].index)
    moved = shared[(parts[0][shared] != parts[1][shared]).to_numpy()]
    lone = len(parts[0]) + len(parts[1]) - 2 * len(shared)
    if len(moved) or lone:
        problems.append(f"folds differ: {len(moved):,} entries are in another part, {lone:,} are in one run only")
    return problems or [
        f"fingerprints of the folds differ: {a.run['folds_fingerprint']} and {b.run['folds_fingerprint']}"
    ]


def require_comparable(a: RunDirectory, b: RunDirectory) -> None:
    """Raises ``NotComparable`` with every difference."""
    if a.path.resolve() != b.path.resolve() and (problems := differences(a, b)):
        raise NotComparable(str(a.path), str(b.path), problems)


FEW = 10
"""Pairs of two runs that are compared without being named."""


@dataclass(frozen=True)
class Chosen:
    """One row of one run, ready to be compared."""

    run: RunDirectory
    judged: Judged
    predictions: pd.DataFrame


def choose(run: RunDirectory, slug: str, label: str | None = None) -> Chosen:
    """A row by its slug or name; ``label`` is what sentences call it."""
    rows = {row["slug"]: row for row in run.rows} | {row["name"]: row for row in run.rows}
    if slug not in rows:
        raise UnknownRow(slug, str(run.path), tuple(row["slug"] for row in run.rows))
    row = rows[slug]
    predictions = run.of_row(row["slug"])
    units = unit_counts(predictions, run.utterances, run.classes)
    return Chosen(run, Judged(label or str(row["name"]), str(row["slug"]), units), predictions)


def split_argument(argument: str) -> tuple[str, str | None]:
    """``RUN:ROW`` as (run, row); a path that exists as it is has no row."""
    if Path(argument).exists() or ":" not in argument:
        return argument, None
    run, _, row = argument.rpartition(":")
    return run, row


def pairs_of(arguments: Sequence[str]) -> list[tuple[str, Chosen, Chosen]]:
    """The pairs that a command line asks for, as (family, a, b).

    One run without a row: its declared pairs, then all others. Several rows: every pair of them. Several runs: the rows
    that they share; where they share none, their named heads, else all pairs while these are few.
    """
    runs: dict[str, RunDirectory] = {}
    wanted: list[tuple[RunDirectory, str | None]] = []
    for argument in arguments:
        folder, row = split_argument(argument)
        run = runs.setdefault(folder, RunDirectory.open(folder))
        wanted.append((run, row))
    first = wanted[0][0]
    for run in runs.values():
        require_comparable(first, run)
    if len(wanted) == 1 and wanted[0][1] is None:
        choices = {row["slug"]: choose(first, row["slug"]) for row in first.rows if row["kind"] != "reference"}
        primary = first_declared(first.rows, first.run)
        return [(family, choices[a], choices[b]) for family, a, b in declared_pairs(first.rows, primary=primary)]
    several = len(runs) > 1
    if all(row is None for _, row in wanted):
        pairs = []
        for (a, _), (b, _) in combinations(wanted, 2):
            pairs += [(EXPLORATORY, _named(a, left, True), _named(b, right, True)) for left, right in _across(a, b)]
        return pairs
    rows = [_named(run, row, several) for run, slug in wanted for row in ([slug] if slug else _trained(run))]
    return [(EXPLORATORY, a, b) for a, b in combinations(rows, 2)]


def _across(a: RunDirectory, b: RunDirectory) -> list[tuple[str, str]]:
    """Slugs of the pairs of two runs whose rows were not named: shared rows, else the named heads, else all while few."""
    ours, theirs = _trained(a), _trained(b)
    if shared := [slug for slug in ours if slug in theirs]:
        return [(slug, slug) for slug in shared]
    heads = [
        next(
            (
                row["slug"]
                for row in run.rows
                if row["kind"] == "head" and named_head(run.run) in (row["slug"], row["fusion"])
            ),
            None,
        )
        for run in (a, b)
    ]
    if heads[0] and heads[1]:
        return [(heads[0], heads[1])]
    if len(ours) * len(theirs) > FEW:
        raise RowsNotNamed(str(a.path), str(b.path), tuple(ours), tuple(theirs))
    return [(left, right) for left in ours for right in theirs]


def _trained(run: RunDirectory) -> list[str]:
    return [row["slug"] for row in run.rows if row["kind"] != "reference"]


def _named(run: RunDirectory, slug: str, several: bool) -> Chosen:
    chosen = choose(run, slug)
    return (
        replace(chosen, judged=replace(chosen.judged, name=f"{run.path.name}:{chosen.judged.slug}"))
        if several
        else chosen
    )


def compare_all(
    pairs: Sequence[tuple[str, Chosen, Chosen]], *, metric: str = "UWA", draws: int = DRAWS, seed: int = 0
) -> list[Comparison]:
    """Compares all pairs and corrects the declared families; a metric other than UWA makes every pair exploratory."""
    comparisons = []
    for family, a, b in pairs:
        left, right = a.judged.units, b.judged.units
        if left.units != right.units or not (abs(left.counts.sum(axis=2) - right.counts.sum(axis=2)) < 1e-6).all():
            raise NotComparable(
                str(a.run.path),
                str(b.run.path),
                (f"{a.judged.name} and {b.judged.name} do not score the same utterances",),
            )
        kind = family if metric == "UWA" else EXPLORATORY
        sizes = fold_sizes(a.run.folds)
        comparison = compare_rows(a.judged, b.judged, metric=metric, family=kind, sizes=sizes, draws=draws, seed=seed)
        comparisons.append(replace(comparison, note=_note(a, b)))
    return correct_families(comparisons)


def _note(a: Chosen, b: Chosen) -> str:
    """Why a pair is exploratory although it may look declared."""
    if a.run.path.resolve() != b.run.path.resolve():
        return "exploratory: rows of two runs, which no run declared"
    return declared_later(a.run.rows, a.run.run).get(frozenset((a.judged.slug, b.judged.slug)), "")
