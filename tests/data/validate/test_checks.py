"""`ser data validate` finds before extraction what extraction will refuse, with the same reasons."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from click.testing import CliRunner

from ser_data.cli import main
from ser_data.media.audio import AudioError
from ser_data.media.isolated import IsolatedDecoder
from ser_data.validate import validate

NOISE = (0.1 * np.random.default_rng(0).standard_normal(64_000)).astype(np.float32)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A table of recordings, each with its reason as name."""
    sf.write(tmp_path / "fine.wav", NOISE, 16_000)
    (tmp_path / "empty.wav").write_bytes(b"")
    sf.write(tmp_path / "too_short.wav", NOISE[:320], 16_000)
    data = (tmp_path / "fine.wav").read_bytes()
    (tmp_path / "truncated.wav").write_bytes(data[:40_000])
    (tmp_path / "unreadable.wav").write_bytes(b"<html>not found</html>" * 9)
    sf.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    sf.write(tmp_path / "open.ogg", NOISE, 16_000)
    ogg = (tmp_path / "open.ogg").read_bytes()
    (tmp_path / "open.ogg").write_bytes(ogg[: len(ogg) // 2])
    names = ["fine.wav", "empty.wav", "too_short.wav", "truncated.wav", "unreadable.wav", "silent.wav", "open.ogg"]
    rows = [f"{name},x,,\n" for name in names] + ["fine.wav,x,3.5,5\n", "truncated.wav,x,0.1,0.5\n"]
    (tmp_path / "list.csv").write_text("path,label,start,end\n" + "".join(rows))
    return tmp_path / "list.csv"


def test_headers_are_read_and_samples_on_request(broken: Path):
    told: list[tuple[int, int]] = []
    report = validate("csv", broken, tell=lambda done, total: told.append((done, total)))
    found = {finding.id: finding.check for finding in report.errors}
    wanted = {name: name for name in ("empty", "too_short", "truncated", "unreadable")} | {"fine@3.5": "span"}
    assert found == wanted
    assert told[-1] == (9, 9)
    (note,) = [finding for finding in report.findings if finding.check == "length unknown"]
    assert note.severity == "note" and "1 recordings" in note.what and "no end-of-stream page: 1" in note.what
    decoded = validate("csv", broken, decode=True)
    assert {finding.id: finding.check for finding in decoded.errors} == wanted | {"silent": "silent"}


def test_the_reasons_are_those_of_extraction(broken: Path):
    report = validate("csv", broken, decode=True)
    with IsolatedDecoder() as decoder:
        for row in report.manifest.table.itertuples():
            try:
                decoder.decode(row.path, row.start, row.end)
                reason = None
            except AudioError as error:
                reason = error.reason
            assert reason == {finding.id: finding.check for finding in report.errors}.get(row.id)


def test_the_command(broken: Path):
    done = CliRunner().invoke(main, ["validate", "csv", str(broken)])
    assert done.exit_code == 1 and "5 violations" in done.output and "truncated" in done.output
    done = CliRunner().invoke(main, ["validate", "csv", str(broken), "--decode"])
    assert done.exit_code == 1 and "6 violations" in done.output


def test_the_cases(shared: Path):
    cases = shared / "cases"
    if not cases.is_dir():
        pytest.skip("no cases there")
    done = CliRunner().invoke(main, ["validate", "csv", str(cases / "validate-empty" / "list.csv")])
    assert done.exit_code == 1 and "empty" in done.output
    report = validate("csv", cases / "truncated-audio" / "corpus.csv")
    assert {finding.check for finding in report.errors} == {"truncated"}
    assert len(report.errors) == 2 and len(report.manifest) == 3
