"""The one normalisation: what it cuts, what it keeps, and that doing it twice changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_data.manifest.text import comparison_key, has_tag, normalise, text_hash


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("  Hello   there. ", "Hello there."),
        ("[LAUGHTER] Oh.", "Oh."),
        ("Well [BREATHING]  no", "Well no"),
        ("[LAUGHTER]", ""),
        ("[laughs] stays", "[laughs] stays"),
        ("He’s “lost” it…", 'He\'s "lost" it...'),
        ("cafe\u0301", "caf\u00e9"),
        ("[[A]B] x", "[ B] x"),
    ],
)
def test_examples(raw: str, plain: str):
    assert normalise(raw) == plain


@given(st.text() | st.text(alphabet="[]AB _-x \t"))
def test_idempotent_and_hash_is_of_the_normalised(text: str):
    once = normalise(text)
    assert normalise(once) == once
    assert text_hash(text) == text_hash(once)
    assert len(text_hash(text)) == 32


def test_case_changes_the_hash_but_not_the_comparison():
    assert text_hash("No.") != text_hash("no")
    assert comparison_key("No, NO!") == comparison_key("no  no") == "no no"
    assert comparison_key("[LAUGHTER] ?!") == ""
    assert has_tag("x [GARBAGE]") and not has_tag("x [y]")


def test_hash_is_stable_over_versions():
    assert text_hash("Did he call?") == "e09a9d50276145f9e3c021ac2907f4aa"  # names rows of caches that exist
