"""What every encoder family promises: the hidden states of transformers at batch 1, whatever else is in the batch.

Walks the table: a family without a tiny variant in conftest fails, and so does one that misses a relative L2 of 1e-5.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_extract.encoders import ENCODERS
from ser_extract.encoders.base import Encoded, Engine, EngineOptions, InputOptions
from ser_extract.encoders.source import open_source
from ser_extract.testing import TOLERANCE, check_company, check_exact, check_shape, check_short, relative_error

Array = np.ndarray[Any, Any]
TEXTS = [
    "a b c",
    "the sad",
    "z",
    "happy , happy . the sad a b c d e f g h i j",
    "what ?",
    "q r s t u v w x y z a b c d e f g h",
]
# One frame, just under and over a frame's border, and mixed lengths in seconds.
SECONDS = [400 / 16_000, 719 / 16_000, 720 / 16_000, 0.1, 0.93, 2.0, 2.0, 1.31]


def loaded(
    folder: Path, layers: tuple[int, ...] | None = None, inputs: InputOptions | None = None, **options: Any
) -> Engine:
    source = open_source(str(folder), "audio")
    family = ENCODERS[source.model_type]
    description = family.describe(source, inputs or InputOptions())
    return family.load(source, description, layers or tuple(range(description.depth + 1)), EngineOptions(**options))


def pixels(folder: Path, frame: Array) -> torch.Tensor:
    """Transformers' own image processor, on Pillow."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(folder, backend="pil")(frame, return_tensors="pt")["pixel_values"]


def reference(folder: Path, inputs: list[Any], modality: str) -> list[list[Array]]:
    """Stock transformers, one input (of video: one frame) at a time: per input the list of all hidden states."""
    from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    states: list[list[Array]] = []
    last_block: list[torch.Tensor] = []
    if getattr(model.config, "do_stable_layer_norm", False):
        keep = lambda module, args, output: last_block.append(output[0] if isinstance(output, tuple) else output)
        model.encoder.layers[-1].register_forward_hook(keep)
    with torch.inference_mode():
        for given in inputs:
            if modality == "video":
                tower = getattr(model, "vision_model", model)
                made = [tower(pixels(folder, frame), output_hidden_states=True).hidden_states for frame in given]
                hidden = [torch.stack([frame[layer][0, 0] for frame in made])[None] for layer in range(len(made[0]))]
            elif modality == "text":
                tokens = AutoTokenizer.from_pretrained(folder)(
                    given, return_tensors="pt", truncation=False, padding=False
                )
                tokens.pop("token_type_ids", None)
                hidden = model(**tokens, output_hidden_states=True).hidden_states
            else:
                values = AutoFeatureExtractor.from_pretrained(folder)(given, sampling_rate=16_000, return_tensors="pt")
                encoder = model.get_encoder() if hasattr(model, "decoder") else model
                hidden = list(encoder(next(iter(values.values())), output_hidden_states=True).hidden_states)
                if getattr(model.config, "do_stable_layer_norm", False):
                    hidden[-1] = last_block[
                        -1
                    ]  # transformers 5.3 to 5.12 and more put the norm behind it into this state
                if hasattr(model, "decoder"):
                    hidden = [state[:, : -(-len(given) // 320)] for state in hidden]
            states.append([state[0].numpy() for state in hidden])
    return states


@pytest.fixture
def inputs(speech: Callable[[float, int], Array], clip: Callable[[int, int], Array]) -> Callable[[str], list[Any]]:
    makers: dict[str, Callable[[], list[Any]]] = {
        "audio": lambda: [speech(seconds, k) for k, seconds in enumerate(SECONDS)],
        "text": lambda: list(TEXTS),
        "video": lambda: [clip(frames, k) for k, frames in enumerate((1, 2, 5, 3, 1, 4))],
    }
    return lambda modality: makers[modality]()


def test_every_family_of_the_table_is_tried(variant_types: dict[str, str]):
    assert set(variant_types.values()) == set(ENCODERS)


def test_every_file_of_the_folder_serves_the_table():
    names = {type(ENCODERS[name]).__module__ for name in ENCODERS} | {"ser_extract.encoders"}
    assert all(name.startswith("ser_extract.encoders") for name in names)
    for name in ENCODERS:
        assert ENCODERS[name].modality in ("audio", "text", "video")


@pytest.mark.parametrize("batch", [None, 0, 100_000], ids=["own", "solo", "batched"])
def test_features_equal_batch_one_of_transformers(variant, batch, tiny, variant_types, inputs):
    modality = ENCODERS[variant_types[variant]].modality
    given = inputs(modality)
    if variant == "whisper":
        given = given[2:5]  # 30 s of context each
    engine = loaded(tiny(variant), batch=batch)
    check_exact(engine, given, reference(tiny(variant), given, modality))


@pytest.mark.parametrize("name", ["wav2vec2", "hubert"])
def test_utterances_of_any_length_share_a_pack(name, tiny, speech):
    """Their convolutions run over the whole pack: each begins at a multiple of so many rows, wherever the last one ended."""
    given = [speech((400 + 331 * k) / 16_000, k) for k in range(64)] + [speech(12.0, 64)]
    check_exact(loaded(tiny(name)), given, reference(tiny(name), given, "audio"))


def test_texts_are_packed_where_the_family_can(text_variant, tiny):
    """So the contract above is asked of both engines; nothing falls back to padding unnoticed."""
    padded = {"deberta-v2", "deberta-v2-conv", "mpnet"}
    kinds = [
        loaded(tiny(text_variant), **options).policy["batch"] for options in ({}, {"engine": "stock"}, {"batch": 0})
    ]
    assert kinds == ["padded" if text_variant in padded else "packed", "padded", "solo"]


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm", "bert", "deberta-v2"])
def test_bfloat16_on_a_cpu_is_near_and_packed_where_float32_is(name, tiny, variant_types, inputs):
    given = inputs(ENCODERS[variant_types[name]].modality)[2:6]
    exact, rough = loaded(tiny(name)), loaded(tiny(name), compute="bfloat16")
    assert rough.policy == {**exact.policy, "compute": "bfloat16"}
    for one, other in zip(exact.encode(given), rough.encode(given), strict=True):
        assert isinstance(one, Encoded) and isinstance(other, Encoded)
        errors = [relative_error(other.states[layer], state) for layer, state in one.states.items()]
        assert all(other.states[layer].dtype == np.float32 for layer in other.states)
        assert 1e-5 < max(errors) < 3e-2  # bfloat16 keeps 8 bits: 4e-3 for each rounding


def test_the_packed_speech_engine_loads_no_transformers(tiny):
    """It takes longer to load than a short clip to encode."""
    code = (
        "import sys, numpy as np\n"
        "from ser_extract.encoders import ENCODERS\n"
        "from ser_extract.encoders.base import EngineOptions, InputOptions\n"
        "from ser_extract.encoders.source import open_source\n"
        f"source = open_source({str(tiny('wav2vec2'))!r}, 'audio')\n"
        "family = ENCODERS['wav2vec2']\n"
        "engine = family.load(source, family.describe(source, InputOptions()), (1,), EngineOptions())\n"
        "size = engine.encode([np.ones(4000, np.float32)])[0].states[1].size\n"
        "print(size > 0, engine.policy['engine'], 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "packed", "False"]


def test_neighbours_and_order_change_nothing_beyond_rounding(variant, tiny, variant_types, inputs):
    given = inputs(ENCODERS[variant_types[variant]].modality)[2:6]
    check_company(loaded(tiny(variant), batch=100_000), given)


def test_an_early_exit_gives_the_same_bits(variant, tiny, variant_types, inputs):
    given = inputs(ENCODERS[variant_types[variant]].modality)[3:5]
    whole = loaded(tiny(variant), batch=0).encode(given)
    for layer in (0, 1):
        cut = loaded(tiny(variant), (layer,), batch=0).encode(given)
        for one, other in zip(whole, cut, strict=True):
            assert isinstance(one, Encoded) and isinstance(other, Encoded)
            assert set(other.states) == {layer}
            np.testing.assert_array_equal(one.states[layer], other.states[layer])


def test_the_description_foretells_depth_width_and_frames(variant, tiny, inputs):
    source = open_source(str(tiny(variant)), "audio")
    family = ENCODERS[source.model_type]
    description = family.describe(source, InputOptions())
    given = inputs(family.modality)[3]
    engine = loaded(tiny(variant), batch=0)
    check_shape(engine, description, given)
    if family.modality == "text":
        encoded = engine.encode([given])[0]
        assert isinstance(encoded, Encoded) and encoded.special is not None
        assert encoded.special.tolist() == [True] + [False] * (len(encoded.special) - 2) + [True]


def test_padding_without_the_masked_norm_would_be_wrong(tiny, speech):
    """The trap itself: were it not there, the tests above would prove nothing."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny("wav2vec2")).eval()
    short = torch.from_numpy(speech(1.0, 1))[None]
    padded = torch.nn.functional.pad(short, (0, 16_000))
    with torch.inference_mode():
        alone = model(short).last_hidden_state[0]
        mask = (torch.arange(32_000) < 16_000).long()[None]
        batched = model(padded, attention_mask=mask).last_hidden_state[0, : len(alone)]
    assert relative_error(batched.numpy(), alone.numpy()) > 1e-2


def test_audio_below_the_receptive_field_is_refused_and_the_rest_goes_on(audio_variant, tiny, speech):
    source = open_source(str(tiny(audio_variant)), "audio")
    description = ENCODERS[source.model_type].describe(source, InputOptions())
    check_short(loaded(tiny(audio_variant)), description, speech(0.5, 1))


def test_long_audio_in_windows_keeps_the_frame_grid(audio_variant, tiny, speech):
    wave = speech(7.3, 3)
    options = InputOptions(max_seconds=3.0, overlap_seconds=1.0, context_seconds=3.0)
    source = open_source(str(tiny(audio_variant)), "audio")
    description = ENCODERS[source.model_type].describe(source, options)
    engine = loaded(tiny(audio_variant), inputs=options)
    encoded = engine.encode([wave])[0]
    assert isinstance(encoded, Encoded)
    assert all(len(state) == description.frames(len(wave)) for state in encoded.states.values())
    # the first frames come from the first window alone
    if audio_variant != "whisper" and "large" in audio_variant:
        first = engine.encode([wave[: description.windowing.length]])[0]
        assert isinstance(first, Encoded)


def test_long_text_in_windows_loses_no_token(text_variant, tiny):
    letters = " ".join("abcdefghijklmnopqrstuvwxyz"[k % 26] for k in range(150))
    engine = loaded(tiny(text_variant))
    encoded, short = engine.encode([letters, "a b"])
    assert isinstance(encoded, Encoded) and isinstance(short, Encoded)
    assert encoded.special is not None and encoded.special.sum() == 2
    assert all(len(state) == 152 for state in encoded.states.values())
    start = engine.encode([" ".join(letters.split()[:38])])[0]
    assert isinstance(start, Encoded)
    deepest = max(start.states)
    # tokens far from a seam come from a window that starts as the text does
    assert relative_error(encoded.states[deepest][:20], start.states[deepest][:20]) < TOLERANCE


def test_pixels_are_those_of_transformers(video_variant, tiny, clip):
    from ser_extract.encoders.vision import ImageFamily, read_pixels

    source = open_source(str(tiny(video_variant)), "video")
    family = ENCODERS[source.model_type]
    assert isinstance(family, ImageFamily)
    made = read_pixels(source, family._processor, square=family._square)
    for seed in range(6):  # sizes above and below, wide and high
        frame = clip(1, seed)[0]
        for given in (frame, frame.transpose(1, 0, 2), frame.repeat(3, 0)):
            np.testing.assert_array_equal(made.prepare(given), pixels(tiny(video_variant), given)[0].numpy())


def test_a_clip_without_frames_has_rows_without_frames(video_variant, tiny, clip):
    first, none, last = loaded(tiny(video_variant)).encode([clip(2, 0), clip(1, 0)[:0], clip(3, 1)])
    assert isinstance(first, Encoded) and isinstance(none, Encoded) and isinstance(last, Encoded)
    assert [len(one.states[3]) for one in (first, none, last)] == [2, 0, 3]
    assert none.states[3].shape == (0, 32)


def test_frames_that_do_not_fit_the_model_are_told(video_variant, tiny, tmp_path):
    import json
    import shutil

    from ser_extract.errors import EncoderBroken

    def described(**changes: Any) -> Any:
        stated = json.loads((tiny(video_variant) / "preprocessor_config.json").read_text())
        shutil.copytree(tiny(video_variant), tmp_path / "other", dirs_exist_ok=True)
        (tmp_path / "other" / "preprocessor_config.json").write_text(json.dumps(stated | changes))
        source = open_source(str(tmp_path / "other"), "video")
        return ENCODERS[source.model_type].describe(source, InputOptions(fps=3.0))

    assert described().frame_rate == described().declared["fps"] == 3.0
    for wrong in ({"size": {"longest_edge": 3}}, {"image_std": [0, 0, 0]}, {"do_pad": True}, {"image_mean": 1}):
        with pytest.raises(EncoderBroken, match=r"preprocessor_config\.json"):
            described(**wrong)
    other = {"size": {"height": 48, "width": 48}, "crop_size": {"height": 48, "width": 48}}
    if "dinov2" in video_variant:  # interpolates its positions
        assert described(**other).declared["pixels"]["crop"] == [48, 48]
    else:
        with pytest.raises(EncoderBroken, match="48 x 48"):
            described(**other)
    (tmp_path / "other" / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderBroken, match="no preprocessor_config"):
        source = open_source(str(tmp_path / "other"), "video")
        ENCODERS[source.model_type].describe(source, InputOptions())
