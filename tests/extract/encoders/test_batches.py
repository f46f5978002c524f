"""The arithmetic between files and models: layers, windows, batches, units."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser_extract.encoders import batches
from ser_extract.encoders.base import block_flops
from ser_extract.encoders.batches import BatchRule, cut, join
from ser_extract.encoders.speech import frame_count
from ser_extract.encoders.speech_engine import LengthGroupNorm
from ser_extract.encoders.stated import Waveform
from ser_extract.errors import LayerOutOfRange
from ser_extract.inputs.streams import parse_layers


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("12", (12,)),
        ("4,8,12", (4, 8, 12)),
        (" 8 , last,8", (8, 12)),
        ("all", tuple(range(13))),
        ("last", (12,)),
        ("0", (0,)),
    ],
)
def test_layers_as_typed(text, layers):
    assert parse_layers(text, 12, name="x", modality="audio") == layers


@pytest.mark.parametrize("text", ["13", "-1", "", "1,,2", "first", "1.0", "²"])
def test_a_layer_that_is_none_names_the_range(text):
    with pytest.raises(LayerOutOfRange, match=r"it has 0 .* to 12"):
        parse_layers(text, 12, name="x", modality="audio")


@given(st.integers(1, 5000), st.integers(20, 300), st.integers(1, 9), st.integers(1, 7))
def test_windows_cover_everything_and_join_to_what_was_cut(total, length, overlap, step):
    windows = cut(total, length, overlap, step)
    assert windows[0][0] == 0 and windows[-1][1] == total
    assert all(start % step == 0 and stop - start <= max(length, step) for start, stop in windows)
    assert all(later[0] <= former[1] - overlap for former, later in pairwise(windows))
    if len(windows) > 1:
        assert windows[-1][1] - windows[-1][0] > 0
    ramp = np.arange(total, dtype=np.float64)[:, None]
    joined = join([ramp[start:stop] for start, stop in windows], [start for start, _ in windows])
    np.testing.assert_array_equal(joined, ramp)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=40), st.integers(0, 3000), st.booleans())
def test_batches_hold_every_piece_once_within_the_budget(lengths, budget, equal):
    found = batches.group(lengths, BatchRule(budget, most=8, equal=equal))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        sizes = [lengths[index] for index in batch]
        assert len(batch) == 1 or (max(sizes) * len(batch) <= budget and len(batch) <= 8)
        assert not equal or len(set(sizes)) == 1


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    sizes = []

    def forward(pieces):
        sizes.append(len(pieces))
        if len(pieces) > 2 or len(pieces[0]) > 100:
            raise torch.OutOfMemoryError
        return [{0: np.full((1, 1), len(piece))} for piece in pieces]

    pieces = [[0] * n for n in (7, 6, 5, 4, 3)]
    results = batches.run(pieces, forward, BatchRule(budget=1000))
    assert [int(result[0][0, 0]) for result in results] == [7, 6, 5, 4, 3]
    assert sizes[0] == 5 and max(sizes[1:]) < 5
    assert batches.run([[0] * 101], forward, BatchRule())[0] is None


def test_the_next_batch_is_begun_before_the_last_one_is_waited_for():
    told = []

    def forward(pieces):
        own = len(pieces[0])
        told.append(("begun", own))

        def later():
            told.append(("taken", own))
            return [{0: np.full((1, 1), len(piece))} for piece in pieces]

        return later

    results = batches.run([[0] * n for n in (7, 6, 5)], forward, BatchRule())
    assert [int(result[0][0, 0]) for result in results] == [7, 6, 5]
    assert told == [("begun", 7), ("begun", 6), ("taken", 7), ("begun", 5), ("taken", 6), ("taken", 5)]


def test_the_masked_norm_sees_valid_frames_only():
    norm = torch.nn.GroupNorm(4, 4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    masked = LengthGroupNorm(norm)
    x = torch.randn(2, 4, 50)
    masked.frames = [50, 20]
    out = masked(x)
    torch.testing.assert_close(out[0], norm(x[:1])[0])
    torch.testing.assert_close(out[1, :, :20], norm(x[1:, :, :20])[0])
    assert not out[1, :, 20:].any()


def test_the_frame_count_is_the_published_one():
    frames = frame_count(*(Waveform.model_fields[name].default for name in ("conv_kernel", "conv_stride")))
    assert [frames(samples) for samples in (399, 400, 719, 720, 16_000, 160_000)] == [0, 1, 1, 2, 49, 499]


def test_a_block_costs_what_its_matrices_cost():
    # 4 * 768^2 + 2 * 768 * 3072 weights, and two products of attention
    assert block_flops(225, 768) == 2 * 225 * (4 * 768**2 + 2 * 768 * 3072) + 2 * 2 * 225**2 * 768


def test_a_batch_of_like_lengths_wastes_little():
    from ser_extract.encoders.batches import BatchRule, group

    lengths = [3, 70, 8, 64, 9, 50, 30, 10, 29, 7]
    batches = group(lengths, BatchRule(budget=2048, most=32, least=0.7))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert min(lengths[index] for index in batch) >= 0.7 * max(lengths[index] for index in batch)
    assert len(batches) < len(group(lengths, BatchRule()))  # still fewer than one by one
