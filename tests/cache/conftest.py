"""The made-up caches of these tests, and the made-up object stores."""

import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode: made_cache is imported by its own name

from made_cache import CONTAINERS


@pytest.fixture(params=CONTAINERS)
def container(request: pytest.FixtureRequest) -> str:
    """Both containers, one after the other."""
    return str(request.param)


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """An empty folder where a sync costs nothing, for tests that write many caches and cut no power."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ser-cache-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Endpoint of a made-up S3."""
    pytest.importorskip("s3fs", reason="s3fs is not installed (extra s3)")
    servers = pytest.importorskip("moto.server", reason="moto is not installed")
    running = servers.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix of each store."""
    name = f"bucket-{uuid.uuid4().hex}"
    if request.param == "memory":
        return f"memory://{name}/features"
    settings = {
        "AWS_ENDPOINT_URL": request.getfixturevalue("server"),
        "AWS_ACCESS_KEY_ID": "made",
        "AWS_SECRET_ACCESS_KEY": "up",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    import s3fs

    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}/features"
