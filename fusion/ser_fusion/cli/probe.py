"""``ser probe``: which layer of which encoder carries the label, and what else its frames hold. Heavy imports are lazy."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ser_base import option_values as types
from ser_base.errors import SerError
from ser_base.settings import SettingsCommand

if TYPE_CHECKING:
    import pandas as pd

    from ser_fusion.study.open import Study

_path = click.Path(path_type=Path)
LEFT = ("stream", "encoder", "pooling", "Stream: column", "tested on")
"""Columns of words."""


@click.command("probe", cls=SettingsCommand, section="probe")
@click.option("--cache", type=_path, help="Read features from this cache, as ser extract wrote it.")
@click.option(
    "--layers",
    "layer",
    callback=types.layer,
    default="all",
    show_default=True,
    metavar="L|last|all",
    help="Probe these layers.",
)
@click.option(
    "--pooling",
    "poolings",
    callback=types.words(["mean", "stats", "max"]),
    default="mean,stats",
    show_default=True,
    metavar="NAMES",
    help="Pool frames over time by these; stats is mean and deviation. Development data chooses among several.",
)
@click.option("--protocol", default="session", show_default=True, help="Make folds by this protocol.")
@click.option(
    "--dev",
    default="next",
    show_default=True,
    help="Choose the development part, on which layer and penalty are chosen.",
)
@click.option(
    "--refit/--no-refit",
    default=None,
    help="Fit the tested probes on training and development part together, as ser fuse does with its heads.",
)
@click.option(
    "--labels", help="Map labels to classes with this label scheme, or with a TOML file.  [default: the corpus's own]"
)
@click.option(
    "--manifest", type=_path, help="Read labels and folds from this manifest instead of the one in the cache."
)
@click.option(
    "--modalities",
    multiple=True,
    callback=types.words(),
    metavar="NAMES",
    help="Probe only these streams.  [default: all]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="Use features of this precision. Needed where the cache holds both.",
)
@click.option(
    "--map",
    callback=types.words(["pca", "tsne", "umap"]),
    metavar="NAMES",
    help="Also draw the mean frames of the chosen layer by these: pca, tsne, umap (needs umap-learn). "
    "A probe then reads speaker, session, scenario, gender and corpus there too.",
)
@click.option(
    "--out", type=_path, help="Write layers.csv, folds.csv and layers.png to this folder.  [default: runs/probe]"
)
def command(
    cache: Path | None,
    poolings: tuple[str, ...],
    refit: bool | None,
    map: tuple[str, ...] | None,
    out: Path | None,
    **options: Any,
) -> None:
    """Find the layer of each encoder that carries the label, with a linear probe on every cached layer: a table and a plot.

    Use it before training heads; it takes seconds to a few minutes. With --map it also shows what else the frames hold:
    what is read better than the emotion is what a head may learn instead.

    Example: ser probe --cache runs/cache --layers all --map tsne
    """
    if cache is None:
        raise click.UsageError("No feature cache given. Use --cache DIR or SER_CACHE, or set cache = ... in ser.toml.")

    try:
        sys.exit(_run(cache, poolings, refit, map or (), out or Path("runs/probe"), options))
    except SerError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)


def _run(
    cache: Path,
    poolings: tuple[str, ...],
    refit: bool | None,
    methods: tuple[str, ...],
    out: Path,
    options: dict[str, Any],
) -> int:
    from ser_base.progress import say
    from ser_fusion.evaluation.feature_map import require
    from ser_fusion.evaluation.layer_probe import folds_of, probe_study, summary
    from ser_fusion.reporting.figures import plot_layers
    from ser_fusion.runs.job import FuseJob
    from ser_fusion.study.open import open_study

    require(methods)
    chosen = {name: value for name, value in options.items() if value is not None}
    study = open_study(cache, **chosen)
    say(
        f"{len(study.table):,} utterances of {study.info.title}; {len(study.excluded):,} left out; protocol {study.folds.protocol}."
    )
    asked = FuseJob.model_fields["refit"].default if refit is None else refit
    again = asked is not False  # as run.py decides for its heads
    probed = probe_study(study, poolings=poolings, refit=again, on_entry=lambda name: say(f"{name} ..."))
    lines = summary(probed)
    out.mkdir(parents=True, exist_ok=True)
    lines.to_csv(out / "layers.csv", index=False)
    folds_of(probed).to_csv(out / "folds.csv", index=False)
    chance = 1 / len(study.classes)
    plot_layers(lines, out / "layers.png", chance, f"{study.info.title}, {study.folds.protocol}")
    _show(lines, chance)
    click.echo(f"Plot: {out / 'layers.png'}")
    if methods:
        _map(study, lines, methods, out)
    return 3 if study.failed else 0


def _map(study: "Study", lines: "pd.DataFrame", methods: tuple[str, ...], out: Path) -> None:
    """Maps the layer that development data chose; the deepest one where there is not a development part."""
    import numpy as np

    from ser_base.progress import say
    from ser_fusion.evaluation.feature_map import better_read, feature_map
    from ser_fusion.reporting.feature_map import write_map
    from ser_fusion.study.data import pool_entry

    features = {}
    for stream, entries in study.layers.items():
        layers = lines.loc[(lines["stream"] == stream) & lines["chosen"], "layer"].tolist()
        entry = next((entry for entry in entries if entry.spec.layer in layers[:1]), study.streams[stream])
        values = pool_entry(entry, list(study.table.index), "mean")
        features[stream] = (entry.spec.encoder, entry.spec.layer, values)
    table = study.table.assign(**{"class": np.asarray(study.classes, dtype=object)[study.targets]})
    content = feature_map(table, features, methods, tell=lambda step: say(f"{step} ..."))
    written = write_map(content, out)
    rows = [[cell.text for cell in row.cells] for row in written.rows]
    _print(written.title, " ".join(written.notes), written.columns, rows)
    for line in better_read(content):
        click.echo(f"Note: {line}")
    click.echo(f"Maps: {out / 'map-*.png'}")


def _show(lines: "pd.DataFrame", chance: float) -> None:
    names = (
        "stream", "encoder", "layer", "pooling", "dev UWA", "test WA", "test UWA", "UWA pooled", "chosen", "best on test",
    )  # fmt: skip
    rows = [
        (
            str(line.stream),
            str(line.encoder),
            str(line.layer),
            str(line.pooling),
            f"{line.dev_uwa:.3f}",
            f"{line.wa:.3f} ± {line.wa_std:.3f}",
            f"{line.uwa:.3f} ± {line.uwa_std:.3f}",
            f"{line.uwa_pooled:.3f}",
            "chosen" if line.chosen else "",
            "(best)" if line.best_on_test else "",
        )
        for line in lines.itertuples()
    ]
    caption = (
        f"mean ± std over folds; chance UWA {chance:.3f}; use the layer marked 'chosen' (by development data). "
        "The best on test was chosen on the data that it is scored on."
    )
    _print("Linear probes", caption, names, rows)


def _print(title: str, caption: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ser_base.command_line import console

    table = Table(title=title, caption=Text(caption))
    for name in names:
        table.add_column(name, justify="left" if name in LEFT else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)
