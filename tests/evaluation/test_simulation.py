"""A small slice of the simulation benchmark: the declared test keeps its level, the field's usual one does not."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parent.parent / "benchmarks" / "bench_statistics.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_statistics", BENCH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_statistics"] = module
    spec.loader.exec_module(module)
    return module


def test_levels_in_a_small_slice(bench):
    studies = 120
    rates, _, _ = bench.rejections(studies, 0.4, 0.0)
    error = np.sqrt(0.05 * 0.95 / studies)
    assert rates["speaker swap"] <= 0.09 + 2 * error
    assert rates["Nadeau-Bengio"] <= 0.05 + 2 * error
    assert rates["utterance permutation"] > 0.2, "utterances are no replicates: this test must cry wolf here"


def test_a_large_planted_difference_is_found(bench):
    rates, difference, detectable = bench.rejections(30, 0.2, 0.8)
    assert rates["speaker swap"] > 0.9 and difference > detectable
    assert bench.predicted_power(difference, detectable) > 0.9
