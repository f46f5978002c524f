"""Whatever bytes a file holds, a reader gives a manifest or one of our errors, never a traceback."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ser_data.corpora import CORPORA
from ser_data.corpora.iemocap_files import read_evaluation, read_transcripts
from ser_data.errors import CorpusError
from ser_data.manifest.table import Manifest
from ser_data.protocols import Folds

ANYTHING = st.binary(max_size=300)
PIECES = st.lists(
    st.sampled_from(
        [b"path", b"id", b"label", b"text", b",", b";", b"\n", b"\r", b'"', b"a.wav", b"1", b"nan", b"\xff", b"\0", b"\xef\xbb\xbf",
         b"start", b"end", b"1e999", b"{", b"}", b":", b"[", b"null", "é".encode()]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", ["csv", "jsonl"])
@SLOW
@given(data=ANYTHING | PIECES)
@example(data=b'path,label\n"')
@example(data=b'{"path": {"a": 1}, "label": [2], "start": true}')
@example(data=b'{"path": "a.wav", "id": "1", "votes": "x"}')
def test_tables(tmp_path: Path, tone, name: str, data: bytes):
    tone(tmp_path / "a.wav")
    (tmp_path / "t").write_bytes(data)
    try:
        manifest = CORPORA[name].read(tmp_path / "t")
    except CorpusError as error:
        assert len(str(error).splitlines()) >= 2
    else:
        assert len(manifest) and manifest.to_bytes()


@SLOW
@given(data=ANYTHING | PIECES)
def test_manifests_and_folds(tmp_path: Path, data: bytes):
    for ending, read in ((".parquet", Manifest.read), (".csv", Manifest.read), (".csv", Folds.from_csv)):
        (tmp_path / f"m{ending}").write_bytes(data)
        try:
            read(tmp_path / f"m{ending}")
        except CorpusError as error:
            assert str(tmp_path) in str(error)


LINE = "[1.0000 - 2.0000]\tSes01F_impro01_F000\tneu\t[2.5000, 3.0000, 2.5000]\n"


@SLOW
@given(data=ANYTHING | st.text(alphabet="[]().,:;-0123456789\t\nSesFM_improCAE val", max_size=200).map(str.encode))
@example(data=LINE.replace("2.5000, 3", "2.5.0, 3").encode())
@example(data=("C-E1:\tNeutral;\t()\n" + LINE).encode())
@example(data=(LINE + "A-E1:\tval 1.2.3; act 2; dom 3;\t()\n").encode())
def test_iemocap_lines(tmp_path: Path, data: bytes):
    (tmp_path / "x.txt").write_bytes(data)
    turns, faults = read_evaluation(tmp_path / "x.txt")
    rows, more = read_transcripts(tmp_path / "x.txt")
    count = data.count(b"\n") + 1
    assert all(1 <= line <= count for line in [*(t.line for t in turns), *(f.line for f in (*faults, *more))])
    assert all(row[1] >= 0 for row in rows)
