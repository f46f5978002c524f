"""`ser data` from the outside: what it prints, what it writes, how it ends."""

from pathlib import Path

import pytest
import rich_click as click
from click.testing import CliRunner, Result

from ser_data.cli import main
from ser_data.corpora import CORPORA
from ser_data.errors import BadRoot
from ser_data.manifest.table import Manifest
from ser_data.protocols import PROTOCOLS, Folds
from ser_data.show import amount


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


def test_list():
    out = run("list").stdout
    assert all(name in out for name in CORPORA) and "CC BY-NC-SA 4.0" in out
    assert "AudioWAV" in run("list", "cremad").stdout and "label_from" in run("list", "cremad").stdout
    assert "iemocap-4-noexc" in run("list", "--schemes").stdout
    assert all(name in run("list", "--protocols").stdout for name in PROTOCOLS)


def test_validate_ends_with_0_and_1(pristine: Path):
    good = run("validate", "iemocap", pristine, "--partial")
    assert good.exit_code == 0 and "valid, " in good.stdout and "(synthetic)" in good.stdout
    bad = run("validate", "iemocap", pristine)
    assert bad.exit_code == 1 and "violations" in bad.stdout and "published" in bad.stdout
    assert "more (--all shows them)" in bad.stdout
    assert "--all shows them" not in run("validate", "iemocap", pristine, "--all").stdout


def test_describe_draws(pristine: Path, tmp_path: Path):
    for name in ("plot.png", "plot.svg"):
        done = run("describe", "iemocap", pristine, "--labels", "iemocap-7", "--plot", tmp_path / name)
        assert done.exit_code == 0 and (tmp_path / name).stat().st_size > 5000
    assert "nothing here says anything about people" in done.stdout and "Classes by session" in done.stdout
    assert "5M" in done.stdout
    assert (
        "test part (session+scenario)" in run("describe", "iemocap", pristine, "--protocol", "session+scenario").stdout
    )


def test_convert_folds_and_back(pristine: Path, tmp_path: Path):
    assert run("convert", "iemocap", pristine, "--labels", "iemocap-4", "--out", tmp_path / "m.parquet").exit_code == 0
    manifest = Manifest.read(tmp_path / "m.parquet")
    assert set(manifest.table["label"]) == {"ang", "hap", "neu", "sad"} and manifest.info.synthetic
    done = run("folds", "--manifest", tmp_path / "m.parquet", "--protocol", "speaker", "--out", tmp_path / "f.csv")
    assert done.exit_code == 0 and "development partner, held out: speaker" in done.stdout
    assert len(Folds.from_csv(tmp_path / "f.csv").folds) == 10
    dropped = run("folds", "--manifest", tmp_path / "m.parquet", "--protocol", "session", "--drop-seen-text")
    assert (
        "training and development utterances left out" in " ".join(dropped.stdout.split()) and " 0.0%" in dropped.stdout
    )


def test_random_is_warned(pristine: Path):
    assert "+4.0 points" in run("folds", "iemocap", pristine, "--protocol", "random").stdout


def test_what_was_left_out_is_told_and_ends_with_3(tmp_path: Path, tone):
    tone(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text("path,label\na.wav,x\nb.wav,x\n")
    done = run("convert", "csv", tmp_path / "t.csv", "--out", tmp_path / "m.csv")
    assert done.exit_code == 3
    assert "1 row was left out: missing file 1." in done.stderr and "t.csv, line 3" in done.stderr


def test_mistakes_are_one_message(tmp_path: Path, pristine: Path):
    missing = run("validate", "iemocap", tmp_path / "nothing")
    assert missing.exit_code == 1 and "Give the corpus's folder" in missing.stderr
    assert run("validate", "iemocap").exit_code == 2
    assert run("describe", "imocap", pristine).exit_code == 2
    neither = run("describe")
    assert neither.exit_code == 1 and "Give NAME and ROOT" in neither.stderr
    option = run("describe", "ravdess", tmp_path, "--option", "duration=false")
    assert option.exit_code == 1 and "Did you mean 'durations'" in " ".join(option.stderr.replace("│", " ").split())
    label = run("describe", "iemocap", pristine, "--labels", "iemocap7")
    assert label.exit_code == 1 and "iemocap-7" in label.stderr


def test_generate_and_settings(tmp_path: Path):
    done = run("generate", "iemocap-shaped", tmp_path / "new", "--turns", 302, "--plant", "scenario")
    assert done.exit_code == 0 and "304 turns (synthetic)" in done.stdout and "--partial" in done.stdout
    Path("ser.toml").write_text(f'corpus = "iemocap"\nroot = "{tmp_path / "new"}"\n[data]\npartial = true\n')
    assert run("validate").exit_code == 0
    assert run("generate", "iemocap-shaped", tmp_path / "new").exit_code == 1


@pytest.mark.parametrize("name", list(main.commands))
def test_help_is_whole_sentences_of_at_most_25_words(name: str):
    command = main.commands[name]
    texts = [command.help, *(option.help for option in command.params if isinstance(option, click.Option))]
    for text in texts:
        assert text and text[0].isupper(), f"{name}: {text}"
        for sentence in text.split(". "):
            assert len(sentence.split()) <= 25, f"{name}: {sentence}"


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("csv", "no.csv does not exist.\nGive the table itself as ROOT: FILE.csv."),
        ("iemocap", "no.csv does not exist.\nGive the corpus's folder as ROOT."),
    ],
)
def test_a_path_that_does_not_exist(corpus: str, message: str):
    with pytest.raises(BadRoot) as caught:
        CORPORA[corpus].read(Path("no.csv"))
    assert str(caught.value) == message
    Path("now.csv").touch()
    with pytest.raises(BadRoot, match="does not exist.\nDid you mean 'now.csv'"):
        CORPORA[corpus].read(Path("no.csv"))


def test_numbers_and_nouns_agree():
    assert [amount(number, "row") for number in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
