"""The catalog loads late, suggests, and reads the parts that other packages declare; the console cuts nothing."""

import sys

import pytest

from ser_base.catalog import Catalog, resolve
from ser_base.errors import UnknownName

PART = "import sys\nsys.stderr.write('loaded ')\nPART = 'part'\n"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    (tmp_path / "plugged_parts.py").write_text(PART)
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ser.things]\nb = plugged_parts:PART\na = plugged_parts:NOTHING\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("plugged_parts", None)


def test_catalog_loads_once_and_only_when_asked(parts, capsys):
    table: Catalog[str] = Catalog("thing", {"a": "plugged_parts:PART"})
    assert list(table) == ["a"] and "a" in table and len(table) == 1
    assert "plugged_parts" not in sys.modules
    assert table["a"] == table["a"] == resolve("plugged_parts:PART") == "part"
    assert capsys.readouterr().err == "loaded "
    with pytest.raises(UnknownName, match="unknown thing 'aa'.\nDid you mean 'a'\\? Known are a"):
        table["aa"]
    assert table.get("nothing") is None


def test_other_packages_add_parts_and_replace_none(parts):
    table: Catalog[str] = Catalog("thing", {"a": "plugged_parts:PART"}, group="ser.things")
    assert list(table) == ["a", "b"] and "b" in table and "plugged_parts" not in sys.modules
    assert table["b"] == "part"
    assert table["a"] == "part", "the plug-in's row 'a' would fail"


def test_off_a_terminal_no_cell_is_cut_or_wrapped(capsys):
    from rich.table import Table

    from ser_base.command_line import console

    long = "an encoder's name that is far longer than any terminal is wide " * 10
    table = Table("name", "value")
    table.add_row(long, "0.123 ± 0.045")
    console().print(table)
    lines = capsys.readouterr().out.splitlines()
    assert any(long.strip() in line and "0.123 ± 0.045" in line for line in lines)
