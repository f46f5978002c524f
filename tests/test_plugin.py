"""The example package of docs/plugin, built and installed beside ours: its corpus, encoder family and head work as built-in ones do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example is installed; the example's folder is copied, so that nothing is built in the tree."""
    place = tmp_path_factory.mktemp("plugin")
    subprocess.run(["cp", "-r", str(ROOT / "docs/plugin"), str(place / "source")], check=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--target", str(place / "site"), str(place / "source")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ours = [str(ROOT / top) for top in ("extract", "fusion", "data", "cache")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(place / "site"), *ours])}


def _python(code: str, env: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=env, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_shows_the_corpus_of_the_package():
    """The reader stands on a page too, where it runs as it stands."""
    reader = (ROOT / "docs/plugin/ser_example/weather.py").read_text(encoding="utf-8")
    assert reader in (ROOT / "docs/guides/add-a-part.md").read_text(encoding="utf-8")


def test_the_page_shows_the_encoder_of_the_package():
    """The class without its docstring, which the page says in words."""
    module = (ROOT / "docs/plugin/ser_example/log_mel.py").read_text(encoding="utf-8")
    start, end = module.index("class LogMel:"), module.index("\n\n\nclass Letters")
    shown = "\n".join(line for line in module[start:end].splitlines() if '"""' not in line).replace(
        ":\n\n    name", ":\n    name"
    )
    assert "def frames" in shown and shown in (ROOT / "docs/guides/add-a-part.md").read_text(encoding="utf-8")


def test_its_parts_keep_the_public_contracts(env: dict[str, str], tmp_path: Path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "docs/plugin/test_parts.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_its_encoders_are_found_by_name(env: dict[str, str], tmp_path: Path):
    code = """
from ser_extract.encoders.plugged import find_class
print(find_class("log-mel"), find_class("letters"), find_class("unispeech-sat"), find_class("wav2vec2"), find_class("a/b"))
"""
    assert _python(code, env, tmp_path).split() == [
        "ser_example.log_mel:LogMel",
        "ser_example.log_mel:Letters",
        "None",
        "None",
        "None",
    ]


def test_the_corpus_is_listed_and_read(env: dict[str, str], tmp_path: Path):
    code = """
import wave
from pathlib import Path
from ser_data import CORPORA, make_folds
for name in ("ann/rain_sad_1", "ann/sun_happy_1", "bob/rain_sad_1"):
    Path(name).parent.mkdir(exist_ok=True)
    with wave.open(f"{name}.wav", "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(name.encode() * 1000)
assert "weather" in list(CORPORA)
manifest = CORPORA["weather"].read(Path("."))
print(len(manifest.table), len(make_folds(manifest, "speaker", dev="none").folds))
"""
    assert _python(code, env, tmp_path).split() == ["3", "2"]


def test_the_encoder_family_equals_transformers(env: dict[str, str], tmp_path: Path):
    code = """
import numpy as np, torch
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor
from ser_extract.encoders import ENCODERS
from ser_extract.encoders.base import EngineOptions, InputOptions
from ser_extract.encoders.source import open_source
sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, conv_dim=[24] * 7)
config = AutoConfig.for_model("unispeech-sat", **sizes, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
torch.manual_seed(0)
model = AutoModel.from_config(config).eval()
for parameter in model.parameters():
    if parameter.ndim <= 1:
        parameter.data += 0.1 * torch.randn(parameter.shape)
model.save_pretrained("tiny")
Wav2Vec2FeatureExtractor().save_pretrained("tiny")
source = open_source("tiny", "audio")
family = ENCODERS[source.model_type]
engine = family.load(source, family.describe(source, InputOptions()), (2,), EngineOptions(batch=10**6))
waves = [np.random.default_rng(k).standard_normal(n).astype(np.float32) for k, n in enumerate((400, 16_000))]
for wave, encoded in zip(waves, engine.encode(waves)):
    values = torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))[None]
    with torch.inference_mode():
        expected = model(values, output_hidden_states=True).hidden_states[2][0].numpy()
    assert np.linalg.norm(encoded.states[2] - expected) / np.linalg.norm(expected) < 1e-5
print("exact")
"""
    assert _python(code, env, tmp_path).split() == ["exact"]
