"""A hub repository on this machine: the local copy first, then, unless forbidden, a download of what is needed.

The first contact has a limit of its own, because the hub's client repeats failed attempts for more than a minute.
"""

import os
import re
import threading
from pathlib import Path
from typing import Any

from ser_extract.errors import EncoderBroken, EncoderNotFound

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
        raise EncoderNotFound(name, modality, "there is no such folder, and it is no hub id")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the hub's client is loaded, which is below
    here = _local(name, revision)
    if here is not None:
        return here, _commit(here)
    if offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise EncoderNotFound(
            name, modality, "it is no local folder, the hub's cache has no whole copy, and --offline forbids the hub"
        )
    info = _contact(name, modality, revision)
    return _download(name, modality, info), str(info.sha)


def _local(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from ser_extract.encoders.weight_files import find_weights

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
        name, modality, f"it is no local folder, the hub's cache has no copy, and the model hub gave none ({said})"
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
