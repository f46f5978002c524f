"""Where an encoder's files lie and what they are: name, revision, content hashes. No torch, no transformers.

Identity is the content: weights, config, and preprocessing files are hashed, never paths or times, so a folder can be
moved, and a changed byte is noticed. A hub id is looked for on this machine first; naming one is consent to download it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_extract.encoders.weight_files import ADAPTER, WHOLE, WeightFiles, find_weights, read_json
from ser_extract.errors import EncoderBroken

PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "sentencepiece.bpe.model",
)
# Keys of config.json that say who wrote the file and not what the encoder computes.
VOLATILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "id2label", "label2id")
UNTELLING = ("model", "checkpoint", "best", "final", "encoder")


@dataclass(frozen=True)
class Source:
    """An encoder's folder on this machine.

    Attributes:
        name: Hub id, or for a local folder its own name; part of the cache's address.
        folder: Where the files are.
        revision: Commit hash of the hub's repository, or None for a local folder.
        config: `config.json`, parsed.
        weights: `xxh3:<hex>` over names and bytes of the weight files that are read; the folder's place does not enter.
        config_hash: `xxh3:<hex>` of the config without the keys in `VOLATILE`.
        preprocessing_hash: `xxh3:<hex>` over the preprocessing and tokenizer files.
        files: The weight files: those that are hashed are read, and no others.
    """

    name: str
    folder: Path
    revision: str | None
    config: Mapping[str, Any]
    weights: str
    config_hash: str
    preprocessing_hash: str
    files: WeightFiles

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    def preprocessor(self) -> dict[str, Any]:
        """`preprocessor_config.json` as a dict, or the feature extractor inside `processor_config.json`, or empty."""
        plain = self.folder / "preprocessor_config.json"
        if plain.is_file():
            return read_json(plain, self.name)
        joint = self.folder / "processor_config.json"
        inner = read_json(joint, self.name).get("feature_extractor", {}) if joint.is_file() else {}
        if not isinstance(inner, dict):
            raise EncoderBroken(self.name, f"feature_extractor in {joint.name} is not a JSON object", WHOLE)
        return inner

    def declared(self) -> dict[str, Any]:
        """The facts of the fingerprint that come from the files."""
        return {"weights": self.weights, "config": self.config_hash, "preprocessor_files": self.preprocessing_hash}


def open_source(name: str, modality: str, *, revision: str | None = None, offline: bool = False) -> Source:
    """Finds an encoder: a local folder, else a copy of the hub's repository on this machine, else the hub itself.

    Args:
        name: Folder or hub id.
        modality: `audio` or `text`, for messages.
        revision: Branch, tag or commit of a hub repository.
        offline: Never open a connection.

    Raises:
        EncoderNotFound: Nothing there, or the hub does not answer within 10 seconds.
        EncoderBroken: The folder has no config or no weights.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _read(_folder_name(folder), folder.resolve(), None)
    from ser_extract.encoders.hub import fetch

    folder, commit = fetch(name, modality, revision=revision, offline=offline)
    return _read(name, folder, commit)


def _folder_name(folder: Path) -> str:
    own = folder.resolve()
    return f"{own.parent.name}/{own.name}" if own.name.lower() in UNTELLING or own.name.isdigit() else own.name


def _read(name: str, folder: Path, revision: str | None) -> Source:
    if not (folder / "config.json").is_file():
        adapter = f" ({ADAPTER} says that it holds a peft adapter only)" if (folder / ADAPTER).is_file() else ""
        raise EncoderBroken(name, f"there is no config.json in {folder}{adapter}", WHOLE)
    config = read_json(folder / "config.json", name)
    files = find_weights(folder, name)
    elsewhere = config.get("transformers_weights")
    if elsewhere is not None and elsewhere not in [path.name for path in files.paths]:
        raise EncoderBroken(name, f"its config.json names other weights ({elsewhere!r}: transformers_weights)", WHOLE)
    kept = {key: value for key, value in config.items() if key not in VOLATILE}
    others = [folder / file for file in (*PREPROCESSING, *TOKENIZER) if (folder / file).is_file()]
    return Source(
        name=name,
        folder=folder,
        revision=revision,
        config=config,
        weights=_hash_files(files.paths),
        config_hash=_hash_bytes(json.dumps(kept, sort_keys=True).encode()),
        preprocessing_hash=_hash_files(others),
        files=files,
    )


def _hash_bytes(data: bytes) -> str:
    import xxhash

    return f"xxh3:{xxhash.xxh3_128_hexdigest(data)}"


def _hash_files(files: Sequence[Path]) -> str:
    """Hash over (name, content hash) of files in the order of their names: about 1 s per GB."""
    import xxhash

    parts = []
    for path in sorted(files, key=lambda path: path.name):
        digest = xxhash.xxh3_128()
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        parts.append(f"{path.name} {digest.hexdigest()}")
    return _hash_bytes("\n".join(parts).encode())
