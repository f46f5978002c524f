"""What a user waits for: whole commands as processes, each beside what the user would otherwise do.

    python tests/benchmarks/bench_commands.py [--scale tiny|small|full] [--only NAME ...] [--before DIR] [--json FILE]

Every row is a command of ours and, where there is one, the script that gives the same without this project (`user_script.py`). Both
run in turns in one run, as processes; wall clock and processor time of the process and its children, medians over the rounds.
`tiny` and `small` are the demo's shape (709 utterances, 384 features; `tiny` much less), `full` adds IEMOCAP's, without the script,
which would take hours. `--before DIR` runs the same commands with the code of another checkout as well, in turn. Goals are seconds
on a quiet two-core machine; the exit code is 0 whether they are met or not: it is a measurement.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import command_data

from ser_extract.work.units import multiplies_bfloat16

HERE = Path(__file__).resolve().parent
SCALES = {"tiny": (("tiny",), 1), "small": (("demo",), 3), "full": (("demo", "iemocap"), 3)}  # shapes, rounds


@dataclass(frozen=True)
class Code:
    """A checkout, whose commands are run with its own packages."""

    checkout: Path

    @property
    def environment(self) -> dict[str, str]:
        parts = [str(self.checkout.resolve() / part) for part in ("extract", "fusion", "data", "cache")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(parts)}

    def __call__(self, script: str, *words: object) -> list[str]:
        """A command by its name in `[project.scripts]`."""
        scripts = tomllib.loads((self.checkout / "pyproject.toml").read_text())["project"]["scripts"]
        module, _, function = scripts[script].partition(":")
        return python(f"from {module} import {function}; {function}()", *words)


OURS = Code(HERE.parent.parent)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that a user waits for.

    Attributes:
        name: As `--only` takes it.
        ours: Our command.
        code: Whose it is.
        rival: What gives the same otherwise; None where nothing does.
        goal: Seconds, beyond what `within` says the work itself took.
        before: Called before each of our turns, not timed.
        until: End the process at the first line on stderr with these words: the time until then is what counts.
        within: Seconds of our turn that are the work itself (training), read after the turn.
    """

    name: str
    ours: Sequence[str]
    code: Code
    rival: Sequence[str] | None = None
    goal: float | None = None
    before: Callable[[], object] = lambda: None
    until: str = ""
    within: Callable[[], float] = lambda: 0.0


def python(code: str, *words: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, words)]


def script(*words: object) -> list[str]:
    return [sys.executable, str(HERE / "user_script.py"), *map(str, words)]


def fusion_rows(folder: Path, shape: str, code: Code) -> list[Row]:
    """Rows of `ser-fuse` on one shape. Data are made here; the finished run that some rows begin with is made on their first turn."""
    place = folder / shape
    place.mkdir(parents=True)
    command_data.write(place, shape)
    cache, done, work = place / "cache", place / "done", place / "work"
    epochs = "1"
    asked = ("--cache", cache, "--epochs", epochs, "--stride", "8")

    def finished() -> None:
        if not done.exists():
            words = code("ser-fuse", *asked, "--fusion", "audio", "--out", done)
            subprocess.run(words, check=True, capture_output=True, env=code.environment)

    def copied() -> None:
        finished()
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(done, work)

    def fresh() -> None:
        shutil.rmtree(work, ignore_errors=True)

    def training() -> float:
        record = json.loads((work / "run.json").read_text())
        own = [json.loads(path.read_text())["seconds"] for path in work.glob("jobs/cross*/*/done.json")]
        return float(sum(own)) / max(1, int(record["workers"]))

    audit = "import sys; from ser_fusion import open_study; from ser_fusion.evaluation.audit import audit_study; audit_study(open_study(sys.argv[1]))"
    rival = None if shape == "iemocap" else script("train", place / "plain", epochs)
    return [
        Row(
            name=f"rerun of a finished run, {shape}",
            code=code,
            ours=code("ser-fuse", *asked, "--fusion", "audio", "--out", done),
            rival=rival,
            goal=3.0,
            before=finished,
        ),
        Row(
            name=f"one more row, {shape}",
            code=code,
            ours=code("ser-fuse", *asked, "--fusion", "cross", "--out", work),
            rival=rival,
            goal=5.0,
            before=copied,
            within=training,
        ),
        Row(
            name=f"the audit itself, {shape}",
            code=code,
            ours=python(audit, cache),
            goal={"demo": 10.0, "iemocap": 30.0}.get(shape),
        ),
        Row(
            name=f"first estimate at stride 1, {shape}",
            code=code,
            ours=code("ser-fuse", "--cache", cache, "--fusion", "cross", "--out", work),
            goal=5.0,
            before=fresh,
            until="Training will take",
        ),
    ]


def extraction_rows(folder: Path, tiny: bool, code: Code) -> list[Row]:
    """Rows of `ser-extract`: wav2vec2-base with random weights, new caches, all cores. Data are made on a row's first turn."""
    from bench_extract import SCALES as SIZES
    from bench_extract import save_models

    models, place = folder / "models", folder / "extracted"
    encoder = models / "wav2vec2-base-random"

    def ready(name: str, clips: int, seconds: float) -> Callable[[], None]:
        def prepare() -> None:
            shutil.rmtree(place, ignore_errors=True)
            if not models.exists():
                models.mkdir()
                save_models(models, SIZES["tiny" if tiny else "small"])
            if not (folder / name).exists():
                command_data.speech(folder / name, clips, seconds)

        return prepare

    def extract(name: str, *more: object) -> list[str]:
        corpus = ("--corpus", "csv", "--root", folder / name / "corpus.csv", "--cache", place, "--offline", "--replace")
        words = ("--audio-encoder", encoder, "--modalities", "audio", "--layer", "12", *more)
        return code("ser-extract", *corpus, *words)

    corpora = {"1 clip": (1, 3.3, 4.0), "40 clips": (4, 12.0, 17.0) if tiny else (40, 148.0, 17.0)}
    rows = [
        Row(
            name=f"ser-extract of {name}",
            code=code,
            ours=extract(name),
            rival=script("extract", folder / name, encoder),
            goal=goal,
            before=ready(name, clips, seconds),
        )
        for name, (clips, seconds, goal) in corpora.items()
    ]
    if not multiplies_bfloat16():
        print("--compute bfloat16: skipped, this processor has neither avx512_bf16 nor amx_bf16")
        return rows
    minutes = (4, 12.0) if tiny else (134, 600.0)
    return [
        *rows,
        Row(
            name="--compute bfloat16 over 10 minutes of speech, beside float32",
            code=code,
            ours=extract("10 minutes", "--compute", "bfloat16"),
            rival=extract("10 minutes", "--cache", f"{place}-float32"),
            before=lambda: (ready("10 minutes", *minutes)(), shutil.rmtree(f"{place}-float32", ignore_errors=True)),
        ),
    ]


def turn(words: Sequence[str], environment: dict[str, str], until: str = "") -> tuple[float, float]:
    """Wall and processor seconds of a process; with `until`, wall seconds to the first such line on stderr."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE if until else told, text=True, env=environment
        )
        said = ""
        for line in process.stderr or ():
            said += line
            if until in line:
                wall = time.perf_counter() - began
                process.terminate()
                break
        process.communicate()
        if not until:
            wall = time.perf_counter() - began
            told.seek(0)
            said = told.read()
            if process.returncode:
                sys.exit(f"{' '.join(words)} ended with {process.returncode}:\n{said}")
        elif until not in said:
            sys.exit(f"{' '.join(words)} never said {until!r}:\n{said}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(row: Row, rounds: int, before: Row | None = None) -> dict[str, float | None]:
    """Medians of a row: seconds and processor seconds of ours, of the script and of an older version, and their ratios to ours."""
    ours, rival, older = [], [], []
    for _ in range(rounds):
        for each, spent in ((row, ours), (before, older)):
            if each is not None:
                each.before()
                wall, busy = turn(each.ours, each.code.environment, each.until)
                spent.append((wall - each.within(), busy, wall))
        if row.rival is not None:
            rival.append(turn(row.rival, row.code.environment))
    beyond, busy, wall = medians(ours)
    found: dict[str, float | None] = {"wall_s": wall, "cpu_s": busy, "beyond_s": beyond, "goal_s": row.goal}
    if rival:
        other, spent = medians(rival)
        found |= {"rival_wall_s": other, "rival_cpu_s": spent, "times": other / wall, "times_cpu": spent / busy}
    if older:
        found |= dict(zip(("before_beyond_s", "before_cpu_s", "before_wall_s"), medians(older), strict=True))
    return {name: None if value is None else round(value, 3) for name, value in found.items()}


def medians(turns: Sequence[tuple[float, ...]]) -> list[float]:
    return [statistics.median(values) for values in zip(*turns, strict=True)]


def told(name: str, one: Mapping[str, float | None]) -> str:
    said = f"{name:<44} {one['wall_s']:8.2f} s wall {one['cpu_s']:8.2f} s cpu"
    if one["goal_s"] is not None:
        counted = one["beyond_s"] or 0.0
        said += f"; {counted:.2f} of {one['goal_s']:g} s: {'met' if counted <= one['goal_s'] else 'MISSED'}"
    if "times" in one:
        said += f"; the script {one['rival_wall_s']:.2f} s, {one['times']:.2f} times ours (cpu {one['times_cpu']:.2f})"
    if "before_wall_s" in one:
        said += f"; before {one['before_wall_s']:.2f} s wall {one['before_cpu_s']:.2f} s cpu, counted {one['before_beyond_s']:.2f} s"
    return said


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=sorted(SCALES), default="small")
    parser.add_argument("--only", nargs="*", default=(), help="rows whose name has one of these words")
    parser.add_argument("--rounds", type=int, help="instead of the scale's")
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="a checkout whose code runs the same commands in turn"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args(arguments)
    shapes, rounds = SCALES[options.scale]
    found: dict[str, dict[str, float | None]] = {}
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def all_rows(folder: Path, code: Code) -> list[Row]:
            of_fusion = [row for shape in shapes for row in fusion_rows(folder, shape, code)]
            return of_fusion + extraction_rows(folder, options.scale == "tiny", code)

        rows, older = all_rows(folder / "ours", OURS), dict[str, Row]()
        if options.before is not None:
            older = {row.name: row for row in all_rows(folder / "before", Code(options.before))}
        for row in rows:
            if options.only and not any(word in row.name for word in options.only):
                continue
            found[row.name] = measure(row, options.rounds or rounds, older.get(row.name))
            print(told(row.name, found[row.name]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"load": os.getloadavg()[0], "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
