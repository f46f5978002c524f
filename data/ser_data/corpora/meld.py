"""MELD (Poria et al. 2019): 13,708 utterances of the series Friends in 1,432 dialogues, 7 emotions, official split.

Its repository has the text and the labels; audio and video come as mp4 archives and are used if present. Ids of the CSVs
repeat over the three parts, so the part becomes a prefix: `train_dia0_utt0`. Speakers and dialogues' topics are shared
between the parts (it is one series), dialogues are not.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ser_data.corpora.base import AUDIO_SUFFIXES, PathEscapes, contained, names_in, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.csv_file import read_csv
from ser_data.manifest.labels import SCHEMES
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.manifest.text import clean_name

FILES = {"train": "train_sent_emo.csv", "dev": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
# Names of the folders in the official archives, by part
FOLDERS = {
    "train": ("train_splits", "train"),
    "dev": ("dev_splits_complete", "dev"),
    "test": ("output_repeated_splits_test", "test"),
}
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")


def seconds(clock: str) -> float | None:
    """`"00:20:57,256"` as seconds, `None` if it is not a clock time."""
    match = _CLOCK.fullmatch(clock.strip())
    if match is None:
        return None
    hours, minutes, whole, fraction = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(whole) + int(fraction.ljust(3, "0")) / 1000


def _find(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these that lies in `root`, `root/data/MELD` or `root/MELD`."""
    for base in (root, root / "data" / "MELD", root / "MELD", root / "MELD.Raw"):
        for name in names:
            if (base / name).exists():
                return base / name
    return None


class Meld:
    """Reader of the three CSV files, with audio files if they lie beside them."""

    info = CorpusInfo(
        name="meld",
        title="MELD, Multimodal EmotionLines Dataset",
        licence="repository GPL-3.0; the utterances are subtitles of a TV series",
        citation="Poria et al. 2019, ACL, doi:10.18653/v1/P19-1050",
        url="https://github.com/declare-lab/MELD",
        transcripts="subtitles",
        layout="{train,dev,test}_sent_emo.csv; video if present: train_splits/diaN_uttM.mp4, ...; audio: .wav or .flac beside them",
        scheme="meld-7",
    )

    def read(self, root: Path, *, audio_root: Path | None = None) -> Manifest:
        """All utterances; see `Corpus.read`.

        Args:
            root: Folder with the CSV files, or the repository's.
            audio_root: Folder with `train_splits` and so on, if it is another.
        """
        import pandas as pd

        base = require_folder("meld", root)
        rows: list[dict[str, Any]] = []
        problems: list[Problem] = []
        seen: set[str] = set()
        for part, name in FILES.items():
            path = _find(base, (name,))
            if path is None:
                continue
            files = _audio(audio_root or base, part, problems)
            for row in _rows(path, part, files, problems):
                if row["id"] in seen:
                    problems.append(Problem(row["id"], "duplicate id", "the first one is used", row["where"]))
                else:
                    seen.add(row["id"])
                    del row["where"]
                    rows.append(row)
        if not rows:
            raise BadRoot("meld", str(root), "file train_sent_emo.csv (or dev_, test_)", names_in(base))
        return Manifest(pd.DataFrame(rows), self.info, problems)


def _audio(root: Path, part: str, problems: list[Problem]) -> dict[str, Path] | None:
    """Stem -> file of the part's audio folder, without links that lead out of `root`; `None` if there is no such folder."""
    folder = _find(root, FOLDERS[part])
    if folder is None:
        return None
    files: dict[str, Path] = {}
    for path in visible_files(folder, AUDIO_SUFFIXES):
        if path.suffix == ".mp4" and path.stem in files:
            continue  # the sound has been taken out of it already; the pictures are still its own
        try:
            files[path.stem] = contained(root, str(path.relative_to(root)))
        except PathEscapes as error:
            problems.append(Problem(f"{part}_{path.stem}", "path escapes", error.why, str(path), dropped=False))
    return files


def _rows(path: Path, part: str, files: dict[str, Path] | None, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    table = read_csv(path, errors="replace", delimiters=",")
    problems += [Problem("", *note, path.name, dropped=False) for note in table.notes]
    for line, row in table.rows:
        where = f"{path.name}, line {line}"
        if isinstance(row, str):
            problems.append(Problem("", "bad row", row, where))
            continue
        try:
            stem = f"dia{int(row['Dialogue_ID'])}_utt{int(row['Utterance_ID'])}"
            turn, label, words = int(row["Utterance_ID"]), clean_name(row["Emotion"]).lower(), row["Utterance"]
            start, end = seconds(row["StartTime"]), seconds(row["EndTime"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problems.append(Problem("", "bad row", f"{type(error).__name__}: {error}", where))
            continue
        name = f"{part}_{stem}"
        if label not in SCHEMES["meld-7"].classes:
            problems.append(Problem(name, "unknown label", f"'{label}'", where))
            continue
        audio = None if files is None else files.get(stem)
        if files is not None and audio is None:
            problems.append(Problem(name, "missing file", f"no {stem} among {len(files):,} audio files", where))
            continue
        if "\ufffd" in words:
            problems.append(Problem(name, "not UTF-8", "the text holds bytes that are not UTF-8", where, dropped=False))
        lasts = None if start is None or end is None else round(end - start, 3)
        if lasts is None or lasts <= 0:
            detail = f"subtitle times {row['StartTime']} to {row['EndTime']}"
            problems.append(Problem(name, "bad span", detail, where, dropped=False))
            lasts = None
        video = None if audio is None else audio.with_suffix(".mp4")
        yield {
            "id": name,
            "where": where,
            "path": None if audio is None else str(audio),
            "speaker": row["Speaker"],
            "dialogue": f"{part}_dia{int(row['Dialogue_ID'])}",
            "turn": turn,
            "label": label,
            "text": words,
            "duration": lasts,
            "part": part,
            "sentiment": row.get("Sentiment"),
            "season": row.get("Season"),
            "episode": row.get("Episode"),
            "video_path": str(video) if video is not None and video.is_file() else None,
        }


CORPUS = Meld()
