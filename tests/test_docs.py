"""The README and the docs are true: their bash and python blocks run, top to bottom, in one empty folder per page.

A block that cannot run here says why in a comment on the line before it: `<!-- not run: reason -->`. A block for the real
data is marked `<!-- needs shared -->` and runs where ../shared is. Output and other languages stand in ```text blocks.
Blocks with which several pages begin, word for word, run once.
"""

import fcntl
import hashlib
import html
import importlib.util
import json
import os
import re
import shutil
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


def test_the_site_is_small_and_a_guide_is_short():
    pages = sorted((ROOT / "docs").rglob("*.md"))
    assert len(pages) <= 24, [str(page.relative_to(ROOT)) for page in pages]
    lines = {
        page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in pages if page.parent.name == "guides"
    }
    assert lines and max(lines.values()) <= 150, lines


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_tree_that_a_page_names_are_there(page: Path):
    names = re.findall(
        r"(?<![\w/])((?:tests|data|cache|extract|fusion|docs)/[\w./-]+\.(?:py|md|toml))\b", page.read_text("utf-8")
    )
    lost = [name for name in names if Path(name).stem not in ("x", "X") and not (ROOT / name).exists()]
    assert not lost, f"{page.name} names {lost}"


def test_pages_that_the_code_names_are_there():
    """In docstrings and comments, in errors, and at the foot of the report."""
    sources = [path for package in ("data", "cache", "extract", "fusion") for path in (ROOT / package).rglob("*.*")]
    texts = [path.read_text("utf-8") for path in sources if path.suffix in (".py", ".j2", ".js")]
    named = {name for text in texts for name in re.findall(r"docs/[\w./-]+\.md", text)}
    assert len(named) > 3 and not [name for name in named if not (ROOT / name).exists()]


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


def test_notebooks_are_their_pages():
    notebooks = _script("notebooks")
    pages = {f"{Path(name).stem}.ipynb": ROOT / "docs" / name for name in notebooks.PAGES}
    kept = {path.name: path.read_text(encoding="utf-8") for path in notebooks.FOLDER.glob("*.ipynb")}
    assert {name: notebooks.notebook(page) for name, page in pages.items()} == kept, "run: python docs/notebooks.py"
    for name, page in pages.items():  # every cell is a block that `test_blocks_run` runs, in its order
        cells = [cell for cell in json.loads(kept[name])["cells"] if cell["cell_type"] == "code"]
        assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
        blocks_run = [code if language == "python" else f"%%bash\n{code}" for language, code in runnable(page)]
        assert [f"{''.join(cell['source'])}\n" for cell in cells] == blocks_run


SHARED = Path(os.environ.get("SER_SHARED", ROOT.parent / "shared"))


def runnable(page: Path) -> list[tuple[str, str]]:
    """(language, code) of the blocks of a page that run here."""
    wanted = {"", "needs shared"} if SHARED.is_dir() else {""}
    return [
        (b["language"], b["code"]) for b in blocks(page) if b["language"] in RUNNABLE and (b["mark"] or "") in wanted
    ]


def run(language: str, code: str, folder: Path, name: str) -> None:
    """Runs a block; the assertion holds what it printed."""
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "VENV": str(Path(sys.executable).parent.parent),  # `make demo` uses this environment, not one of its own
        "DEMO": str(folder / "demo"),
        "SHARED": str(SHARED),
        "REPO": str(ROOT),
    }
    done = subprocess.run(
        [*RUNNABLE[language], code],
        cwd=ROOT if code.startswith("make ") else folder,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    output = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, f"{name}:\n{code}\n--- rc {done.returncode}\n{output}"


def start(steps: tuple[tuple[str, str], ...], store: Path, name: str) -> Path:
    """A folder in which these blocks have run: made once for all pages that begin with them, whichever worker comes first."""
    folder = store / hashlib.sha256(repr(steps).encode()).hexdigest()[:16]
    store.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done := folder.with_suffix(".done")).exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that was killed
            if steps[:-1]:
                shutil.copytree(start(steps[:-1], store, name), folder, symlinks=True)
            else:
                folder.mkdir()
            run(*steps[-1], folder, name)
            done.touch()
    return folder


@pytest.mark.demo
@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_run(page: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    steps = runnable(page)
    others = [runnable(other) for other in PAGES if other != page]
    common = max(len(os.path.commonprefix([steps, other])) for other in others)
    if common:
        base = tmp_path_factory.getbasetemp()
        store = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "starts"
        shutil.copytree(start(tuple(steps[:common]), store, page.name), tmp_path, symlinks=True, dirs_exist_ok=True)
    for language, code in steps[common:]:
        run(language, code, tmp_path, page.name)
