"""The options of ser extract and ser fuse: few are shown, every earlier spelling is read, and each stands in one place."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rich_click as click
from click.testing import CliRunner
from pydantic import BaseModel

from ser_base.command_line import options_page as page
from ser_base.options import JobOption, job_values
from ser_extract.cli import command as extract
from ser_extract.job import ExtractJob
from ser_fusion.cli.fuse import asked_of
from ser_fusion.cli.fuse import command as fuse
from ser_fusion.runs.job import FuseJob

COMMANDS: dict[
    str, tuple[click.Command, Callable[[click.Context], dict[str, Any]], type[BaseModel], list[str], dict[str, Any]]
] = {
    "extract": (extract, job_values, ExtractJob, ["--corpus", "csv", "--root", "r", "--cache", "c"], {}),
    "fuse": (fuse, asked_of, FuseJob, ["--cache", "c"], {"out": "out"}),
}
MOST = {"extract": 25, "fuse": 45}
FORMER = json.loads((Path(__file__).parent / "golden/options-v1.json").read_text())
RENAMED = {("extract", "shards"): "part"}


def job(name: str, words: list[str]) -> dict[str, Any]:
    command, read, model, base, more = COMMANDS[name]
    return model(**{**more, **read(command.make_context(name, [*base, *words]))}).model_dump(mode="json")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("SPACE").write_text("[lr]\nlow = 1e-4\nhigh = 1e-3\nlog = true\n")


@pytest.mark.parametrize("former", FORMER, ids=lambda one: " ".join([one["command"], *one["words"]]))
def test_an_earlier_command_line_gives_the_same_job(former: dict[str, Any]):
    name = former["command"]
    expected = job(name, []) | {RENAMED.get((name, key), key): value for key, value in former["job"].items()}
    assert job(name, former["words"]) == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_few_options_in_panels_and_help_all_shows_the_rest(name: str):
    command = COMMANDS[name][0]
    short, long = (
        CliRunner().invoke(command, [word], env={"COLUMNS": "200"}).output for word in ("--help", "--help-all")
    )
    options = [option for option in command.params if isinstance(option, JobOption)]
    shown, all_shown = ([one for one in options if re.search(f"│ {one.opts[0]}[ /]", page)] for page in (short, long))
    assert 15 < len(shown) <= MOST[name] and all(option.common for option in shown)
    assert all_shown == [option for option in options if not option.never]
    assert all(option.panel and option.help for option in options if not option.never and option.opts != ["--help-all"])
    assert short.count("╭─") > 4


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_has_no_default_of_its_own(name: str):
    command, _, model, base, _ = COMMANDS[name]
    assert set(job_values(command.make_context(name, list(base)))) == {
        word[2:] for word in base if word.startswith("--")
    }
    assert {option.name for option in command.params if getattr(option, "of_job", False)} >= set(model.model_fields)


def extracted(**changes: Any) -> dict[str, Any]:
    return ExtractJob(corpus="csv", root=Path("r"), cache=Path("c"), **changes).model_dump(mode="json")


def test_layers_and_encoders_of_each_stream(monkeypatch: pytest.MonkeyPatch):
    both = extracted(audio_layer="4,8", text_layer="last", video_layer="2")
    assert job("extract", ["--layer", "2,audio=4,8,text=last"]) == both
    assert job("extract", ["--layer", "2", "--layer", "text=last", "--layer", "audio=4", "--layer", "audio=8"]) == both
    assert extracted(layer="2,audio=4,8,text=last") == both
    Path("with@sign").mkdir()
    named = extracted(audio_encoder="with@sign", text_encoder="a/b", text_revision="v1")
    assert job("extract", ["--encoder", "audio=with@sign,text=a/b@v1"]) == named
    Path("ser.toml").write_text('audio_layer = "1"\nencoder = "audio=x/y"\n[extract]\nlayer = 3\n')
    assert job("extract", []) == extracted(audio_layer="1", text_layer="3", video_layer="3", audio_encoder="x/y")
    assert job("extract", ["--layer", "audio=2"])["audio_layer"] == "2"  # a flag goes before ser.toml, in any spelling
    assert job("extract", ["--audio-encoder", "z"])["audio_encoder"] == "z"
    monkeypatch.setenv("SER_ENCODER", "audio=folder with spaces")
    assert job("extract", [])["audio_encoder"] == "folder with spaces"


def test_the_page_of_options_is_what_the_commands_say():
    told = (Path(__file__).parent.parent / "docs/reference/options.md").read_text()
    made = page({"extract": "ser_extract.cli:command", "fuse": "ser_fusion.cli.fuse:command"})
    assert told == made, "run: python -m ser_base.command_line extract=... fuse=... > docs/reference/options.md"


def test_a_file_holds_the_whole_search(monkeypatch: pytest.MonkeyPatch):
    Path("tune.toml").write_text('trials = 8\nsampler = "random"\ninner = 2\n[space.lr]\nlow = 1e-4\nhigh = 1e-3\n')
    search = {"tune": 8, "sampler": "random", "inner": 2, "space": {"lr": {"low": 1e-4, "high": 1e-3}}}
    assert job("fuse", ["--tune", "tune.toml"]) == job("fuse", []) | search
    assert job("fuse", ["--tune", "5", "--tune", "tune.toml"]) == job("fuse", []) | search | {"tune": 5}
    Path("ser.toml").write_text('[fuse]\ntune = "tune.toml"\nlayer = "2,audio=4"\n')
    assert job("fuse", []) | {"layer": 2, "audio_layer": 4} == job("fuse", ["--tune", "tune.toml"])
    for text, said in (
        ("inner = 2\n", "number of trials is missing"),
        ("[lr]\nlow = 1\n", "unknown key 'lr'"),
        ("x", "as TOML"),
    ):
        Path("bad.toml").write_text(text)
        done = CliRunner().invoke(fuse, ["--cache", "c", "--tune", "bad.toml"], env={"COLUMNS": "300"})
        assert done.exit_code == 2 and said in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layer", "adio=2"], "Did you mean 'audio'?"),
        (["--corpus", "ravdes"], "Did you mean 'ravdess'?"),
        (["--dtype", "float61"], "Did you mean 'float16'?"),
        (["--encoder", "x/y"], "give audio=x/y"),
        (["--part", "3/2"], "i/N"),
        (["--part", "2/4", "--fps", "0"], "0<x<=60"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(words: list[str], said: str):
    done = CliRunner().invoke(extract, [*COMMANDS["extract"][3], *words], env={"COLUMNS": "200"})
    assert done.exit_code == 2 and said in done.output
