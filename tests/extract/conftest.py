"""Tiny encoders with random weights, saved as transformers folders: one per model type of the table."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *".,!?'", "the", "sad", "happy"]
AUDIO = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [24] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
IMAGE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
WIDE = {"intermediate_size": 48}
# variant -> (model_type, config). More than one per type where a switch of the config takes another path.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", AUDIO),
    "wav2vec2-large": ("wav2vec2", AUDIO | LARGE),
    # attention adapters in the blocks, as MMS has them, and a stack of convolutions behind them
    "wav2vec2-adapters": ("wav2vec2", AUDIO | LARGE | {"adapter_attn_dim": 8, "add_adapter": True}),
    "hubert": ("hubert", AUDIO),
    "hubert-adapters": ("hubert", AUDIO | LARGE | {"adapter_attn_dim": 8}),
    "hubert-batch-norm": ("hubert", AUDIO | LARGE | {"conv_pos_batch_norm": True}),
    "wavlm": ("wavlm", AUDIO | {"num_buckets": 32, "max_bucket_distance": 80}),
    "wavlm-large": ("wavlm", AUDIO | LARGE | {"num_buckets": 32, "max_bucket_distance": 80}),
    "data2vec-audio": ("data2vec-audio", AUDIO | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}),
    "whisper": (
        "whisper",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "num_mel_bins": 80,
            "vocab_size": 60,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
            "max_target_positions": 8,
        },
    ),
    "bert": ("bert", TEXT),
    "electra": ("electra", TEXT | {"embedding_size": 16}),
    "roberta": ("roberta", TEXT | {"pad_token_id": 0, "max_position_embeddings": 41}),
    "xlm-roberta": ("xlm-roberta", TEXT | {"pad_token_id": 0, "max_position_embeddings": 41}),
    "camembert": ("camembert", TEXT | {"pad_token_id": 0, "max_position_embeddings": 41}),
    "distilbert": (
        "distilbert",
        {
            "vocab_size": len(WORDS),
            "dim": 32,
            "n_layers": 3,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 40,
        },
    ),
    "deberta-v2": (
        "deberta-v2",
        TEXT
        | {
            "relative_attention": True,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "share_att_key": True,
            "type_vocab_size": 0,
        },
    ),
    "deberta-v2-conv": (
        "deberta-v2",
        TEXT
        | {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "conv_kernel_size": 3,
            "conv_act": "gelu",
            "position_biased_input": False,
        },
    ),
    "mpnet": ("mpnet", TEXT | {"pad_token_id": 0, "max_position_embeddings": 41}),
    "vit": ("vit", IMAGE | WIDE),
    "clip": (
        "clip",
        {
            "vision_config": IMAGE | WIDE,
            "text_config": TEXT | {"num_hidden_layers": 1, "bos_token_id": 2, "eos_token_id": 3},
            "projection_dim": 16,
        },
    ),
    "clip-tower": ("clip_vision_model", IMAGE | WIDE),
    "dinov2": ("dinov2", IMAGE | {"image_size": 40}),
    "dinov2-registers": ("dinov2_with_registers", IMAGE | {"image_size": 40}),
}
# What the folder's image processor does: a square for ViT; the shorter side and a piece from the middle for the others.
NORMALISE = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.3, 0.2, 0.25], "do_normalize": True, "do_rescale": True}
PROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2},
    "clip": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 36},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
    },
}
PROCESSORS["clip_vision_model"] = PROCESSORS["clip"]
PROCESSORS["dinov2"] = PROCESSORS["dinov2_with_registers"] = PROCESSORS["clip"] | {
    "image_processor_type": "BitImageProcessor"
}


def perturb(model: Any, seed: int) -> Any:
    """Random norms and biases: with ones and zeros an equality test of norms would be empty."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim <= 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(0.1 * torch.rand(buffer.shape, generator=generator))
    return model


def save(folder: Path, model_type: str, values: dict[str, Any], seed: int = 0) -> Path:
    """Saves a random model of a type with everything that transformers needs to load it."""
    import torch
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **values)
    perturb(AutoModel.from_config(config), seed).save_pretrained(folder)
    if model_type == "whisper":
        WhisperFeatureExtractor(feature_size=values.get("num_mel_bins", 80)).save_pretrained(folder)
    elif model_type in PROCESSORS:
        wanted = {"do_resize": True} | NORMALISE | PROCESSORS[model_type]
        (folder / "preprocessor_config.json").write_text(json.dumps(wanted))
    elif "conv_dim" in values:
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    else:
        save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """A tokenizer of letters and a few words that, like MiniLM's, comes with truncation and padding switched on."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16, pad_token="[PAD]")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 10**9}))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Variant -> folder of the tiny encoder, made once per test process."""
    base = tmp_path_factory.mktemp("encoders")
    made: dict[str, Path] = {}

    def folder(variant: str) -> Path:
        if variant not in made:
            model_type, values = VARIANTS[variant]
            made[variant] = save(base / f"tiny-{variant}", model_type, values)
        return made[variant]

    return folder


@pytest.fixture
def clip() -> Callable[[int, int], "np.ndarray[Any, Any]"]:
    """Frames, seed -> smooth coloured pictures (frames, height, width, 3) uint8; the size depends on the seed."""

    def make(frames: int, seed: int = 0) -> "np.ndarray[Any, Any]":
        random = np.random.default_rng(seed)
        height, width = 24 + 7 * (seed % 5), 30 + 5 * (seed % 3)
        coarse = random.integers(0, 256, (frames, 4, 5, 3), dtype=np.uint8)
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 5 // width
        return np.ascontiguousarray(coarse[:, rows][:, :, columns])

    return make


@pytest.fixture
def speech() -> Callable[[float, int], "np.ndarray[Any, Any]"]:
    """Seconds, seed -> noise that swells and falls, with an offset, float32 at 16 kHz."""

    def make(seconds: float, seed: int = 0) -> "np.ndarray[Any, Any]":
        random = np.random.default_rng(seed)
        samples = round(seconds * 16_000)
        envelope = 0.2 + np.abs(np.sin(np.arange(samples) / 3000 + seed))
        return (0.1 * random.standard_normal(samples) * envelope + 0.01 * (seed % 3)).astype(np.float32)

    return make


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with an argument `variant` runs for every tiny encoder; `audio_variant`, `text_variant` for the modality's;
    `family_variant` for one of each model type, the one with the most parts."""
    from ser_extract.encoders import ENCODERS

    for argument, modality in (("variant", None), *((f"{one}_variant", one) for one in ("audio", "text", "video"))):
        if argument in metafunc.fixturenames:
            chosen = [name for name, (kind, _) in VARIANTS.items() if modality in (None, ENCODERS[kind].modality)]
            metafunc.parametrize(argument, chosen)
    if "family_variant" in metafunc.fixturenames:
        metafunc.parametrize("family_variant", {kind: name for name, (kind, _) in VARIANTS.items()}.values())


@pytest.fixture(scope="session")
def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """Variant -> model type and config."""
    return VARIANTS


@pytest.fixture(scope="session")
def save_encoder() -> Callable[..., Path]:
    """(folder, model type, config) -> the folder of a random model."""
    return save


@pytest.fixture(scope="session")
def variant_types() -> dict[str, str]:
    """Variant -> model type."""
    return {name: kind for name, (kind, _) in VARIANTS.items()}


@pytest.fixture
def corpus(tmp_path: Path, speech: Callable[[float, int], "np.ndarray[Any, Any]"]) -> Callable[..., Path]:
    """Writes a CSV corpus of short wavs; returns the CSV. Extra rows are dicts appended as they are."""
    import soundfile

    def make(count: int = 6, extra: tuple[dict[str, str], ...] = (), name: str = "corpus") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = []
        for k in range(count):
            soundfile.write(folder / f"u{k:02d}.wav", speech(0.3 + 0.17 * (k * 7 % 5), k), 16_000)
            rows.append(
                {"id": f"u{k:02d}", "path": f"u{k:02d}.wav", "label": "ab"[k % 2], "text": WORDS[5 + k] + " the sad"}
            )
        columns = list(dict.fromkeys(key for row in (*rows, *extra) for key in row))
        with (folder / "corpus.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows([*rows, *extra])
        return folder / "corpus.csv"

    return make


@pytest.fixture
def job(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[..., Any]:
    """(csv, **changes) -> a job with tiny encoders that runs in this process."""

    def make(root: Path, **changes: Any) -> Any:
        from ser_extract.job import ExtractJob

        values = {
            "corpus": "csv",
            "root": root,
            "cache": tmp_path / "cache",
            "audio_encoder": str(tiny("wav2vec2")),
            "text_encoder": str(tiny("bert")),
            "workers": 0,
            "device": "cpu",
        }
        return ExtractJob(**(values | changes))

    return make


FINEST = 1e-7
"""A pace at which every utterance is a shard of its own: no core is so slow."""


@pytest.fixture(scope="session")
def finest() -> float:
    """A pace at which every utterance is a shard of its own."""
    return FINEST
