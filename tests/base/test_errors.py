"""Every error class of every package: it keeps its facts through a process pool, and says in lines what to do."""

import copy
import importlib
import inspect
import pickle
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import ser_base
import ser_cache
import ser_data
import ser_extract
import ser_fusion
import ser_predict
from ser_base.errors import SerError, UnknownName, listing

PACKAGES = (ser_base, ser_cache, ser_data, ser_extract, ser_fusion, ser_predict)
VALUES = {"int": 1234, "tuple[str, ...]": ("one", "two"), "Mapping[str, int]": {"ang": 1234, "sad": 2}}
ALONE = {"ChildDied", "MediaError", "AudioError", "VideoError", "Refused", "Untold", "UnknownContainer", "WrongRows"}
"""Those of one line: of one file in a list, or what another error says more about."""


def _classes() -> list[type[SerError]]:
    for package in PACKAGES:
        root = Path(package.__file__ or "").parent
        for path in sorted(root.rglob("*.py")):
            if "\n    got = " in path.read_text(encoding="utf-8"):
                importlib.import_module(".".join(path.relative_to(root.parent).with_suffix("").parts))
    found: list[type[SerError]] = []
    waiting = [SerError]
    while waiting:
        found += (below := waiting.pop().__subclasses__())
        waiting += below
    return sorted(
        (kind for kind in set(found) if kind.__module__.startswith("ser_") and kind.got), key=lambda k: k.__name__
    )


def _value(name: str, kind: Any) -> Any:
    """A value of the fact's type; text has braces, which must not be taken for a template."""
    text = inspect.formatannotation(kind).replace("collections.abc.", "").removesuffix(" | None")
    rows = re.fullmatch(r"tuple\[tuple\[(.*)\], \.\.\.\]", text)
    return (tuple("abcde"[: text.count(",")]),) if rows else VALUES.get(text, f"a {{{name}}}")


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_error_survives_a_process_and_advises(kind: type[SerError]):
    facts = {fact.name: _value(fact.name, fact.type) for fact in fields(kind)}  # type: ignore[arg-type]
    error = kind(*facts.values())
    said = str(error)
    assert said == str(kind(**facts)) and error.args == tuple(facts.values())
    for again in (pickle.loads(pickle.dumps(kind(**facts))), copy.copy(error)):
        assert type(again) is kind and str(again) == said and vars(again) == vars(error)
    lines = said.splitlines()
    assert len(lines) >= 2 or kind.__name__ in ALONE
    assert all(line.strip() for line in lines) and lines[-1][-1] not in "!?"
    assert all(value in said for name, value in facts.items() if f"{{{name}}}" in kind.got and isinstance(value, str))


def test_a_wrong_fact_is_refused():
    with pytest.raises(TypeError, match="nmae"):
        UnknownName(kind="head", nmae="x", table=())  # type: ignore[call-arg]


def test_long_lists_say_how_many_more():
    assert listing("abcd", 3) == "a, b, c and 1 more" and listing(()) == "nothing"
    names = tuple(f"n{number}" for number in range(50))
    assert str(UnknownName("head", "n", names)).endswith("n39 and 10 more.")
