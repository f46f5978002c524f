"""The state of an entry: what is read, and how."""

import gc

import pytest

from ser_cache.format.ledger import uncollected


def test_the_collector_is_off_while_records_are_read_and_as_before_afterwards():
    for before in (True, False):
        (gc.enable if before else gc.disable)()
        try:
            with pytest.raises(ValueError), uncollected():
                assert not gc.isenabled()
                raise ValueError
            assert gc.isenabled() is before
        finally:
            gc.enable()
