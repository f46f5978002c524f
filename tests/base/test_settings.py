"""Flag, then environment, then ser.toml, then default; unknown keys are told with what was meant."""

from pathlib import Path

import pytest
import rich_click as click
from click.testing import CliRunner

from ser_base.errors import BadSettings
from ser_base.settings import SettingsCommand, SettingsGroup, load_settings


@click.command("ser-x", cls=SettingsCommand, section="extract")
@click.option("--cache", default="default")
@click.option("--layer", type=int)
@click.option("--audio-encoder")
@click.option("--offline/--online", default=False)
def single(cache, layer, audio_encoder, offline):
    click.echo(f"{cache} {layer} {audio_encoder} {offline}")


@click.group(cls=SettingsGroup, section="data")
def group():
    pass


@group.command()
@click.argument("root", required=False)
@click.option("--seed", type=int, default=0)
@click.option("--plot")
def child(root, seed, plot):
    click.echo(f"{root} {seed} {plot}")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command, *args: str, env: dict[str, str] | None = None):
    return CliRunner().invoke(command, list(args), env=env)


def test_order_of_sources(here: Path):
    assert run(single).output == "default None None False\n"
    (here / "ser.toml").write_text('cache = "file"\n[extract]\nlayer = 4\naudio-encoder = "demo"\noffline = true\n')
    assert run(single).output == "file 4 demo True\n"
    assert run(single, env={"SER_LAYER": "5", "SER_CACHE": "env"}).output == "env 5 demo True\n"
    assert run(single, "--layer", "6", env={"SER_LAYER": "5"}).output == "file 6 demo True\n"


def test_a_section_goes_before_a_shared_key_and_others_are_left_alone(here: Path):
    (here / "ser.toml").write_text(
        'layer = 1\nprotocol = "session"\n[extract]\nlayer = 2\n[fuse]\nnobody_checks_me = 1\n'
    )
    assert run(single).output == "default 2 None False\n"


def test_groups_share_a_section_and_arguments_take_settings(here: Path):
    (here / "ser.toml").write_text('root = "there"\n[data]\nseed = 3\n')
    assert run(group, "child").output == "there 3 None\n"
    assert run(group, "child", "here", env={"SER_SEED": "9"}).output == "here 9 None\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('cach = "x"', "Did you mean 'cache'"),
        ("[extract]\nlayr = 1", "Did you mean 'layer'"),
        ("[extrct]\nlayer = 1", "unknown table"),
        ("audio_encodr = 1", "Did you mean 'audio_encoder'"),
        ("cache = ", "cannot be read"),
    ],
)
def test_mistakes_exit_with_2_and_a_hint(here: Path, content: str, message: str):
    (here / "ser.toml").write_text(content)
    done = run(single)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
    assert run(single, "--help").exit_code == 0  # help comes even then


def test_a_key_of_one_command_does_not_belong_on_top(here: Path):
    (here / "ser.toml").write_text("plot = 'x'\n")
    with pytest.raises(BadSettings, match=r"Move it into the table \[data\]"):
        load_settings("data", ["plot"])


def test_no_file_no_settings(here: Path):
    assert load_settings("extract", ["cache"]) == {}
