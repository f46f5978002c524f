"""A folder in hub layout predicts as its run does, in a fresh process as well; its card says what it must; nothing is sent."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from ser_predict import Predictor
from ser_predict.errors import BadExport, NoModel
from ser_predict.export.cli import command

FRESH = """
import json, sys
for name in ("sklearn", "statsmodels", "scipy", "matplotlib", "optuna", "zarr", "h5py", "onnxruntime", "starlette", "av"):
    sys.modules[name] = None  # an import of a package that only training, caches and extras need would fail here
from ser_predict import Predictor
folder, audio, text, file, words = sys.argv[1:]
own = Predictor.from_pretrained(folder, audio_encoder=audio, text_encoder=text, device="cpu", offline=True, threshold=0.5)
given = [*own.predict([file], {file: words}), *own.predict([file])]
print(json.dumps([[one.row, one.label, one.posteriors] for one in given] + [own.reliability(), own.windowing.window]))
"""


@pytest.fixture(scope="module")
def exported(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "heads"
    done = CliRunner().invoke(command, [str(small.run), "--row", "cross", "--hub", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_a_fresh_process_predicts_the_same(small: Any, predictor: Any, exported: Path):
    assert sorted(path.name for path in exported.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    file, words = small.file(0), small.rows[0]["text"]
    command = [sys.executable, "-c", FRESH, exported, small.audio_encoder, small.text_encoder, file, words]
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with_words, without, reliability, window = json.loads(done.stdout)
    own = predictor(row="cross", threshold=0.5)
    same = [*own.predict([file], {file: words}), *own.predict([file])]
    assert [with_words[0], without[0]] == ["cross-stats", "audio-stats"]  # what it falls back to came along
    for (_, label, posteriors), one in zip((with_words, without), same, strict=True):
        assert label == one.label and posteriors == pytest.approx(one.posteriors, abs=1e-7)
    assert reliability == pytest.approx(own.reliability(), nan_ok=True) and window == own.windowing.window


def test_one_head_and_raw_posteriors(small: Any, predictor: Any, exported: Path, tmp_path: Path):
    places = {"audio_encoder": str(small.audio_encoder), "text_encoder": str(small.text_encoder), "offline": True}
    fold = predictor(row="cross").main.members[0].fold
    one = {"row": "cross", "fold": fold, "seed": 1, "calibrate": False}
    text = {small.file(3): small.rows[3]["text"]}
    (wanted,) = predictor(**one).predict([small.file(3)], text)
    (given,) = Predictor(exported, **one, **places).predict([small.file(3)], text)
    assert given.posteriors == pytest.approx(wanted.posteriors, abs=1e-7)
    again = Predictor(exported, encoders=False).save_pretrained(tmp_path / "again")  # an export can be exported
    assert (again / "model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()
    with pytest.raises(NoModel, match="fold 77"):
        Predictor(exported, fold="77", encoders=False)


def test_the_card_says_what_it_must(exported: Path):
    card = (exported / "README.md").read_text(encoding="utf-8")
    head, body = card.split("---\n")[1:3]
    assert "library_name: ser-fusion" in head and "license: other" in head
    assert "of the test texts occur in the training part" in body and "ser audit RUN" in body
    for heading in ("## Use", "## Protocol", "## Leak audit", "## Scores", "## Data", "## Intended use", "## Limits"):
        assert heading in body
    assert "| UWA |" in body and "95 % interval" in body and "Licence:" in body and "Regulation 2024/1689" in body
    assert "held" in body or "not trained on" in body
    uwa = next(line for line in body.splitlines() if line.startswith("| UWA |"))
    assert uwa.count("[") == 1, "an interval stands beside the score"
    config = json.loads((exported / "config.json").read_text())
    assert "path" not in config["cache"] and str(exported.parent) not in json.dumps(config)


def test_the_card_of_a_hostile_corpus_is_text(small: Any, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(small.run, copy)
    run = json.loads((copy / "run.json").read_text())
    run["corpus"] |= {"title": "<script>x</script>\n# [me](http://evil)", "licence": 'a"\nlicense: mit'}
    (copy / "run.json").write_text(json.dumps(run))
    folder = Predictor(copy, row="audio", encoders=False).save_pretrained(tmp_path / "out")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "<script>" not in card.replace("\\<script\\>", "") and "\nlicense: mit" not in card
    assert "](http" not in card.replace("\\](", "")


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "Expecting"),
        (lambda folder: (folder / "config.json").write_text("[]"), "format"),
        (lambda folder: (folder / "config.json").write_text('{"format": 9}'), "format 9"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04pickle"), "header|Header"),
    ],
)
def test_a_damaged_folder_is_refused(exported: Path, tmp_path: Path, damage: Any, word: str):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    damage(copy)
    with pytest.raises(BadExport, match=word) as caught:
        Predictor(copy, encoders=False)
    assert "ser export RUN --hub DIR" in str(caught.value)


PUSH = """
import sys
from click.testing import CliRunner
from ser_predict.export.cli import command
heads, out = sys.argv[1:]
for more in ([], ["--push", "me/heads"], ["--push", "me/full"]):
    done = CliRunner().invoke(command, [heads, "--hub", out, *more])
    print(done.exit_code, " ".join(f"{done.output} {done.exception!r}".split()))
"""


class Hub(BaseHTTPRequestHandler):
    """What `ser export --push` asks of a hub, as huggingface_hub speaks to it; keeps paths and bodies."""

    asked: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append((self.path, body))
        answer: dict[str, Any] = {"url": f"http://{self.headers['host']}/me/heads"}
        answer |= {"commitOid": "1" * 40, "commitUrl": answer["url"] + "/commit/1", "pullRequestUrl": None}
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            answer = {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        self.send_response(507 if "me/full/commit" in self.path else 200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer | {"errors": [], "warnings": []}).encode())

    def log_message(self, *line: Any) -> None:
        """Not on the screen of a test."""


def test_heads_are_sent_only_with_push(exported: Path, tmp_path: Path):
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{hub.server_port}"
    env = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "none", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", PUSH, str(exported), str(tmp_path / "out")]
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    hub.shutdown()
    kept, sent, refused = done.stdout.splitlines()
    assert kept.startswith("0 ") and "Uploaded" not in kept
    assert sent.startswith("0 ") and "Uploaded: http" in sent
    assert refused.startswith("1 ") and "did not take me/full" in refused and "Log in (hf auth login)" in refused
    create, _ = [json.loads(body) for path, body in Hub.asked if path == "/api/repos/create"]
    assert create == {"name": "heads", "organization": "me", "visibility": "private"}
    (commit,) = [body for path, body in Hub.asked if path.startswith("/api/models/me/heads/commit")]
    lines = [json.loads(line) for line in commit.splitlines()]
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_usage_is_told(small: Any, tmp_path: Path):
    assert CliRunner().invoke(command, [str(small.run)]).exit_code == 2
    assert CliRunner().invoke(command, [str(small.run), "--onnx", str(tmp_path), "--push", "me/x"]).exit_code == 2
    done = CliRunner().invoke(command, [str(tmp_path), "--hub", str(tmp_path / "out")])
    assert done.exit_code == 1 and "Traceback" not in done.output
    unknown = CliRunner().invoke(command, [str(small.run), "--row", "nope", "--hub", str(tmp_path / "out")])
    assert unknown.exit_code == 1 and "--row" in unknown.output
    with pytest.raises(BadExport):
        Predictor.from_pretrained("no/such-folder", offline=True)
