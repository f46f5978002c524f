"""`ser live`: a finished run behind a local web page. Nothing heavy is loaded before it runs."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.errors import PackageMissing, SerError
from ser_base.settings import SettingsCommand
from ser_predict.encoder_options import encoder_options, encoders

LONGEST_HOP = 1.0
"""Seconds between windows if nothing is asked: answers come at least so often."""


@click.command("live", cls=SettingsCommand, section="live")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--asr", metavar="DIR|ID", help="Speech recogniser for the transcript; any of transformers.")
@click.option("--row", help="Heads of this row of the run.  [default: best on development data]")
@click.option("--fold", help="Only the heads of this fold.  [default: all, averaged]")
@click.option("--seed", type=int, help="Only the heads of this seed.  [default: all, averaged]")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Below it: 'unsure'.")
@click.option("--window", type=click.FloatRange(1, 60), help="Seconds of a window.  [default: as in training]")
@click.option(
    "--hop", type=click.FloatRange(0.1, 60), help="Seconds between windows.  [default: 1, at most half a window]"
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at; the default is this machine only."
)
@click.option("--port", type=click.IntRange(0, 65_535), default=8765, show_default=True, help="0 takes a free one.")
@click.option(
    "--connections", type=click.IntRange(1, 1_000), default=16, show_default=True, help="Microphones at a time."
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep audio and answers here.  [default: nothing is kept]",
)
@encoder_options
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Where the run's cache is now (only runs of old versions)."
)
@click.option("--device", help="auto, cpu or cuda.  [default: auto]")
@click.option("--offline", is_flag=True, help="Never open a connection to a hub.")
def command(run: Path, **options: Any) -> None:
    """Serves a page that listens to the microphone or takes a file, and shows what the heads of RUN answer.

    RUN is a run directory or a folder that ser export --hub wrote. The page is for this machine only, unless --host says
    otherwise, and only for whoever has the printed address. Ctrl-C ends it.

    Example: ser live runs/demo/results --asr openai/whisper-tiny.en
    """
    try:
        _serve(run, options)
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(130)


def _serve(run: Path, options: dict[str, Any]) -> None:

    try:
        import starlette  # noqa: F401  # before a run is loaded for nothing
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise click.ClickException(str(PackageMissing("ser live", error.name or "starlette", "live"))) from error

    from ser_predict.live.server import serve
    from ser_predict.recordings.predictor import Predictor

    try:
        predictor = Predictor(
            run,
            **{name: options[name] for name in ("row", "fold", "seed", "threshold", "asr", "window", "cache")},
            **encoders(options),
            offline=options["offline"],
            device=options["device"] or "auto",
        )
        hop = options["hop"] or min(LONGEST_HOP, predictor.windowing.hop)
        serve(predictor, hop, options["host"], options["port"], options["connections"], options["save"])
    except SerError as error:
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", [])])) from error
