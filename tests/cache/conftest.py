"""The made-up caches of these tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode: made_cache is imported by its own name

from made_cache import CONTAINERS


@pytest.fixture(params=CONTAINERS)
def container(request: pytest.FixtureRequest) -> str:
    """Both containers, one after the other."""
    return str(request.param)
