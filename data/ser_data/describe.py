"""What a manifest holds: hours, lengths, classes per session, fold and speaker, texts; as numbers and as a plot."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_data.manifest.text import comparison_key, has_tag

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ser_data.manifest.table import Manifest
    from ser_data.protocols import Folds


@dataclass(frozen=True, slots=True)
class Description:
    """Numbers about a manifest.

    Attributes:
        facts: Name -> value as text, in the order to print.
        classes: Rows are labels, columns the groups (sessions, folds or parts) and `all`; counts.
        speakers: One row per speaker: `utterances`, `minutes`, and a column per label; empty if no speaker is known.
        grouped_by: What the groups of `classes` are.
    """

    facts: dict[str, str]
    classes: "pd.DataFrame"
    speakers: "pd.DataFrame"
    grouped_by: str


def describe(manifest: "Manifest", folds: "Folds | None" = None) -> Description:
    """The numbers.

    Args:
        manifest: What to describe.
        folds: Groups the classes by the folds' test parts; without, by session, fold or part, whichever is filled.
    """
    import pandas as pd

    table = manifest.table.copy()
    table["label"] = table["label"].fillna("(none)")
    name = next((key for key in ("session", "fold", "part") if table[key].notna().any()), "corpus")
    if folds is not None:
        name = f"test part ({folds.protocol})"
        tested = {ident: fold.name for fold in folds.folds for ident in fold.test}
        table[name] = [tested.get(ident, "(not tested)") for ident in table["id"]]
    groups = table[name].fillna("(none)")
    classes = pd.crosstab(table["label"], groups)
    if folds is not None:
        classes = classes[[fold.name for fold in folds.folds] + [c for c in classes.columns if c == "(not tested)"]]
    classes["all"] = classes.sum(axis=1)
    classes.loc["all"] = classes.sum(axis=0)
    speakers = pd.DataFrame()
    if table["speaker"].notna().any():
        by = table.groupby("speaker")
        speakers = pd.DataFrame({"utterances": by.size(), "minutes": (by["duration"].sum() / 60).round(1)})
        speakers = speakers.join(pd.crosstab(table["speaker"], table["label"]))
    return Description(_facts(manifest), classes, speakers, name)


def _facts(manifest: "Manifest") -> dict[str, str]:
    table = manifest.table
    facts = {"corpus": manifest.info.title, "licence": manifest.info.licence}
    if manifest.info.synthetic:
        facts["synthetic"] = "yes: nothing here says anything about people"
    facts["utterances"] = f"{len(table):,}"
    facts |= {
        f"{key}s": f"{table[key].nunique():,}"
        for key in ("speaker", "session", "dialogue", "scenario")
        if table[key].notna().any()
    }
    lengths = table["duration"].dropna()
    if len(lengths):
        low, middle, high = lengths.quantile([0.05, 0.5, 0.95])
        facts["hours"] = f"{lengths.sum() / 3600:.2f}"
        facts["length"] = (
            f"mean {lengths.mean():.2f} s, median {middle:.2f}, 5 % to 95 % {low:.2f} to {high:.2f}, "
            f"{lengths.min():.2f} to {lengths.max():.2f}"
        )
    texts = [text for text in table["text"] if text is not None]
    if texts:
        words = [len(comparison_key(text).split()) for text in texts]
        keys = [key for key in map(comparison_key, texts) if key]
        facts["text"] = (
            f"{len(texts):,} with text, mean {sum(words) / len(words):.1f} words, {words.count(0):,} without words"
        )
        facts["different texts"] = f"{len(set(keys)):,}"
        facts["with tags"] = f"{sum(map(has_tag, texts)):,}"
    if (table["overlap"] > 0).any():
        facts["overlap"] = f"{(table['overlap'] > 0).mean():.0%} of the turns overlap with another speaker's"
    facts["with votes"] = f"{int(table['votes'].notna().sum()):,}"
    facts["dropped"] = f"{len(manifest.dropped):,} (and {len(manifest.problems) - len(manifest.dropped):,} remarks)"
    return facts


def plot(manifest: "Manifest", description: Description, path: str | Path) -> None:
    """Draws classes, lengths, speakers and (if known) classes by scenario into a `.png`, `.svg` or `.pdf`."""
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    scenarios = bool(manifest.table["scenario"].notna().any())
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    synthetic = " (synthetic)" if manifest.info.synthetic else ""
    figure.suptitle(f"{manifest.info.title}{synthetic}: {len(manifest):,} utterances", wrap=True)
    _plot_classes(axes[0][0], description)
    _plot_lengths(axes[0][1], manifest.table["duration"].dropna())
    _plot_speakers(axes[1][0], description)
    if scenarios:
        _plot_scenarios(axes[1][1], manifest.table)
    else:
        axes[1][1].set_axis_off()
    figure.savefig(path, dpi=110)


def _plot_classes(axis: "Axes", description: Description) -> None:
    counts = description.classes.drop(index="all").sort_values("all", ascending=False).drop(columns="all")
    if counts.shape[1] > 12:  # 25 cells would be stripes
        counts = counts.sum(axis=1).to_frame("all")
    bottom = counts.iloc[:, 0] * 0
    for column in counts.columns:
        axis.bar(list(counts.index), counts[column].tolist(), bottom=bottom.tolist(), label=str(column))
        bottom = bottom + counts[column]
    axis.tick_params(axis="x", rotation=45)
    axis.set_title(f"classes by {description.grouped_by}")
    axis.set_ylabel("utterances")
    if counts.shape[1] > 1:
        axis.legend(fontsize="small", ncols=2)


def _plot_lengths(axis: "Axes", lengths: "pd.Series[float]") -> None:
    axis.set_title("length")
    if len(lengths):
        axis.hist(lengths.tolist(), bins=60, color="tab:blue")
        axis.axvline(float(lengths.median()), color="black", linestyle=":", label=f"median {lengths.median():.2f} s")
        axis.legend()
    axis.set_xlabel("seconds")
    axis.set_ylabel("utterances")


def _plot_speakers(axis: "Axes", description: Description) -> None:
    axis.set_title("utterances per speaker")
    if not description.speakers.empty:
        counts = description.speakers["utterances"].sort_values(ascending=False)[:60]
        axis.bar(range(len(counts)), counts.tolist(), color="tab:green")
        if len(counts) <= 30:
            axis.set_xticks(range(len(counts)), [str(name) for name in counts.index], rotation=90, fontsize="small")


def _plot_scenarios(axis: "Axes", table: "pd.DataFrame") -> None:
    import pandas as pd

    shares = pd.crosstab(table["scenario"], table["label"], normalize="index")
    axis.imshow(shares.to_numpy(), aspect="auto", cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(shares.shape[1]), [str(name) for name in shares.columns], rotation=45)
    axis.set_yticks(range(shares.shape[0]), [str(name) for name in shares.index], fontsize="small")
    axis.set_title("share of classes within each scenario")
