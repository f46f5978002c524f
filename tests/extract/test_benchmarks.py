"""The benchmarks run, at their smallest, and their figures hang together."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_throughput_bench_runs_and_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    bench = load("bench_extract")
    monkeypatch.setitem(bench.SCALES, "tiny", bench.Scale(2, 3, 1, bench.TINY_SPEECH, bench.TINY_TEXT))
    bench.main(["--scale", "tiny", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    printed = capsys.readouterr().out
    assert found["policy"]["engine"] == "packed"
    for check in found["checks"]:
        assert check["what"] in printed and check["value"] > 0
    assert printed.count("met") + printed.count("MISSED") == sum(
        (check["gate"] is not None) + (check["goal"] is not None) for check in found["checks"]
    )


def test_lengths_have_the_shape_of_iemocap():
    bench = load("bench_extract")
    sizes = [samples / bench.RATE for samples in bench.lengths(2001)]
    assert sum(sizes) / len(sizes) == pytest.approx(4.49, abs=0.1)
    assert sorted(sizes)[1000] == pytest.approx(3.60, abs=0.01)
    assert min(sizes) >= 0.6 and max(sizes) <= 30.3


def test_operations_are_those_of_the_performance_notes():
    bench = load("bench_extract")
    per_second = [sum(bench.base_flops(size, layers) for size in bench.lengths(500)) for layers in (12, 9, 6)]
    seconds = sum(bench.lengths(500)) / bench.RATE
    assert [round(flops / seconds / 1e9, 1) for flops in per_second] == pytest.approx([14.5, 12.2, 10.0], abs=0.15)


@pytest.mark.slow
def test_exactness_bench_runs(tmp_path):
    bench = load("bench_extract_exactness")
    lines = bench.main(["--scale", "tiny", "--json", str(tmp_path / "found.json"), "--only", "hubert", "roberta"])
    assert {line["batches"] for line in lines} == set(bench.BATCHES)
    assert all(line["worst"] < bench.LIMIT for line in lines)


def test_the_bench_of_help_tells_every_command(tmp_path, capsys):
    load("bench_help").main(["--scale", "tiny", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert {"ser", "ser-extract", "ser-fuse", "ser data", "ser cache", "ser compare", "ser transcribe"} <= set(found)
    assert all(one["seconds"] > 0 and one["ratio"] > 1 for one in found.values())
    assert capsys.readouterr().out.count("gate") == len(found)
