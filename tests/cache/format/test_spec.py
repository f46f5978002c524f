"""The fingerprint: every declared field counts, nothing else does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_cache import spec

from ser_cache import EntrySpec, WrongRows, errors
from ser_cache.format.seal import seal, unseal
from ser_cache.format.spec import differences, slug

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_each_field_alone_changes_the_fingerprint():
    base = spec()
    changes = {
        "modality": "text",
        "encoder": "made/other",
        "layer": 4,
        "dtype": "float32",
        "features": 6,
        "frame_rate": 50.0,
        "declared": {**base.declared, "final_norm": True},
    }
    assert set(changes) == set(base.as_dict())
    prints = {replace(base, **{name: value}).fingerprint for name, value in changes.items()}
    assert len(prints) == len(changes) and base.fingerprint not in prints


@given(st.dictionaries(st.text(max_size=5), _json, max_size=5))
def test_key_order_and_round_trip_do_not_change_it(declared):
    one = spec(declared=declared)
    assert spec(declared=dict(reversed(list(declared.items())))).fingerprint == one.fingerprint
    assert EntrySpec.from_dict(one.as_dict()) == one
    assert not differences(one.as_dict(), one.as_dict())


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_slugs_are_file_names_and_differ(one: str, other: str):
    for name in (one, other):
        assert "/" not in slug(name) and "\0" not in slug(name) and not slug(name).startswith(".")
        assert len(slug(name)) <= 90
    assert (slug(one) == slug(other)) == (one == other)


def test_known_addresses():
    assert spec(encoder="facebook/wav2vec2-base", layer=12).address == "audio-facebook--wav2vec2-base-L12-float16"
    assert slug("a--b") != slug("a/b")


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "Audio"},
        {"modality": "../x"},
        {"encoder": "/home/me/model"},
        {"encoder": ""},
        {"dtype": "int8"},
        {"layer": -1},
        {"features": 0},
        {"frame_rate": float("nan")},
        {"frame_rate": 0.0},
        {"declared": {"x": float("inf")}},
        {"declared": {"x": {1, 2}}},
    ],
    ids=str,
)
def test_nonsense_is_refused(changes):
    with pytest.raises(WrongRows):
        spec(**changes)


@given(st.dictionaries(st.text(max_size=5), _json, max_size=5), st.data())
def test_a_sealed_record_shows_every_flipped_bit(record, data):
    record.pop("schema", None)
    record.pop("xxh3_128", None)
    sealed = seal(record)
    assert {name: value for name, value in unseal(sealed, "x").items() if name != "schema"} == record
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    bad = bytearray(sealed)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(errors.Damaged):
        unseal(bytes(bad), "x")
    cut = data.draw(st.integers(0, len(sealed) - 1))
    with pytest.raises(errors.Damaged):
        unseal(sealed[:cut], "x")
