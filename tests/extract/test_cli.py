"""The command as a user meets it: bad input, exit codes, settings, and what it says."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from ser_cache import open_cache
from ser_extract.cli import command


@pytest.fixture
def extract(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command in this process, in an empty folder, with tiny encoders unless told otherwise."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, bare: bool = False) -> Result:
        encoders = [
            "--audio-encoder", str(tiny("wav2vec2")), "--text-encoder", str(tiny("bert")), "--workers", "0", "--device", "cpu",
        ]  # fmt: skip
        return CliRunner().invoke(command, [*([] if bare else encoders), *arguments], catch_exceptions=False)

    return run


def failures(cache: Path) -> dict[tuple[str, str], tuple[str, str]]:
    with (cache / "failures.csv").open(newline="") as file:
        return {(row["id"], row["modality"]): (row["reason"], row["detail"]) for row in csv.DictReader(file)}


def test_nothing_configured_says_what_to_set(extract):
    done = extract(bare=True)
    assert done.exit_code == 2
    assert "--corpus" in done.stderr and "SER_CORPUS" in done.stderr and "ser.toml" in done.stderr
    done = extract("--corpus", "csv", bare=True)
    assert done.exit_code == 2 and "--cache" in done.stderr
    done = extract("--corpus", "csv", "--cache", "cache", bare=True)
    assert done.exit_code == 2 and "--root" in done.stderr and "SER_ROOT" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--corpus", "iemocat"], "iemocap"),
        (["--shards", "3/2"], "i/N"),
        (["--modalities", "audio,smell"], "'smell' is not known"),
        (["--max-seconds", "2", "--overlap-seconds", "3"], "more than half"),
        (["--device", "tpu"], "pattern"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_two(extract, corpus, arguments, said):
    done = extract("--corpus", "csv", "--root", str(corpus(1)), "--cache", "cache", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not Path("cache").exists()


def test_settings_come_from_the_folder_and_the_environment(extract, corpus, tiny, monkeypatch):
    Path("ser.toml").write_text(
        f'corpus = "csv"\nroot = "{corpus(2)}"\ncache = "mine"\nworkers = 0\n[extract]\naudio-encoder = "{tiny("wav2vec2")}"\n'
        f'text-encoder = "{tiny("bert")}"\ndevice = "cpu"\n'
    )
    done = extract("--layer", "2", bare=True)
    assert done.exit_code == 0, done.stderr
    assert {info.spec.layer for info in open_cache("mine").entries()} == {2}
    monkeypatch.setenv("SER_CACHE", "other")
    assert extract("--layer", "1", "--text-layer", "last", bare=True).exit_code == 0
    assert {(info.spec.modality, info.spec.layer) for info in open_cache("other").entries()} == {
        ("audio", 1),
        ("text", 3),
    }


def test_bad_input_is_listed_and_the_rest_is_done(extract, corpus, speech):
    """Everything that issue A names, in one corpus."""
    rows = [
        {"id": "gone", "path": "gone.wav", "label": "a", "text": "a"},
        {"id": "empty", "path": "empty.wav", "label": "a", "text": "a"},
        {"id": "nothing", "path": "nothing.wav", "label": "a", "text": "a"},
        {"id": "stereo", "path": "stereo.wav", "label": "a", "text": "a"},
        {"id": "low", "path": "low.wav", "label": "a", "text": "a"},
        {"id": "nan", "path": "nan.wav", "label": "a", "text": "a"},
        {"id": "noise", "path": "noise.wav", "label": "a", "text": "a"},
        {"id": "odd", "path": "u00.wav", "label": "joyful", "text": "a"},
        {"id": "u01", "path": "u02.wav", "label": "a", "text": "a"},
        {"id": "mute", "path": "u03.wav", "label": "a", "text": ""},
        {"id": "=1+1", "path": "short.wav", "label": "b", "text": "sad"},
    ]
    root = corpus(5, tuple(rows))
    folder = root.parent
    wave = speech(0.5, 1)
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "nothing.wav", wave[:0], 16_000)
    soundfile.write(folder / "stereo.wav", np.stack([wave, -0.5 * wave], 1), 16_000)
    soundfile.write(folder / "low.wav", wave[::2], 8_000)
    soundfile.write(folder / "nan.wav", np.where(np.arange(len(wave)) == 4000, np.nan, wave), 16_000, subtype="FLOAT")
    (folder / "noise.wav").write_bytes(np.random.default_rng(0).bytes(5000))
    soundfile.write(folder / "short.wav", wave[:390], 16_000)
    with root.open("ab") as file:
        file.write(b"latin,u04.wav,a,caf\xe9\n")
    (folder / "own.toml").write_text('name = "own"\n[classes]\na = ["a"]\nb = ["b"]\n')
    done = extract("--corpus", "csv", "--root", str(root), "--cache", "cache", "--labels", str(folder / "own.toml"))
    assert done.exit_code == 3, done.stderr + done.stdout
    found = failures(Path("cache"))
    assert {key: reason for key, (reason, _) in found.items()} == {
        ("gone", "corpus"): "missing file",
        ("empty", "audio"): "empty",
        ("nothing", "audio"): "empty",
        ("nan", "audio"): "nan",
        ("noise", "audio"): "unreadable",
        ("odd", "corpus"): "unknown label",
        ("u01", "corpus"): "duplicate id",
        ("mute", "text"): "missing_text",
        ("'=1+1", "audio"): "too_short",
        ("latin", "corpus"): "not UTF-8",
    }
    assert "joyful" in found["odd", "corpus"][1] and "knows a, b" in found["odd", "corpus"][1]
    cache = open_cache("cache")
    good = {"u00", "u01", "u02", "u03", "u04", "stereo", "low"}
    assert set(cache.select(modality="audio").ids) == good | {"mute"}
    assert set(cache.select(modality="text").ids) == good | {"empty", "nothing", "nan", "noise", "=1+1"}
    assert cache.select(modality="audio").frames("low") == cache.select(modality="audio").frames("stereo")
    assert "10 skipped (cache/failures.csv)" in done.stdout
    assert "Skipped empty (audio): empty" in done.stderr
    again = extract("--corpus", "csv", "--root", str(root), "--cache", "cache", "--labels", str(folder / "own.toml"))
    assert again.exit_code == 3 and "encoded now: 0 audio, 0 text" in again.stdout
    # mended: only this one is done
    soundfile.write(folder / "empty.wav", wave, 16_000)
    mended = extract("--corpus", "csv", "--root", str(root), "--cache", "cache", "--labels", str(folder / "own.toml"))
    assert "encoded now: 1 audio, 0 text" in mended.stdout and "9 skipped" in mended.stdout


def test_a_csv_with_nothing_usable_is_an_error(extract, tmp_path):
    (tmp_path / "bad.csv").write_text("id,path,label\na,gone.wav,x\n")
    done = extract("--corpus", "csv", "--root", "bad.csv", "--cache", "cache")
    assert done.exit_code == 1
    assert "no usable row" in done.stderr and "Traceback" not in done.stderr


def test_errors_are_sentences(extract, corpus, tmp_path):
    root = str(corpus(1))
    for arguments, said in [
        (["--audio-layer", "9"], "no hidden state 9"),
        (["--audio-encoder", str(tmp_path)], "no config.json"),
        (["--audio-encoder", "some/where", "--offline"], "make demo"),
    ]:
        done = extract("--corpus", "csv", "--root", root, "--cache", "cache", "--modalities", "audio", *arguments)
        assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
        assert said in done.stderr and "Traceback" not in done.stderr


def test_a_dry_run_writes_nothing_and_says_how_much(extract, corpus):
    root = str(corpus(4))
    done = extract("--corpus", "csv", "--root", root, "--cache", "cache", "--layer", "1,3", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert not Path("cache").exists()
    for words in ("4 utterances", "L1 4 to do", "L3 4 to do", "float16", "float32", "free on the disk", "workers"):
        assert words in done.stdout
    extract("--corpus", "csv", "--root", root, "--cache", "cache", "--layer", "1")
    done = extract("--corpus", "csv", "--root", root, "--cache", "cache", "--layer", "1,3", "--dry-run")
    assert "L1 0 to do" in done.stdout and "L3 4 to do" in done.stdout


def test_a_dry_run_counts_the_tokens_that_a_run_writes(extract, corpus):
    root = str(corpus(4, ({"id": "long", "path": "u00.wav", "label": "a", "text": "hmm, the-sad; okay? " * 9},)))
    arguments = ["--corpus", "csv", "--root", root, "--cache", "cache", "--modalities", "text"]
    done = extract(*arguments, "--dry-run")
    extract(*arguments)
    entry = open_cache("cache").select(modality="text")
    assert f"{sum(entry.frames(name) for name in entry.ids):,} tokens" in done.stdout


def test_check_recomputes_and_notices_drift(extract, corpus, tiny, tmp_path):
    from safetensors.numpy import load_file, save_file

    mine = shutil.copytree(tiny("wav2vec2"), tmp_path / "mine")
    arguments = ["--corpus", "csv", "--root", str(corpus(4)), "--cache", "cache", "--audio-encoder", str(mine)]
    extract(*arguments)
    done = extract(*arguments, "--check", "3")
    assert done.exit_code == 0, done.stdout
    assert done.stdout.count("3 utterances") == 2 and "DRIFTED" not in done.stdout
    weights = load_file(mine / "model.safetensors")
    name = "encoder.layers.2.final_layer_norm.weight"
    save_file(weights | {name: 1.1 * weights[name]}, mine / "model.safetensors", metadata={"format": "pt"})
    done = extract(*arguments, "--check", "2")
    assert done.exit_code == 1
    assert "DRIFTED" in done.stdout and "do not mix" in done.stdout


def test_json_lines_are_json(extract, corpus):
    done = extract("--corpus", "csv", "--root", str(corpus(2)), "--cache", "cache", "--log-json")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {"begin", "advance"} <= {line["event"] for line in lines}
    last = [line for line in lines if line.get("phase") == "audio"][-1]
    assert last["utterances"] == last["of"] == 2


def run_apart(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys\nsys.argv = ['ser-extract', *{list(arguments)!r}]\n{code}"
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, env=os.environ)


def test_a_finished_cache_loads_no_torch(extract, corpus, tiny):
    arguments = [
        "--corpus", "csv", "--root", str(corpus(2)), "--cache", "cache", "--audio-encoder", str(tiny("wav2vec2")),
        "--text-encoder", str(tiny("bert")), "--device", "cpu",
    ]  # fmt: skip
    extract(*arguments)
    done = run_apart(
        "from ser_extract.cli import command as main\ntry:\n    main.main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy'\nsys.exit(code)",
        *arguments,
    )
    assert done.returncode == 0, done.stderr
    assert "encoded now: 0 audio, 0 text" in done.stdout
