"""Schemes by name and by file; unknown labels are told."""

from pathlib import Path

import pandas as pd
import pytest

from ser_base.errors import BadSettings, UnknownName
from ser_data.errors import UnknownLabel
from ser_data.manifest.labels import SCHEMES, resolve_scheme
from ser_data.manifest.table import CorpusInfo, Manifest


def manifest(labels: list[str | None], scheme: str = "") -> Manifest:
    table = pd.DataFrame({"id": [str(i) for i in range(len(labels))], "label": labels})
    return Manifest(table, CorpusInfo(name="x", title="x", licence="x", scheme=scheme))


def test_the_study_and_the_merged_scheme():
    labels = pd.Series(["neu", "exc", "hap", "fru", "xxx", None, "sur"], index=list("abcdefg"))
    assert SCHEMES["iemocap-7"].classes == ("ang", "exc", "fru", "hap", "neu", "sad", "sur")
    assert SCHEMES["iemocap-7"].apply(labels).tolist() == ["neu", "exc", "hap", "fru", None, None, "sur"]
    assert SCHEMES["iemocap-4"].apply(labels).tolist() == ["neu", "hap", "hap", None, None, None, None]
    assert SCHEMES["iemocap-4-noexc"].apply(labels).tolist() == ["neu", None, "hap", None, None, None, None]
    assert SCHEMES["iemocap-4"].apply(labels).index.tolist() == list("abcdefg")


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_every_scheme_is_consistent(scheme):
    assert set(scheme.mapping.values()) == set(scheme.classes)
    assert not set(scheme.mapping) & scheme.ignored
    if scheme.name.startswith("iemocap"):
        assert set(scheme.mapping) | scheme.ignored == {
            "ang",
            "hap",
            "exc",
            "sad",
            "neu",
            "fru",
            "sur",
            "fea",
            "dis",
            "oth",
            "xxx",
        }


def test_unknown_label_lists_the_known():
    with pytest.raises(UnknownLabel, match="does not know 'Neu', 'zzz'.\nDid you mean 'neu'"):
        SCHEMES["iemocap-7"].apply(pd.Series(["ang", "zzz", "Neu"]))


def test_resolving():
    assert resolve_scheme("auto", manifest(["b", "a", None, "b"])).classes == ("a", "b")
    assert resolve_scheme(None, manifest(["neu"], "iemocap-7")).name == "iemocap-7"
    assert resolve_scheme("own", manifest(["neu"], "iemocap-7")).classes == ("neu",)
    with pytest.raises(UnknownName, match="Did you mean 'iemocap-7'"):
        resolve_scheme("iemocap7", manifest(["a"]))


def test_an_own_map(tmp_path: Path):
    file = tmp_path / "valence.toml"
    file.write_text('name = "valence"\nignore = ["neu"]\n[classes]\nneg = ["ang", "sad"]\npos = ["hap"]\n')
    scheme = resolve_scheme(file, manifest(["ang"]))
    assert (scheme.name, scheme.classes) == ("valence", ("neg", "pos"))
    assert scheme.apply(pd.Series(["sad", "neu", "hap"])).tolist() == ["neg", None, "pos"]
    for text, message in [
        ("classes = 3", "is not a label scheme"),
        ('[classes]\na = ["x"]\nb = ["x"]', "'x' occurs in two places"),
        ('[clases]\na = ["x"]', "unknown key clases"),
        ("[", "cannot be read"),
    ]:
        file.write_text(text)
        with pytest.raises(BadSettings, match=message):
            resolve_scheme(file, manifest(["ang"]))
