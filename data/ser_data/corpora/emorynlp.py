"""EmoryNLP (Zahiri & Choi 2018): 12,606 lines of the series Friends in 897 scenes, 7 emotions, parts by episode; text only.

Read as its authors publish it (`emotion-detection-trn.json`), or as MELD's repository has it (`emorynlp_train_final.csv`), which
is a part of it. Ids are the same in both: `s01_e02_c01_u002`.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ser_data.corpora.base import names_in, require_folder
from ser_data.errors import BadRoot
from ser_data.manifest.csv_file import read_csv
from ser_data.manifest.table import CorpusInfo, Manifest, Problem

LABELS = ("joyful", "mad", "neutral", "peaceful", "powerful", "sad", "scared")
JSON = {part: f"emotion-detection-{name}.json" for part, name in {"train": "trn", "dev": "dev", "test": "tst"}.items()}
CSV = {part: f"emorynlp_{part}_final.csv" for part in JSON}
Line = tuple[str, dict[str, Any]]
"""Where a line stands, and its utterance; one with `problem` cannot be read."""


class EmoryNlp:
    """Reader of the three files of either kind, in the root or in its folder `json` or `data/emorynlp`."""

    info = CorpusInfo(
        name="emorynlp",
        title="EmoryNLP, emotion detection in the scripts of Friends",
        licence="not stated with the labels; the lines are those of a TV series",
        citation="Zahiri & Choi 2018, AAAI workshop on affective content analysis, arXiv:1708.04299",
        url="https://github.com/emorynlp/emotion-detection",
        transcripts="scripts of the series",
        layout="emotion-detection-{trn,dev,tst}.json, or emorynlp_{train,dev,test}_final.csv",
    )

    def read(self, root: Path) -> Manifest:
        """Reads all lines; see `Corpus.read`.

        Args:
            root: Folder with the files, or the repository's.
        """
        import pandas as pd

        base = require_folder("emorynlp", root)
        folders = (base, base / "json", base / "data" / "emorynlp")
        kinds = ((JSON, _json_lines), (CSV, _csv_lines))
        files = [
            (part, folder / name, read)
            for names, read in kinds
            for part, name in names.items()
            for folder in folders
            if (folder / name).is_file()
        ]
        # the authors' files go before MELD's copy of them
        files = [place for place in files if place[2] is files[0][2]]
        rows: dict[str, dict[str, Any]] = {}
        problems: list[Problem] = []
        for part, path, read in files:
            for where, row in read(path):
                name, label = row.get("id", ""), str(row.get("label", "")).lower()
                if "problem" in row:
                    problems.append(Problem(name, "bad row", row["problem"], where))
                elif label not in LABELS:
                    problems.append(Problem(name, "unknown label", f"'{label}'", where))
                elif name in rows:
                    problems.append(Problem(name, "duplicate id", "the first one is used", where))
                else:
                    rows[name] = {**row, "label": label, "part": part, "scripted": True}
        if not rows:
            raise BadRoot("emorynlp", str(root), f"file {JSON['train']} (or {CSV['train']})", names_in(base))
        return Manifest(pd.DataFrame(list(rows.values())), self.info, problems)


def _utterance(season: int, episode: int, scene: int, number: int) -> dict[str, Any]:
    dialogue = f"s{season:02}_e{episode:02}_c{scene:02}"
    return {
        "id": f"{dialogue}_u{number:03}",
        "dialogue": dialogue,
        "turn": number,
        "season": season,
        "episode": episode,
    }


def _json_lines(path: Path) -> Iterator[Line]:
    try:
        episodes = json.loads(path.read_text(encoding="utf-8"))["episodes"]
        lines = [row for episode in episodes for scene in episode["scenes"] for row in scene["utterances"]]
    except (ValueError, KeyError, TypeError) as error:
        yield path.name, {"problem": f"{type(error).__name__}: {error}"}
        return
    for row in lines:
        try:
            where = f"{path.name}, {row['utterance_id']}"
            numbers = [int(part[1:]) for part in row["utterance_id"].split("_")]
            own = {"speaker": ", ".join(row["speakers"]) or None, "text": row["transcript"], "label": row["emotion"]}
            yield where, {**_utterance(*numbers), **own}
        except (ValueError, KeyError, TypeError) as error:
            yield path.name, {"problem": f"{type(error).__name__}: {error}"}


def _csv_lines(path: Path) -> Iterator[Line]:
    for line, row in read_csv(path, errors="replace", delimiters=",").rows:
        where = f"{path.name}, line {line}"
        if isinstance(row, str):
            yield where, {"problem": row}
            continue
        try:
            numbers = [int(row[name]) for name in ("Season", "Episode", "Scene_ID", "Utterance_ID")]
            speakers = ast.literal_eval(row["Speaker"])
            own = {"speaker": ", ".join(speakers) or None, "text": row["Utterance"], "label": row["Emotion"]}
            yield where, {**_utterance(*numbers), **own}
        except (ValueError, KeyError, TypeError, SyntaxError) as error:
            yield where, {"problem": f"{type(error).__name__}: {error}"}


CORPUS = EmoryNlp()
