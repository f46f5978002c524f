"""How long does `--help` take? Whole processes, wall clock, against Python that starts and does nothing, interleaved.

Gate: under 0.3 s on a quiet machine. Prints the median per command and its ratio to the empty process of the same round.

    python tests/benchmarks/bench_help.py --scale full --json runs/bench/bench_help.json
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from ser_predict.ser import COMMANDS

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = {"tiny": 1, "small": 3, "full": 15}
GATE = 0.3  # seconds


def seconds(code: str) -> tuple[float, float]:
    """Wall and processor time of one process."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Medians per command: seconds, processor seconds, and the ratio to an empty process started just before."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    commands = {name: (target, [name]) for name, target in scripts.items()}
    commands |= {f"ser {name}": (scripts["ser"], ["ser", name]) for name in COMMANDS}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, (target, words) in commands.items():
            module, function = target.split(":")
            code = f"import sys; sys.argv = {[*words, '--help']}; from {module} import {function} as main; main()"
            empty, (wall, busy) = seconds("pass")[0], seconds(code)
            found[name].append((wall, busy, wall / empty))
    return {
        name: {
            what: round(statistics.median(values), 3)
            for what, values in zip(("seconds", "cpu", "ratio"), zip(*rounds, strict=True), strict=True)
        }
        for name, rounds in found.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=sorted(ROUNDS), default="small")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args(arguments)
    found = measure(ROUNDS[options.scale])
    for name, one in sorted(found.items()):
        verdict = "met" if one["seconds"] < GATE else "MISSED"
        told = f"{one['seconds']:.3f} s (processor {one['cpu']:.3f} s), {one['ratio']:.1f} times an empty process"
        print(f"{name:<14} {told}; gate {GATE} s: {verdict}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
