"""One server for all tests, in its own process, on the small run of ``tests/predict``; memory is measured from outside."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for devtools: tests are imported by path, not as a package

START = "from ser_predict.live.cli import command as main; main()"


@dataclass(frozen=True)
class Server:
    """A running ``ser live``."""

    address: str
    process: "subprocess.Popen[str]"

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    @property
    def token(self) -> str:
        return parse_qs(urlsplit(self.address).query)["token"][0]

    @property
    def socket(self) -> str:
        return f"ws://{self.host}/live?token={self.token}"

    def memory(self) -> int:
        """Bytes that the process has in memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        raise AssertionError("no VmRSS")


@pytest.fixture(scope="session")
def start_server(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """``start_server(*arguments)``: a server on the small run, ended with the tests."""
    for package in ("starlette", "uvicorn", "websockets"):
        pytest.importorskip(package, reason="needs the extra live")
    running = []

    def start(*arguments: object, run: Path = small.run) -> Server:
        places = ["--audio-encoder", small.audio_encoder, "--text-encoder", small.text_encoder, "--offline"]
        command = [sys.executable, "-c", START, run, *places, "--device", "cpu", "--port", "0", *arguments]
        errors = (tmp_path_factory.mktemp("server") / "stderr").open("w+")
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True)
        running.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            process.wait()
            errors.seek(0)
            raise AssertionError(f"exit code {process.returncode}: {errors.read()}")
        return Server(address, process)

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def server(start_server: Any) -> Server:
    return start_server("--row", "audio", "--window", 2, "--hop", 0.5, "--threshold", 0, "--connections", 12)
