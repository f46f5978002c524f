"""Numbers and results in words: how scores are written in every output alike, and the summary.

The summary tells what was run, what came out, what it is worth, and what to distrust.
"""

from collections.abc import Mapping
from typing import Any

from ser_fusion.evaluation.comparison import too_few_groups, trained_rows
from ser_fusion.evaluation.metrics import ENOUGH
from ser_fusion.heads.facts import FACTS, HeadFacts


# How numbers are written, in every output alike.
def score(value: float | None) -> str:
    """A score in [0, 1] as the field prints it: ``.522``; ``1.000`` for one; ``–`` for none."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text.replace("-0", "-", 1) if text.startswith("-0") else text


def spread(metric: Mapping[str, Any]) -> str:
    """Mean and standard deviation over folds, ``.522 ± .031``; the pooled score where there is no mean over folds."""
    if metric.get("mean") is None:
        return score(metric.get("pooled"))
    deviation = metric.get("std_folds")
    return score(metric["mean"]) + (f" ± {score(deviation)}" if deviation is not None else "")


def bounds(low: float | None, high: float | None) -> str:
    """An interval, ``[.48, .55]``."""
    return "" if low is None or high is None else f"[{score(low)}, {score(high)}]"


def points(value: float | None) -> str:
    """A difference of scores in points (hundredths), with its sign."""
    return "–" if value is None else f"{100 * value:+.1f}"


def probability(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return "–"
    return "< .001" if value < 0.001 else score(round(value, 3))


def count(value: float | None) -> str:
    """A count, with thousands separated."""
    return "–" if value is None else f"{round(value):,}"


DEAF = ("random", "prior", "majority", "scenario-prior", "dialogue-prior", "speaker-prior")  # neither hear nor read


def _plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _pooled(row: dict[str, Any]) -> float:
    return float(row["metrics"]["UWA"]["pooled"])


def _apart(gap: float) -> str:
    return f"{abs(100 * gap):.1f} points {'above' if gap >= 0 else 'below'}"


def replicates(unit: dict[str, Any]) -> str:
    """What tests and intervals are taken over; ``unit`` as in metrics.json."""
    if unit["general"] and unit["groups"] < unit["n"]:
        return f"{unit['groups']} groups of {unit['kind']}s that share no trained model"
    return f"{unit['kind']}s"


def bold(unit: dict[str, Any]) -> str:
    """What bold means in a table of results, or why nothing is bold."""
    if not unit["general"]:
        return (
            f"Nothing is bold: {too_few_groups(unit['groups'])}. "
            "Tests and intervals are about these trained models, not about the methods."
        )
    test = "t-test over these groups" if unit["groups"] < unit["n"] else f"swap test over {unit['kind']}s"
    return f"Bold: significantly better than every other trained row ({test}, Holm); no bold, no winner."


def tested(pair: dict[str, Any]) -> str:
    """How a pair of rows was tested; ``pair`` as in metrics.json's comparisons."""
    if pair["test"] == "t":
        over = f"{pair['groups']} groups of {pair['unit']}s that share no trained model"
        return f"Points of pooled {pair['metric']}. p and interval: Student's t over {over}."
    kind = "all" if pair["exact"] else "drawn"
    how = f"{pair['units']} {pair['unit']}s, {pair['assignments']:,} assignments, {kind}"
    text = f"Points of pooled {pair['metric']}. p: swapping whole {pair['unit']}s between the two models ({how}). "
    text += f"Interval: t over {pair['unit']}s."
    return text if pair["general"] else text + f" About these trained models only: {too_few_groups(pair['groups'])}."


def reads_text(metrics: dict[str, Any]) -> bool:
    """Whether a trained row reads the transcripts."""
    return "text" in metrics["streams"] and any(
        FACTS.get(str(row.get("fusion")), HeadFacts).may_read("text")
        if row["kind"] == "head"
        else "text" in row["name"]
        for row in metrics["rows"]
        if row["kind"] in ("head", "classifier")
    )


def headline(metrics: dict[str, Any]) -> str:
    """One sentence for the top of the page."""
    trained = trained_rows(metrics["rows"])
    if not trained:
        return "Reference rows only: no head was trained in this run."
    top = max(trained, key=_pooled)
    chance = 1 / len(metrics["classes"])
    text = f"{top['name']} reaches a pooled UWA of {score(_pooled(top))}, {_apart(_pooled(top) - chance)} chance"
    if len(trained) == 1:
        return text + "."
    if not metrics["unit"]["general"]:
        return text + ". This is about these trained models, not about the methods."
    if metrics["best"].get("UWA") == top["slug"]:
        return text + ", significantly better than every other trained row."
    return text + ", but is not significantly better than every other trained row."


def summary(metrics: dict[str, Any]) -> list[str]:
    """Sentences for the summary, the most important first."""
    rows = metrics["rows"]
    trained = trained_rows(rows)
    unit, classes = metrics["unit"], metrics["classes"]
    corpus = metrics["corpus"].get("title") or metrics["corpus"].get("name")
    n = max((row["n"] for row in rows), default=0)
    seeds = _plural(max((len(row["seeds"]) for row in trained), default=1), "seed")
    first = (
        f"{_plural(len(trained), 'model')} on {count(n)} utterances of {corpus}: {len(classes)} classes, "
        f"{_plural(unit['n'], unit['kind'])}, protocol {metrics['protocol']} with {_plural(metrics['folds'], 'fold')}, {seeds}."
    )
    lines = [first]
    lines += [
        pair["sentence"] + "." for pair in metrics["comparisons"] if pair["family"] == "primary" or pair.get("note")
    ]
    lines += _against_references(rows, trained)
    lines += told_probes(rows)
    if any(row["kind"] == "stacked" for row in rows):
        lines.append(
            "Stacked rows are compared with their own head only. Compare heads with each other by their rows that are not stacked."
        )
    lines += _chance(metrics, trained)
    lines += _weakest(trained, metrics)
    return lines


def _against_references(rows: list[dict[str, Any]], trained: list[dict[str, Any]]) -> list[str]:
    """How the best head stands against rows that neither hear nor read, and against linear rows."""
    if not trained:
        return []
    top = max(trained, key=_pooled)
    lines = []
    deaf = [row for row in rows if row["slug"] in DEAF]
    if deaf:
        best = max(deaf, key=_pooled)
        gap = _pooled(top) - _pooled(best)
        verdict = "" if gap > 0 else ". The models show nothing about emotion"
        lines.append(
            f"Best baseline without audio or text: {best['name']}, {score(_pooled(best))} UWA; {top['name']} is {_apart(gap)} it{verdict}."
        )
    linear = [row for row in rows if row["kind"] == "reference" and row["slug"] not in DEAF]
    if linear:
        best = max(linear, key=_pooled)
        gap = _pooled(top) - _pooled(best)
        verdict = "" if gap > 0 or top["kind"] != "head" else ". Training a head gained nothing here"
        lines.append(
            f"Best linear reference: {best['name']}, {score(_pooled(best))} UWA; {top['name']} is {_apart(gap)} it{verdict}."
        )
    return lines


def _chance(metrics: dict[str, Any], trained: list[dict[str, Any]]) -> list[str]:
    """Trained rows that are equivalent to chance."""
    lines = []
    for row in trained:
        if row["constant"]:
            lines.append(f"{row['name']} always predicts the same class: exactly chance.")
        elif row["chance"]["equivalent"]:
            margin = round(100 * row["chance"]["margin"])
            lines.append(
                f"{row['name']} is equivalent to chance: its UWA lies within {margin} points of 1/K (TOST, p = {row['chance']['p']:.3f})."
            )
    return lines


def _weakest(trained: list[dict[str, Any]], metrics: dict[str, Any]) -> list[str]:
    """The class that the best head recalls least."""
    if not trained:
        return []
    top = max(trained, key=_pooled)
    scored = [entry for entry in top["per_class"] if entry["recall"] is not None]
    if len(scored) < 2:
        return []
    worst = min(scored, key=lambda entry: float(entry["recall"]))
    return [
        f"The hardest class for {top['name']} is {worst['class']}: recall {score(worst['recall'])} on {count(worst['n'])} utterances."
    ]


def warnings(metrics: dict[str, Any]) -> list[str]:
    """What a reader must know before quoting a number."""
    lines = []
    if metrics["corpus"].get("synthetic"):
        lines.append("The corpus is synthetic: these numbers say that the tool works, and nothing about human emotion.")
    lines += metrics["tuned_encoders"]
    overlap = metrics["overlap"]
    if overlap and overlap["share"] >= 0.05 and reads_text(metrics):
        lines.append(
            f"{100 * overlap['share']:.0f} % of the test utterances have a transcript that also occurs in their training part. "
            "Scores of text are partly memory there. See the table of seen and unseen transcripts."
        )
    if metrics.get("transfer"):
        lines.append(
            "Several corpora: scores pooled over folds mix them, and a corpus is not scored on classes that it lacks. "
            "Read the tables from corpus to corpus."
        )
    if metrics["protocol"] == "random":
        lines.append(
            "Random folds share speakers, dialogues and scripts between training and test: do not quote these numbers."
        )
    unit = metrics["unit"]
    if unit["kind"] != "speaker":
        lines.append(f"The corpus does not name its speakers; tests and intervals are over {unit['kind']}s instead.")
    elif unit["n"] < 6:
        lines.append(f"With {unit['n']} speakers no test over speakers can reach p < .05.")
    if not unit["general"]:
        lines.append(
            f"Differences are about these trained models, not about the methods: {too_few_groups(unit['groups'])}. "
            "Further seeds repeat the luck of one training part. "
            f"Choose a protocol whose folds test at least {ENOUGH} groups of speakers apart, such as session or speaker."
        )
    if any(row.get("transductive") for row in metrics["rows"]):
        labelled = any("labelled neutral" in str(row.get("note")) for row in metrics["rows"])
        used = "speech, and which of it is labelled neutral" if labelled else "unlabelled speech"
        lines.append(f"Some rows use the test part's own {used} (transductive); they stand in a table of their own.")
    departures = {row["name"]: row["departures"] for row in metrics["rows"] if row.get("departures")}
    lines += [f"{name} departs from its preset: {'; '.join(map(str, listed))}." for name, listed in departures.items()]
    return lines


def told_probes(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence for every head that is below its own probe, and one for all that are not.

    Args:
        rows: Of ``metrics.json``; a head's ``own_probe`` is the slug of its probe.
    """
    by_slug = {row["slug"]: row for row in rows}
    lines, level = [], []
    for row in rows:
        probe = by_slug.get(str(row.get("own_probe")))
        if probe is None:
            continue
        gap = 100 * (row["metrics"]["UWA"]["pooled"] - probe["metrics"]["UWA"]["pooled"])
        if round(gap, 1) < 0:
            lines.append(f"{row['name']} is {-gap:.1f} points UWA below its own linear probe, {probe['name']}.")
        else:
            level.append(f"{row['name']} ({gap:+.1f})")
    if level:
        lines.append(
            f"Not below {'its' if len(level) == 1 else 'their'} own linear probe: {', '.join(level)} points UWA."
        )
    return lines
