"""Weights: what is hashed is what is loaded, and only a stack that is not run may be missing."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from ser_extract.cli import command
from ser_extract.encoders import ENCODERS, loading
from ser_extract.encoders.base import Encoded, EngineOptions, InputOptions, load_engine
from ser_extract.encoders.source import Source, open_source
from ser_extract.errors import EncoderBroken

SHALLOW = {"num_hidden_layers": 1, "encoder_layers": 1, "n_layers": 1}
MAY_LACK = {  # model type -> what no hidden state goes through
    "wav2vec2": {"masked_spec_embed", "adapter"},
    "hubert": {"masked_spec_embed"},
    "wavlm": {"masked_spec_embed"},
    "data2vec-audio": {"masked_spec_embed"},
    "whisper": {"decoder"},
    "bert": {"pooler"},
    "roberta": {"pooler"},
    "xlm-roberta": {"pooler"},
    "camembert": {"pooler"},
    "mpnet": {"pooler"},
    "vit": {"pooler", "layernorm"},
    "clip": {"text_model", "text_projection", "visual_projection", "logit_scale", "vision_model.post_layernorm"},
    "clip_vision_model": {"post_layernorm"},
    "dinov2": {"layernorm", "embeddings.mask_token"},
    "dinov2_with_registers": {"layernorm", "embeddings.mask_token"},
}


def encode(source: Source) -> "np.ndarray[Any, Any]":
    """All hidden states of one short input, one behind another."""
    family = ENCODERS[source.model_type]
    description = family.describe(source, InputOptions(context_seconds=0.5))
    random = np.random.default_rng(0)
    given: Any = {
        "audio": random.standard_normal(4_000).astype(np.float32),
        "text": "the sad a b c",
        "video": random.integers(0, 256, (1, 40, 40, 3), dtype=np.uint8),
    }[family.modality]
    layers = tuple(range(description.depth + 1))
    made = load_engine(family, source, description, layers, EngineOptions()).encode([given])[0]
    assert isinstance(made, Encoded)
    return np.concatenate([made.states[layer].ravel() for layer in layers])


def shallow(values: dict[str, Any]) -> dict[str, Any]:
    """A config with one block, towers included."""
    inner = {key: shallow(value) for key, value in values.items() if isinstance(value, dict)}
    return values | {key: value for key, value in SHALLOW.items() if key in values} | inner


@pytest.fixture
def folder(tiny: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("bert"), tmp_path / "mine"))


def test_only_a_stack_that_is_not_run_may_be_missing(family_variant, variants, save_encoder, tmp_path, monkeypatch):
    """Every parameter removed in turn: an error, or the same features to the last bit.

    Of parameters whose names differ in their numbers only (the convolutions), the first and the last are tried.
    """
    monkeypatch.setattr(loading, "check_size", lambda *given: None)  # costs half of the time, and is tried below
    model_type, values = variants[family_variant]
    source = open_source(str(save_encoder(tmp_path / "whole", model_type, shallow(values))), "audio")
    state = loading.read_weights(source)
    expected = encode(source)
    lacked = set()
    alike: dict[str, list[str]] = {}
    for name in state:
        alike.setdefault(re.sub(r"\d+", "N", name), []).append(name)
    for gone in {name for names in alike.values() for name in (names[0], names[-1])}:
        monkeypatch.setattr(loading, "read_weights", lambda _, gone=gone: {k: v for k, v in state.items() if k != gone})
        try:
            np.testing.assert_array_equal(encode(source), expected, err_msg=gone)
            lacked.add(gone)
        except EncoderBroken as error:
            assert f"lack 1 weights of a {model_type} encoder: " in str(error)
    allowed = MAY_LACK.get(model_type, set())
    assert all(any(name == one or name.startswith(f"{one}.") for one in allowed) for name in lacked), lacked
    present = {one for one in allowed if any(name == one or name.startswith(f"{one}.") for name in state)}
    assert all(any(name == one or name.startswith(f"{one}.") for name in lacked) for one in present), lacked


def test_attention_adapters_that_the_file_lacks_are_named(shared, tmp_path):
    case = shared / "cases" / "mms-adapters"
    for model in ("model-wav2vec2", "model-hubert"):
        arguments = ["--corpus", "csv", "--root", str(case / "corpus.csv"), "--cache", str(tmp_path / model)]
        arguments += ["--audio-encoder", str(case / model), "--modalities", "audio", "--offline", "--workers", "0"]
        assert CliRunner().invoke(command, arguments).exit_code == 1
        with pytest.raises(
            EncoderBroken, match=r"lack 1[28] weights .*encoder\.layers\.0\.adapter_layer\.linear_1\.bias"
        ):
            encode(open_source(str(case / model), "audio"))


def shards(folder: Path, name: Callable[[int], str]) -> None:
    """Replaces a folder's weight file by two shards and an index; a shard's name is given by its number."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = [dict(list(weights.items())[k::2]) for k in range(2)]
    for k, part in enumerate(parts):
        path = folder / name(k)
        path.parent.mkdir(exist_ok=True)
        save_file(part, path, metadata={"format": "pt"})
    placed = {key: name(k) for k, part in enumerate(parts) for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def test_shards_beside_their_index_are_read_and_hashed(folder):
    expected = encode(open_source(str(folder), "text"))
    shards(folder, lambda k: f"model-0000{k + 1}-of-00002.safetensors")
    source = open_source(str(folder), "text")
    np.testing.assert_array_equal(encode(source), expected)
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert open_source(str(folder), "text").weights != source.weights
    path.unlink()
    with pytest.raises(EncoderBroken, match="names model-00002-of-00002.safetensors, which is not there"):
        open_source(str(folder), "text")


@pytest.mark.parametrize(
    "place", ["../outside-{}.safetensors", "sub/part-{}.safetensors", "{}/../x.safetensors", "a\\{}"]
)
def test_an_index_that_leads_out_of_the_folder_is_refused(folder, place):
    shards(folder, lambda k: f"part-{k}.safetensors")
    index = folder / "model.safetensors.index.json"
    stated = json.loads(index.read_text())
    stated["weight_map"] = {key: place.format(0) for key in stated["weight_map"]}
    index.write_text(json.dumps(stated))
    with pytest.raises(EncoderBroken, match="weights are read from the folder itself only"):
        open_source(str(folder), "text")


@pytest.mark.parametrize("value", [None, [], {}, {"a": 1}, "x"])
def test_an_index_without_a_map_is_refused(folder, value):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": value}))
    with pytest.raises(EncoderBroken, match="has no weight_map"):
        open_source(str(folder), "text")


def test_files_that_are_not_read_are_not_part_of_the_identity(folder):
    before = open_source(str(folder), "text")
    save_file(load_file(folder / "model.safetensors"), folder / "adapter.eng.safetensors")
    assert open_source(str(folder), "text").weights == before.weights
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderBroken, match="adapter.eng.safetensors is not read"):
        open_source(str(folder), "text")
    (folder / "config.json").write_text(json.dumps(before.config | {"transformers_weights": "adapter.eng.safetensors"}))
    shutil.copyfile(folder / "adapter.eng.safetensors", folder / "model.safetensors")
    with pytest.raises(EncoderBroken, match="names other weights"):
        open_source(str(folder), "text")


def test_a_stray_safetensors_beside_a_bin_is_not_in_the_way(folder):
    import torch

    expected = encode(open_source(str(folder), "text"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    source = open_source(str(folder), "text")
    assert not source.files.safetensors
    np.testing.assert_array_equal(encode(source), expected)


def test_a_peft_adapter_is_never_left_out_in_silence(folder, shared):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x"}')
    with pytest.raises(EncoderBroken, match="adapters are not applied here\\.\nMerge"):
        open_source(str(folder), "text")
    with pytest.raises(EncoderBroken, match="adapter_config.json"):
        open_source(str(shared / "cases" / "stray-safetensors" / "model"), "audio")


def test_weights_are_read_from_the_files_and_transformers_looks_for_none(folder, monkeypatch):
    """Nothing is left that transformers could find by a rule of its own: the folder holds the hashed files only."""
    source = open_source(str(folder), "text")
    hidden = folder / "elsewhere"
    hidden.mkdir()
    (folder / "config.json").rename(hidden / "config.json")
    assert encode(source).size


def hostile(folder: Path, **changes: Any) -> Source:
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stated | changes))
    return open_source(str(folder), "text")


@pytest.mark.parametrize(
    ("model", "changes", "named"),
    [
        ("wav2vec2", {"num_hidden_layers": None}, "num_hidden_layers = null"),
        ("wav2vec2", {"num_hidden_layers": 10_000_000}, "num_hidden_layers = 10000000"),
        ("wav2vec2", {"conv_stride": None}, "conv_stride = null"),
        ("wav2vec2", {"conv_stride": [5, 2, 0, 2, 2, 2, 2]}, "conv_stride.2 = 0"),
        ("wav2vec2", {"conv_stride": [5, 2]}, "conv_kernel has 7 values and conv_stride has 2"),
        ("wav2vec2", {"num_attention_heads": 7}, "transformers cannot load it"),
        ("wav2vec2", {"num_conv_pos_embeddings": 1 << 40}, "its config.json describes"),
        ("wav2vec2", {"conv_dim": "wide"}, "transformers cannot load it"),
        ("whisper", {"decoder_ffn_dim": 1 << 40}, "its config.json describes"),
        ("whisper", {"encoder_layers": -1}, "encoder_layers = -1"),
        ("bert", {"hidden_size": "large"}, "hidden_size = \"large\""),
        ("bert", {"vocab_size": 1 << 40}, "its config.json describes"),
        ("bert", {"vocab_size": 12}, "transformers cannot load it"),
        ("bert", {"layer_norm_eps": None}, "transformers cannot load it|fails on an input"),
        ("roberta", {"pad_token_id": None}, "pad_token_id = null"),
        ("roberta", {"pad_token_id": 40}, "leaves no position for a text"),
        ("clip", {"vision_config": 3}, "its config.json"),
        ("vit", {"patch_size": 0}, "patch_size = 0"),
        ("dinov2-registers", {"num_register_tokens": None}, "num_register_tokens = null"),
    ],
)  # fmt: skip
def test_a_hostile_config_is_a_sentence(tiny, tmp_path, model, changes, named):
    folder = Path(shutil.copytree(tiny(model), tmp_path / "mine"))
    with pytest.raises(EncoderBroken, match=named) as caught:
        encode(hostile(folder, **changes))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("file", ["config-roberta.json", "config-wav2vec2.json"])
def test_null_where_a_number_belongs_names_the_key(folder, shared, file):
    shutil.copyfile(shared / "cases" / "null-config" / file, folder / "config.json")
    with pytest.raises(EncoderBroken, match=r"its config.json has (pad_token_id|conv_stride) = null"):
        encode(open_source(str(folder), "text"))


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_deep_json_is_a_sentence(folder, file):
    (folder / file).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(EncoderBroken, match="nested too deeply|its tokenizer cannot be loaded"):
        encode(open_source(str(folder), "text"))


def test_a_token_without_an_embedding_is_a_sentence(folder):
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"sad": ', '"sad": 9'))
    with pytest.raises(EncoderBroken, match="fails on an input"):
        encode(open_source(str(folder), "text"))


def test_whisper_makes_the_mel_bins_that_its_config_wants(save_encoder, variants, tmp_path):
    kind, values = variants["whisper"]
    folder = save_encoder(tmp_path / "whole", kind, values | {"num_mel_bins": 128})
    extractor = folder / "preprocessor_config.json"
    extractor.write_text(json.dumps(json.loads(extractor.read_text()) | {"feature_size": 80}))
    with pytest.raises(EncoderBroken, match=r"makes 80 mel bins \(feature_size\), its config.json wants 128"):
        encode(open_source(str(folder), "audio"))
    extractor.write_text(json.dumps(json.loads(extractor.read_text()) | {"feature_size": 128}))
    stated = encode(open_source(str(folder), "audio"))
    extractor.unlink()
    np.testing.assert_array_equal(encode(open_source(str(folder), "audio")), stated)


def test_a_whisper_without_an_extractor_is_encoded(shared, tmp_path):
    case = shared / "cases" / "whisper-mels"
    arguments = ["--corpus", "csv", "--root", str(case / "corpus.csv"), "--cache", str(tmp_path / "c")]
    arguments += ["--audio-encoder", str(case / "model"), "--modalities", "audio", "--offline", "--workers", "0"]
    assert CliRunner().invoke(command, arguments).exit_code == 0
