"""Encoder files: identity is content, nothing of a checkpoint runs, and a hub that is not there is told at once."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_extract.encoders import ENCODERS
from ser_extract.encoders.base import Encoded, EngineOptions, InputOptions
from ser_extract.encoders.source import CONTACT_SECONDS, REMEMBERED, Source, file_hash, open_source
from ser_extract.errors import EncoderBroken, EncoderNotFound


@pytest.fixture
def folder(tiny: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("bert"), tmp_path / "mine"))


def encode(source: Source) -> Any:
    family = ENCODERS[source.model_type]
    description = family.describe(source, InputOptions())
    result = family.load(source, description, (description.depth,), EngineOptions()).encode(["a b"])[0]
    assert isinstance(result, Encoded)
    return result.states[description.depth]


def test_identity_is_the_bytes_and_not_the_place(folder, tmp_path):
    before = open_source(str(folder), "text")
    moved = open_source(shutil.copytree(folder, tmp_path / "elsewhere" / "mine"), "text")
    assert before.declared() == moved.declared()
    assert before.name == moved.name == "mine"


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_changed_byte_changes_the_identity(folder, file):
    before = open_source(str(folder), "text").declared()
    path = folder / file
    if file == "model.safetensors":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_norm_eps": 1e-5}))
    after = open_source(str(folder), "text").declared()
    assert sum(before[key] != after[key] for key in before) == 1


def test_the_hash_of_unchanged_weights_is_remembered_until_it_is_to_be_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    store = tmp_path / "home" / "ser-fusion" / REMEMBERED

    def remembered() -> dict[str, Any]:
        return json.loads(store.read_text()) if store.exists() else {}

    def stamp(path: Path) -> list[int]:
        now = os.stat(path)
        return [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_dev, now.st_ino]

    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"weights")
    digest = file_hash(fresh)
    assert remembered() == {}  # written a moment ago: another change could have the same time stamp
    old = Path(np.__file__)
    true = file_hash(old)
    assert remembered() == {str(old): [stamp(old), true]}
    store.write_text(json.dumps({str(old): [stamp(old), "f" * 32], str(fresh): [stamp(fresh), digest]}))
    assert file_hash(old) == "f" * 32, "it was read, although it is remembered"
    assert file_hash(old, again=True) == file_hash(old) == true
    times = os.stat(fresh)
    time.sleep(0.05)  # a tick of the file system's clock
    fresh.write_bytes(b"Weights")
    os.utime(fresh, ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same modification time, same inode
    assert file_hash(fresh) != digest
    store.write_text('{"broken')
    assert file_hash(old) == true


def test_the_order_and_the_diary_of_a_config_change_nothing(folder):
    before = open_source(str(folder), "text").config_hash
    config = json.loads((folder / "config.json").read_text())
    told = {"_name_or_path": "somewhere", "transformers_version": "9"} | dict(reversed(config.items()))
    (folder / "config.json").write_text(json.dumps(told | {"transformers_version": "10"}))
    assert open_source(str(folder), "text").config_hash == before


def test_code_beside_a_checkpoint_does_not_run(folder, tmp_path):
    marker = tmp_path / "it-ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass EvilModel: pass\nclass EvilConfig: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoModel": "evil.EvilModel",
        "AutoConfig": "evil.EvilConfig",
        "AutoTokenizer": ["evil.X", None],
    }
    (folder / "config.json").write_text(json.dumps(config))
    encode(open_source(str(folder), "text"))
    assert not marker.exists()


class Evil:
    """A pickle that leaves a mark."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_is_read_as_weights_only(folder, tmp_path):
    expected = encode(open_source(str(folder), "text"))
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    source = open_source(str(folder), "text")
    assert not source.files.safetensors
    assert (encode(source) == expected).all()
    marker = tmp_path / "it-ran"
    torch.save(weights | {"x": Evil(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderBroken, match="mine cannot be used"):
        encode(open_source(str(folder), "text"))
    assert not marker.exists()


def test_weights_that_are_not_there_are_no_random_ones(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "layer.1.attention" in name)
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderBroken, match="lack 1 weights of a bert encoder"):
        encode(open_source(str(folder), "text"))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_folder_without_its_files_says_which(folder, file):
    (folder / file).unlink()
    with pytest.raises(EncoderBroken, match="no config.json|no weights"):
        open_source(str(folder), "text")


def test_a_config_that_is_no_json_is_told(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(EncoderBroken, match=r"config.json is not valid JSON"):
        open_source(str(folder), "text")


def three_lines(error: EncoderNotFound, option: str) -> None:
    lines = str(error).splitlines()
    assert len(lines) == 3
    assert "could not be loaded" in lines[0]
    assert option in lines[1] and "folder" in lines[1]
    assert lines[2].endswith("make demo")


TRIED: list[Any] = []
WATCHED = [False]


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHED[0] and event in ("socket.connect", "socket.getaddrinfo"):
        TRIED.append((event, *arguments[1:]))
        raise ConnectionRefusedError("refused by the test")


@pytest.fixture(scope="module")
def _hook() -> None:
    sys.addaudithook(_refuse)  # stays for the life of the process


@pytest.fixture
def no_network(_hook: None) -> Iterator[list[Any]]:
    """Every connection is refused and counted."""
    TRIED.clear()
    WATCHED[0] = True
    yield TRIED
    WATCHED[0] = False


def test_offline_opens_no_connection(no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(EncoderNotFound, match="--offline forbids") as caught:
        open_source("facebook/wav2vec2-base", "audio", offline=True)
    three_lines(caught.value, "--encoder audio=DIR")
    assert no_network == []


def test_a_name_that_is_neither_folder_nor_hub_id_opens_no_connection(no_network):
    for name in ("../nowhere", "/nowhere/at/all", "a/b/c", "./x"):
        with pytest.raises(EncoderNotFound, match="no such folder") as caught:
            open_source(name, "text")
        three_lines(caught.value, "--encoder text=DIR")
    assert no_network == []


def test_a_silent_hub_is_told_within_ten_seconds(tmp_path):
    """A listening socket that never answers, in a process of its own: HF_* variables are read when the client is loaded."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        code = (
            "import sys\nfrom ser_extract.encoders.source import open_source\n"
            "from ser_extract.errors import EncoderNotFound\n"
            "try:\n    open_source('facebook/wav2vec2-base', 'audio')\n"
            "except EncoderNotFound as error:\n    print(error)\n"
        )
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}", "HF_HOME": str(tmp_path)}
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True, timeout=60
        )
        spent = time.monotonic() - started
    assert done.stdout.count("\n") == 3, done.stderr
    assert "the model hub gave none" in done.stdout
    if spent > CONTACT_SECONDS + 6:  # the limit, and the start of Python
        raise TimeoutError(f"the hub was waited for {spent:.0f} s")


def test_the_hub_s_local_copy_comes_first(folder, no_network, tmp_path):
    """In a process of its own: HF_* variables are read when the client is loaded."""
    snapshot = tmp_path / "hub" / "models--some--encoder" / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(folder, snapshot)
    (tmp_path / "hub" / "models--some--encoder" / "refs").mkdir()
    (tmp_path / "hub" / "models--some--encoder" / "refs" / "main").write_text("a" * 40)
    code = (
        "import json, sys\nfrom ser_extract.encoders.source import open_source\n"
        "sys.addaudithook(lambda event, _: sys.exit(9) if event in ('socket.connect', 'socket.getaddrinfo') else None)\n"
        "found = open_source('some/encoder', 'text', offline=True)\n"
        "print(json.dumps([found.name, found.revision, found.declared()]))\n"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["some/encoder", "a" * 40, open_source(str(folder), "text").declared()]
