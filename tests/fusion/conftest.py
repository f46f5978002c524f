"""Batches for the contract tests."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from ser_fusion.batches import Packed


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two cores serve several workers: one thread each, and equal numbers everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Packed]]:
    """Random packed batches: ``make_batch({stream: lengths}, {stream: features})``."""
    return _make_batch


def _make_batch(
    lengths: dict[str, Sequence[int]], dims: dict[str, int], seed: int = 0, special: bool = True
) -> dict[str, Packed]:
    """Random frames; in ``text`` the first and the last token are special, as in a BERT."""
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for stream, counts in lengths.items():
        values = torch.randn(sum(counts), dims[stream], generator=generator)
        content = torch.ones(sum(counts), dtype=torch.bool)
        if stream == "text" and special:
            start = 0
            for count in counts:
                if count > 2:
                    content[start] = content[start + count - 1] = False
                start += count
        batch[stream] = Packed(values, counts, content)
    return batch
