"""A corpus with recognised instead of given transcripts: ``ser transcribe CORPUS.csv --asr DIR --out ASR.csv``.

The result is a CSV corpus for ser-extract with the same ids, so that text features of gold and of recognised words can be
compared on the same folds. The given text stays in the column ``text_given``; the word error rate is told.
"""

import sys
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.errors import SerError
from ser_base.settings import SettingsCommand

COLUMNS = (
    "id",
    "path",
    "start",
    "end",
    "text",
    "text_given",
    "label",
    "speaker",
    "session",
    "gender",
    "scenario",
    "fold",
)


@click.command("transcribe", cls=SettingsCommand, section="transcribe")
@click.argument("corpus", type=click.Path(path_type=Path))
@click.option("--asr", required=True, metavar="DIR|ID", help="Speech recogniser; any of transformers.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="CSV to write.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--offline", is_flag=True, help="Never open a connection.")
def command(corpus: Path, asr: str, out: Path, device: str, offline: bool) -> None:
    """Writes CORPUS (a CSV corpus or a manifest) with recognised transcripts."""
    try:
        sys.exit(transcribe(corpus, asr, out, device, offline))
    except SerError as error:
        raise click.ClickException(str(error)) from error


def transcribe(corpus: Path, asr: str, out: Path, device: str = "auto", offline: bool = False) -> int:
    """Recognises every utterance; returns 3 if some could not be read, else 0.

    Raises:
        CorpusError: The corpus cannot be read.
        RecogniserBroken: The recogniser cannot be used.
    """
    import pandas as pd
    from rich.console import Console
    from rich.progress import track

    from ser_data.corpora import CORPORA
    from ser_data.manifest.table import Manifest
    from ser_data.media.audio import AudioError
    from ser_data.media.isolated import IsolatedDecoder
    from ser_predict.recordings.transcripts import Recogniser, word_errors

    manifest = CORPORA["csv"].read(corpus) if corpus.suffix == ".csv" else Manifest.read(corpus)
    recogniser = Recogniser(asr, device=device, offline=offline)
    rows: list[dict[str, Any]] = []
    wrong = words = lost = 0
    console = Console(stderr=True)
    utterances = list(manifest.utterances())
    with IsolatedDecoder() as decoder:
        for one in track(utterances, "recognising", console=console, disable=not console.is_terminal):
            heard: str | None = None
            try:
                if one.path is None:
                    raise AudioError("", "missing")
                (heard,) = recogniser.transcribe([decoder.load(one.path, recogniser.rate, one.start, one.end)])
            except AudioError as error:
                lost += 1
                click.echo(f"Skipped {one.id}: {error}", err=True)
            if one.text and heard is not None:
                errors, count = word_errors(one.text, heard)
                wrong, words = wrong + errors, words + count
            if not console.is_terminal and len(rows) % 50 == 49:
                click.echo(f"{len(rows) + 1:,} of {len(utterances):,} utterances", err=True)
            rows.append({**{name: getattr(one, name, None) for name in COLUMNS}, "text": heard, "text_given": one.text})
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).dropna(axis="columns", how="all")
    out.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(out, index=False)
    rate = f", word error rate {wrong / words:.1%} of {words:,} words" if words else ""
    click.echo(f"{len(rows) - lost:,} utterances recognised, {lost:,} skipped{rate}: {out}")
    return 3 if lost else 0
