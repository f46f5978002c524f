"""Tables of what is asked beside the main result: from corpus to corpus, and with a stream lost at test time."""

from typing import Any

from ser_fusion.reporting.tables import Cell, Row, Table
from ser_fusion.reporting.words import bounds, points, probability, score

WIDEST = 4
SHOWN = ("majority", "tfidf-svm", "probe-")  # reference rows, by the beginning of their slug


def transfer_tables(metrics: dict[str, Any]) -> list[Table]:
    """Source x target by model, one table for UWA and one for WF1; nothing where a run has one corpus.

    With more than ``WIDEST`` targets it is one table with a line for each cell.
    """
    found = metrics.get("transfer")
    if not found:
        return []
    rows = [row for row in metrics["rows"] if row["kind"] not in ("reference", "lost") or row["slug"].startswith(SHOWN)]
    rows.sort(key=lambda row: row["kind"] == "reference")
    by_row: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in found["cells"]:
        by_row.setdefault(cell["row"], {}).setdefault(cell["source"], {})[cell["target"]] = cell
    sizes = {cell["target"]: cell for cell in found["cells"]}
    targets = [name for name in found["corpora"] if name in sizes]  # a corpus may train and never be tested
    if len(targets) > WIDEST:
        return [_long(metrics, rows, by_row)]
    heads = [f"to {name} (n = {sizes[name]['n']:,}, {sizes[name]['units']} {sizes[name]['unit']}s)" for name in targets]
    tables = []
    for metric in ("UWA", "WF1"):
        lines: list[Row] = []
        for row in rows:
            name = row["name"] + (" (transductive)" if row.get("transductive") else "")
            for number, (source, cells) in enumerate(by_row.get(row["slug"], {}).items()):
                texts = [_interval(cells[target][metric]) if target in cells else "–" for target in targets]
                line = tuple(Cell(text) for text in (name, source, *texts))
                lines.append(Row(line, row["kind"] == "reference", rule=bool(lines) and not number))
        notes = (
            f"{metric}: {metrics['definitions'][metric]}; of the classes present in the target, seeds pooled.",
            "Brackets: 95 % interval, Student's t over the target's speakers. Source: the corpora that trained.",
        )
        columns = ("Model", "trained on", *heads)
        tables.append(
            Table(
                f"transfer-{metric.lower()}",
                f"From corpus to corpus, {metric}",
                columns,
                tuple(lines),
                notes,
                frozenset({1}),
            )
        )
    return tables


def _long(
    metrics: dict[str, Any], rows: list[dict[str, Any]], by_row: dict[str, dict[str, dict[str, dict[str, Any]]]]
) -> Table:
    """One line for each cell, where targets are too many for columns."""
    lines: list[Row] = []
    for row in rows:
        name = row["name"] + (" (transductive)" if row.get("transductive") else "")
        cells = [cell for found in by_row.get(row["slug"], {}).values() for cell in found.values()]
        for number, cell in enumerate(cells):
            texts = (name, cell["source"], cell["target"], f"{cell['n']:,}", f"{cell['units']:,}")
            scores = (_interval(cell[metric]) for metric in ("UWA", "WF1"))
            line = tuple(Cell(text) for text in (*texts, *scores))
            lines.append(Row(line, row["kind"] == "reference", rule=bool(lines) and not number))
    notes = (
        *(f"{metric}: {metrics['definitions'][metric]}." for metric in ("UWA", "WF1")),
        "Brackets: 95 % interval, Student's t over the target's speakers. Source: the corpora that trained.",
    )
    columns = ("Model", "trained on", "tested on", "n", "speakers", "UWA", "WF1")
    return Table("transfer", "From corpus to corpus", columns, tuple(lines), notes, frozenset({1, 2}))


def _interval(value: dict[str, Any]) -> str:
    return score(value["value"]) + ("" if value["low"] is None else f" {bounds(value['low'], value['high'])}")


def lost_table(metrics: dict[str, Any]) -> Table | None:
    """Heads tested with a part of their streams; None where nothing was asked for."""
    rows = {row["slug"]: row for row in metrics["rows"]}
    pairs = {(pair["slug_a"], pair["slug_b"]): pair for pair in metrics["comparisons"]}
    lines: list[Row] = []
    seen: set[str] = set()
    for row in metrics["rows"]:
        if row["kind"] != "lost" or row["of"] not in rows:
            continue
        base = rows[row["of"]]
        if row["of"] not in seen:
            seen.add(row["of"])
            lines.append(_line(base, "all", None, rule=len(seen) > 1))
        lines.append(_line(row, "+".join(row["kept"]), pairs.get((row["slug"], row["of"])), name=base["name"]))
    if not lines:
        return None
    notes = (
        "The same trained heads; the other streams had no frames at test time. Pooled UWA.",
        "Difference to the head with all of its streams, in points (exploratory, not corrected); test as in the comparisons.",
    )
    columns = ("Model", "streams at test", "UWA", "95 % CI", "Difference", "95 % CI", "p")
    return Table("lost-streams", "Streams lost at test time", columns, tuple(lines), notes, frozenset({1}))


def _line(row: dict[str, Any], kept: str, pair: dict[str, Any] | None, *, name: str = "", rule: bool = False) -> Row:
    own = row["metrics"]["UWA"]
    texts = [name or row["name"], kept, score(own["pooled"]), bounds(own["low"], own["high"])]
    if pair is None:
        texts += ["–", "–", "–"]
    else:
        gap = bounds(None, None) if pair["low"] is None else f"[{points(pair['low'])}, {points(pair['high'])}]"
        texts += [points(pair["difference"]), gap, probability(pair["p"])]
    return Row(tuple(Cell(text) for text in texts), rule=rule)
