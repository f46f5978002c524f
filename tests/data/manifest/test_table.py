"""Types, round trips and refusals of the manifest."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_data.errors import BadManifest
from ser_data.manifest.columns import COLUMNS
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.manifest.text import clean_name

INFO = CorpusInfo(name="own", title="Own", licence="mine", synthetic=True)


def test_columns_types_and_derived_values():
    table = pd.DataFrame(
        {
            "extra": [1.0, None],
            "start": ["1.5", None],
            "end": [4, 2],
            "text": ["[LAUGHTER] A’s", None],
            "id": ["b", "a"],
        }
    )
    manifest = Manifest(table, INFO)
    assert list(manifest.table.columns) == [*COLUMNS, "extra"]
    assert manifest.table["text_normalised"].tolist() == ["A's", None]
    assert manifest.table["text_hash"].isna().tolist() == [False, True]
    assert manifest.table["duration"].tolist() == [2.5, 2.0]
    assert manifest.table["extra"].tolist() == ["1", None]
    assert manifest.table["corpus"].tolist() == ["own", "own"]
    first, second = manifest.utterances()
    assert (first.id, first.start, first.speaker, first.turn) == ("b", 1.5, None, None)
    assert asdict(second)["text"] is None


def test_a_given_hash_is_never_believed():
    table = pd.DataFrame({"id": ["a"], "text": ["x"], "text_hash": ["0" * 32]})
    assert Manifest(table, INFO).table["text_hash"].item() != "0" * 32


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"path": ["x"]}), "no column 'id'"),
        (pd.DataFrame({"id": ["a", "a"]}), "more than once: a"),
        (pd.DataFrame({"id": ["a", None]}), "1 rows have no id"),
        (pd.DataFrame({"id": ["a", "\u00ad"]}), "1 rows have no id"),  # a soft hyphen, which nobody sees
    ],
)
def test_refusals(table: pd.DataFrame, message: str):
    with pytest.raises(BadManifest, match=message):
        Manifest(table, INFO)


words = st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(str.strip)
ids = words.map(clean_name).filter(bool)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(ids, st.none() | words, st.none() | st.booleans()), min_size=1, max_size=6, unique_by=lambda r: r[0]
    )
)
def test_parquet_and_csv_round_trips(tmp_path_factory, rows):
    table = pd.DataFrame(rows, columns=["id", "text", "scripted"])
    table["turn"] = range(len(table))
    manifest = Manifest(
        table, INFO, [Problem("x", "missing file", "ü", "l. 3"), Problem("y", "empty text", dropped=False)]
    )
    folder = tmp_path_factory.mktemp("manifest")
    for name in ("a.parquet", "a.csv"):
        manifest.write(folder / name)
        again = Manifest.read(folder / name)
        assert again.info == INFO and again.problems == manifest.problems
        pd.testing.assert_frame_equal(again.table, manifest.table)
    assert [p.id for p in manifest.dropped] == ["x"]


def test_texts_that_look_like_missing_values_stay_texts(tmp_path: Path):
    manifest = Manifest(pd.DataFrame({"id": ["1", "2", "3"], "text": ["None", "NA", "nan"]}), INFO)
    manifest.write(tmp_path / "m.csv")
    assert Manifest.read(tmp_path / "m.csv").table["text"].tolist() == ["None", "NA", "nan"]


def test_relative_paths_become_absolute_on_reading(tmp_path: Path):
    folder = tmp_path / "Ordner mit Leerzeichen ü"
    folder.mkdir()
    Manifest(pd.DataFrame({"id": ["1", "2", "3"], "path": ["a/b.wav", "/abs/c.wav", None]}), INFO).write(
        folder / "m.parquet"
    )
    assert Manifest.read(folder / "m.parquet").table["path"].tolist() == [str(folder / "a/b.wav"), "/abs/c.wav", None]


def test_bad_files_are_told(tmp_path: Path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "x.csv").write_bytes(b"id,text\na,\xff\n")
    for name, message in [
        ("x.parquet", "cannot be read as a manifest"),
        ("other.parquet", "not a manifest of ser data"),
        ("x.csv", "cannot be read as a manifest"),
        ("none.csv", "does not exist"),
        ("x.xlsx", "has the ending '.xlsx', which is not a manifest format"),
    ]:
        with pytest.raises(BadManifest, match=message):
            Manifest.read(tmp_path / name)
    with pytest.raises(BadManifest, match="not a manifest format"):
        Manifest(pd.DataFrame({"id": ["a"]}), INFO).write(tmp_path / "x.json")


def test_select_keeps_problems():
    manifest = Manifest(pd.DataFrame({"id": ["a", "b"]}), INFO, [Problem("c", "missing file")])
    part = manifest.select(["b"])
    assert part.table["id"].tolist() == ["b"] and part.problems == manifest.problems
