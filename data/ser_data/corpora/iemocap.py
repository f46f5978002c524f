"""IEMOCAP (Busso et al. 2008): 10,039 turns of 10 actors in 5 sessions, improvised and scripted, 12.4 h.

Quirks: the first letter of an id names the wearer of the motion-capture markers, the last one the speaker (wrong for 4,951
turns if confused); evaluation files are sorted by id, not by time; turns overlap; transcripts have lines without a turn.
Times in the files count from the start of the dialogue, but the wavs hold one turn each. So the manifest's `start` and `end`
stay empty, and the columns `dialogue_start` and `dialogue_end` hold the times. The videos hold whole dialogues, with the
wearer of the markers on the left: a turn's video is its span there, and the speaker's half. Reading the corpus takes seconds.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_base.errors import listing
from ser_data.corpora.base import require_folder
from ser_data.corpora.iemocap_files import CODES, TURN, Fault, Turn, read_evaluation, read_transcripts
from ser_data.errors import BadRoot
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.manifest.text import has_tag, normalise

MARK = "generated.json"
"""File in the root of a corpus that `ser data generate` wrote."""

_GENDER = {"F": "female", "M": "male"}


def sessions(root: Path) -> list[Path]:
    """The folders `Session1` .. `Session5` under `root` that are there.

    Raises:
        BadRoot: None of them; the message names the folder below that has them.
    """
    base = require_folder("iemocap", root)
    folders = [base / f"Session{number}" for number in range(1, 6) if (base / f"Session{number}").is_dir()]
    if not folders:
        inside = sorted(path.name for path in base.iterdir() if not path.name.startswith("."))
        deeper = [name for name in inside if any((base / name).glob("Session[1-5]"))]
        remedy = f"Give {root / deeper[0]} as ROOT." if deeper else ""
        raise BadRoot("iemocap", str(root), "folder Session1", tuple(inside), remedy)
    return folders


def _card(root: Path, info: CorpusInfo) -> CorpusInfo:
    """The corpus's card, or that of the generator that left its mark in the root: readers must see that no human spoke."""
    mark = next((root / name for name in (MARK, "demo.json") if (root / name).is_file()), None)
    if mark is None:
        return info
    made = json.loads(mark.read_text(encoding="utf-8"))
    return replace(
        info,
        title=str(made.get("title") or made.get("corpus") or "IEMOCAP-shaped synthetic corpus"),
        licence="generated, no content of IEMOCAP",
        citation="none: synthetic",
        url="",
        synthetic=True,
        transcripts="generated",
    )


def dialogue_files(session: Path, kind: str) -> list[Path]:
    """The session's `EmoEvaluation` or `transcriptions` files, sorted, without hidden names and sub-folders."""
    folder = session / "dialog" / kind
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("*.txt") if not path.name.startswith(".") and path.is_file())


def overlaps(start: list[float], end: list[float], speaker: list[str]) -> list[float]:
    """Share of each turn's time in which another speaker of the dialogue has a turn, 0 to 1."""
    first, last, who = np.asarray(start), np.asarray(end), np.asarray(speaker)
    shares = []
    for i in range(len(first)):
        low = np.maximum(first, first[i])
        high = np.minimum(last, last[i])
        rows = np.flatnonzero((who != who[i]) & (high > low))
        covered, reached = 0.0, float(first[i])
        for row in rows[np.argsort(low[rows], kind="stable")]:
            covered += max(0.0, float(high[row]) - max(reached, float(low[row])))
            reached = max(reached, float(high[row]))
        length = float(last[i] - first[i])
        shares.append(covered / length if length > 0 else 0.0)
    return shares


class Iemocap:
    """Reader of the release folder (`IEMOCAP_full_release`); sessions that are missing are left out."""

    info = CorpusInfo(
        name="iemocap",
        title="IEMOCAP, Interactive Emotional Dyadic Motion Capture Database",
        licence="USC SAIL licence: on request, for research; no redistribution",
        citation="Busso et al. 2008, Language Resources and Evaluation 42(4), doi:10.1007/s10579-008-9076-6",
        url="https://sail.usc.edu/iemocap/",
        transcripts="human",
        layout="Session{1..5}/dialog/{EmoEvaluation,transcriptions}/*.txt, Session{1..5}/sentences/wav/DIALOGUE/TURN.wav; video, if "
        "present: Session{1..5}/dialog/avi/DivX/DIALOGUE.avi",
        scheme="iemocap-7",
    )

    def read(self, root: Path) -> Manifest:
        """All turns; see `Corpus.read`."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        problems: list[Problem] = []
        lines: dict[str, str] = {}
        for session in sessions(root):
            for row in self._session(session, problems):
                if row["id"] in lines:
                    problems.append(Problem(row["id"], "duplicate id", f"first in {lines[row['id']]}", row["source"]))
                else:
                    lines[row["id"]] = row["source"]
                    rows.append(row)
        if not rows:
            expected = "turn in Session*/dialog/EmoEvaluation/*.txt"
            raise BadRoot("iemocap", str(root), expected, tuple(str(p) for p in problems[:3]))
        rows.sort(key=lambda row: str(row["id"]))
        return Manifest(pd.DataFrame(rows), _card(root, self.info), problems)

    def _session(self, session: Path, problems: list[Problem]) -> Iterator[dict[str, Any]]:
        texts = self._texts(session, problems)
        used: set[str] = set()
        for path in dialogue_files(session, "EmoEvaluation"):
            where = f"{session.name}/{path.name}"
            turns, faults = read_evaluation(path)
            problems.extend(_problem(fault, where) for fault in faults)
            audio = session / "sentences" / "wav" / path.stem
            wavs = {p.name for p in audio.iterdir()} if audio.is_dir() else set()
            video = _video(session, path.stem, where, problems)
            used |= {turn.id for turn in turns}
            checked = [(turn, _usable(turn, path, session, audio, wavs, where, problems)) for turn in turns]
            good = [(turn, match) for turn, match in checked if match is not None]
            starts = [turn.start for turn, _ in good]
            shares = overlaps(starts, [turn.end for turn, _ in good], [match[6] for _, match in good])
            order = np.argsort(np.argsort(np.asarray(starts), kind="stable"), kind="stable")
            for (turn, match), overlap, position in zip(good, shares, order, strict=True):
                text = texts.get(turn.id)
                if text is None:
                    problems.append(Problem(turn.id, "missing text", "no transcript line", where, dropped=False))
                elif not normalise(text):
                    detail = f"nothing but tags: {text.strip()}" if has_tag(text) else "the transcript is empty"
                    problems.append(Problem(turn.id, "empty text", detail, where, dropped=False))
                yield _row(turn, match, text, overlap, int(position), audio, video, f"{where}, line {turn.line}")
        for name in sorted(set(texts) - used):
            problems.append(
                Problem(name, "transcript without turn", "no label and no wav", session.name, dropped=False)
            )

    def _texts(self, session: Path, problems: list[Problem]) -> dict[str, str]:
        texts: dict[str, str] = {}
        for path in dialogue_files(session, "transcriptions"):
            where = f"{session.name}/transcriptions/{path.name}"
            lines, faults = read_transcripts(path)
            problems.extend(_problem(fault, where) for fault in faults)
            for name, _, _, text, line in lines:
                if name in texts:
                    place = f"{where}, line {line}"
                    problems.append(
                        Problem(name, "duplicate transcript", "the first one is used", place, dropped=False)
                    )
                else:
                    texts[name] = text
        return texts


def _problem(fault: Fault, where: str) -> Problem:
    name = fault.text.split(" ", 1)[0] if fault.text.startswith("Ses") else ""
    return Problem(name, fault.kind, fault.text.strip()[:120], f"{where}, line {fault.line}", fault.dropped)


def _usable(
    turn: Turn, path: Path, session: Path, audio: Path, wavs: set[str], where: str, problems: list[Problem]
) -> "re.Match[str] | None":
    """The parsed id of a turn that goes into the manifest, else `None`; what is wrong is added to `problems`."""
    place = f"{where}, line {turn.line}"
    match = TURN.fullmatch(turn.id)
    bad: tuple[str, str] | None = None
    if match is None:
        bad = "bad id", "not SesNN[FM]_SCENARIO_[FM]NNN"
    elif turn.id[:-5] != path.stem or f"Session{int(match[1])}" != session.name:
        bad = "wrong file", f"the turn belongs to {turn.id[:-5]} of Session{int(match[1])}"
    elif turn.label not in CODES:
        bad = "unknown label", f"'{turn.label}'; known are {listing(CODES)}"
    elif turn.end <= turn.start:
        bad = "bad span", f"end {turn.end} s is not after start {turn.start} s"
    elif f"{turn.id}.wav" not in wavs:
        bad = "missing file", str(audio / f"{turn.id}.wav")
    if bad is not None:
        problems.append(Problem(turn.id, *bad, place))
        return None
    if not all(1.0 <= value <= 5.0 for value in turn.vad):
        detail = f"valence, arousal, dominance {turn.vad} are not all within 1 to 5"
        problems.append(Problem(turn.id, "rating out of range", detail, place, dropped=False))
    return match


def _video(session: Path, dialogue: str, where: str, problems: list[Problem]) -> Path | None:
    """The dialogue's video, with both actors; a session without any says nothing, one that lacks some is a problem."""
    folder = session / "dialog" / "avi" / "DivX"
    if not folder.is_dir():
        return None
    path = folder / f"{dialogue}.avi"
    if path.is_file():
        return path
    problems.append(Problem("", "missing video", f"{dialogue}.avi is not in {folder}", where, dropped=False))
    return None


def _row(
    turn: Turn,
    match: "re.Match[str]",
    text: str | None,
    overlap: float,
    position: int,
    audio: Path,
    video: Path | None,
    where: str,
) -> dict[str, Any]:
    session, wearer, _, scenario, take, speaker, _ = match.groups()
    return {
        "id": turn.id,
        "path": str(audio / f"{turn.id}.wav"),
        "speaker": f"{int(session)}{speaker}",
        "session": str(int(session)),
        "dialogue": turn.id[:-5],
        "turn": position,
        "scenario": scenario,
        "scripted": scenario.startswith("script"),
        "gender": _GENDER[speaker],
        "label": turn.label,
        "votes": json.dumps(turn.votes) if turn.votes else None,
        "valence": turn.vad[0],
        "arousal": turn.vad[1],
        "dominance": turn.vad[2],
        "text": text,
        "duration": round(turn.end - turn.start, 6),
        "overlap": round(overlap, 6),
        "source": where,
        "dialogue_start": f"{turn.start:.4f}",
        "dialogue_end": f"{turn.end:.4f}",
        "wearer": wearer,
        "take": take or None,
        "self_votes": json.dumps(turn.self_votes) if turn.self_votes else None,
        "ratings": json.dumps(turn.ratings) if turn.ratings else None,
        # the wearer of the markers sits on the left: MERBench, `func_find_tgt_pos`
        "video_path": None if video is None else str(video),
        "video_start": None if video is None else turn.start,
        "video_end": None if video is None else turn.end,
        "video_crop": None if video is None else "left" if wearer == speaker else "right",
    }


CORPUS = Iemocap()
