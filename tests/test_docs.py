"""The README and the docs are true: their bash and python blocks run, top to bottom, in one empty folder per page.

A block that cannot run here says why in a comment on the line before it: `<!-- not run: reason -->`. A block for the real
data is marked `<!-- needs shared -->` and runs where ../shared is. Output and other languages stand in ```text blocks.
"""

import html
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
RUNNABLE = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
PLAIN = {"text", "toml", "json", "csv", "latex", "bibtex", "html", "makefile", "mermaid"}


def blocks(page: Path) -> list[re.Match[str]]:
    return list(BLOCK.finditer(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_say_what_they_are(page: Path):
    for block in blocks(page):
        assert block["language"] in {*RUNNABLE, *PLAIN}, f"{page.name}: a block of language {block['language']!r}"
        mark = block["mark"] or ""
        if mark and block["language"] in RUNNABLE:
            assert mark == "needs shared" or re.match(r"not run: .{10,}", mark), f"{page.name}: odd mark {mark!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    lost = [link for link in links if link and ":" not in link and not (page.parent / link).exists()]
    assert not lost, f"{page.name} links to {lost}"


def _script(name: str) -> ModuleType:
    """A script of the docs, which are no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_show_the_numbers_of_the_page():
    figures = _script("figures")
    for name, data in figures.content(figures.PAGE.read_text(encoding="utf-8")).items():
        picture = (figures.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
        (shown,) = re.findall(r"<dc:description>(.*?)</dc:description>", picture, re.DOTALL)
        assert html.unescape(shown) == json.dumps(data, sort_keys=True), "run: python docs/figures.py"


@pytest.mark.demo
@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if any(b["language"] in RUNNABLE for b in blocks(p))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_blocks_run(page: Path, tmp_path: Path):
    shared = Path(os.environ.get("SER_SHARED", ROOT.parent / "shared"))
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "VENV": str(Path(sys.executable).parent.parent),  # `make demo` uses this environment, not one of its own
        "DEMO": str(tmp_path / "demo"),
        "SHARED": str(shared),
        "REPO": str(ROOT),
    }
    ran = 0
    for block in blocks(page):
        mark = block["mark"] or ""
        if (
            block["language"] not in RUNNABLE
            or mark.startswith("not run")
            or (mark == "needs shared" and not shared.is_dir())
        ):
            continue
        here = ROOT if block["code"].startswith("make ") else tmp_path
        done = subprocess.run(
            [*RUNNABLE[block["language"]], block["code"]],
            cwd=here,
            env=env,
            check=False,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        told = f"{page.name}:\n{block['code']}\n--- rc {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert done.returncode == 0, told
        ran += 1
    if not ran:
        pytest.skip("every block of the page is marked as not to be run here")
