"""A table of ratings in a terminal and as Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

from ser_fusion.evaluation.rating_metrics import DEFINITIONS, METRICS


class RatingTable:
    """What a ``rich.console.Console`` prints as the result of ratings.

    Args:
        result: ``judge_ratings``'s result.
    """

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.result = result

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        for metric in METRICS:
            table = Table(title=_title(metric), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
            for number, name in enumerate(("model", *self.result["dimensions"], "mean")):
                table.add_column(name, justify="right" if number else "left", no_wrap=bool(number))
            for row in self.result["rows"]:
                table.add_row(*_cells(row, metric, self.result), style="dim" if row["kind"] == "reference" else "")
            yield table


def markdown(result: Mapping[str, Any]) -> str:
    """The same as a Markdown page."""
    lines = [f"# {', '.join(result['dimensions']).capitalize()}", ""]
    lines += [
        f"{result['corpus']}, protocol {result['protocol']}, {result['folds']} folds, seeds {result['seeds']}.",
        "",
    ]
    for metric in METRICS:
        names = ("model", *result["dimensions"], "mean")
        lines += [f"## {_title(metric)}", "", f"| {' | '.join(names)} |", "|---" + "|---:" * (len(names) - 1) + "|"]
        lines += [f"| {' | '.join(_cells(row, metric, result))} |" for row in result["rows"]] + [""]
    lines += ["Mean ± standard deviation over folds; seeds are averaged first.", ""]
    lines += [f"- {name}: {meaning}." for name, meaning in DEFINITIONS.items()]
    lines += [f"- {row['name']}: {row['note']}." for row in result["rows"] if row.get("note")]
    return "\n".join(lines) + "\n"


def _title(metric: str) -> str:
    return f"{metric}, {'smaller' if metric == 'MAE' else 'larger'} is better"


def _cells(row: Mapping[str, Any], metric: str, result: Mapping[str, Any]) -> list[str]:
    cells = [str(row["name"])]
    for name in (*result["dimensions"], "mean"):
        value = row["scores"][name][metric]
        if value["mean"] is None:
            cells.append("-")
        else:
            spread = "" if value["std_folds"] is None else f" ± {value['std_folds']:.3f}"
            cells.append(f"{value['mean']:.3f}{spread}")
    return cells
