"""`ser-extract`: options in, `ExtractJob` out. Nothing heavy is loaded before the command runs."""

import sys
from typing import Any

import rich_click as click

from ser_base.command_line import typed
from ser_base.errors import SerError
from ser_base.options import JobCommand, JobOption, job_values
from ser_extract.errors import SettingMissing
from ser_extract.job import ExtractJob

PANELS = ("Data", "Streams", "Recordings", "Work", "Machine")
SHOWN = 10
"""Skipped utterances named on the terminal; all of them are in failures.csv."""


@click.command("extract", cls=JobCommand, section="extract", job=ExtractJob, panels=PANELS)
@click.option(
    "--dry-run",
    is_flag=True,
    cls=JobOption,
    common=True,
    panel="Work",
    help="Print what a run would do, how large it is and how long it takes. Nothing is written.",
)
@click.option(
    "--check",
    type=click.IntRange(min=1),
    metavar="N",
    cls=JobOption,
    panel="Work",
    help="Encode N stored utterances again and print how far they differ. Use it after an upgrade.",
)
@click.option(
    "--log-json",
    is_flag=True,
    cls=JobOption,
    panel="Machine",
    help="Write progress as JSON lines on stderr. Use it for programs that watch a run.",
)
@click.pass_context
def command(ctx: click.RichContext, /, dry_run: bool, check: int | None, log_json: bool, **options: Any) -> None:
    """Write frame embeddings of speech, text and vision encoders to a feature cache, once.

    You may stop it and run it again: it does only what is missing. Options may also come from the environment (SER_CACHE
    for --cache) and from ser.toml in this folder.

    Example: ser extract --corpus csv --root corpus.csv --cache runs/cache --layer 12
    """
    job = job_values(ctx)
    if "corpus" not in job:
        raise _usage(SettingMissing("The corpus", "--corpus", "SER_CORPUS"))
    if "cache" not in job:
        raise _usage(SettingMissing("The folder for the features", "--cache", "SER_CACHE"))
    try:
        sys.exit(_run(job, dry_run, check, log_json))
    except SettingMissing as error:
        raise _usage(error) from error


def _run(options: dict[str, Any], dry_run: bool, check: int | None, log_json: bool) -> int:
    from pydantic import ValidationError

    from ser_base.progress import display

    try:
        job = ExtractJob(**options)
    except ValidationError as error:
        raise click.UsageError("; ".join(detail["msg"] for detail in error.errors())) from error
    try:
        if dry_run:
            from ser_extract.inputs.dry_run import forecast

            click.echo(forecast(job, display(log_json)))
            return 0
        if check is not None:
            from ser_extract.work.check import check_cache

            drift = check_cache(job, check)
            click.echo(str(drift))
            return 0 if drift.fine else 1
        from ser_extract.run import run

        result = run(job, display(log_json), typed("ser-extract"))
    except SerError as error:
        if isinstance(error, SettingMissing):
            raise
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", [])])) from error
    for line in result.skipped[:SHOWN]:
        click.echo(str(line), err=True)
    click.echo(_summary(job, result, typed("ser-extract")))
    return result.exit_code


def _summary(job: Any, result: Any, same: str) -> str:
    from ser_extract.work.report import NAME

    lines = []
    if len(result.skipped) > SHOWN:
        lines.append(f"... and {len(result.skipped) - SHOWN:,} more skipped.")
    done = ", ".join(f"{count:,} {modality}" for modality, count in result.encoded.items()) or "nothing"
    lines.append(f"{result.utterances:,} utterances; encoded now: {done}; {result.seconds:.1f} s.")
    if result.taken:
        rows = ", ".join(f"{count:,} {modality}" for modality, count in result.taken.items())
        lines.append(f"Rows taken over by content: {rows}. They were in the cache under other ids.")
    if result.without_video:
        lines.append(f"{result.without_video:,} have no video. Their rows have no frames and are masked in training.")
    if result.skipped:
        count = len({(line.id, line.modality) for line in result.skipped})
        lines.append(
            f"{count:,} skipped ({job.cache / NAME}). Correct them and run the same command again: it does only these."
        )
    if any(line.reason == "truncated" for line in result.skipped):
        lines.append("Some recordings are cut off. To keep what is there of them: --on-truncated keep --retry-failed")
    if result.interrupted and result.left:
        lines.append(f"Interrupted. Finished shards are kept. To continue: {same}")
    elif result.next:
        lines += [f"Features are in {job.cache}.", result.next]
    elif not result.left:
        lines.append(f"This part is done. Its features are in {job.cache}. Other parts still have work.")
    return "\n".join(lines)


def _usage(error: SettingMissing) -> click.UsageError:
    return click.UsageError(str(error))
