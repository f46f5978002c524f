"""The packed engine's products in bfloat16: of few heights, and of all rows."""

from itertools import pairwise

import pytest

from ser_extract.encoders.packed import HEIGHTS, cuts


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 95, 700, 1024, 1025, 4097, 24_001])
def test_cuts_cover_all_rows_in_few_heights(rows: int) -> None:
    made = list(cuts(rows))
    assert made[0].start == 0 and made[-1].stop == rows
    assert all(a.start < b.start <= a.stop for a, b in pairwise(made))
    assert all(cut.stop - cut.start in HEIGHTS for cut in made) or rows < HEIGHTS[0]


def test_cuts_repeat_little() -> None:
    sizes = range(HEIGHTS[0], 8_000)
    assert sum(cut.stop - cut.start for rows in sizes for cut in cuts(rows)) < 1.1 * sum(sizes)
