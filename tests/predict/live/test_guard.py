"""Names that a server answers to."""

import pytest

from ser_predict.live.guard import is_loopback, names


@pytest.mark.parametrize(
    ("bound", "host", "known"),
    [
        ("127.0.0.1", "127.0.0.1:8765", True),
        ("127.0.0.1", "localhost:8765", True),
        ("127.0.0.1", "[::1]:8765", True),
        ("127.0.0.1", "localhost:8766", False),
        ("127.0.0.1", "localhost", False),
        ("127.0.0.1", "evil.example:8765", False),
        ("127.0.0.1", "192.168.1.5:8765", False),
        ("127.0.0.1", "127.0.0.1.evil.example:8765", False),
        ("0.0.0.0", "192.168.1.5:8765", True),
        ("0.0.0.0", "[fe80::1]:8765", True),
        ("0.0.0.0", "evil.example:8765", False),
        ("lab.example", "lab.example:8765", True),
        ("lab.example", "evil.example:8765", False),
    ],
)
def test_names(bound: str, host: str, known: bool):
    assert names(bound, 8765)(host) is known


def test_loopback():
    assert all(is_loopback(one) for one in ("127.0.0.1", "127.8.8.8", "::1", "localhost"))
    assert not any(is_loopback(one) for one in ("0.0.0.0", "::", "192.168.1.5", "lab.example"))
