"""Where an encoder's files lie and what they are: name, revision, content hashes. No torch, no transformers.

Identity is the content: weights, config, and preprocessing files are hashed, never paths or times, so a folder can be
moved, and a changed byte is noticed. A hub id is looked for on this machine first; naming one is consent to download it.
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from ser_base.files import write_whole
from ser_extract.errors import EncoderBroken, EncoderNotFound

# Which files of an encoder's folder hold its weights: exactly those that are hashed are read, and no others.
#
# transformers' order: `model.safetensors`, else the shards that `model.safetensors.index.json` names, else
# `pytorch_model.bin`, else the shards of `pytorch_model.bin.index.json`. A shard lies beside its index: a name that leads
# elsewhere is refused, because a file there could change without changing the encoder's identity.
KINDS = (("model.safetensors", True), ("pytorch_model.bin", False))
ADAPTER = "adapter_config.json"
WHOLE = "Give a folder as transformers' save_pretrained writes it."


@dataclass(frozen=True)
class WeightFiles:
    """Files of a folder, in the order in which they are read.

    Attributes:
        paths: The files.
        safetensors: Whether they are safetensors; else pytorch's `.bin`, read with `weights_only=True` only.
    """

    paths: tuple[Path, ...]
    safetensors: bool


def find_weights(folder: Path, name: str) -> WeightFiles:
    """The weight files of an encoder's folder.

    Args:
        folder: The folder.
        name: The encoder, for messages.

    Raises:
        EncoderBroken: There are none, an index names files elsewhere or files that are not there, or a peft adapter
            lies beside them.
    """
    if (folder / ADAPTER).is_file():
        raise EncoderBroken(
            name,
            f"{ADAPTER} says that a peft adapter belongs to it, and adapters are not applied here",
            "Merge the adapter (peft's merge_and_unload) and save the whole model; "
            f"or move {ADAPTER} away, to encode without the adapter.",
        )
    for file, safe in KINDS:
        if (folder / file).is_file():
            return WeightFiles((folder / file,), safe)
        if (folder / f"{file}.index.json").is_file():
            return WeightFiles(_shards(folder, f"{file}.index.json", name), safe)
    wanted = " or ".join(file for file, _ in KINDS)
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".ckpt"))
    beside = f"; {', '.join(others[:3])} is not read" if others else ""
    raise EncoderBroken(name, f"no weights ({wanted}) lie in {folder}{beside}", WHOLE)


def read_json(path: Path, name: str) -> dict[str, Any]:
    """A JSON object from a file of an encoder's folder."""
    try:
        value = json.loads(path.read_bytes())
    except RecursionError as error:
        raise EncoderBroken(name, f"{path.name} is nested too deeply", "Copy the folder again.") from error
    except (OSError, ValueError) as error:
        raise EncoderBroken(name, f"{path.name} is not valid JSON ({error})", "Copy the folder again.") from error
    if not isinstance(value, dict):
        raise EncoderBroken(name, f"{path.name} is not a JSON object", "Copy the folder again.")
    return value


def _shards(folder: Path, index: str, name: str) -> tuple[Path, ...]:
    placed = read_json(folder / index, name).get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(file, str) for file in placed.values()):
        raise EncoderBroken(name, f"{index} has no weight_map from weights to files", "Copy the folder again.")
    files = sorted(set(placed.values()))
    for file in files:
        if Path(file).name != file or "\\" in file or "\0" in file:
            raise EncoderBroken(
                name,
                f"{index} names {file!r}, and weights are read from the folder itself only",
                "Put the weight files beside the index, and their plain names into it.",
            )
    gone = [file for file in files if not (folder / file).is_file()]
    if gone:
        raise EncoderBroken(
            name, f"{index} names {gone[0]}, which is not there ({len(gone)} of {len(files)} files)", WHOLE
        )
    return tuple(folder / file for file in files)


# Hashes of weight files, remembered in the user's cache folder: gigabytes are read once and not at each command.
#
# A hash counts as long as path, size, modification time, change time, device and inode are those it was made with. Whoever
# writes to a file changes at least the change time, which no program can set. A file whose bytes changed otherwise, as on a
# failing disk, is found by `--check` and `--rehash`, which read it again.
REMEMBERED = "weight-hashes.json"
MOST = 500
"""Files that are remembered; the oldest go first."""
SETTLED = 2.0
"""Seconds since a file's last change from which on a further change has another time stamp on every file system."""


def file_hash(path: Path, *, again: bool = False) -> str:
    """xxh3-128 of a file, 32 hex digits: about 0.3 s per GB where it is read.

    Args:
        path: The file.
        again: Read it, whatever is remembered.
    """
    store = user_cache_path("ser-fusion") / REMEMBERED
    key, stamp = str(path.resolve()), _stamp(path)
    remembered = _remembered(store)
    if not again and remembered.get(key, [None])[0] == stamp:
        return str(remembered[key][1])
    digest = read_hash(path)
    if _stamp(path) == stamp and time.time() - max(stamp[1], stamp[2]) / 1e9 > SETTLED:
        remembered = _remembered(store)
        remembered.pop(key, None)
        remembered[key] = [stamp, digest]
        with suppress(OSError):  # a home that cannot be written: it is read again next time
            write_whole(store, json.dumps(dict(list(remembered.items())[-MOST:])).encode())
    return digest


def _stamp(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino]


def read_hash(path: Path) -> str:
    """xxh3-128 of a file as it is read now."""
    import xxhash

    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while block := file.read(512 << 10):
            digest.update(block)
    return digest.hexdigest()


def _remembered(store: Path) -> dict[str, list[object]]:
    try:
        hashes = json.loads(store.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(hashes, dict) and all(isinstance(entry, list) and len(entry) == 2 for entry in hashes.values())
    return hashes if whole else {}


# A hub repository on this machine: the local copy first, then, unless forbidden, a download of what is needed.
#
# The first contact has a limit of its own, because the hub's client repeats failed attempts for more than a minute.
CONTACT_SECONDS = 8.0
"""Longest wait for the hub's first answer; a failure is told within 10 s."""
SMALL_FILES = ("*.json", "*.txt", "*.model")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def fetch(name: str, modality: str, *, revision: str | None, offline: bool) -> tuple[Path, str | None]:
    """Returns the folder and commit of a hub repository; downloads it when it is not here and that is allowed.

    Raises:
        EncoderNotFound: Not a folder and no hub id, or not here and not to be had.
    """
    if not _HUB_ID.fullmatch(name) or ".." in name:
        raise EncoderNotFound(name, modality, "no such folder exists, and it is not a hub id")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the hub's client is loaded, which is below
    here = _local(name, revision)
    if here is not None:
        return here, _commit(here)
    if offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise EncoderNotFound(
            name, modality, "it is not a local folder, the hub's cache has no whole copy, and --offline forbids the hub"
        )
    info = _contact(name, modality, revision)
    return _download(name, modality, info), str(info.sha)


def _local(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    if not (folder / "config.json").is_file():
        return None
    try:
        find_weights(folder, name)
    except EncoderBroken:  # a download that broke off: what is whole on the hub is fetched once more
        return None
    return folder


def _commit(folder: Path) -> str | None:
    return folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else None


def _contact(name: str, modality: str, revision: str | None) -> Any:
    """Asks the hub what the repository holds, in a thread that is left behind after `CONTACT_SECONDS`."""
    answer: dict[str, Any] = {}

    def ask() -> None:
        from huggingface_hub import HfApi

        try:
            answer["info"] = HfApi().model_info(name, revision=revision, timeout=CONTACT_SECONDS)
        except Exception as error:  # noqa: BLE001  # whatever the client raises is handed over and told
            answer["error"] = error

    thread = threading.Thread(target=ask, daemon=True, name="hub")
    thread.start()
    thread.join(CONTACT_SECONDS)
    if "info" in answer:
        return answer["info"]
    error = answer.get("error")
    said = f"{type(error).__name__}" if error is not None else f"no answer within {CONTACT_SECONDS:.0f} s"
    raise EncoderNotFound(
        name, modality, f"it is not a local folder, the hub's cache has no copy, and the model hub gave none ({said})"
    ) from error


def _download(name: str, modality: str, info: Any) -> Path:
    from huggingface_hub import snapshot_download

    files = [sibling.rfilename for sibling in info.siblings or ()]
    top = [file for file in files if "/" not in file]
    safe = any(file in top for file in ("model.safetensors", "model.safetensors.index.json"))
    weights = ["model*.safetensors"] if safe else ["pytorch_model*.bin"]
    patterns = [file for file in top if any(Path(file).match(pattern) for pattern in (*SMALL_FILES, *weights))]
    try:
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=patterns))
    except Exception as error:
        raise EncoderNotFound(
            name, modality, f"the download from the model hub broke off ({type(error).__name__})"
        ) from error


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
        plugin: `package.module:Class` of an encoder that is a class and not a folder (`plugged`); never from a file.
    """

    name: str
    folder: Path
    revision: str | None
    config: Mapping[str, Any]
    weights: str
    config_hash: str
    preprocessing_hash: str
    files: WeightFiles
    plugin: str | None = None

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


def open_source(
    name: str, modality: str, *, revision: str | None = None, offline: bool = False, rehash: bool = False
) -> Source:
    """Finds an encoder: a local folder, else a copy of the hub's repository on this machine, else the hub itself.

    Args:
        name: Folder or hub id.
        modality: `audio` or `text`, for messages.
        revision: Branch, tag or commit of a hub repository.
        offline: Never open a connection.
        rehash: Read the weights for their hash, even if it is remembered (`file_hash`).

    Raises:
        EncoderNotFound: Nothing there, or the hub does not answer within 10 seconds.
        EncoderBroken: The folder has no config or no weights.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _read(_folder_name(folder), folder.resolve(), None, rehash)
    folder, commit = fetch(name, modality, revision=revision, offline=offline)
    return _read(name, folder, commit, rehash)


def _folder_name(folder: Path) -> str:
    own = folder.resolve()
    return f"{own.parent.name}/{own.name}" if own.name.lower() in UNTELLING or own.name.isdigit() else own.name


def _read(name: str, folder: Path, revision: str | None, rehash: bool) -> Source:
    if not (folder / "config.json").is_file():
        adapter = f" ({ADAPTER} says that it holds a peft adapter only)" if (folder / ADAPTER).is_file() else ""
        raise EncoderBroken(name, f"no config.json lies in {folder}{adapter}", WHOLE)
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
        weights=_hash_files(files.paths, partial(file_hash, again=rehash)),
        config_hash=hash_bytes(json.dumps(kept, sort_keys=True).encode()),
        preprocessing_hash=_hash_files(others, read_hash),
        files=files,
    )


def hash_bytes(data: bytes) -> str:
    import xxhash

    return f"xxh3:{xxhash.xxh3_128_hexdigest(data)}"


def _hash_files(files: Sequence[Path], digest: Callable[[Path], str]) -> str:
    """Hash over (name, content hash) of files in the order of their names."""
    parts = [f"{path.name} {digest(path)}" for path in sorted(files, key=lambda path: path.name)]
    return hash_bytes("\n".join(parts).encode())
