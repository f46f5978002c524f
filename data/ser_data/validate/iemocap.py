"""Checks that only IEMOCAP's archive allows: wav length against label times, transcripts against both, stray files.

The strongest single check is the length: samples / 16000 equals end - start within 0.15 ms for every turn of the real
corpus; it catches a wrong rate, a wrong file and a wrong order at once.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ser_data.corpora.iemocap import dialogue_files, sessions
from ser_data.corpora.iemocap_files import read_transcripts
from ser_data.manifest.text import has_tag, normalise
from ser_data.validate.checks import Finding

if TYPE_CHECKING:
    import pandas as pd

    from ser_data.manifest.table import Manifest

LENGTH_TOLERANCE = 0.00015  # s, as measured on the real corpus
TRANSCRIPT_TOLERANCE = 0.001  # s
# Facts that are worth a note if they differ: name -> published number
FACTS = {
    "transcript lines with XX ids": 46,
    "seven-class turns with a tag": 207,
    "seven-class turns without words": 47,
    "ratings outside of 1 to 5": 7,
    "turns over 30 s": 2,
    "turns whose wearer is not the speaker": 4951,
}


def wav_lengths(table: "pd.DataFrame") -> Iterator[Finding]:
    """Unreadable wavs, wrong formats, and lengths that are not those of the labels."""
    import soundfile

    fix = "copy the file again from the archive"
    for row in table.to_dict("records"):
        where = f"{row['source']}; {Path(row['path']).name}"
        try:
            info = soundfile.info(row["path"])
        except (RuntimeError, OSError) as error:
            yield Finding("error", "unreadable wav", where, str(error).splitlines()[0], fix, str(row["id"]))
            continue
        if info.samplerate != 16_000 or info.channels != 1 or info.subtype != "PCM_16":
            what = f"{info.samplerate} Hz, {info.channels} channels, {info.subtype}; expected 16000 Hz, 1, PCM_16"
            yield Finding("error", "wrong wav format", where, what, fix, str(row["id"]))
        seconds = float(row["dialogue_end"]) - float(row["dialogue_start"])
        difference = info.frames / info.samplerate - seconds
        if abs(difference) > LENGTH_TOLERANCE:
            what = f"the wav lasts {info.frames / info.samplerate:.4f} s, the label {seconds:.4f} s ({difference * 1000:+.2f} ms)"
            yield Finding("error", "wav length is not the label's", where, what, fix, str(row["id"]))


def transcript_times(root: Path, table: "pd.DataFrame") -> Iterator[Finding]:
    """Transcript lines whose times are not those of the evaluation file."""
    times = {
        ident: (float(start), float(end), source)
        for ident, start, end, source in zip(
            table["id"], table["dialogue_start"], table["dialogue_end"], table["source"], strict=True
        )
    }
    for session in sessions(root):
        for path in dialogue_files(session, "transcriptions"):
            for ident, start, end, _, line in read_transcripts(path)[0]:
                if ident not in times:
                    continue
                first, last, source = times[ident]
                if max(abs(start - first), abs(end - last)) > TRANSCRIPT_TOLERANCE:
                    where = f"{session.name}/transcriptions/{path.name}, line {line}; {source}"
                    what = f"transcript {start:.4f} to {end:.4f} s, evaluation {first:.4f} to {last:.4f} s"
                    yield Finding("note", "times differ", where, what, "restore both lines", ident)


def stray_files(root: Path, table: "pd.DataFrame") -> Iterator[Finding]:
    """Wavs without a label (an error), hidden files such as `._x` and `.DS_Store` (a note, passed over)."""
    labelled = set(table["path"])
    hidden: list[str] = []
    for session in sessions(root):
        for folder in sorted((session / "sentences" / "wav").glob("*")):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.name.startswith("."):
                    hidden.append(str(path.relative_to(session.parent)))
                elif str(path) not in labelled:
                    where = str(path.relative_to(session.parent))
                    fix = "restore the turn's evaluation block, or remove the file"
                    yield Finding("error", "audio without label", where, "no usable turn has this name", fix, path.stem)
        for kind in ("EmoEvaluation", "transcriptions"):
            hidden += [str(path.relative_to(session.parent)) for path in sorted((session / "dialog" / kind).glob(".*"))]
    if hidden:
        what = f"{len(hidden):,} files that an unpacker or a file browser left"
        yield Finding(
            "note", "hidden files", hidden[0], what, "nothing to do: names that start with a dot are passed over"
        )


def speakers(table: "pd.DataFrame") -> Iterator[Finding]:
    """Turns whose speaker is not session + last letter of the id: the wearer was taken instead."""
    for row in table.to_dict("records"):
        expected = f"{row['session']}{row['id'][-4]}"
        if row["speaker"] != expected:
            what = f"speaker {row['speaker']}, wearer {row['wearer']}; the id says {expected}"
            yield Finding(
                "error", "wearer taken for speaker", row["source"], what, "use this version's reader", str(row["id"])
            )


def without_votes(table: "pd.DataFrame") -> Iterator[Finding]:
    """Turns that no annotator's line supports."""
    for row in table[table["votes"].isna()].to_dict("records"):
        what = "no line C-E of an external annotator"
        yield Finding("note", "no votes", row["source"], what, "restore the turn's block", str(row["id"]))


def facts(manifest: "Manifest") -> Iterator[Finding]:
    """Notes on published facts other than counts of labels, where the copy differs."""
    table = manifest.table
    seven = table[table["label"].isin(["neu", "fru", "ang", "sad", "exc", "hap", "sur"])]
    texts = [text for text in seven["text"] if text is not None]
    reasons = [problem.reason for problem in manifest.problems]
    counted = {
        "transcript lines with XX ids": reasons.count("extra transcript"),
        "seven-class turns with a tag": sum(map(has_tag, texts)),
        "seven-class turns without words": sum(not normalise(text) for text in texts),
        "ratings outside of 1 to 5": reasons.count("rating out of range"),
        "turns over 30 s": int((table["duration"] > 30).sum()),
        "turns whose wearer is not the speaker": sum(
            a != b[-1] for a, b in zip(table["wearer"], table["speaker"], strict=True)
        ),
    }
    for name, expected in FACTS.items():
        if counted[name] != expected:
            yield Finding(
                "note", "differs from published fact", "", f"{name}: {counted[name]:,}, published {expected:,}"
            )
