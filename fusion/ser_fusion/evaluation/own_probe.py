"""Each head's own linear probe: the best probe, on development data, of the streams that the head reads."""

from typing import Any

from ser_fusion.evaluation.metrics import confusion, scores_of
from ser_fusion.evaluation.run_directory import RunDirectory


def own_probes(run: RunDirectory) -> dict[str, str]:
    """Slug of each head, and of each stacked one, to the slug of its own probe; heads whose streams have no probe are left out.

    Of several probes (mean, mean and deviation, the product) the one with the best UWA on all development parts together counts;
    without development parts the first.
    """
    dev = run.development
    best: dict[frozenset[str], tuple[float, str]] = {}
    for row in run.rows:
        if row["kind"] != "reference" or not row.get("streams"):
            continue
        own = dev[dev["row"] == row["slug"]] if dev is not None else None
        score = 0.0
        if own is not None and len(own):
            score = float(scores_of(confusion(own["label"], own["predicted"], run.classes))["UWA"])
        streams = frozenset(row["streams"])
        if streams not in best or score > best[streams][0]:
            best[streams] = (score, row["slug"])
    heads = [row for row in run.rows if row["kind"] in ("head", "stacked") and row.get("streams")]
    return {row["slug"]: best[key][1] for row in heads if (key := frozenset(row["streams"])) in best}


def told_probes(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence for every head that is below its own probe, and one for all that are not.

    Args:
        rows: Of `metrics.json`; a head's `own_probe` is the slug of its probe.
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
