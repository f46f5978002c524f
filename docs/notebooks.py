"""Jupyter notebooks from pages of the docs, without outputs: ``python docs/notebooks.py``.

A page is the one source. Its blocks that run become cells (bash by the magic ``%%bash``); everything else becomes text. Tests
run the blocks of the page, and compare the notebooks with the pages. No kernel runs the cells: it would do the same minutes of
work once more.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
FOLDER = DOCS / "notebooks"
PAGES = ("start/first-result.md", "guides/scikit-learn.md", "guides/add-a-part.md")
RUNS = re.compile(r"(?<!-->\n)^```(bash|python)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)\)")


def notebook(page: Path) -> str:
    """The notebook of a page, as nbformat 4.5."""
    here = page.parent

    def link(match: re.Match[str]) -> str:
        return f"]({os.path.relpath(here / match[1], FOLDER)})"

    cells: list[dict[str, Any]] = []
    parts = RUNS.split(page.read_text(encoding="utf-8"))
    for text, language, code in zip(parts[::3], [*parts[1::3], ""], [*parts[2::3], ""], strict=True):
        if text.strip():
            cells.append({"cell_type": "markdown", "metadata": {}, "source": LINK.sub(link, text.strip())})
        if language:
            source = code.rstrip("\n") if language == "python" else f"%%bash\n{code.rstrip()}"
            cells.append(
                {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
            )
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
        cell["source"] = cell["source"].splitlines(keepends=True)
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    content = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Writes every notebook."""
    FOLDER.mkdir(exist_ok=True)
    for name in PAGES:
        page = DOCS / name
        (FOLDER / f"{page.stem}.ipynb").write_text(notebook(page), encoding="utf-8")


if __name__ == "__main__":
    main()
