"""Runs all checks of a corpus and gives a report."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_data.corpora import CORPORA
from ser_data.manifest.table import Manifest
from ser_data.validate import iemocap as only_iemocap
from ser_data.validate.checks import (
    Finding,
    Tell,
    contradicting_votes,
    doubled_audio,
    from_problem,
    recordings,
    shared_speakers,
    unlisted_empty_texts,
)
from ser_data.validate.published import PUBLISHED


@dataclass(frozen=True, slots=True)
class Report:
    """What a validation found.

    Attributes:
        manifest: The corpus as read.
        findings: Errors first.
        cells: Counted cells: name -> (found, published); empty if the corpus has no published counts or is partial.
    """

    manifest: Manifest
    findings: tuple[Finding, ...]
    cells: dict[str, tuple[int, int]]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make the exit code 1."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def validate(
    name: str,
    root: str | Path,
    *,
    partial: bool = False,
    decode: bool = False,
    tell: Tell = lambda done, total: None,
    **options: Any,
) -> Report:
    """Reads a corpus and checks it; see `check` for a manifest that is read already.

    Args:
        name: A name of `CORPORA`.
        root: As for the reader.
        partial: The copy is a part on purpose: published counts are not compared.
        decode: Decode every recording; else only headers are read.
        tell: Called with the recordings that were read and all of them.
        options: For the reader.

    Raises:
        BadRoot: Nothing of this corpus under `root`.
    """
    return check(CORPORA[name].read(Path(root), **options), name, Path(root), partial=partial, decode=decode, tell=tell)


def check(
    manifest: Manifest,
    name: str,
    root: Path,
    *,
    partial: bool = False,
    decode: bool = False,
    tell: Tell = lambda done, total: None,
) -> Report:
    """Checks a manifest against the published counts of a corpus and against its files; arguments as for `validate`."""
    cells: dict[str, tuple[int, int]] = {}
    if name in PUBLISHED and not partial:
        expected, count = PUBLISHED[name]
        counted = count(manifest.table)
        cells = {cell: (counted.get(cell, 0), number) for cell, number in expected.items()}
    findings = [from_problem(problem) for problem in dict.fromkeys((*manifest.problems, *manifest.notes))]
    findings += _checks(name, root, manifest, partial)
    findings += recordings(manifest.table, decode, tell)
    findings += [
        Finding("error", "count", "", f"{cell}: {got:,}, published {number:,} ({got - number:+,})", _COUNT_FIX)
        for cell, (got, number) in cells.items()
        if got != number
    ]
    ordered = sorted(findings, key=lambda finding: (finding.severity != "error", finding.check))
    return Report(manifest, tuple(ordered), cells)


_COUNT_FIX = "see the other findings; if the copy is a part on purpose: --partial"


def _checks(name: str, root: Path, manifest: Manifest, partial: bool) -> Iterator[Finding]:
    table = manifest.table
    yield from contradicting_votes(table) if name == "iemocap" else ()
    yield from shared_speakers(table)
    yield from doubled_audio(table)
    yield from unlisted_empty_texts(manifest)
    if name == "iemocap":
        yield from only_iemocap.wav_lengths(table)
        yield from only_iemocap.transcript_times(root, table)
        yield from only_iemocap.stray_files(root, table)
        yield from only_iemocap.speakers(table)
        yield from only_iemocap.without_votes(table)
        if not partial:
            yield from only_iemocap.facts(manifest)
