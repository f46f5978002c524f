"""The way that a new user goes: ser init, ser extract, ser fuse, all without options, and what ser status says on the way."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ser_predict.ser import main


def ser(*words: str) -> Any:
    done = CliRunner().invoke(main, list(words))
    assert not isinstance(done.exception, AssertionError), done.output
    return done


def test_from_a_table_to_a_report_without_options(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for row in small.rows:
        shutil.copy(small.folder / row["path"], row["path"])
    shutil.copy(small.folder / "corpus.csv", "corpus.csv")
    shown = ser("status").output
    assert "Nothing is extracted" in shown and shown.endswith("Next: ser init PATH\n"), shown

    done = ser("init", "corpus.csv", "--encoder", f"audio={small.audio_encoder},text={small.text_encoder}")
    assert done.exit_code == 0, done.output
    settings = Path("ser.toml")
    text = settings.read_text().replace("[extract]", "[extract]\nworkers = 0")
    settings.write_text(text.replace('fusion = "audio,text,cross"', 'fusion = "audio"\nepochs = 1\nworkers = 0'))
    assert ser("status").output.endswith("Next: ser extract\n")
    done = ser("extract", "--layer", "2")
    assert done.exit_code == 0, done.output
    shown = ser("status").output
    assert shown.count("current") == 2 and shown.endswith("Next: ser fuse\n"), shown
    done = ser("fuse")
    assert done.exit_code == 0, done.output
    shown = ser("status").output
    assert "3 of 3" in shown and shown.endswith("Everything is current.\n"), shown

    (run,) = Path("runs").iterdir()
    done = ser("report", str(run), "--map", "tsne")
    assert done.exit_code == 0, done.output
    page = (run / "report.html").read_text()
    assert 'id="data"' in page and "audio: speaker" in page and "audio, tsne" in page
    assert "report.html is not as it was written" in ser("status").output

    with Path("corpus.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    rows[0]["text"] = "other words"
    with Path("corpus.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shutil.copy(rows[2]["path"], rows[1]["path"])
    shown = ser("status").output
    assert shown.count("stale: 1 changed") == 2 and "Next: ser extract" in shown, shown
    assert ser("extract", "--layer", "2").exit_code == 0
    assert "features, labels or folds have changed" in ser("status").output


def test_status_says_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/broken").mkdir(parents=True)
    (tmp_path / "runs/broken/run.json").write_text("{")
    done = ser("status")
    assert done.exit_code == 0 and "run.json" in done.output and "0 of 0" in done.output
    (tmp_path / "cache").mkdir()
    done = ser("status")
    assert done.exit_code == 1 and "Error" in done.output and "Traceback" not in done.output
