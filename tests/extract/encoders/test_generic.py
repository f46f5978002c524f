"""The generic engine, on random weights of architectures that the table does not have: transformers' own states, bit for bit or nearly."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_extract.encoders.base import Encoded, EngineOptions, InputOptions, load_engine
from ser_extract.encoders.generic import generic_family
from ser_extract.encoders.plugged import family_of
from ser_extract.encoders.probing import encoder_in
from ser_extract.encoders.source import Source, open_source
from ser_extract.errors import EncoderBroken
from ser_extract.testing import check_short, relative_error, waveform

Array = np.ndarray[Any, Any]
TEXT_INPUTS = ["a b c", "the sad", "happy , happy . the sad a b c d e"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = SMALL | {"vocab_size": 60, "max_position_embeddings": 42, "pad_token_id": 0}
DECODER = TEXT | {"num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 2, "eos_token_id": 3}
WAVE = SMALL | {"conv_dim": [24] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
# model type -> config, special tokens around a text, and what stands in front of it
TEXTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "modernbert": (
        TEXT | {"cls_token_id": 2, "sep_token_id": 3, "global_attn_every_n_layers": 2},
        "[CLS] $A [SEP]",
        "own",
    ),
    "albert": (TEXT | {"embedding_size": 16}, "[CLS] $A [SEP]", "own"),
    "deberta": (TEXT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, "[CLS] $A [SEP]", "own"),
    "xlnet": (
        {"vocab_size": 60, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "pad_token_id": 0},
        "$A [SEP] [CLS]",
        "last token",
    ),
    "llama": (DECODER, "[CLS] $A", "last token"),
    "qwen3": (DECODER, "$A", "last token"),
    "gemma": (DECODER, "[CLS] $A", "last token"),
    "gpt2": (
        {
            "vocab_size": 60,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 42,
            "bos_token_id": 2,
            "eos_token_id": 3,
        },
        "$A",
        "last token",
    ),
    "t5": (
        {"vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "pad_token_id": 0},
        "$A [SEP]",
        "mean",
    ),
}
# model type -> config and feature extractor
AUDIO: dict[str, tuple[dict[str, Any], str]] = {
    "wav2vec2-conformer": (WAVE | {"position_embeddings_type": "relative"}, "Wav2Vec2FeatureExtractor"),
    "wav2vec2-bert": (
        SMALL | {"feature_projection_input_dim": 160, "max_source_positions": 40},
        "SeamlessM4TFeatureExtractor",
    ),
    "unispeech-sat": (WAVE | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}, "Wav2Vec2FeatureExtractor"),
    "sew": (WAVE | {"conv_dim": [24] * 13}, "Wav2Vec2FeatureExtractor"),
    "seamless_m4t": (
        {
            "vocab_size": 60,
            "hidden_size": 32,
            "t2u_vocab_size": 60,
            "unit_hifi_gan_vocab_size": 40,
            "speech_encoder_layers": 2,
            "speech_encoder_attention_heads": 4,
            "speech_encoder_intermediate_size": 48,
            "max_source_positions": 40,
            "encoder_layers": 1,
            "encoder_ffn_dim": 32,
            "encoder_attention_heads": 4,
            "decoder_layers": 1,
            "decoder_ffn_dim": 32,
            "decoder_attention_heads": 4,
            "t2u_encoder_layers": 1,
            "t2u_encoder_ffn_dim": 32,
            "t2u_encoder_attention_heads": 4,
            "t2u_decoder_layers": 1,
            "t2u_decoder_ffn_dim": 32,
            "t2u_decoder_attention_heads": 4,
            "unit_embed_dim": 16,
            "lang_embed_dim": 8,
            "spkr_embed_dim": 8,
            "upsample_initial_channel": 32,
        },
        "SeamlessM4TFeatureExtractor",
    ),
    "moonshine": (
        {
            "vocab_size": 60,
            "hidden_size": 32,
            "intermediate_size": 48,
            "encoder_num_hidden_layers": 2,
            "decoder_num_hidden_layers": 1,
            "encoder_num_attention_heads": 4,
            "decoder_num_attention_heads": 4,
        },
        "Wav2Vec2FeatureExtractor",
    ),
}
AUDIO["qwen2_audio_encoder"] = (
    {
        "num_mel_bins": 80,
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "max_source_positions": 200,
    },
    "WhisperFeatureExtractor",
)
SETTINGS = {"ASTFeatureExtractor": {"max_length": 64}, "WhisperFeatureExtractor": {"chunk_length": 4}}
UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "audio-spectrogram-transformer": (SMALL | {"max_length": 64}, "ASTFeatureExtractor"),
    "clap": (
        {
            "audio_config": SMALL
            | {"depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16, "hidden_size": 32},
            "text_config": TEXT,
        },
        "ClapFeatureExtractor",
    ),
}


def save_model(save: Callable[..., Path], folder: Path, kind: str) -> Path:
    """A random model of a type with its tokenizer or feature extractor; `save` is that of `tests/extract/conftest.py`."""
    import transformers

    save(folder, kind, (TEXTS | AUDIO | UNFIT)[kind][0])
    if kind in TEXTS:
        around(folder, TEXTS[kind][1].split())
    else:
        name = (AUDIO | UNFIT)[kind][1]
        getattr(transformers, name)(**SETTINGS.get(name, {})).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, save_encoder: Callable[..., Path]) -> Callable[[str], Path]:
    """Model type -> folder of a random model, made once."""
    base = tmp_path_factory.mktemp("generic")
    return cache(lambda kind: save_model(save_encoder, base / kind, kind))


def around(folder: Path, template: list[str]) -> None:
    """Puts special tokens around a text."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    piece = {"$A": {"Sequence": {"id": "A", "type_id": 0}}}
    content["post_processor"]["single"] = [
        piece.get(part, {"SpecialToken": {"id": part, "type_id": 0}}) for part in template
    ]
    path.write_text(json.dumps(content))


def opened(folder: Path, modality: Any, layers: tuple[int, ...] | None = None) -> tuple[Source, Any, Any]:
    source = open_source(str(folder), modality)
    assert family_of(source, modality) is None
    family = generic_family(source, modality)
    assert family is not None
    description = family.describe(source, InputOptions(max_seconds=3.0, overlap_seconds=0.5))
    wanted = layers or tuple(range(description.depth + 1))
    return source, description, load_engine(family, source, description, wanted, EngineOptions())


@cache
def model_of(folder: Path, modality: Any) -> Any:
    from transformers import AutoModel

    model = encoder_in(AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), modality)
    if model.config.model_type in ("seamless_m4t", "qwen2_audio_encoder"):
        model.config.tie_last_hidden_states = (
            False  # the last state has been through an adapter or a pooling: fewer frames
        )
    return model


def alone(folder: Path, modality: Any, given: Any) -> list[Array]:
    """All hidden states of the model itself, of frames that its extractor does not mark as padding."""
    from transformers import AutoFeatureExtractor, AutoTokenizer

    model = model_of(folder, modality)
    if modality == "text":
        inputs = dict(
            AutoTokenizer.from_pretrained(folder)(given, return_tensors="pt", truncation=False, padding=False)
        )
        inputs.pop("token_type_ids", None)
    else:
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        whisper = {"return_attention_mask": True} if model.config.model_type == "qwen2_audio_encoder" else {}
        inputs = dict(extractor(given, sampling_rate=16_000, return_tensors="pt", **whisper))
    mask = inputs.get("attention_mask")
    frames = None if mask is None or modality == "text" or mask.shape[1] == len(given) else int(mask.sum())
    if model.config.model_type == "qwen2_audio_encoder":  # as Qwen2AudioModel masks it, in full
        frames = (int(mask.sum()) - 1) // 2 + 1
        inputs["attention_mask"] = torch.zeros(1, 1, 200, 200).masked_fill(torch.arange(200) >= frames, -torch.inf)
    with torch.inference_mode():
        hidden = model(**inputs, output_hidden_states=True).hidden_states
    return [state[0, :frames].numpy() for state in hidden]


@dataclass(frozen=True)
class Tried:
    """What came of one architecture; `bench_extract_exactness.py --generic` prints these.

    Attributes:
        layers: Hidden states that the engine gives.
        own: Hidden states that the model gives.
        same: Whether a second pass in another order gives the same bits.
        lengths: Whether every state has the model's number of frames, for audio that of the description too.
        first: What stands in front of a text's tokens; empty for audio.
        worst: Largest relative error to the model alone, that of the stand-in included.
    """

    kind: str
    layers: int
    own: int
    same: bool
    lengths: bool
    first: str
    worst: float


def tried(kind: str, folder: Path) -> Tried:
    """Runs an architecture through the engine, and beside it alone."""
    modality = "text" if kind in TEXTS else "audio"
    _, description, engine = opened(folder, modality)
    rate = description.rate or 16_000
    waves = [waveform(seconds, rate, seed) for seed, seconds in enumerate((description.shortest / rate, 0.93, 1.31))]
    given: list[Any] = waves if modality == "audio" else TEXT_INPUTS
    engine_states = [encoded.states for encoded in engine.encode(given)]
    again = [encoded.states for encoded in engine.encode(given[::-1])][::-1]
    first = str(description.declared.get("cls", ""))
    led = int(first in ("last token", "mean"))
    same, lengths, worst = True, True, 0.0
    for one, states, other in zip(given, engine_states, again, strict=True):
        expected = alone(folder, modality, one)
        for layer, state in enumerate(expected):
            same &= np.array_equal(states[layer], other[layer])
            lengths &= len(states[layer]) - led == len(state)
            lengths &= modality == "text" or len(state) == description.frames(len(one))
            worst = max(worst, relative_error(states[layer][led:], state))
            if led:
                content = (
                    state[: len(one.split())] if first == "mean" else state[-1:]
                )  # T5's own special token is the last
                worst = max(worst, relative_error(states[layer][0], content.mean(0)))
    return Tried(kind, len(engine_states[0]), len(expected), same, lengths, first, worst)


@pytest.mark.parametrize("kind", [*TEXTS, *AUDIO])
def test_a_model_gives_its_own_states(kind: str, made):
    result = tried(kind, made(kind))
    assert result.layers == result.own == 3 and result.same and result.lengths
    assert result.first == (TEXTS[kind][2] if kind in TEXTS else "")
    assert result.worst < 1e-6


@pytest.mark.parametrize("kind", ["albert", "gpt2", "t5"])
def test_what_stands_in_front_is_a_special_token(kind: str, made):
    for text, encoded in zip(TEXT_INPUTS, opened(made(kind), "text")[2].encode(TEXT_INPUTS), strict=True):
        assert encoded.special[0] and (~encoded.special).sum() == len(text.split())


@pytest.mark.parametrize("kind", ["modernbert", "llama", "xlnet"])
def test_a_long_text_loses_no_token(kind: str, made):
    text = " ".join("abcdefghijklmnopqrstuvwxyz"[k % 26] for k in range(100))
    encoded = opened(made(kind), "text", (1,))[2].encode([text])[0]
    assert isinstance(encoded, Encoded) and (~encoded.special).sum() == 100


@pytest.mark.parametrize("kind", list(AUDIO))
def test_short_audio_is_refused_and_long_audio_loses_no_frame(kind: str, made, speech):
    _, description, engine = opened(made(kind), "audio")
    check_short(engine, description, speech(0.93, 2))
    long = engine.encode([speech(7.3, 3)])[0]
    assert all(len(state) == description.frames(round(7.3 * 16_000)) for state in long.states.values())


@pytest.mark.parametrize("kind", list(UNFIT))
def test_what_does_not_fit_is_one_sentence(kind: str, made):
    source = open_source(str(made(kind)), "audio")
    family = generic_family(source, "audio")
    assert family is not None
    with pytest.raises(EncoderBroken) as caught:
        family.describe(source, InputOptions())
    assert len(str(caught.value).splitlines()) == 2


def test_a_family_of_the_table_is_never_generic(tiny):
    for modality in ("audio", "text", "video"):
        assert generic_family(open_source(str(tiny("bert")), "text"), modality) is None
