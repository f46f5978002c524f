"""The figures of the page of results, drawn from the tables that stand there: ``python docs/figures.py``.

Each figure keeps the numbers that it shows (the SVG's description). A test compares them with the page.
"""

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "results.md"
FOLDER = Path(__file__).parent / "figures"
NUMBER = re.compile(r"[-+]?\d*\.\d+|[-+]?\d+")

Table = list[list[str]]


def tables(page: str) -> list[Table]:
    """All tables of a page, as cells without bold and code marks; the first row is the head."""
    blocks = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    rows = [[line for line in block.splitlines() if not line.startswith("|---")] for block in blocks]
    return [[[re.sub(r"[*`]", "", cell).strip() for cell in row.strip("|").split(" | ")] for row in t] for t in rows]


def table(page: str, head: str) -> Table:
    """The table that has a column of this name.

    Raises:
        LookupError: The page has none, or several.
    """
    fits = [t for t in tables(page) if head in t[0]]
    if len(fits) != 1:
        raise LookupError(f"{PAGE.name}: {len(fits)} tables have a column {head!r}; the figure needs one")
    return fits[0]


def numbers(cell: str) -> list[float]:
    """The numbers of a cell: value, then deviation or bounds."""
    return [float(text) for text in NUMBER.findall(cell)]


def content(page: str) -> dict[str, Any]:
    """What each figure shows, by its name."""
    study = table(page, "UWA, earlier default")
    columns = {name: study[0].index(name) for name in ("UWA", "UWA, stacked", "UWA, earlier default")}
    shown = [row for row in study[1:] if len(row) > columns["UWA, stacked"] and row[columns["UWA, stacked"]]]
    probes = [row for row in study[1:] if row[0].startswith("Probe")]
    best = table(page, "stacked - probe")
    layers = table(page, "layer 0")
    return {
        "study": {
            "rows": {row[0]: {name: numbers(row[at])[:2] for name, at in columns.items()} for row in shown},
            "probes": {row[0]: numbers(row[columns["UWA"]])[:2] for row in probes},
        },
        "probe-difference": {
            row[0]: {name: numbers(row[best[0].index(name)])[:3] for name in ("head - probe", "stacked - probe")}
            for row in best[1:]
        },
        "layers": {row[0]: [numbers(cell)[0] for cell in row[1:6]] for row in layers[1:]},
    }


def draw(name: str, data: dict[str, Any]) -> Any:
    """A matplotlib figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    if name == "study":
        rows, probes = data["rows"], data["probes"]
        names = [*rows, *probes]
        marks = {"UWA": ("o", "C0", "head alone"), "UWA, stacked": ("D", "C1", "stacked with probes")}
        marks["UWA, earlier default"] = ("x", "0.6", "earlier default")
        for column, (mark, color, label) in marks.items():
            values = [rows[row][column][0] for row in rows]
            axes.plot(values, range(len(rows)), mark, color=color, label=label)
        axes.plot([v[0] for v in probes.values()], range(len(rows), len(names)), "s", color="0.3", label="linear probe")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("UWA, mean over six folds of actors (chance .143)")
        figure.legend(loc="outside upper center", ncols=4)
    elif name == "probe-difference":
        for offset, (column, color) in zip(
            (-0.13, 0.13), (("head - probe", "C0"), ("stacked - probe", "C1")), strict=True
        ):
            for at, row in enumerate(data):
                middle, low, high = data[row][column]
                axes.plot([low, high], [at + offset] * 2, color=color)
                axes.plot([middle], [at + offset], "o", color=color, label=column if at == 0 else None)
        axes.axvline(0, color="0.5", linewidth=0.8)
        axes.set_yticks(range(len(data)), list(data))
        axes.invert_yaxis()
        axes.set_xlabel("points of pooled UWA above the best linear probe of the same streams, 95 % interval")
        figure.legend(loc="outside upper center", ncols=2)
    else:
        for row, values in data.items():
            axes.plot(range(len(values)), values, "o-", label=row)
        axes.set_xticks(range(5))
        axes.set_xlabel("layer of Whisper tiny.en")
        axes.set_ylabel("UWA, mean over six folds (chance .125)")
        axes.legend()
    axes.grid(axis="x" if name != "layers" else "both", alpha=0.3)
    return figure


def main() -> None:
    """Writes every figure."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "ser-fusion"
    FOLDER.mkdir(exist_ok=True)
    for name, data in content(PAGE.read_text(encoding="utf-8")).items():
        metadata = {"Date": None, "Description": json.dumps(data, sort_keys=True)}
        draw(name, data).savefig(FOLDER / f"{name}.svg", metadata=metadata, facecolor="white")


if __name__ == "__main__":
    main()
