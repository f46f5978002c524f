"""Whether the numbers of two runs belong side by side, and if not, how they differ."""

import pandas as pd

from ser_base.errors import listing
from ser_fusion.evaluation.errors import NotComparable
from ser_fusion.evaluation.run_directory import RunDirectory


def differences(a: RunDirectory, b: RunDirectory) -> tuple[str, ...]:
    """Sentences about every difference in corpus, classes, labels, utterances and folds; empty if comparable."""
    found = []
    left, right = a.run["corpus"].get("name"), b.run["corpus"].get("name")
    if left != right:
        found.append(f"corpora differ: {left} and {right}")
    if a.classes != b.classes:
        found.append(f"classes differ: {', '.join(a.classes)} and {', '.join(b.classes)}")
    found += _label_differences(a.utterances["label"].astype(str), b.utterances["label"].astype(str))
    if a.run["folds_fingerprint"] != b.run["folds_fingerprint"]:
        found += _fold_differences(a, b)
    return tuple(found)


def _label_differences(left: pd.Series, right: pd.Series) -> list[str]:
    found = []
    for ids, where in ((left.index.difference(right.index), "first"), (right.index.difference(left.index), "second")):
        if len(ids):
            found.append(f"{len(ids):,} utterances are only in the {where} run: {listing(sorted(ids), 3)}")
    shared = left.index.intersection(right.index)
    other = shared[(left[shared] != right[shared]).to_numpy()]
    if len(other):
        example = other[0]
        found.append(f"{len(other):,} utterances have other labels: {example} is {left[example]} and {right[example]}")
    return found


def _fold_differences(a: RunDirectory, b: RunDirectory) -> list[str]:
    protocols = [f"{run.run['protocol']} (development part: {run.run.get('dev')})" for run in (a, b)]
    found = [f"protocols differ: {protocols[0]} and {protocols[1]}"] if protocols[0] != protocols[1] else []
    parts = [run.folds.set_index(["fold", "id"])["part"] for run in (a, b)]
    names = [sorted(part.index.get_level_values("fold").unique()) for part in parts]
    if names[0] != names[1]:
        found.append(
            f"folds differ: {len(names[0])} ({listing(names[0], 3)}) and {len(names[1])} ({listing(names[1], 3)})"
        )
        return found
    shared = parts[0].index.intersection(parts[1].index)
    moved = shared[(parts[0][shared] != parts[1][shared]).to_numpy()]
    lone = len(parts[0]) + len(parts[1]) - 2 * len(shared)
    if len(moved) or lone:
        found.append(f"folds differ: {len(moved):,} entries are in another part, {lone:,} are in one run only")
    return found or [f"fingerprints of the folds differ: {a.run['folds_fingerprint']} and {b.run['folds_fingerprint']}"]


def require_comparable(a: RunDirectory, b: RunDirectory) -> None:
    """Raises `NotComparable` with every difference."""
    if a.path.resolve() != b.path.resolve() and (found := differences(a, b)):
        raise NotComparable(str(a.path), str(b.path), found)
