"""The report's tables as plain data, before they become HTML, Markdown, LaTeX or CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ser_fusion.reporting.words import bold, bounds, count, points, probability, replicates, score, spread, tested

METRICS = ("WA", "UWA", "WF1", "UWF1")
LONGEST = 60  # lines of a table on the page; longer ones (corpora of hundreds of speakers) are in the files only


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and whether it is marked as best."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line; ``quiet`` for reference rows; ``rule`` draws a line above it."""

    cells: tuple[Cell, ...]
    quiet: bool = False
    rule: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        slug: File name of its Markdown, LaTeX and CSV forms.
        title: caption.
        columns: Headings; the first column holds names, the others are aligned right unless listed in ``left``.
        rows: lines.
        notes: Sentences printed below, definitions among them.
        left: Positions of further left-aligned columns.
    """

    slug: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    left: frozenset[int] = field(default_factory=frozenset)


def _row(*texts: str, quiet: bool = False, rule: bool = False) -> Row:
    return Row(tuple(Cell(text) for text in texts), quiet, rule)


def report_tables(metrics: dict[str, Any]) -> tuple[dict[str, Any], list[Table]]:
    """What the page shows, by its places in it, and all tables as they are written to files."""
    main, splits, merged, audit = (
        result_tables(metrics), split_tables(metrics), merged_table(metrics), audit_tables(metrics["audit"]),
    )  # fmt: skip
    lost = lost_table(metrics)
    together = [*transfer_tables(metrics), *([lost] if lost else [])]
    trained = [row for row in metrics["rows"] if row["kind"] not in ("reference", "lost")]
    classes = {row["slug"]: class_table(row, compact=True) for row in trained}
    comparisons, calibration = comparison_table(metrics), calibration_table(metrics)
    shown = {
        "main": main,
        "splits": [table for table in splits if len(table.rows) <= LONGEST],
        "merged": merged,
        "together": together,
        "classes": classes,
        "audit": audit,
        "comparisons": comparisons,
        "calibration": calibration,
    }
    beside = [*splits, *([merged] if merged else []), *together, *classes.values(), *audit]
    return shown, [*main, comparisons, calibration, *beside]


def definitions(metrics: dict[str, Any]) -> tuple[str, ...]:
    """One line for each metric."""
    return tuple(f"{name}: {meaning}." for name, meaning in metrics["definitions"].items())


def result_tables(metrics: dict[str, Any]) -> list[Table]:
    """The main table, and one more for transductive rows where there are any."""
    rows = [row for row in metrics["rows"] if row["kind"] != "lost"]  # those have a table of their own
    plain = [row for row in rows if not row.get("transductive")]
    shifted = [row for row in rows if row.get("transductive")]
    tables = [_result_table("results", "Results", plain, metrics)]
    if shifted:
        title = "Results normalised with test speech itself (transductive)"
        tables.append(_result_table("results-transductive", title, shifted, metrics))
    return tables


def _result_table(slug: str, title: str, rows: Sequence[dict[str, Any]], metrics: dict[str, Any]) -> Table:
    pooled = metrics["pooled_only"]
    lines, last = [], None
    for row in sorted(rows, key=lambda row: row["kind"] == "reference"):
        scores, reference = row["metrics"], row["kind"] == "reference"
        own = scores["UWA"]
        best = [Cell(spread(scores[m]), metrics["best"].get(m) == row["slug"]) for m in METRICS]
        texts = [] if pooled else [score(own["pooled"])]
        texts += [bounds(own["low"], own["high"]), score(own["std_seeds"]), count(row["n"])]
        cells = (Cell(row["name"]), *best, *map(Cell, texts))
        lines.append(Row(cells, reference, rule=last is False and reference))
        last = reference
    each = "Mean ± standard deviation over folds; seeds are averaged first"
    how = "Scores of the pooled test parts" if pooled else each
    notes = (
        f"{how}. The interval is Student's t over {replicates(metrics['unit'])}, for the pooled UWA.",
        "Seed sd: deviation of whole runs over seeds.",
        bold(metrics["unit"]),
        *definitions(metrics),
    )
    columns = ("Model", *METRICS, *(() if pooled else ("UWA pooled",)), "95 % CI UWA", "seed sd", "n")
    return Table(slug, title, columns, tuple(lines), notes)


def comparison_table(metrics: dict[str, Any]) -> Table:
    """All pairs of trained rows: declared families first."""
    lines, last = [], None
    for pair in metrics["comparisons"]:
        exploratory = pair["family"] == "exploratory"
        gap = Cell(points(pair["difference"]), pair["significant"] and not exploratory)
        texts = (
            f"[{points(pair['low'])}, {points(pair['high'])}]" if pair["low"] is not None else "–",
            *(probability(p) for p in (pair["p"], pair["p_holm"], (pair["corrected"] or {}).get("p"))),
            f"{100 * pair['detectable']:.1f}" if pair["detectable"] is not None else "–",
            pair["family"],
        )
        cells = (Cell(f"{pair['a']} - {pair['b']}"), gap, *map(Cell, texts))
        lines.append(Row(cells, exploratory, rule=last not in (None, pair["family"])))
        last = pair["family"]
    first = metrics["comparisons"][0] if metrics["comparisons"] else None
    notes = (
        *([tested(first)] if first else []),
        "Holm: corrected within the declared family (primary: three comparisons; ablations). Exploratory pairs are not corrected.",
        "p (NB): Nadeau-Bengio's corrected t over the groups, the conservative companion.",
        "Detectable: the smallest true difference that this test shows with 80 % power, at 5 % over the comparisons of its family.",
    )
    columns = ("Pair", "Difference", "95 % CI", "p", "p (Holm)", "p (NB)", "Detectable", "Family")
    return Table("comparisons", "Comparisons", columns, tuple(lines), notes, frozenset({7}))


def class_table(row: dict[str, Any], *, compact: bool = False) -> Table:
    """Precision, recall and F1 of one row by class; ``compact`` leaves out what the plot beside it shows."""
    lines = tuple(
        _row(
            entry["class"],
            count(entry["n"]),
            *([] if compact else [count(entry["predicted"])]),
            score(entry["precision"]),
            score(entry["recall"]),
            *([] if compact else [bounds(entry["recall_low"], entry["recall_high"])]),
            score(entry["f1"]),
        )
        for entry in row["per_class"]
    )
    more = ("Class", "n", "predicted", "Precision", "Recall", "95 % CI recall", "F1")
    columns = ("Class", "n", "Precision", "Recall", "F1") if compact else more
    notes = (
        ()
        if compact
        else ("Pooled test parts, averaged over seeds; n: utterances of the class; interval: t over speakers.",)
    )
    return Table(f"classes-{row['slug']}", f"{row['name']}: by class", columns, lines, notes)


TEMPERATURE = (
    "T: temperature, the mean over folds; right of it, the scores after it. It is fitted on the development predictions of all "
    "folds and seeds, without the speakers that the fold tests, and shrunk towards 1."
)
REFIT = (
    "T comes from the first training, which did not see the development part, and is applied to the head trained again on "
    "training and development part together."
)


def _uncalibrated(metrics: dict[str, Any]) -> list[str]:
    """Which rows were not calibrated, and why; rows without development predictions are not named."""
    return [
        f"{row['name']}: calibration was not applied: {row['calibration']['why']}."
        for row in metrics["rows"]
        if row["calibration"].get("why") and "tempered" in row["calibration"]
    ]


def calibration_table(metrics: dict[str, Any]) -> Table:
    """NLL, Brier and ECE of the trained rows."""
    lines = []
    for row in metrics["rows"]:
        raw, cooled = row["calibration"]["raw"], row["calibration"].get("tempered")
        after = [f"{cooled[name]:.3f}" if cooled else "–" for name in ("nll", "brier", "ece")]
        temperature = row["calibration"].get("temperature")
        lines.append(
            _row(
                row["name"],
                *(f"{raw[name]:.3f}" for name in ("nll", "brier", "ece")),
                f"{temperature:.2f}" if temperature else "–",
                *after,
                quiet=row["kind"] == "reference",
            )
        )
    lines.sort(key=lambda line: line.quiet)
    columns = ("Model", "NLL", "Brier", "ECE", "T", "NLL (T)", "Brier (T)", "ECE (T)")
    notes = (
        "NLL in nats; Brier: squared error summed over classes; ECE: 15 bins of equal mass.",
        TEMPERATURE,
        *(() if not metrics.get("refit") else (REFIT,)),
        *_uncalibrated(metrics),
    )
    return Table("calibration", "Calibration", columns, tuple(lines), notes)


def split_tables(metrics: dict[str, Any]) -> list[Table]:
    """Rows by style, text and gender, and speakers by trained row; pooled UWA, with n."""
    titles = {
        "style": "Improvised and scripted apart",
        "text": "Transcripts seen and not seen in training",
        "gender": "By gender of the speaker",
    }
    note = "Pooled UWA over the classes present in the group; compare only groups with the same number of classes."
    tables = []
    for split, title in titles.items():
        rows = [row for row in metrics["rows"] if row["splits"].get(split) and row["slug"] not in ("random", "prior")]
        groups = rows[0]["splits"][split] if rows else []
        if len(groups) < 2:
            continue
        lines = []
        for row in sorted(rows, key=lambda row: row["kind"] == "reference"):
            by_group = {group["group"]: group for group in row["splits"][split]}
            cells = [score(by_group[group["group"]]["UWA"]) if group["group"] in by_group else "–" for group in groups]
            lines.append(_row(row["name"], *cells, quiet=row["kind"] == "reference"))
        columns = ("Model", *(f"{group['group']} (n = {group['n']:,}, {group['classes']} classes)" for group in groups))
        tables.append(Table(f"split-{split}", title, columns, tuple(lines), (note,)))
    return [*tables, *_speaker_table(metrics, note)]


def _speaker_table(metrics: dict[str, Any], note: str) -> list[Table]:
    """One line for each speaker, one column for each trained row; nothing where speakers are unknown."""
    rows = [row for row in metrics["rows"] if row["kind"] != "reference" and row["splits"].get("speaker")]
    if not rows or len(rows[0]["splits"]["speaker"]) < 2:
        return []
    scores = [{group["group"]: group["UWA"] for group in row["splits"]["speaker"]} for row in rows]
    lines = [
        _row(
            group["group"], count(group["n"]), str(group["classes"]), *(score(of.get(group["group"])) for of in scores)
        )
        for group in rows[0]["splits"]["speaker"]
    ]
    columns = ("Speaker", "n", "classes", *(row["name"] for row in rows))
    return [Table("split-speaker", "By speaker", columns, tuple(lines), (note,))]


def merged_table(metrics: dict[str, Any]) -> Table | None:
    """Scores with confusable pairs merged, or None where the corpus has none."""
    rows = [row for row in metrics["rows"] if row["merged"] and row["kind"] != "reference"]
    if not rows:
        return None
    plans = [plan["merged"] for plan in rows[0]["merged"]]
    lines = []
    for row in rows:
        cells = [score(row["metrics"]["UWA"]["pooled"])]
        cells += [f"{score(plan['UWA'])} / {score(plan['WA'])}" for plan in row["merged"]]
        lines.append(_row(row["name"], *cells))
    columns = ("Model", "as they are, UWA", *(f"{plan}, UWA / WA" for plan in plans))
    note = "A confusion inside a merged pair counts as right. Fewer classes score higher: compare within a column."
    return Table("merged", "Confusable pairs merged", columns, tuple(lines), (note,))


def audit_tables(audit: dict[str, Any] | None) -> list[Table]:
    """The leak audit: pooled UWA and WA of cheap rows under every protocol."""
    if not audit:
        return []
    tables = []
    for metric in ("UWA", "WA"):
        lines = [
            _row(row["name"], *(score(row["scores"].get(p, {}).get(metric)) for p in audit["protocols"]))
            for row in audit["rows"]
        ]
        notes = (
            "Pooled scores of the same cheap models under each protocol; nothing but the folds differs.",
            f"{metric}: {audit['definitions'][metric]}.",
        )
        columns = ("Model", *audit["protocols"])
        tables.append(Table(f"audit-{metric.lower()}", f"Leak audit, {metric}", columns, tuple(lines), notes))
    return tables


# What is asked beside the main result: from corpus to corpus, and with a stream lost at test time.
WIDEST = 4
SHOWN = ("majority", "tfidf-svm", "probe-")  # reference rows, by the beginning of their slug


def transfer_tables(metrics: dict[str, Any], widest: int = WIDEST) -> list[Table]:
    """Source x target by model, one table for UWA and one for WF1; nothing where a run has one corpus.

    With more than ``widest`` targets it is one table with a line for each cell.
    """
    transfer = metrics.get("transfer")
    if not transfer:
        return []
    rows = [row for row in metrics["rows"] if row["kind"] not in ("reference", "lost") or row["slug"].startswith(SHOWN)]
    rows.sort(key=lambda row: row["kind"] == "reference")
    by_row: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in transfer["cells"]:
        by_row.setdefault(cell["row"], {}).setdefault(cell["source"], {})[cell["target"]] = cell
    sizes = {cell["target"]: cell for cell in transfer["cells"]}
    targets = [name for name in transfer["corpora"] if name in sizes]  # a corpus may train and never be tested
    if len(targets) > widest:
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
        title = f"From corpus to corpus, {metric}"
        tables.append(Table(f"transfer-{metric.lower()}", title, columns, tuple(lines), notes, frozenset({1})))
    return tables


def _long(
    metrics: dict[str, Any], rows: list[dict[str, Any]], by_row: dict[str, dict[str, dict[str, dict[str, Any]]]]
) -> Table:
    """One line for each cell, where targets are too many for columns."""
    lines: list[Row] = []
    for row in rows:
        name = row["name"] + (" (transductive)" if row.get("transductive") else "")
        cells = [cell for by_target in by_row.get(row["slug"], {}).values() for cell in by_target.values()]
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
