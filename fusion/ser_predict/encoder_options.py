"""Where the encoders of a run are: the options of `ser predict` and `ser live`, spelt as `ser extract` spells them."""

from collections.abc import Callable
from typing import Any

import rich_click as click

from ser_base.option_values import per_stream

STREAMS = ("audio", "text", "video")


def encoder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--encoder audio=DIR,text=ID``; ``--audio-encoder`` and its siblings are accepted, hidden, for recorded commands."""
    for stream in STREAMS:
        command = click.option(f"--{stream}-encoder", hidden=True)(command)
    return click.option(
        "--encoder",
        metavar="audio=DIR|ID,text=DIR|ID",
        callback=per_stream(STREAMS, general=False),
        help="Where the run's encoders are. Use it if they are not found by their recorded names.",
    )(command)


def encoders(options: dict[str, Any]) -> dict[str, Any]:
    """``audio_encoder``, ``text_encoder``, ``video_encoder`` for a `Predictor`, out of the options of `encoder_options`."""
    fields = [f"{stream}_encoder" for stream in STREAMS]
    return {name: (options["encoder"] or {}).get(name, options[name]) for name in fields}
