"""What a validation finds, and the checks that hold for every corpus.

Among them: can every recording be decoded? Judged by its header or by decoding every sample; the reasons are extraction's.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from ser_base.errors import listing
from ser_data.manifest.table import TABLE_NOTES, Problem
from ser_data.manifest.text import wordless
from ser_data.media.audio import LIMITS, SPAN_TOLERANCE, AudioError, AudioInfo, quiet, span_of
from ser_data.media.isolated import IsolatedDecoder

if TYPE_CHECKING:
    import pandas as pd

    from ser_data.manifest.table import Manifest

Tell = Callable[[int, int], None]
"""Called with what is done and all that is to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found.

    Attributes:
        severity: `error` (the copy is not as it should be; exit code 1) or `note` (known, or for information).
        check: Which check found it, the same text for all findings of a kind.
        where: File and line, as far as there is one.
        what: The fact, with the values found and expected.
        fix: What to do.
        id: The utterance, if it is about one.
    """

    severity: str
    check: str
    where: str
    what: str
    fix: str = ""
    id: str = ""


# Reasons that a reader may give without anything being wrong with the copy
_NOTES = {
    *TABLE_NOTES, "names alike", "empty text", "extra transcript", "noise line", "rating out of range", "missing label", "no majority",
    "not speech", "twin", "odd line", "unknown vote",
}  # fmt: skip
_FIXES = {
    "missing file": "copy the file again from the archive",
    "missing path": "fill the column path",
    "missing text": "restore the transcript line, or leave the text stream out",
    "missing label": "fill the label, or leave the row out",
    "empty text": "nothing to do: the text stream gets a placeholder; the row is counted",
    "extra transcript": "nothing to do: the line has no turn in the corpus",
    "noise line": "nothing to do: the line belongs to no turn",
    "rating out of range": "nothing to do, or clip the rating to 1..5 if you use it",
    "transcript without turn": "restore the evaluation block of this turn",
    "bad line": "restore the line from the archive",
    "odd line": "nothing to do, or restore the annotator's line",
    "bad row": "correct the row",
    "bad id": "restore the name from the archive",
    "bad span": "correct start and end",
    "blanks in names": "nothing to do: they are read without; or correct the cells",
    "line breaks in cells": "nothing to do if they are meant; a forgotten quote swallows rows",
    "empty columns": "nothing to do, or save the table without them",
    "shared stem": "nothing to do: these ids keep the ending of the file",
    "names alike": "write them in one way if they mean one",
    "bad number": "correct the number",
    "not UTF-8": "save the file as UTF-8, or restore it from the archive",
    "unknown label": "correct the label",
    "unknown vote": "correct the annotator's label",
    "wrong file": "move the block into its own dialogue's file",
    "duplicate id": "leave one of the two",
    "duplicate transcript": "leave one of the two",
    "git-lfs pointer": "run git lfs pull",
    "path escapes": "name a file inside the archive",
    "twin": "nothing to do: one of the two files is enough",
    "not speech": "nothing to do: song and video files are passed over",
    "no majority": "nothing to do, or take the acted label",
}


def from_problem(problem: Problem) -> Finding:
    """The finding that a reader's problem amounts to."""
    harmless = problem.reason in _NOTES or (problem.reason == "bad span" and not problem.dropped)
    lost = "; the row is left out" if problem.dropped else ""
    return Finding(
        "note" if harmless else "error",
        problem.reason,
        problem.where,
        f"{problem.detail}{lost}",
        _FIXES.get(problem.reason, ""),
        problem.id,
    )


def place(row: "pd.Series[str]") -> str:
    """Where a row comes from: the reader's `source`, else its file."""
    return str(row.get("source") or row.get("path") or "")


def doubled_audio(table: "pd.DataFrame") -> Iterator[Finding]:
    """Files with the same bytes. Only files of equal size are read, so a clean corpus costs one `stat` per file."""
    by_size: dict[int, list[int]] = defaultdict(list)
    seen: dict[tuple[str, float, float], int] = {}
    for number, (path, start, end) in enumerate(
        zip(table["path"], table["start"].fillna(0), table["end"].fillna(-1), strict=True)
    ):
        if path is None or not os.path.isfile(path):
            continue
        first = seen.setdefault((path, start, end), number)
        if first != number:
            yield _pair(table, first, number, "audio used twice")
        elif start == 0 and end == -1:
            by_size[os.path.getsize(path)].append(number)
    for numbers in by_size.values():
        if len(numbers) < 2:
            continue
        by_hash: dict[str, int] = {}
        for number in numbers:
            digest = xxhash.xxh3_128_hexdigest(Path(table["path"].iloc[number]).read_bytes())
            first = by_hash.setdefault(digest, number)
            if first != number:
                yield _pair(table, first, number, "duplicate audio")


def _pair(table: "pd.DataFrame", first: int, second: int, check: str) -> Finding:
    """A row used twice on purpose is a note, and so is a doubled take of one speaker with one label (RAVDESS has one)."""
    earlier, later = table.iloc[first], table.iloc[second]
    differing = [key for key in ("label", "speaker") if earlier[key] != later[key]]
    differences = "".join(f"; {key} {earlier[key]} there, {later[key]} here" for key in differing)
    what = f"the same audio as {earlier['id']} ({place(earlier)}){differences}"
    if check == "audio used twice":
        return Finding("note", check, place(later), what, "nothing to do if it is on purpose", str(later["id"]))
    severity = "error" if differing else "note"
    return Finding(severity, check, place(later), what, "compare both files with the archive", str(later["id"]))


def contradicting_votes(table: "pd.DataFrame") -> Iterator[Finding]:
    """Majority labels that the annotators' own votes do not support.

    A label must have a vote, and no other label may have more than half of all votes. Ties are fine; so are labels that
    say that there is no majority (`xxx`), unless three or more votes agree completely.
    """
    for row in table[table["votes"].notna()].to_dict("records"):
        votes = json.loads(row["votes"])
        total, best = sum(votes.values()), max(votes, key=lambda name: (votes[name], name))
        other = best != row["label"] and votes[best] * 2 > total
        if row["label"] == "xxx":
            other = votes[best] == total and total >= 3
        if (row["label"] not in votes and row["label"] != "xxx") or other:
            source = str(row.get("source") or row["path"] or "")
            what = f"label '{row['label']}', but the votes are {listing(f'{n}: {v}' for n, v in sorted(votes.items()))}"
            yield Finding("error", "label contradicts votes", source, what, "restore label and votes", str(row["id"]))


def shared_speakers(table: "pd.DataFrame") -> Iterator[Finding]:
    """Speakers in more than one of the given folds (an error) or parts of the official split (a note)."""
    for column, severity in (("fold", "error"), ("part", "note")):
        own = table[table[column].notna() & table["speaker"].notna()]
        counts = own.groupby("speaker")[column].nunique()
        shared = [str(speaker) for speaker in counts.index[counts > 1]]
        if shared:
            what = f"{len(shared):,} of {len(counts):,} speakers are in more than one {column}: {listing(shared, 5)}"
            fix = "use another protocol (--protocol speaker), or say so with the results"
            yield Finding(severity, f"speakers shared between {column}s", f"column {column}", what, fix)


def unlisted_empty_texts(manifest: "Manifest") -> Iterator[Finding]:
    """Texts without a word after cleaning that the reader did not list: an encoder would see an empty string in silence."""
    listed = {problem.id for problem in manifest.problems if problem.reason in ("empty text", "missing text")}
    table = manifest.table
    for row in table[table["text"].notna()].to_dict("records"):
        why = wordless(row["text"])
        if why and row["id"] not in listed:
            where = str(row.get("source") or row["path"] or "")
            if row["text_normalised"]:
                yield Finding(
                    "note", "empty text", where, f"{why}: {row['text']!r}", "give the row a text", str(row["id"])
                )
                continue
            what = f"nothing is left of {row['text']!r}"
            fix = "give the row a text, or leave the text stream out"
            yield Finding("error", "empty text not listed", where, what, fix, str(row["id"]))


_RECORDING_FIXES = {
    "missing": "copy the file again from the archive",
    "empty": "record or copy the file again, or leave the row out",
    "unreadable": "convert the file, or leave the row out",
    "truncated": "copy the file again; or take what is there: ser-extract --on-truncated keep",
    "too_short": "leave the row out",
    "too_long": "cut the file, or give spans in start and end",
    "silent": "record the file again, or leave the row out; where channels cancel: ser-extract --channel left",
    "span": "correct start and end",
    "nan": "write the file again from its source",
}


def recordings(table: "pd.DataFrame", decode: bool, tell: Tell) -> Iterator[Finding]:
    """Findings about the sound of every row that has a path.

    Args:
        table: Of a manifest.
        decode: Decode every sample, as extraction will; else only headers are read.
        tell: Called with the rows done and all of them.
    """
    probed: dict[str, AudioInfo | AudioError] = {}
    unknown: dict[str, str] = {}
    rows = table[table["path"].notna()]
    columns = (rows[name] for name in ("id", "path", "start", "end"))
    with IsolatedDecoder() as decoder:
        for number, (name, path, start, end) in enumerate(zip(*columns, strict=True), 1):
            try:
                if path not in probed:
                    probed[path] = _probed(decoder, path)
                info = probed[path]
                if isinstance(info, AudioError):
                    raise info
                _check_header(path, info, *span_of(start, end))
                if decode and (why := quiet(decoder.decode(path, start, end)[0])):
                    yield Finding(
                        "note", "quiet", str(path), why, "listen to it; leave the row out if nobody speaks", str(name)
                    )
                if info.unknown and span_of(start, end)[1] is None:
                    unknown[name] = info.unknown
            except AudioError as error:
                what = str(error).removeprefix(f"{error.path}: ")
                yield Finding("error", error.reason, str(path), what, _RECORDING_FIXES.get(error.reason, ""), str(name))
            tell(number, len(rows))
    if unknown:
        why = "; ".join(f"{reason}: {count:,}" for reason, count in Counter(unknown.values()).most_common())
        what = f"{len(unknown):,} recordings do not state their length, as {next(iter(unknown))} ({why}); missing ends cannot be found"
        yield Finding(
            "note", "length unknown", "", what, "nothing to do if they are whole; flac and wav say their length"
        )


def _probed(decoder: IsolatedDecoder, path: str) -> AudioInfo | AudioError:
    try:
        return decoder.probe(path)
    except AudioError as error:
        return error


def _check_header(path: str, info: AudioInfo, start: float, end: float | None) -> None:
    """Raises extraction's error, as far as the header shows it."""
    if info.missing and end is None:
        raise AudioError(path, "truncated", info.missing)
    if not info.frames and not info.unknown:
        raise AudioError(path, "empty")
    if info.unknown:
        return
    last = info.duration if end is None else end
    if start >= info.duration > 0 or last > info.duration + SPAN_TOLERANCE:
        raise AudioError(path, "span", f"{start:.2f} to {last:.2f} s, the file has {info.duration:.2f} s")
    if last - start < LIMITS.shortest:
        detail = f"{(last - start) * 1000:.1f} ms, at least {LIMITS.shortest * 1000:g} ms"
        raise AudioError(path, "too_short", detail)
    if last - start > LIMITS.longest:
        raise AudioError(path, "too_long", f"{last - start:,.1f} s, at most {LIMITS.longest:,.0f} s")
