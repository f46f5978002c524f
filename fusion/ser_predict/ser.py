"""The command `ser`: the table of its subcommands, in the order in which a user needs them."""

import rich_click as click

from ser_base.command_line import LazyGroup

COMMANDS = {
    "data": ("ser_data.cli:main", "List, check, describe, split, join and perturb corpora."),
    "cache": ("ser_cache.cli.main:main", "Look after a feature cache: list, verify, repair, merge, remove."),
    "extract": ("ser_extract.cli:command", "Write frame embeddings of a corpus to a feature cache, once."),
    "fuse": ("ser_fusion.cli.fuse:command", "Train fusion heads from a feature cache, and judge them."),
    "probe": ("ser_fusion.cli.probe:command", "Find the layer of each encoder that carries the label."),
    "compare": ("ser_fusion.cli.compare:compare", "Test whether a difference between two heads is more than luck."),
    "report": ("ser_fusion.cli.compare:report", "Write the report of a run again, or copy it to a tracker."),
    "audit": ("ser_fusion.cli.compare:audit", "Audit a run for leaks under four protocols."),
    "runs": ("ser_fusion.cli.compare:runs", "List the runs below a folder."),
    "predict": ("ser_predict.cli:command", "Predict the emotions of recordings with the heads of a run."),
    "live": ("ser_predict.live.cli:command", "Serve a local page that listens to the microphone."),
    "export": ("ser_predict.export.cli:command", "Write the heads of a run as ONNX or as a hub folder."),
    "transcribe": ("ser_predict.recordings.transcribe:command", "Write a corpus with recognised transcripts."),
}


@click.command("ser", cls=LazyGroup, table=COMMANDS)
@click.version_option(package_name="ser-fusion")
def main() -> None:
    """Speech emotion recognition from speech, text and video: extract embeddings once, compare fusion heads many times.

    `ser COMMAND --help` says what a command does. Options may also come from the environment (SER_CACHE for --cache) and
    from ser.toml in this folder.
    """
