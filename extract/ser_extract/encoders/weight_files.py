"""Which files of an encoder's folder hold its weights: exactly those that are hashed are read, and no others.

transformers' order: `model.safetensors`, else the shards that `model.safetensors.index.json` names, else
`pytorch_model.bin`, else the shards of `pytorch_model.bin.index.json`. A shard lies beside its index: a name that leads
elsewhere is refused, because a file there could change without changing the encoder's identity.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_extract.errors import EncoderBroken

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
    raise EncoderBroken(name, f"there are no weights ({wanted}) in {folder}{beside}", WHOLE)


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
