"""The generic engine, on random weights of architectures that the table does not have: transformers' own states, bit for bit or nearly."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_extract.encoders.base import Encoded, EngineOptions, InputOptions, Refused, load_engine
from ser_extract.encoders.generic import generic_family
from ser_extract.encoders.plugged import family_of
from ser_extract.encoders.probing import encoder_in, load_extractor
from ser_extract.encoders.source import Source, open_source
from ser_extract.errors import EncoderBroken
from ser_extract.testing import relative_error

Array = np.ndarray[Any, Any]
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


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, save_encoder: Callable[..., Path]) -> Callable[[str], Path]:
    """Model type -> folder of a random model, made once."""
    import transformers

    base, folders = tmp_path_factory.mktemp("generic"), {}

    def folder(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = place = base / kind
            config = (TEXTS | AUDIO | UNFIT)[kind][0]
            save_encoder(place, kind, config)
            if kind in TEXTS:
                around(place, TEXTS[kind][1].split())
            else:
                name = (AUDIO | UNFIT)[kind][1]
                more = {"max_length": 64} if name.startswith("AST") else {}
                getattr(transformers, name)(**more).save_pretrained(place)
        return folders[kind]

    return folder


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
    if (
        model.config.model_type == "seamless_m4t"
    ):  # its last state has been through an adapter, which makes fewer frames
        model.config.tie_last_hidden_states = False
    return model


def alone(folder: Path, modality: Any, given: Any) -> list[Array]:
    """All hidden states of the model itself, of frames that its extractor does not mark as padding."""
    from transformers import AutoTokenizer

    model = model_of(folder, modality)
    if modality == "text":
        inputs = dict(
            AutoTokenizer.from_pretrained(folder)(given, return_tensors="pt", truncation=False, padding=False)
        )
        inputs.pop("token_type_ids", None)
    else:
        inputs = load_extractor(open_source(str(folder), modality))(given, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**inputs, output_hidden_states=True).hidden_states
    mask = inputs.get("attention_mask")
    kept = slice(int(mask.sum()) if mask is not None and mask.shape[1] == hidden[0].shape[1] else None)
    return [state[0, kept].numpy() for state in hidden]


@pytest.mark.parametrize("kind", list(TEXTS))
def test_a_text_model_gives_its_own_states(kind: str, made):
    given = ["a b c", "the sad", "happy , happy . the sad a b c d e"]
    _, description, engine = opened(made(kind), "text")
    assert description.declared["cls"] == TEXTS[kind][2]
    together, again = engine.encode(given), engine.encode(given[::-1])[::-1]
    for text, one, other in zip(given, together, again, strict=True):
        expected = alone(made(kind), "text", text)
        assert set(one.states) == set(range(len(expected)))
        for layer, state in enumerate(expected):
            led = one.states[layer]
            np.testing.assert_array_equal(led, other.states[layer])
            if TEXTS[kind][2] != "own":
                inside = state[: len(text.split())] if kind == "t5" else state[-1:]
                np.testing.assert_allclose(led[0], inside.mean(0), rtol=1e-5, atol=1e-6)
                assert one.special[0]
                led = led[1:]
            assert relative_error(led, state) < 1e-6
        assert (~one.special).sum() == len(text.split())


@pytest.mark.parametrize("kind", ["modernbert", "llama", "xlnet"])
def test_a_long_text_loses_no_token(kind: str, made):
    text = " ".join("abcdefghijklmnopqrstuvwxyz"[k % 26] for k in range(100))
    encoded = opened(made(kind), "text", (1,))[2].encode([text])[0]
    assert isinstance(encoded, Encoded) and (~encoded.special).sum() == 100


@pytest.mark.parametrize("kind", list(AUDIO))
def test_an_audio_model_gives_its_own_states(kind: str, made, speech):
    _, description, engine = opened(made(kind), "audio")
    given = [speech(description.shortest / 16_000, 1), speech(0.93, 2), speech(1.31, 3)]
    for wave, one, other in zip(given, engine.encode(given), engine.encode(given[::-1])[::-1], strict=True):
        expected = alone(made(kind), "audio", wave)
        assert set(one.states) == set(range(len(expected))) and one.special is None
        for layer, state in enumerate(expected):
            np.testing.assert_array_equal(one.states[layer], other.states[layer])
            assert len(state) == description.frames(len(wave))
            assert relative_error(one.states[layer], state) < 1e-6
    short, _ = engine.encode([given[1][: description.shortest - 1], given[1]])
    assert isinstance(short, Refused) and short.reason == "too_short"
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
