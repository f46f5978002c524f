"""The user's own CSV and JSON lines: every bad row becomes a problem with its line, the rest is read."""

import json
from pathlib import Path

import pytest

from ser_data.corpora import CORPORA
from ser_data.errors import BadManifest, BadRoot


def read(path: Path, name: str = "csv", **options):
    return CORPORA[name].read(path, **options)


def test_bad_rows_are_told_and_the_rest_is_read(tmp_path: Path, tone):
    for name in ("a", "b", "c"):
        tone(tmp_path / f"{name}.wav")
    (tmp_path / "t.csv").write_bytes(
        b"id,path,label,text,start,end,part\n"
        b"1,a.wav,ang,hello,,,train\n"
        b"1,b.wav,ang,again,,,\n"  # 3
        b"3,none.wav,sad,x,,,\n"  # 4
        b"4,,sad,x,,,\n"  # 5
        b"5,b.wav,sad,caf\xe9,,,\n"  # 6
        b"6,b.wav,joy,x,,,\n"  # 7
        b"7,b.wav,sad,x,soon,,\n"  # 8
        b"8,b.wav,sad,x,2,1,\n"  # 9
        b"9,b.wav,sad\n"  # 10
        b"10,b.wav,sad,x,,,training\n"  # 11
        b"11,b.wav,,x,,,\n"  # 12
        b'12,c.wav,sad,,0.05,0.1,"dev"\n'  # 13
        b"13,c.wav,sad,[LAUGHTER],,,\n"  # 14
        b"\n"
        b'14,c.wav,sad,"two\nlines",,,\n'  # 16-17
    )
    manifest = read(tmp_path / "t.csv", labels={"ang", "sad"})
    assert manifest.table["id"].tolist() == ["1", "11", "12", "13", "14"]
    told = {(p.id, p.reason, p.where, p.dropped) for p in manifest.problems}
    assert told == {
        ("1", "duplicate id", "t.csv, line 3", True),
        ("3", "missing file", "t.csv, line 4", True),
        ("4", "missing path", "t.csv, line 5", True),
        ("5", "not UTF-8", "t.csv, line 6", True),
        ("6", "unknown label", "t.csv, line 7", True),
        ("7", "bad number", "t.csv, line 8", True),
        ("8", "bad span", "t.csv, line 9", True),
        ("", "bad row", "t.csv, line 10", True),
        ("10", "bad part", "t.csv, line 11", True),
        ("11", "missing label", "t.csv, line 12", False),
        ("12", "missing text", "t.csv, line 13", False),
        ("13", "empty text", "t.csv, line 14", False),
        ("", "line breaks in cells", "t.csv", False),
    }
    assert manifest.table["duration"].round(3).tolist()[2] == 0.05
    assert manifest.table["text_normalised"].tolist()[-1] == "two lines"


def test_unicode_spaces_windows_paths_links_and_parents(tmp_path: Path, tone):
    folder = tmp_path / "Ton Aufnahmen ß"
    tone(folder / "öffne 1.wav")
    tone(tmp_path / "beside" / "x.wav")
    (folder / "link.wav").symlink_to(tmp_path / "beside" / "x.wav")
    (tmp_path / "lists").mkdir()
    rows = [
        "path;label;speaker",
        "..\\Ton Aufnahmen ß\\öffne 1.wav;wütend;Ä",
        "../Ton Aufnahmen ß/link.wav;ruhig;Ä",
        f"{tmp_path}/beside/x.wav;ruhig;名前",
        "C:\\corpus\\x.wav;ruhig;Ä",
    ]
    (tmp_path / "lists" / "t.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    manifest = read(tmp_path / "lists" / "t.csv")
    assert [Path(path).name for path in manifest.table["path"]] == ["öffne 1.wav", "link.wav", "x.wav"]
    assert all(Path(path).is_file() and Path(path).is_absolute() for path in manifest.table["path"])
    assert manifest.table["label"].tolist() == ["wütend", "ruhig", "ruhig"]
    (problem,) = manifest.problems
    assert (problem.reason, problem.detail) == ("missing file", "C:/corpus/x.wav")


def test_videos_are_the_rows_own(tmp_path: Path, tone):
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        tone(tmp_path / name)
    (tmp_path / "t.csv").write_text(
        "id,path,label,start,end,video_path,video_start,video_end,video_crop\n"
        "a,a.wav,x,0,0.1,clips/a.mp4,,,\n"  # the span of the row counts for both
        "b,b.wav,x,,,../b.avi,1.5,2.5,left\n"
        "c,c.wav,x,,,,,,\n"
        "d,d.wav,x,,,d.mp4,,,top\n"
        "e,d.wav,x,,,d.mp4,3,2,\n"
    )
    found = read(tmp_path / "t.csv")
    assert {problem.id: problem.reason for problem in found.problems} == {"d": "bad crop", "e": "bad span"}
    a, b, c = found.utterances()
    assert (a.video_path, a.video_span, a.video_crop) == (str(tmp_path / "clips/a.mp4"), (0.0, 0.1), None)
    assert (b.video_path, b.video_span, b.video_crop) == (str(tmp_path.parent / "b.avi"), (1.5, 2.5), "left")
    assert c.video_path is None
    found.write(tmp_path / "m.csv")
    assert list(type(found).read(tmp_path / "m.csv").utterances()) == [a, b, c]


def test_ids_are_made_from_paths_and_spans(tmp_path: Path, tone):
    tone(tmp_path / "a" / "x.wav")
    (tmp_path / "t.csv").write_text("path,label,start,end\na/x.wav,y,,\na/x.wav,y,0.1,0.2\n")
    assert read(tmp_path / "t.csv").table["id"].tolist() == ["a/x", "a/x@0.1"]


def test_files_need_not_be_checked_and_text_needs_no_audio(tmp_path: Path):
    (tmp_path / "t.csv").write_text("path,label\nnone.wav,y\n")
    assert len(read(tmp_path / "t.csv", check_files=False)) == 1
    (tmp_path / "text.csv").write_text("id,text,label\n1,hello,y\n")
    assert read(tmp_path / "text.csv").table["path"].tolist() == [None]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"file,label\nx.wav,y\n", "no column 'path'; it has file, label"),
        (b"path,path\nx.wav,y\n", "a column that occurs twice"),
        (b"path,label\nx.wav,y\n", "no usable row among 1; the first problem: x: missing file"),
        (b"", r"is empty \(0 bytes\)"),
        (b"\xef\xbb\xbf\n \n", "is empty"),
        (b"path,label\n", "has no row below its header"),
        ("path,label\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_unusable_tables(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(BadManifest, match=message):
        read(tmp_path / "t.csv")


def test_no_such_file_and_unknown_option(tmp_path: Path):
    with pytest.raises(BadRoot, match="does not exist"):
        read(tmp_path / "none.csv")
    with pytest.raises(BadRoot, match="is a folder, not a file"):
        read(tmp_path)
    (tmp_path / "t.csv").write_text("path,label\n")
    with pytest.raises(TypeError, match="lables"):
        read(tmp_path / "t.csv", lables=set())


def test_json_lines(tmp_path: Path, tone):
    tone(tmp_path / "a.wav")
    (tmp_path / "t.jsonl").write_text(
        '{"path": "a.wav", "label": "x", "id": 1, "votes": {"x": 2, "y": 1}, "start": 0.05, "text": null}\n'
        "[1]\n"
        "nonsense\n"
        '{"path": "b.wav", "label": "x"}\n'
    )
    manifest = read(tmp_path / "t.jsonl", "jsonl")
    (row,) = manifest.utterances()
    assert (row.id, json.loads(row.votes or "{}"), row.start) == ("1", {"x": 2, "y": 1}, 0.05)
    assert [(p.reason, p.where) for p in manifest.dropped] == [
        ("bad row", "t.jsonl, line 2"), ("bad row", "t.jsonl, line 3"), ("missing file", "t.jsonl, line 4"),
    ]  # fmt: skip


def test_ids_are_relative_to_the_table_and_no_row_renames_another(tmp_path: Path, tone):
    folder = tmp_path / "corpus"
    for name in ("a/x.wav", "a/x.flac", "y.wav", "take.1.wav"):
        tone(folder / name)
    (tmp_path / "link").symlink_to(folder)
    tone(tmp_path / "beside.wav")
    rows = [
        f"{folder}/a/x.wav",
        "a/x.flac",
        f"{tmp_path}/link/y.wav",
        f"{tmp_path}/beside.wav",
        "../beside.wav",
        "take.1.wav",
    ]
    wanted = ["a/x", "a/x.flac", "y", f"{tmp_path}/beside", "../beside", "take.1"]
    for count in (3, 6):
        (folder / "t.csv").write_text("path,label\n" + "".join(f"{row},l\n" for row in rows[:count]))
        for root in (folder / "t.csv", tmp_path / "link" / "t.csv"):
            assert read(root).table["id"].tolist() == wanted[:count]
    (note,) = read(folder / "t.csv").notes
    assert note.reason == "shared stem" and "a/x.flac" in note.detail
    (folder / "t.csv").write_text("path,label,start\na/x.wav,l,\na/x.wav,m,\n")
    assert [problem.reason for problem in read(folder / "t.csv").problems] == ["duplicate id"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\u200b\u2060", "nothing visible"),
        ("?!...", "no letter"),
        ("[LAUGHTER]", "nothing but tags"),
        ("…", "no letter"),
    ],
)
def test_texts_without_a_word_are_told(tmp_path: Path, tone, text: str, why: str):
    tone(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text(f"path,label,text\na.wav,x,{text}\n", encoding="utf-8")
    (problem,) = read(tmp_path / "t.csv").problems
    assert (problem.reason, problem.dropped) == ("empty text", False) and why in problem.detail


def test_a_missing_file_is_told_with_what_is_there_under_nearly_its_name(tmp_path: Path, tone):
    import unicodedata

    composed, apart = (unicodedata.normalize(form, "Bär.wav") for form in ("NFC", "NFD"))
    for name in (apart, "take.WAV", "b.flac", "Folder/x.wav"):
        tone(tmp_path / name)
    (tmp_path / "t.csv").write_text(
        f"path,label\n{composed},x\ntake.wav,x\nb.wav,x\nfolder/x.wav,x\nnone.wav,x\n", encoding="utf-8"
    )
    with pytest.raises(BadManifest):
        read(tmp_path / "t.csv")
    tone(tmp_path / "there.wav")
    with (tmp_path / "t.csv").open("a") as file:
        file.write("there.wav,x\n")
    near = [problem.detail.partition("; ")[2] for problem in read(tmp_path / "t.csv").problems]
    assert near == [
        f"nearly the same name: {str(tmp_path / name)!r}" for name in (apart, "take.WAV", "b.flac", "Folder")
    ] + [""]
