"""The examples in docstrings: all that docs/reference/python.md lists have some, and every one runs."""

import doctest
import pkgutil
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
PUBLIC = re.findall(r"^::: ([\w.]+)\.(\w+)$", PAGE, re.MULTILINE)
FURTHER = [("ser_cache.format.spec", "slug"), ("ser_data.media.isolated", "IsolatedDecoder")]


@pytest.fixture(scope="module")
def folder(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run with its corpus, encoders and cache, to write into."""
    return Path(shutil.copytree(small.folder, tmp_path_factory.mktemp("examples") / "folder"))


@pytest.mark.parametrize(("module", "name"), [*PUBLIC, *FURTHER], ids=lambda part: part.split(".")[0])
def test_example_runs(module: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    examples = doctest.DocTestParser().get_doctest(
        pkgutil.resolve_name(f"{module}:{name}").__doc__ or "", {}, f"{module}.{name}", None, None
    )
    assert examples.examples, "it has no example"
    printed: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(examples, out=printed.append)
    assert not result.failed and result.attempted == len(examples.examples), "".join(printed)


def test_no_example_is_left_out():
    sources = [path for package in ("data", "cache", "extract", "fusion") for path in (ROOT / package).rglob("*.py")]
    with_examples = {path.stem for path in sources if re.search(r"^\s*>>> ", path.read_text("utf-8"), re.MULTILINE)}
    assert with_examples == {module.rpartition(".")[2] for module, _ in [*PUBLIC, *FURTHER]}
