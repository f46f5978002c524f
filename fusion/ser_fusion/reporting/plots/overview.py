"""Every row's pooled UWA with its interval over speakers, and where chance lies."""

from typing import Any

from ser_fusion.reporting.plots.theme import PALETTE


def overview_plot(rows: list[dict[str, Any]], chance: float) -> Any:
    """Dots with intervals, best on top within heads and within references.

    Args:
        rows: of metrics.json.
        chance: UWA of guessing, 1/K.
    """
    from matplotlib.figure import Figure

    def pooled(row: dict[str, Any]) -> float:
        return float(row["metrics"]["UWA"]["pooled"])

    trained = sorted((row for row in rows if row["kind"] != "reference"), key=pooled, reverse=True)
    references = sorted((row for row in rows if row["kind"] == "reference"), key=pooled, reverse=True)
    figure = Figure(figsize=(4.6, 0.62 + 0.235 * (len(rows) + 0.6)))
    axes = figure.add_subplot()
    ticks, names = [], []
    place = 0.0
    for group, colour, size in ((trained, "accent", 6.5), (references, "quiet", 5.0)):
        for row in group:
            uwa = row["metrics"]["UWA"]
            if uwa["low"] is not None:
                axes.plot(
                    [uwa["low"], uwa["high"]],
                    [place, place],
                    color=PALETTE[colour],
                    lw=2.2,
                    alpha=0.55,
                    solid_capstyle="round",
                )
            axes.plot([uwa["pooled"]], [place], "o", color=PALETTE[colour], ms=size)
            ticks.append(place)
            names.append(row["name"])
            place += 1.0
        place += 0.6
    axes.axvline(chance, color=PALETTE["second"], lw=1.0, ls=(0, (4, 3)))
    axes.annotate(
        "chance, 1/K",
        (chance, -1.0),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=PALETTE["second"],
    )
    axes.set_yticks(ticks, names)
    axes.set_ylim(place - 0.9, -1.4)
    lows = [row["metrics"]["UWA"]["low"] for row in rows if row["metrics"]["UWA"]["low"] is not None]
    highs = [row["metrics"]["UWA"]["high"] for row in rows if row["metrics"]["UWA"]["high"] is not None]
    axes.set_xlim(max(0.0, min([*lows, chance]) - 0.03), min(1.0, max([*highs, *map(pooled, rows)]) + 0.03))
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("pooled UWA, 95 % interval over speakers")
    return figure


def pairs_plot(pairs: list[dict[str, Any]]) -> Any:
    """Differences of the declared pairs with their intervals, in points of UWA; what lies across zero shows nothing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 0.7 + 0.3 * len(pairs)))
    axes = figure.add_subplot()
    for place, pair in enumerate(pairs):
        colour = PALETTE["accent" if pair["significant"] else "quiet"]
        if pair["low"] is not None:
            axes.plot(
                [100 * pair["low"], 100 * pair["high"]],
                [place, place],
                color=colour,
                lw=2.4,
                alpha=0.6,
                solid_capstyle="round",
            )
        axes.plot([100 * pair["difference"]], [place], "o", color=colour, ms=6.5)
    axes.axvline(0, color=PALETTE["soft"], lw=1)
    axes.set_yticks(range(len(pairs)), [f"{pair['a']} - {pair['b']}" for pair in pairs])
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("points of pooled UWA, 95 % interval")
    return figure
