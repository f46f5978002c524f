"""``ser live``: a finished run behind a local web page. Nothing heavy is loaded before it runs."""

from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.command_line import sentences
from ser_base.errors import PackageMissing
from ser_base.settings import SettingsCommand
from ser_predict.ser import PLACE, opens_run, predictor_arguments, segments

LONGEST_HOP = 1.0
"""Seconds between windows without --hop: answers come at least this often."""


@click.command("live", cls=SettingsCommand, section="live")
@click.argument("run", type=PLACE)
@click.option(
    "--window", type=click.FloatRange(1, 60), help="Length of a window in seconds.  [default: as in training]"
)
@click.option(
    "--hop",
    type=click.FloatRange(0.1, 60),
    help="Seconds from one answer to the next.  [default: 1, at most half a window]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Listen at this address. The default serves this machine only.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8765,
    show_default=True,
    help="Listen at this port; 0 takes a free one.",
)
@click.option(
    "--connections", type=click.IntRange(1, 1_000), default=16, show_default=True, help="Maximum number of microphones."
)
@click.option(
    "--save", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Keep audio and answers in this folder.  [default: nothing is kept]",
)  # fmt: skip
@segments("Cut a file at its pauses, and do not answer where the microphone hears no speech.")
@opens_run(predicts=True)
def command(run: Path, **options: Any) -> None:
    """Serve a local page that predicts emotions from the microphone or a file, with the heads of RUN.

    RUN is a run directory or a folder of `ser export --hub`. Only this machine can open the page, unless you use --host.
    The printed address holds a secret: only who knows it can open the page. Ctrl-C stops the server.

    Example: ser live runs/demo/results --asr openai/whisper-tiny.en
    """
    with sentences(interrupted="Stopped."):
        try:
            import starlette  # noqa: F401  # before a run is loaded for nothing
            import uvicorn  # noqa: F401
            import websockets  # noqa: F401
        except ImportError as error:
            raise PackageMissing("ser live", error.name or "starlette", "live") from error
        from ser_predict.live.server import serve
        from ser_predict.recordings.predictor import Predictor

        segment = {name: options[name] for name in ("segment", "vad")}
        predictor = Predictor(run, **predictor_arguments(options), window=options["window"], **segment)
        hop = options["hop"] or min(LONGEST_HOP, predictor.windowing.hop)
        serve(predictor, hop, options["host"], options["port"], options["connections"], options["save"])
