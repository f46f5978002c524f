"""`ser init` from the outside: what it recognises, what it calls odd, and the ser.toml that it writes."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from ser_base.settings import load_settings
from ser_data.errors import BadRoot
from ser_data.init import command
from ser_data.recognise import recognise


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


def own_table(folder: Path, header: str = "path,label,speaker,text") -> Path:
    """Four speakers, two classes, and one row whose file is missing."""
    lines = [header]
    for number in range(24):
        name = f"a{number:02d}.wav"
        soundfile.write(folder / name, np.sin(np.arange(4_000) * (0.05 + number / 500)) / 2, 16_000)
        lines.append(f"{name},{'happy' if number % 2 else 'sad'},s{number // 2 % 4},words of {number}")
    (folder / "own.csv").write_text("\n".join([*lines, "gone.wav,sad,s1,nothing there"]) + "\n")
    return folder / "own.csv"


def test_a_table_becomes_settings_that_the_commands_read(here: Path):
    own_table(here)
    done = init("own.csv", "--encoder", "audio=demo,text=demo")
    assert done.exit_code == 3, done.output  # one row is left out
    assert "own: happy 12, sad 12" in done.output
    assert "Odd: missing file: 1, as gone" in done.output and "protocol" in done.output
    content = tomllib.loads((here / "ser.toml").read_text())
    assert content["corpus"] == "csv" and content["root"] == "own.csv" and content["protocol"] == "speaker"
    extract = load_settings("extract", ["corpus", "root", "cache", "encoder", "protocol", "layer"])
    assert extract["encoder"] == "audio=demo,text=demo" and extract["cache"] == "cache"
    assert load_settings("fuse", ["cache", "protocol", "fusion", "labels"])["fusion"] == "audio,text,cross"


def test_a_file_that_is_there_is_kept(here: Path):
    own_table(here)
    (here / "ser.toml").write_text("cache = 'mine'\n")
    done = init("own.csv")
    assert done.exit_code == 1 and "--replace" in done.output
    assert (here / "ser.toml").read_text() == "cache = 'mine'\n"
    assert init("own.csv", "--replace").exit_code == 3 and "own.csv" in (here / "ser.toml").read_text()


def test_a_file_that_cannot_be_written_is_said(here: Path):
    own_table(here)
    (here / "ser.toml").mkdir()
    done = init("own.csv", "--replace")
    assert done.exit_code == 1 and "Is a directory. Check that you may read own.csv" in done.output
    assert [path.name for path in here.iterdir() if path.suffix not in (".wav", ".csv")] == ["ser.toml"]


def test_recordings_without_labels_are_named(here: Path):
    own_table(here)
    (here / "own.csv").unlink()
    done = init(".")
    assert done.exit_code == 1 and "columns path and label" in done.output and not (here / "ser.toml").exists()


def test_other_names_of_columns_are_named(here: Path):
    own_table(here, "wav,emotion,spk,text")
    done = init(".")  # the table in the folder is found
    assert done.exit_code == 1 and not (here / "ser.toml").exists()
    assert "'wav' to 'path'" in done.output and "'emotion' to 'label'" in done.output
    own_table(here, "path,emotion,speaker,text")
    done = init("own.csv")
    assert done.exit_code == 1 and "0 classes" in done.output and "'emotion' to 'label'" in done.output


def test_iemocap_lies_below_and_fits_sessions(pristine: Path, here: Path):
    guesses = recognise(pristine.parent)
    assert guesses[0].corpus == "iemocap" and guesses[0].root == pristine
    done = init(pristine)
    assert "session: 5 folds; held out: session, speaker" in done.output, done.output
    assert tomllib.loads((here / "ser.toml").read_text())["fuse"]["labels"] == "iemocap-7"


@pytest.mark.parametrize(
    ("names", "corpus"),
    [
        (["03-01-01-01-01-01-01.wav", "03-01-05-01-01-01-02.wav"], "ravdess"),
        (["03a01Fa.wav", "08a02Wb.wav"], "emodb"),
        (["DC/sa01.wav", "JE/n02.wav"], "savee"),
        (["AudioWAV/1001_DFA_ANG_XX.wav"], "cremad"),
        (["train_sent_emo.csv"], "meld"),
        (["happy/one.wav", "sad/two.wav"], "audiofolder"),
    ],
)
def test_names_tell_the_corpus(here: Path, names: list[str], corpus: str):
    for name in names:
        (here / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "data" / name).write_bytes(b"")
    assert recognise(here / "data")[0].corpus == corpus


def test_nothing_there_is_said(here: Path):
    (here / "empty").mkdir()
    with pytest.raises(BadRoot, match="neither audio files"):
        recognise(here / "empty")
    with pytest.raises(BadRoot, match="Did you mean 'empty'"):
        recognise(here / "empt")
    (here / "table.xlsx").write_bytes(b"")
    with pytest.raises(BadRoot, match="not a table"):
        recognise(here / "table.xlsx")
