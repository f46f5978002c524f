"""What a run directory's rows may say."""

import pytest

from ser_fusion.evaluation.records import Row


@pytest.mark.parametrize("of", [None, "self-stats", ["probe-audio-stats", "probe-text-stats"]])
def test_a_row_is_made_of_nothing_of_one_row_or_of_several(of: object) -> None:
    """The product of probes is a row of several; a run that has it is still read."""
    assert Row.model_validate({"name": "a row", "slug": "row", "kind": "reference", "of": of}).of == of
