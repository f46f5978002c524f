"""`ser explain`: shows why the heads of a run answered as they did for utterances of its test parts."""

from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.command_line import sentences
from ser_base.files import safe_name, write_json, write_whole
from ser_base.option_values import per_stream
from ser_base.settings import SettingsCommand
from ser_predict.ser import PLACE, STREAMS

RATE = 16_000
HARDEST = 5
"""Utterances that are explained beside the most typical one of each class, where none is named."""


@click.command("explain", cls=SettingsCommand, section="explain")
@click.argument("run", type=PLACE)
@click.option(
    "--id",
    "ids",
    multiple=True,
    metavar="ID",
    help="Explain this utterance. Repeat it for several.  [default: the hardest, the most typical, and each class's mean]",
)
@click.option("--row", help="Explain the heads of this row of the run.  [default: best development UWA]")
@click.option(
    "--class", "target", metavar="NAME", help="Explain the score of this class.  [default: the predicted one]"
)
@click.option(
    "--control/--no-control",
    default=True,
    show_default=True,
    help="Train a head on shuffled labels once per fold and show it beside. Turn it off if training is long.",
)
@click.option("--cache", type=PLACE, help="Read the run's feature cache here. Use it when the cache was moved.")
@click.option(
    "--encoder",
    metavar="text=DIR|ID",
    callback=per_stream(STREAMS, general=False),
    help="Read the run's tokenizer here, to name words. Use it if it is not found by its recorded name.",
)
@click.option(
    "--steps",
    type=click.IntRange(4, 1000),
    default=32,
    show_default=True,
    help="Points of the path of integrated gradients. Give more if a page leaves over 5 % unexplained.",
)
@click.option(
    "--most",
    type=click.IntRange(2),
    default=50,
    show_default=True,
    help="Utterances of a class at most in its mean.",
)
@click.option("--out", type=PLACE, help="Write the pages to this folder.  [default: RUN/explain]")
def command(
    run: Path,
    ids: tuple[str, ...],
    target: str | None,
    encoder: dict[str, str] | None,
    most: int,
    out: Path | None,
    **options: Any,
) -> None:
    """Show what in an utterance moved the heads of RUN: its streams, its moments and its words.

    The heads are those of the fold that tested the utterance. Shares of streams are exact (Shapley values). Moments and words
    are integrated gradients. Each stands beside a control: a head that learned shuffled labels. ID.html and ID.json are
    written. Without --id, profiles.html shows which streams, words and moments speak for each class on average.

    Example: ser explain runs/demo/results --id demo_0001 --row cross
    """
    with sentences():
        from ser_predict.explain.explanation import IS_NOT, Explainer

        explainer = Explainer(run, text_encoder=(encoder or {}).get("text_encoder"), **options)
        folder = out or run / "explain"
        folder.mkdir(parents=True, exist_ok=True)
        if not ids:
            _profiles(explainer, most, folder)
            typical = explainer.belief.reset_index().groupby("label", sort=False)["id"].last()
            ids = tuple(dict.fromkeys([*explainer.belief.index[:HARDEST], *typical]))
        for name in ids:
            _explain(explainer, name, target, folder)
        click.echo(IS_NOT, err=True)


def _explain(explainer: Any, name: str, target: str | None, folder: Path) -> None:
    """Explains an utterance: two files, and the gist on the screen."""
    from ser_predict.explain.page import page, summary

    explanation, file = explainer.explain(name, target), safe_name(name)
    text = page(explanation, _waveform(explainer.study.table.loc[name]), RATE)
    write_whole(folder / f"{file}.html", text.encode())
    write_json(folder / f"{file}.json", explanation.as_dict())
    click.echo(f"{name}: {summary(explanation)}")
    for track in explanation.tracks:
        if track.of_words:
            words = sorted(zip(track.names, track.values, strict=True), key=lambda pair: -abs(pair[1]))[:5]
            click.echo(f"  {track.stream}: " + ", ".join(f"{word} {value:+.3f}" for word, value in words))
    for note in explanation.notes:
        click.echo(f"  {note}")
    click.echo(f"  {folder / f'{file}.html'}")


def _profiles(explainer: Any, most: int, folder: Path) -> None:
    """Writes the mean of each class: two files, and the shares on the screen."""
    from dataclasses import asdict

    from ser_predict.explain.page import profile_page
    from ser_predict.explain.profiles import profiles

    class_profiles = list(profiles(explainer, most))
    write_whole(folder / "profiles.html", profile_page(explainer.row, class_profiles).encode())
    write_json(
        folder / "profiles.json", {"row": explainer.row, "classes": [asdict(profile) for profile in class_profiles]}
    )
    for profile in class_profiles:
        shares = ", ".join(
            f"{name} {mean.value:+.3f}" + ("" if mean.control is None else f" ({mean.control:+.3f} shuffled)")
            for name, mean in profile.shares.items()
        )
        click.echo(f"{profile.label}, on average: {shares}")
    click.echo(f"  {folder / 'profiles.html'}")


def _waveform(row: Any) -> Any:
    """Loads the recording of an utterance at `RATE`; None where it is not at hand."""
    import pandas as pd

    from ser_data.media.audio import AudioError
    from ser_data.media.isolated import IsolatedDecoder

    if pd.isna(row.get("path")):
        return None
    start, end = (None if pd.isna(row.get(key)) else float(row[key]) for key in ("start", "end"))
    try:
        with IsolatedDecoder() as decoder:
            return decoder.load(str(row["path"]), RATE, start, end)
    except AudioError:
        return None
