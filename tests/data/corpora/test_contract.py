"""The public contract of corpora (`ser_data.testing`): kept by readers on small archives, and broken ones are found."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_data.corpora import CORPORA
from ser_data.corpora.base import require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.testing import check_corpus

ROOT = Path(__file__).resolve().parents[3]


def test_the_example_of_the_guide_keeps_it(tmp_path: Path, tone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "docs/plugin")
    from ser_example.weather import CORPUS

    for name in ("ann/rain_sad_1", "bob/sun_happy_1", "bob/oddly named"):
        tone(tmp_path / f"{name}.wav")
    assert len(check_corpus(CORPUS, tmp_path)) == 2
    sys.modules.pop("ser_example.weather")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("ravdess", ("Actor_01/03-01-05-02-01-02-01.wav", "Actor_01/03-02-05-02-01-02-01.wav", "Actor_01/noise.wav")),
        ("emodb", ("wav/03a01Fa.wav", "wav/03x01Fa.wav")),
        ("cremad", ("AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_TIE_SAD_XX.wav")),
        ("audiofolder", ("angry/1.wav", "calm/deep/2.wav", "stray.wav")),
    ],
)
def test_readers_of_the_table_keep_it(name: str, files: tuple[str, ...], tmp_path: Path, tone):
    for file in files:
        tone(tmp_path / file)
    check_corpus(CORPORA[name], tmp_path)


class Plain:
    """A correct reader of wavs whose name is their label; the broken ones below differ in one thing."""

    info = CorpusInfo(name="plain", title="Plain", licence="CC0", transcripts="none", layout="LABEL_N.wav")

    def row(self, path: Path) -> dict[str, Any] | None:
        return {"id": path.stem, "path": str(path), "label": path.stem[0], "duration": 0.2}

    def read(self, root: Path) -> Manifest:
        base = require_folder("plain", root)
        rows = [self.row(path) for path in visible_files(base, (".wav",))]
        if not rows:
            raise BadRoot("plain", str(root), "wav", ())
        return Manifest(pd.DataFrame([row for row in rows if row]), self.info, self.problems())

    def problems(self) -> tuple[Problem, ...]:
        return ()


class Silent(Plain):
    def row(self, path: Path) -> dict[str, Any] | None:
        return None if path.stem == "b_1" else super().row(path)


class Beyond(Plain):
    def row(self, path: Path) -> dict[str, Any] | None:
        return {**(super().row(path) or {}), "start": 0.1, "end": 0.5}


class Bare(Plain):
    info = CorpusInfo(name="plain", title="Plain", licence="", transcripts="none", layout="LABEL_N.wav")


class Lenient(Plain):
    def read(self, root: Path) -> Manifest:
        table = pd.DataFrame({"id": ["a"], "label": ["a"]})
        return super().read(root) if list(root.glob("*.wav")) else Manifest(table, self.info)


class Restless(Plain):
    count = 0

    def row(self, path: Path) -> dict[str, Any] | None:
        self.count += 1
        return {**(super().row(path) or {}), "id": f"{path.stem}-{self.count}"}


class Unreasoned(Plain):
    def problems(self) -> tuple[Problem, ...]:
        return (Problem("x", ""),)


class Strange(Plain):
    info = CorpusInfo(
        name="plain", title="Plain", licence="CC0", transcripts="none", layout="LABEL_N.wav", scheme="iemocap-4"
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Silent, "left out in silence"),
        (Beyond, r"ends at 0\.500 s in a file of 0\.200 s"),
        (Bare, "no licence"),
        (Lenient, "raise BadRoot"),
        (Restless, "second reading"),
        (Unreasoned, "without a reason"),
        (Strange, "iemocap-4 does not know"),
    ],
)
def test_a_broken_reader_is_found(kind: Callable[[], Plain], message: str, tmp_path: Path, tone):
    for name in ("a_1", "b_1", "b_2"):
        tone(tmp_path / f"{name}.wav")
    check_corpus(Plain(), tmp_path)
    with pytest.raises(AssertionError, match=message):
        check_corpus(kind(), tmp_path)
