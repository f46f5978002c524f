"""The command ``ser``: its subcommands in the order in which a user needs them, and the options of those that open a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.command_line import LazyGroup
from ser_base.option_values import per_stream

COMMANDS = {
    "init": ("ser_data.init:command", "Look at recordings or a table, and write ser.toml."),
    "status": ("ser_fusion.cli.status:command", "Show what is extracted, trained, judged and stale."),
    "data": ("ser_data.cli:main", "List, check, describe, split, join and perturb corpora."),
    "cache": ("ser_cache.cli.main:main", "Look after a feature cache: list, verify, repair, merge, remove."),
    "extract": ("ser_extract.cli:command", "Write frame embeddings of a corpus to a feature cache, once."),
    "fuse": ("ser_fusion.cli.fuse:command", "Train fusion heads from a feature cache, and judge them."),
    "probe": ("ser_fusion.cli.probe:command", "Find the layer that carries the label, and what else it holds."),
    "compare": ("ser_fusion.cli.compare:compare", "Test whether a difference between two heads is more than luck."),
    "report": ("ser_fusion.cli.compare:report", "Write the report of a run again, or copy it to a tracker."),
    "audit": ("ser_fusion.cli.compare:audit", "Audit a run for leaks under four protocols."),
    "runs": ("ser_fusion.cli.compare:runs", "List the runs below a folder."),
    "predict": ("ser_predict.recordings.cli:predict", "Predict the emotions of recordings with the heads of a run."),
    "explain": ("ser_predict.explain.cli:command", "Show what in an utterance moved the heads of a run."),
    "live": ("ser_predict.live.cli:command", "Serve a local page that listens to the microphone."),
    "export": ("ser_predict.export.cli:command", "Write the heads of a run as ONNX or as a hub folder."),
    "transcribe": ("ser_predict.recordings.cli:transcribe", "Write a corpus with recognised transcripts."),
}


@click.command("ser", cls=LazyGroup, table=COMMANDS)
@click.version_option(package_name="ser-fusion")
def main() -> None:
    """Speech emotion recognition from speech, text and video: extract embeddings once, compare fusion heads many times.

    `ser COMMAND --help` says what a command does. Options may also come from the environment (SER_CACHE for --cache) and
    from ser.toml in this folder.
    """


PLACE = click.Path(path_type=Path)
HEADS = (
    click.option("--row", help="Use the heads of this row of the run.  [default: best development UWA]"),
    click.option("--fold", help="Use only the heads of this fold.  [default: all folds]"),
    click.option("--seed", type=int, help="Use only the heads of this seed.  [default: all seeds]"),
    click.option("--cache", type=PLACE, help="Read the run's feature cache here. Use it when an early run was moved."),
)
STREAMS = ("audio", "text", "video", "prosody")
ENCODERS = (
    click.option(
        "--encoder",
        metavar="audio=DIR|ID,text=DIR|ID",
        callback=per_stream(STREAMS, general=False),
        help="Read the run's encoders here. Use it if they are not found by their recorded names, and for your own classes.",
    ),
    *(click.option(f"--{stream}-encoder", hidden=True) for stream in STREAMS),  # of recorded commands
)
PREDICTING = (
    click.option(
        "--asr",
        metavar="DIR|ID",
        help="Transcribe speech with this model of transformers, where a transcript is missing.",
    ),
    click.option(
        "--threshold",
        type=click.FloatRange(0, 1),
        default=0.5,
        show_default=True,
        help="Answer 'unsure' if the largest posterior is below this.",
    ),
    *ENCODERS,
    click.option("--device", default="auto", show_default=True, help="Compute on cpu or cuda; auto prefers cuda."),
    click.option("--offline", is_flag=True, help="Never open a connection. Use only files of this machine."),
)


def opens_run(*, predicts: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds the options that choose the heads of a run and its encoders; where it ``predicts``, also how it answers."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(HEADS + (PREDICTING if predicts else ENCODERS)):
            command = option(command)
        return command

    return add


def segments(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds ``--segment``, which does ``what`` here, and ``--vad``."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option(
            "--vad", type=click.Choice(["energy", "silero"]), default="energy", show_default=True,
            help="Find speech by its level, or by Silero VAD (extra vad). Use silero in noise and music.",
        )(command)  # fmt: skip
        return click.option("--segment", is_flag=True, help=what)(command)

    return add


def predictor_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of a ``Predictor``, out of the options of ``opens_run``."""
    names = ("row", "fold", "seed", "cache", "asr", "threshold", "device", "offline")
    arguments = {name: options[name] for name in names if name in options}
    if "encoder" in options:
        fields = [f"{stream}_encoder" for stream in STREAMS]
        arguments |= {field: (options["encoder"] or {}).get(field, options[field]) for field in fields}
    return arguments
