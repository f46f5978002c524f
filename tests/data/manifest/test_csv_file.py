"""CSV files are read strictly: a quote that is not closed refuses the file, and odd but lawful things are told."""

from pathlib import Path

import pytest

from ser_data.corpora import CORPORA
from ser_data.errors import BadManifest
from ser_data.manifest.csv_file import csv_frame, parse_csv, read_csv


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # the two tables of the case: three rows became one, four became two, and nothing was said
        ('p,l,t\na,happy,"Well, I never\nb,sad,go\nc,angry,"No," she said\n', "opens on line 2 and is closed only on line 4"),
        ('p,l,t\na,happy,"Well I never\nb,sad,go away\nc,angry,no\n', "opens on line 2 and is never closed"),
        ('a,b\n1,"x\ny","z\n1,2\n', "opens on line 3 and is never closed"),  # the second quoted cell of a row
        ('a,b\n1,"x\ny","z\n1,2"q\n3,4', "opens on line 3 and is closed only on line 4"),
        ('a,b\n1,"x"y\n2,3\n', "in the middle of a cell on line 2"),
        ('"a,b\n1,2\n', "opens on line 1 and is never closed"),
        ("a,b\n" + "1,2\n" * 1000 + '3,"4\n' + "5,6\n" * 1000, "opens on line 1002 and is never closed"),
    ],
)  # fmt: skip
def test_a_quote_that_is_not_closed_refuses_the_file(text: str, told: str):
    with pytest.raises(BadManifest, match=told) as caught:
        parse_csv(text, "t.csv")
    assert "nothing is read" in caught.value.problem


def test_a_forgotten_quote_is_found_behind_more_text_than_a_cell_may_hold():
    """Python's own limit of 128 KiB per cell must not hide what is wrong."""
    with pytest.raises(BadManifest, match="opens on line 2 and is never closed"):
        parse_csv('a,b\n1,"x\n' + "2,3\n" * 100_000, "t.csv")


def test_cells_may_span_lines_and_that_is_told():
    found = parse_csv('a,b\n1,"x\ny"\n2,"z\r\n""q"""\n', "t.csv")
    assert found.rows == ((3, {"a": "1", "b": "x\ny"}), (5, {"a": "2", "b": 'z\r\n"q"'}))
    ((reason, detail),) = found.notes
    assert reason == "line breaks in cells" and "2 cells" in detail and "line 2" in detail


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_end_at_line_ends_and_at_nothing_else(end: str):
    strange = "a\x85b\u2028c\x0bd\x1ce"
    found = parse_csv(end.join(["id,text", f"1,{strange}", "2,x", ""]), "t.csv")
    assert [row for _, row in found.rows] == [{"id": "1", "text": strange}, {"id": "2", "text": "x"}]
    assert not found.notes


def test_columns_without_name_and_value_are_left_out_with_a_note(tmp_path: Path, tone):
    for name in ("a", "b"):
        tone(tmp_path / f"{name}.wav")
    (tmp_path / "excel.csv").write_text("path;label;speaker;text;;\na.wav;happy;s1;hello;;\nb.wav;sad;s2;there;;\n")
    (tmp_path / "rows.csv").write_text("path,label,speaker,text\na.wav,happy,s1,hello,\nb.wav,sad,s2,there,\n")
    for name, told in (("excel.csv", "2 columns have neither"), ("rows.csv", "2 rows end in empty fields")):
        manifest = CORPORA["csv"].read(tmp_path / name)
        assert manifest.table[["id", "label", "speaker", "text"]].to_numpy().tolist() == [
            ["a", "happy", "s1", "hello"],
            ["b", "sad", "s2", "there"],
        ]
        (note,) = manifest.notes
        assert note.reason == "empty columns" and told in note.detail and not note.dropped


def test_values_without_a_column_are_not_dropped_in_silence():
    kept = parse_csv(",path\n0,a.wav\n1,b.wav\n", "t.csv")  # the index that pandas writes
    assert kept.header == ("", "path") and kept.rows[1][1] == {"": "1", "path": "b.wav"}
    with pytest.raises(BadManifest, match="2 columns with values and no name"):
        parse_csv("path,,\na.wav,1,2\n", "t.csv")
    found = parse_csv("a,b\n1,2,3\n1\n4,5\n", "t.csv")
    assert [row for _, row in found.rows] == [
        "3 fields where the header has 2",
        "1 fields where the header has 2",
        {"a": "4", "b": "5"},
    ]


def test_frames_are_whole_or_an_error(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfid;fold\n a ;NA\n")
    assert csv_frame(path).to_dict("list") == {"id": [" a "], "fold": ["NA"]}
    for data, told in (
        (b"id,fold\na\n", "line 2: 1 fields"),
        (b"id,fold\na,\xff\n", "is not UTF-8"),
        (b"", r"is empty \(0 bytes\)"),
        ("id,fold\n".encode("utf-16"), "UTF-16"),
        (b'id,fold\na,"1\n', "opens on line 2"),
    ):
        path.write_bytes(data)
        with pytest.raises(BadManifest, match=told):
            csv_frame(path)
    path.write_bytes(b"id\n\xff\n")
    assert read_csv(path).rows == ((2, {"id": "\udcff"}),)
