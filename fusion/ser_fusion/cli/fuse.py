"""``ser-fuse``: options in, ``FuseJob`` out. Nothing heavy is loaded before the command runs."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.core import ParameterSource

from ser_base.command_line import typed
from ser_base.errors import SerError
from ser_base.options import JobCommand, JobOption, job_values
from ser_base.progress import display
from ser_fusion.runs.job import MACHINERY, FuseJob
from ser_fusion.runs.listener import Listener
from ser_fusion.runs.options import PANELS

if TYPE_CHECKING:
    from ser_fusion.runs.estimate import Estimate
    from ser_fusion.runs.task import Task
    from ser_fusion.study.open import Study

REPEATABLE = frozenset({"cache", "out", "part", "device", "workers", "runner", "ray_address", "ray_gpus"})


@click.command("fuse", cls=JobCommand, section="fuse", job=FuseJob, panels=PANELS)
@click.option(
    "--from-run",
    type=click.Path(path_type=Path),
    cls=JobOption,
    common=True,
    panel=PANELS[0],
    help="Repeat this run exactly. Beside it only --cache, --out, --part, --device, --workers, --runner and --ray-... are allowed.",
)
@click.pass_context
def command(ctx: click.RichContext, /, from_run: Path | None, **options: Any) -> None:
    """Train fusion heads from a feature cache, fold by fold, and judge them: a result table and a report.

    The command can be stopped and run again: it continues with the jobs (row, fold, seed) that are not finished. Options may
    also come from the environment (SER_CACHE for --cache) and from ser.toml in this folder.

    Example: ser-fuse --cache runs/cache --fusion audio,text,self,cross --seeds 0-2 --stride 4
    """
    asked = asked_of(ctx)
    if from_run is None and "cache" not in asked:
        raise click.UsageError("No feature cache given. Use --cache DIR or SER_CACHE, or set cache = ... in ser.toml.")
    if from_run is not None:
        asked = _repeatable(ctx, asked)
    try:
        sys.exit(_run(asked, from_run))
    except KeyboardInterrupt:
        click.echo("Interrupted. Finished jobs are kept; run the same command again to continue.", err=True)
        sys.exit(130)


def asked_of(context: click.Context) -> dict[str, Any]:
    """The fields of the job that are given; classifiers alone stand for no heads."""
    asked = {name: value for name, value in job_values(context).items() if _meant_here(context, name)}
    if "classifier" in asked and not {"fusion", "table"} & set(asked):
        asked["fusion"] = ()
    return asked


def _meant_here(context: click.Context, name: str) -> bool:
    """Whether a value is for this command: encoders in ser.toml tell ser extract what to load (a folder, ``demo``), while
    here they choose among what the cache holds."""
    sources = (context.get_parameter_source(spelling) for spelling in (name, "encoder"))
    return not name.endswith("_encoder") or ParameterSource.COMMANDLINE in sources


def _repeatable(context: click.Context, asked: dict[str, Any]) -> dict[str, Any]:
    """The options that may stand beside --from-run; others given on the command line are refused, settings are not asked."""
    here = {
        option.stands_for or option.name
        for option in context.command.params
        if isinstance(option, JobOption)
        and option.of_job
        and context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    }
    strange = sorted(str(name) for name in here if name not in REPEATABLE)
    if strange:
        raise click.UsageError(
            f"--{strange[0].replace('_', '-')} cannot be given beside --from-run, which repeats a run exactly."
        )
    return {name: value for name, value in asked.items() if name in here}


def _run(asked: dict[str, Any], from_run: Path | None) -> int:
    from pydantic import ValidationError

    from ser_base.progress import say

    like = None
    with listener() as shown:
        try:
            if from_run is not None:
                from ser_fusion.runs.run import repeat

                asked.setdefault("out", from_run.with_name(f"{from_run.name}-again"))
                job, like = repeat(from_run, **asked)
            else:
                asked.setdefault("out", default_out(asked))
                job = FuseJob(**asked)
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str(first["loc"][0] if first["loc"] else "").replace("_", "-")
            raise click.UsageError(f"{option}: {first['msg']}") from error
        except SerError as error:
            raise click.ClickException(_with_notes(error)) from error
        from ser_fusion.runs.ahead import ahead

        try:
            with ahead(job):
                from ser_fusion.runs.finished import recall
                from ser_fusion.runs.job import open_job

                study = open_job(job)  # what the cache's records refuse, they refuse before torch is loaded
                recalled = recall(job, study) if like is None else ""
                if isinstance(recalled, str):
                    if recalled:
                        say(f"{job.out}: {recalled}. The run is judged again.")
                    from ser_fusion.runs.run import run

                    outcome = run(job, command=typed("ser-fuse"), listener=shown, like=like, study=study)
                else:
                    outcome, trainings = recalled
                    shown.study(study, trainings, trainings)
                    say("Nothing has changed since they were judged.")
        except SerError as error:
            raise click.ClickException(_with_notes(error)) from error
    if outcome.remaining:
        click.echo(
            f"{outcome.remaining:,} jobs are left to the other parts. The last part to end judges {outcome.out}."
        )
        return 0
    from ser_base.command_line import console
    from ser_fusion.reporting.formats import RatingTable, ResultTable

    if outcome.metrics.get("task") != "vad":
        console().print(ResultTable(dict(outcome.metrics)))
    if ratings := outcome.metrics if outcome.metrics.get("task") == "vad" else outcome.metrics.get("vad"):
        console().print(RatingTable(ratings))
    click.echo(f"Report: {outcome.report}")
    for note in outcome.left_out:
        click.echo(f"{note[0].upper()}{note[1:]}.", err=True)
    if outcome.failed:
        click.echo(
            f"{outcome.failed:,} utterances failed in the extraction and are left out of every row ({outcome.out / 'excluded.csv'}).",
            err=True,
        )
        return 3
    return 0


def _with_notes(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def default_out(options: Mapping[str, Any]) -> Path:
    """``runs/<heads>-<8 hex>``: the same options give the same folder, so that the bare command goes on with its own run."""
    import xxhash

    what = options.get("table") or "+".join(
        [*options.get("fusion", ("cross",)), *options.get("classifier", ())][:4]
    ).replace(":", "-")
    asked = {name: str(value) for name, value in options.items() if name not in MACHINERY or name == "cache"}
    mark = xxhash.xxh3_64_hexdigest(repr(sorted(asked.items())).encode())[:8]
    return Path("runs") / f"{what}-{mark}"


PHASE = "training"


class Shown(Listener):
    """Shows jobs as they are done; time left from the mean time of a job so far."""

    estimates = True

    def __init__(self) -> None:
        self.display = display()

    def study(self, study: "Study", trainings: int, done: int) -> None:
        say, folds = self.display.note, study.folds
        counts = ", ".join(f"{name} {n:,}" for name, n in study.counts.items())
        title = study.info.title or study.info.name
        say(f"{len(study.table):,} utterances of {title} ({counts}); {len(study.excluded):,} left out.")
        say(f"Protocol {folds.protocol}, {len(folds.folds)} folds, development part: {folds.dev}.")
        for note in study.notes:
            say(f"Note: {note}")
        again = f", {done:,} of them done already" if done else ""
        say(f"{trainings:,} jobs (row, fold, seed){again}.")
        self.todo = trainings - done
        self._begin()

    def estimate(self, estimate: "Estimate") -> None:
        self.display.note(str(estimate))
        self._begin()

    def _begin(self) -> None:
        if self.todo:
            self.display.begin(PHASE, self.todo, unit="jobs", also=("epochs",))

    def epoch(self) -> None:
        self.display.also(PHASE, "epochs")

    def job(self, task: "Task", seconds: float) -> None:
        self.display.advance(PHASE, last=f"{task.row.name}, fold {task.fold_name}: {seconds:.1f} s")

    def step(self, name: str) -> None:
        self.display.end()
        self.display.note(f"{name} ...")


@contextmanager
def listener() -> Iterator[Listener]:
    """A bar on a terminal, lines elsewhere."""
    shown = Shown()
    try:
        yield shown
    finally:
        shown.display.end()
