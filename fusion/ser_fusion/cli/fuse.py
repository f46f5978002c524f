"""`ser-fuse`: options in, `FuseJob` out. Nothing heavy is loaded before the command runs."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context
from click.core import ParameterSource

from ser_base.command_line import typed
from ser_base.errors import SerError
from ser_base.settings import PartType, SettingsCommand
from ser_fusion.classifiers import CLASSIFIERS
from ser_fusion.cli import levers as cli_levers
from ser_fusion.cli import types
from ser_fusion.heads import HEADS
from ser_fusion.poolings import POOLINGS
from ser_fusion.runs.runners import RUNNERS

REPEATABLE = frozenset({"cache", "out", "part", "device", "workers", "runner", "ray_address", "ray_gpus"})
PRESET_NAMES = ("corrected", "as-found", "s3prl-er", "emobox")  # those of presets.PRESETS, by a test
_path = click.Path(path_type=Path)


@click.command("fuse", cls=SettingsCommand, section="fuse")
@click.option("--cache", type=_path, help="Feature cache written by ser-extract.")
@click.option(
    "--fusion",
    multiple=True,
    callback=types.words(HEADS),
    metavar="NAMES",
    help=f"Heads: {', '.join(HEADS)}.  [default: cross]",
)
@click.option(
    "--pooling",
    multiple=True,
    callback=types.words(POOLINGS),
    metavar="NAMES",
    help=f"Poolings: {', '.join(POOLINGS)}.  [default: stats]",
)
@click.option(
    "--classifier",
    multiple=True,
    callback=types.words(),
    metavar="NAMES",
    help=f"Classifiers on pooled features: {', '.join(CLASSIFIERS)}, or any pkg.mod:Class; without --fusion only these.",
)
@click.option("--table", type=click.Choice(["study"]), help="The study's ten rows, instead of --fusion and --pooling.")
@click.option(
    "--preset",
    multiple=True,
    callback=types.words(PRESET_NAMES),
    metavar="NAMES",
    help=f"{', '.join(PRESET_NAMES)}.  [default: corrected]",
)
@click.option(
    "--protocol", help="How folds are made: session, manifest, speaker, session+scenario, ...  [default: session]"
)
@click.option("--dev", help="Development part: next, speaker, partner, random:0.2 or none.  [default: next]")
@click.option("--folds", type=_path, help="Folds from a CSV (id,fold,part) instead of a protocol.")
@click.option(
    "--allow-overlap",
    multiple=True,
    callback=types.words(),
    metavar="KEYS",
    help="Held-out keys that may be on both sides.",
)
@click.option(
    "--drop-seen-text",
    is_flag=True,
    default=None,
    help="Leave training and development utterances out whose text is tested.",
)
@click.option("--labels", help="Label scheme, or a TOML file.  [default: the corpus's own]")
@click.option("--manifest", type=_path, help="Labels and folds from this file instead of the cache's manifest.")
@click.option("--seeds", multiple=True, callback=types.numbers, metavar="0-2", help="Seeds.  [default: 0]")
@click.option(
    "--epochs",
    type=click.IntRange(1, 50),
    help="So many; with early stopping at most so many.  [default: 5, more for few utterances; with early stopping 50]",
)
@click.option("--stride", type=click.IntRange(1, 1000), help="Mean of K audio frames before any head.  [default: 1]")
@click.option(
    "--tune", type=click.IntRange(0, 1000), metavar="N", help="Search each row's settings with N trials per fold."
)
@click.option(
    "--space", callback=types.toml_table, metavar="FILE", help="What --tune searches, as TOML; see docs/tuning.md."
)
@click.option("--sampler", type=click.Choice(["tpe", "random"]), help="How --tune draws.  [default: tpe]")
@click.option("--inner", type=click.IntRange(2, 20), metavar="M", help="Inner folds of --tune at most.  [default: 3]")
@click.option(
    "--context",
    type=click.IntRange(0, 50),
    metavar="K",
    help="The K previous turns of the dialogue as further tokens: features only, never labels.  [default: 0]",
)
@click.option(
    "--norm",
    type=click.Choice(["train", "corpus", "speaker", "speaker-neutral"]),
    help="Features' normalisation; all but train are transductive.  [default: train]",
)
@click.option("--text-pooling", type=click.Choice(["same", "cls"]), help="cls: the text's position 0 after attention.")
@click.option("--text-input", type=click.Choice(["tokens", "cls"]), help="cls: only the text's position 0 is read.")
@click.option(
    "--modalities",
    multiple=True,
    callback=types.words(),
    metavar="NAMES",
    help="Streams to use.  [default: all in the cache]",
)
@click.option("--layer", callback=types.layer, metavar="L|last|all", help="Layer; all learns a weighted sum.")
@click.option("--audio-layer", callback=types.layer, metavar="L|last|all", help="Layer of the speech features.")
@click.option("--text-layer", callback=types.layer, metavar="L|last|all", help="Layer of the text features.")
@click.option("--video-layer", callback=types.layer, metavar="L|last|all", help="Layer of the video features.")
@click.option("--audio-encoder", help="Which encoder's speech features, if the cache holds several.")
@click.option("--text-encoder", help="Which encoder's text features, if the cache holds several.")
@click.option("--video-encoder", help="Which encoder's video features, if the cache holds several.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), help="Which precision, if the cache holds both.")
@click.option(
    "--schedule",
    type=click.Choice(["plateau", "cosine", "one-cycle", "none"]),
    help="Learning rate over time.  [default: the preset's]",
)
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate.  [default: the preset's]")
@click.option("--weight-decay", type=click.FloatRange(0), help="Weight decay.  [default: the preset's]")
@click.option("--batch", type=click.IntRange(1), help="Utterances per step.  [default: the preset's]")
@click.option(
    "--frame-dropout",
    multiple=True,
    callback=types.shares,
    metavar="P,...",
    help="Dropout of frames; several are tried and chosen on development data.  [default: the preset's]",
)
@click.option(
    "--pool-dropout",
    multiple=True,
    callback=types.shares,
    metavar="P,...",
    help="Dropout of the pooled vector before the classifier; several likewise.  [default: the preset's]",
)
@click.option(
    "--pool-norm",
    type=click.Choice(["none", "batch"]),
    help="batch: normalise pooled vectors over the training utterances.  [default: the preset's]",
)
@click.option(
    "--early-stopping",
    is_flag=True,
    default=None,
    help="Stop when the development score falls behind and keep the best epoch, instead of a fixed length.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    help="Epochs without a better development score before early stopping.  [default: 10, emobox 20]",
)
@click.option(
    "--select",
    type=click.Choice(["uwa", "loss"]),
    help="Development score that chooses the epoch, or among dropouts.  [default: uwa]",
)
@click.option(
    "--class-weights", type=click.Choice(["none", "balanced"]), help="Weigh the loss by class.  [default: none]"
)
@click.option(
    "--refit/--no-refit",
    default=None,
    help="Train again on training and development part together and test that head.  [default: unless training stops early]",
)
@click.option(
    "--re-pair",
    is_flag=True,
    default=None,
    help="Pair the streams anew within the class in each training epoch; only for corpora whose pairs are artificial.",
)
@cli_levers.options
@click.option(
    "--extra-text",
    type=_path,
    metavar="FILE",
    help="CSV (id, label, fold) of more text in the cache: training draws each utterance's text from all of its class.",
)
@click.option(
    "--train-fraction",
    multiple=True,
    callback=types.shares,
    metavar="F,...",
    help="Shares of the training speakers, nested.",
)
@click.option("--named-head", help="Head declared beforehand for the primary comparisons.  [default: cross]")
@click.option(
    "--stack",
    type=click.Choice(["none", "probes"]),
    help="probes: a further row for each head, weighed with the linear probes of its streams on development data; use it "
    "where the best score counts.  [default: none]",
)
@click.option(
    "--ensemble",
    multiple=True,
    callback=types.words(("seeds", "folds")),
    metavar="KINDS",
    help="Add rows: calibrated averages over seeds, or over folds that test the same utterances.",
)
@click.option(
    "--lost-streams",
    is_flag=True,
    default=None,
    help="Add rows: heads tested with every subset of their streams, as they are.",
)
@click.option(
    "--audit-heads",
    multiple=True,
    callback=types.words(HEADS),
    metavar="NAMES",
    help="Train these heads under every protocol of the leak audit too: as many trainings again for each.",
)
@click.option(
    "--save-attention", type=click.IntRange(0), metavar="N", help="Keep attention maps of N test utterances per job."
)
@click.option("--trace-test", is_flag=True, default=None, help="Write test scores per epoch too, for looking only.")
@click.option("--out", type=_path, help="Run directory.  [default: runs/<heads>-<hash of the job>]")
@click.option(
    "--workers", type=click.IntRange(0), help="One-thread processes; 0: in this one.  [default: one per core]"
)
@click.option("--runner", type=click.Choice(list(RUNNERS)), help="Who gives the jobs out.  [default: local]")
@click.option("--ray-address", help="Ray cluster to join.  [default: RAY_ADDRESS, else one on this machine]")
@click.option("--ray-gpus", type=click.FloatRange(0, 1), help="GPUs per Ray actor, as 0.5.  [default: 1 on CUDA]")
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option("--jobs", "part", type=PartType(), help="Only the i-th share of the jobs (SLURM arrays).")
@click.option(
    "--from-run",
    type=_path,
    help="Repeat this run exactly; only --cache, --out, --jobs, --device, --workers, --runner and --ray-... may be given.",
)
def command(from_run: Path | None, **options: Any) -> None:
    """Trains fusion heads from a feature cache, fold by fold, and judges them: the result table and a report.

    Safe to stop and to run again: finished jobs (row, fold, seed) are not done twice. Options may also come from the
    environment (SER_CACHE for --cache) and from ser.toml in this folder.

    Example: ser-fuse --cache runs/cache --fusion audio,text,self,cross --seeds 0-2 --stride 4
    """
    given = {name: value for name, value in options.items() if value is not None and _meant_here(name)}
    if from_run is None and "cache" not in given:
        raise click.UsageError(
            "It is not said where the features are. Give --cache DIR, SER_CACHE, or cache = ... in ser.toml."
        )
    if from_run is not None:
        given = _repeatable(given)
    if "classifier" in given and not {"fusion", "table"} & set(given):
        given["fusion"] = ()
    try:
        sys.exit(_run(given, from_run))
    except KeyboardInterrupt:
        click.echo("Interrupted; finished jobs are kept. The same command goes on where this one stopped.", err=True)
        sys.exit(130)


def _meant_here(name: str) -> bool:
    """Whether a value is for this command: encoders in ser.toml tell ser-extract what to load (a folder, ``demo``), while
    here they choose among what the cache holds."""
    source = get_current_context().get_parameter_source(name)
    return name not in ("audio_encoder", "text_encoder", "video_encoder") or source is ParameterSource.COMMANDLINE


def _repeatable(given: dict[str, Any]) -> dict[str, Any]:
    """The options that may stand beside --from-run; others given on the command line are refused, settings are not asked."""
    context = get_current_context()
    typed = {name for name in given if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    strange = sorted(typed - REPEATABLE)
    if strange:
        raise click.UsageError(
            f"--from-run repeats a run exactly, so --{strange[0].replace('_', '-')} cannot be given."
        )
    return {name: given[name] for name in typed}


def _run(given: dict[str, Any], from_run: Path | None) -> int:
    from pydantic import ValidationError

    from ser_fusion.cli.default_out import default_out
    from ser_fusion.cli.progress import listener, say
    from ser_fusion.runs.job import FuseJob

    like = None
    with listener() as told:
        try:
            if from_run is not None:
                from ser_fusion.runs.run import repeat

                given.setdefault("out", from_run.with_name(f"{from_run.name}-again"))
                job, like = repeat(from_run, **given)
            else:
                given.setdefault("out", default_out(given))
                job = FuseJob(**given)
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str(first["loc"][0] if first["loc"] else "").replace("_", "-")
            raise click.UsageError(f"{option}: {first['msg']}") from error
        except SerError as error:
            raise click.ClickException(_told(error)) from error
        from ser_fusion.runs.finished import recall
        from ser_fusion.runs.study import open_job

        try:
            study = open_job(job)  # what the cache's records refuse, they refuse before torch is loaded
            known = recall(job, study) if like is None else ""
            if isinstance(known, str):
                from ser_fusion.runs.run import run

                if known:
                    say(f"{job.out}: {known}. The run is judged again.")
                outcome = run(job, command=typed("ser-fuse"), listener=told, like=like, study=study)
            else:
                outcome, trainings = known
                told.study(study, trainings, trainings)
                say("Nothing has changed since they were judged.")
        except SerError as error:
            raise click.ClickException(_told(error)) from error
    if outcome.remaining:
        click.echo(f"{outcome.remaining:,} jobs are left to other shares; the last one to end judges {outcome.out}.")
        return 0
    from ser_base.terminal import console
    from ser_fusion.reporting.terminal import RatingTable, result_table

    if outcome.metrics.get("task") != "vad":
        console().print(result_table(dict(outcome.metrics)))
    if ratings := outcome.metrics if outcome.metrics.get("task") == "vad" else outcome.metrics.get("vad"):
        console().print(RatingTable(ratings))
    click.echo(f"Report: {outcome.report}")
    for note in outcome.left_out:
        click.echo(f"{note[0].upper()}{note[1:]}.", err=True)
    if outcome.failed:
        click.echo(
            f"{outcome.failed:,} utterances are left out of every row ({outcome.out / 'excluded.csv'}).", err=True
        )
        return 3
    return 0


def _told(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])
