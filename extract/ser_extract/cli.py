"""`ser-extract`: options in, `ExtractJob` out. Nothing heavy is loaded before the command runs."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.command_line import typed
from ser_base.errors import SerError
from ser_base.settings import PartType, SettingsCommand
from ser_data.corpora import CORPORA
from ser_extract.errors import SettingMissing
from ser_extract.work.runners import RUNNERS

SHOWN = 10
"""Skipped utterances named on the terminal; all of them are in failures.csv."""


def _list(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> str | None:
    """A list option that is given once with commas, several times, or both, as one text with commas."""
    return ",".join(value) or None


def _modalities(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    if not value:
        return None
    words = tuple(dict.fromkeys(word.strip() for word in ",".join(value).split(",") if word.strip()))
    if not words or set(words) - {"audio", "text", "video"}:
        raise click.BadParameter(f"'{','.join(value)}' is not one or more of audio,text,video")
    return words


@click.command("extract", cls=SettingsCommand, section="extract")
@click.option("--corpus", type=click.Choice(list(CORPORA)), help="Which corpus; csv is a table of your own.")
@click.option("--root", type=click.Path(path_type=Path), help="Folder (or, for csv, file) of the corpus.")
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Directory of the feature cache.")
@click.option(
    "--layer", multiple=True, callback=_list, help="Hidden state: 12, a list 4,8,12, all, or last.  [default: last]"
)
@click.option("--audio-layer", multiple=True, callback=_list, help="Layer of the speech encoder, instead of --layer.")
@click.option("--text-layer", multiple=True, callback=_list, help="Layer of the text encoder, instead of --layer.")
@click.option("--video-layer", multiple=True, callback=_list, help="Layer of the vision encoder, instead of --layer.")
@click.option("--audio-encoder", help="Hub id, local folder, or demo.  [default: facebook/wav2vec2-base]")
@click.option("--text-encoder", help="Hub id, local folder, or demo.  [default: google-bert/bert-base-uncased]")
@click.option("--video-encoder", help="Hub id or local folder.  [default: openai/clip-vit-base-patch32]")
@click.option("--audio-revision", help="Commit, tag or branch of a hub repository.")
@click.option("--text-revision", help="Commit, tag or branch of a hub repository.")
@click.option("--video-revision", help="Commit, tag or branch of a hub repository.")
@click.option(
    "--modalities",
    multiple=True,
    callback=_modalities,
    help="Any of audio,text,video.  [default: of audio and text what the corpus has]",
)
@click.option("--fps", type=click.FloatRange(0, 60, min_open=True), help="Frames per second of video.  [default: 2]")
@click.option("--labels", help="Label scheme; a row with a label it does not know is skipped.")
@click.option(
    "--dtype", type=click.Choice(["float16", "float32"]), help="Type of the stored features.  [default: float16]"
)
@click.option("--container", type=click.Choice(["zarr", "hdf5"]), help="How shards are stored.  [default: zarr]")
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option(
    "--compute",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Compute in this type; other than float32 is declared in the cache, with its error. Use bfloat16 for twice the speed "
    "on processors with avx512_bf16 or amx_bf16.  [default: float32]",
)
@click.option("--engine", type=click.Choice(["auto", "stock"]), help="stock: never the packed CPU engine.")
@click.option("--batch-seconds", type=click.FloatRange(min=0), help="Padded audio per batch.  [default: by device]")
@click.option(
    "--workers", type=click.IntRange(min=0), help="One-thread processes; 0: in this one.  [default: one per core]"
)
@click.option("--runner", type=click.Choice(list(RUNNERS)), help="Who gives the work out.  [default: local]")
@click.option("--ray-address", help="Ray cluster to join.  [default: RAY_ADDRESS, else one on this machine]")
@click.option("--ray-gpus", type=click.FloatRange(0, 1), help="GPUs per Ray actor, as 0.5.  [default: 1 on CUDA]")
@click.option("--max-seconds", type=click.FloatRange(1, 3600), help="Longer audio goes in windows.  [default: 60]")
@click.option("--overlap-seconds", type=float, help="Overlap of these windows.  [default: 2]")
@click.option(
    "--context-seconds",
    type=click.FloatRange(0, 30, min_open=True),
    help="Shorter context of Whisper's encoder.  [default: its own 30]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N utterances.")
@click.option("--shards", type=PartType(), help="Only the i-th of N parts of the work (SLURM arrays).")
@click.option(
    "--on-error", type=click.Choice(["skip", "fail"]), help="What an utterance that fails does.  [default: skip]"
)
@click.option(
    "--channel",
    type=click.Choice(["mean", "left", "right"]),
    help="What is taken of several channels, as where each speaker has one.  [default: mean]",
)
@click.option(
    "--on-truncated",
    type=click.Choice(["fail", "keep"]),
    help="A recording that ends before its header says: a failure, or what is there of it.  [default: fail]",
)
@click.option(
    "--decode-timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds one file may take to decode.  [default: 60]",
)
@click.option("--retry-failed", is_flag=True, help="Try again what is recorded as failed.")
@click.option("--replace", is_flag=True, help="Replace features that were made with other settings.")
@click.option("--offline", is_flag=True, help="Never open a connection.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, how large it is and how long it takes.")
@click.option(
    "--check", type=click.IntRange(min=1), metavar="N", help="Recompute N stored utterances and report the drift."
)
@click.option("--log-json", is_flag=True, help="Progress as JSON lines on stderr.")
def command(layer: str | None, dry_run: bool, check: int | None, log_json: bool, **options: Any) -> None:
    """Writes frame embeddings of speech, text and vision encoders to a feature cache, once.

    Safe to stop and to run again: it does only what is missing. Options may also come from the environment (SER_CACHE for
    --cache) and from ser.toml in this folder.

    Example: ser-extract --corpus csv --root corpus.csv --cache runs/cache --layer 12
    """
    if options["corpus"] is None:
        raise _usage(SettingMissing("which corpus it is", "--corpus", "SER_CORPUS"))
    if options["cache"] is None:
        raise _usage(SettingMissing("where the features go", "--cache", "SER_CACHE"))
    for name in ("audio_layer", "text_layer", "video_layer"):
        options[name] = options[name] or layer or "last"
    given = {name: value for name, value in options.items() if value is not None}
    try:
        sys.exit(_run(given, dry_run, check, log_json))
    except SettingMissing as error:
        raise _usage(error) from error


def _run(given: dict[str, Any], dry_run: bool, check: int | None, log_json: bool) -> int:
    from pydantic import ValidationError

    from ser_extract.job import ExtractJob
    from ser_extract.work.progress import reporter

    try:
        job = ExtractJob(**given)
    except ValidationError as error:
        raise click.UsageError("; ".join(detail["msg"] for detail in error.errors())) from error
    try:
        if dry_run:
            from ser_extract.inputs.dry_run import forecast

            click.echo(forecast(job, reporter(log_json)))
            return 0
        if check is not None:
            from ser_extract.work.check import check_cache

            drift = check_cache(job, check)
            click.echo(str(drift))
            return 0 if drift.fine else 1
        from ser_extract.run import run

        result = run(job, reporter(log_json), typed("ser-extract"))
    except SerError as error:
        if isinstance(error, SettingMissing):
            raise
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", [])])) from error
    for line in result.skipped[:SHOWN]:
        click.echo(str(line), err=True)
    click.echo(_summary(job, result, typed("ser-extract")))
    return result.exit_code


def _summary(job: Any, result: Any, same: str) -> str:
    from ser_extract.work.failures import NAME

    lines = []
    if len(result.skipped) > SHOWN:
        lines.append(f"... and {len(result.skipped) - SHOWN:,} more skipped.")
    done = ", ".join(f"{count:,} {modality}" for modality, count in result.encoded.items()) or "nothing"
    lines.append(f"{result.utterances:,} utterances; encoded now: {done}; {result.seconds:.1f} s.")
    if result.taken:
        rows = ", ".join(f"{count:,} {modality}" for modality, count in result.taken.items())
        lines.append(f"Rows taken over by content: {rows}. They were in the cache under other ids, and were copied.")
    if result.without_video:
        lines.append(f"{result.without_video:,} have no video: rows without frames, masked when heads are trained.")
    if result.skipped:
        count = len({(line.id, line.modality) for line in result.skipped})
        lines.append(
            f"{count:,} skipped ({job.cache / NAME}). Mend them and run the same command again; it does only these."
        )
    if any(line.reason == "truncated" for line in result.skipped):
        lines.append("Recordings are cut off. To take what is there of them: --on-truncated keep --retry-failed")
    if result.interrupted and result.left:
        lines.append(f"Interrupted; what is committed is kept. To go on: {same}")
    elif result.next:
        lines += [f"Features are in {job.cache}.", result.next]
    elif not result.left:
        lines.append(f"This part is done; its features are in {job.cache}. Other parts still have work.")
    return "\n".join(lines)


def _usage(error: SettingMissing) -> click.UsageError:
    return click.UsageError(str(error))
