"""The commands as people type them: what they load, what they print, what they refuse, how they exit."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ser_base.options import JobOption
from ser_cache.items import Failure
from ser_fusion.cli.fuse import asked_of, command
from ser_fusion.cli.probe import command as probe_command
from ser_fusion.runs.job import FuseJob

FAST = ["--epochs", "1", "--workers", "0"]


def fuse(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.mark.parametrize("module", ["ser_fusion.cli.fuse", "ser_fusion.cli.probe"])
def test_help_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys; from {module} import command\n"
        "try: command(['--help'])\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'numpy', 'pandas', 'zarr', 'h5py', 'torch', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []" and "--cache" in done.stdout


def test_every_field_of_a_job_has_an_option_of_the_same_name() -> None:
    ours = [one for one in command.params if isinstance(one, JobOption) and one.of_job]
    assert {one.name for one in ours if one.stands_for is None} == set(FuseJob.model_fields)
    assert all(one.stands_for in FuseJob.model_fields for one in ours if one.stands_for is not None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Use --cache DIR or SER_CACHE"),
        (["--cache", "x", "--fusion", "cros"], "Did you mean 'cross'?"),
        (["--cache", "x", "--pooling", "stat"], "Did you mean 'stats'?"),
        (["--cache", "x", "--preset", "asfound"], "Did you mean 'as-found'?"),
        (["--cache", "x", "--seeds", "2-0"], "give 0, 0-2 or 0,3,7"),
        (["--cache", "x", "--epochs", "51"], "51 is not in the range"),
        (["--cache", "x", "--jobs", "3/2"], "i/N"),
        (["--cache", "x", "--dropout", "1.5"], "--dropout"),
        (["--cache", "x", "--train-fraction", "0"], "--train-fraction"),
        (["--from-run", "x", "--epochs", "3"], "--epochs cannot be given"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_do(words: list[str], said: str) -> None:
    done = fuse(*words)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.replace("│", " ").split())


def test_a_cache_that_is_none_exits_1_without_a_traceback(tmp_path: Path) -> None:
    done = fuse("--cache", tmp_path / "nothing", "--out", tmp_path / "out")
    assert done.exit_code == 1 and "Traceback" not in done.output and isinstance(done.exception, SystemExit)


def test_a_run_from_the_command_line_with_failures_exits_3(
    corpus: Callable[..., Any], cache_of: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = corpus("both", n=60)
    planted.failures = {"u00007": Failure("empty", "no samples")}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ser.toml").write_text(
        f'cache = "{cache_of(planted)}"\naudio_encoder = "demo"\n[fuse]\nfusion = "concat"\nseeds = "0"\nepochs = 1\nworkers = 0\n'
    )
    done = fuse()
    assert done.exit_code == 3, done.output
    assert "class0 20, class1 20, class2 19" in done.output and "1 left out" in done.output
    assert "concat" in done.output and "Report: runs/concat-" in done.output.replace("\n", "")
    (out,) = (tmp_path / "runs").iterdir()
    told = json.loads((out / "run.json").read_text())
    assert told["counts"]["failed"] == 1 and told["command"].startswith("ser-fuse")
    again = fuse()
    assert again.exit_code == 3 and "3 of them done already" in again.output
    share = fuse("--jobs", "1/2", "--seeds", "0-1")
    assert share.exit_code == 3 or "left to the other parts" in share.output


def test_an_unknown_key_in_settings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ser.toml").write_text("[fuse]\nfusoin = 'cross'\n")
    done = fuse("--cache", "x")
    assert done.exit_code == 2 and "fusion" in done.output


def test_probe_draws_one_plot_and_maps_the_chosen_layer(small_cache: Path, tmp_path: Path) -> None:
    import pandas as pd

    options = ["--map", "pca", "--out", str(tmp_path / "probe")]
    done = CliRunner().invoke(probe_command, ["--cache", str(small_cache), *options])
    assert done.exit_code == 0, done.output
    assert "audio: speaker" in done.output and "audio: layer 2 of planted/audio" in done.output
    content = json.loads((tmp_path / "probe/map.json").read_text())
    assert content["n"] == 120 and set(content["streams"]) == {"audio", "text"}
    assert (tmp_path / "probe/map-audio-pca.svg").stat().st_size > 2_000
    assert "audio: speaker" in (tmp_path / "probe/read-from-features.md").read_text()
    lines = pd.read_csv(tmp_path / "probe/layers.csv")
    asked = [["audio", 2, "mean"], ["audio", 2, "mean+std"], ["text", 6, "mean"], ["text", 6, "mean+std"]]
    assert lines[["stream", "layer", "pooling"]].to_numpy().tolist() == asked
    assert lines.groupby("stream")["chosen"].any().all() and lines["uwa"].between(0.5, 1).all()
    assert len(pd.read_csv(tmp_path / "probe/folds.csv")) == 12
    assert (tmp_path / "probe/layers.png").read_bytes()[:4] == b"\x89PNG"


LISTS = {
    "--fusion": "audio,text", "--pooling": "stats,mean", "--classifier": "lda,knn", "--preset": "corrected,emobox",
    "--allow-overlap": "speaker,session", "--seeds": "0-1,4", "--modalities": "audio,text", "--frame-dropout": "0.1,0.2",
    "--pool-dropout": "0,0.5", "--train-fraction": "0.5,1", "--ensemble": "seeds,folds", "--audit-heads": "audio,text", "--confused-pairs": "a-b,c-d",
}  # fmt: skip


def asked(*words: str) -> dict[str, Any]:
    """What a command line asks for."""
    return asked_of(command.make_context("fuse", list(words)))


def test_list_options_may_be_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Once with commas, several times, or from ser.toml as a text or a list: the same."""
    several = {p.opts[0] for p in command.params if getattr(p, "multiple", False)}
    assert set(LISTS) == several - {"--layer", "--encoder", "--tune"}  # these are not lists
    commas = [word for name, value in LISTS.items() for word in (name, value)]
    apart = [word for name, value in LISTS.items() for one in value.split(",") for word in (name, one)]
    found = [asked("--cache", "x", *words) for words in (commas, apart)]
    monkeypatch.chdir(tmp_path)
    listed = [
        f"{name[2:]} = {json.dumps(value.split(',') if n % 2 else value)}"
        for n, (name, value) in enumerate(LISTS.items())
    ]
    Path("ser.toml").write_text(
        "[fuse]\n" + "\n".join(line for line in listed if not line.startswith(("seeds", "modalities")))
    )
    found.append(asked("--cache", "x", "--seeds", "0-1,4", "--modalities", "audio", "--modalities", "text"))
    assert (
        found[0] == found[1] == found[2] and found[0]["seeds"] == (0, 1, 4) and found[0]["frame_dropout"] == (0.1, 0.2)
    )
    assert len(found[0]) == len(LISTS) + 1
