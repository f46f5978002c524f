"""A small slice of the simulation benchmark: verdicts keep their level and coverage where training luck is shared by seeds."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_statistics.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_statistics", BENCH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_statistics"] = module
    spec.loader.exec_module(module)
    return module


def design(bench, name: str):
    return next(one for one in bench.DESIGNS if one.name.startswith(name))


def bound(rate: float, studies: int) -> float:
    return 2.5 * float(np.sqrt(rate * (1 - rate) / studies))


@pytest.mark.parametrize("name", ["session (5 x 2)", "session+scenario", "speaker-5, 40", "six folds", "speaker (10"])
def test_verdicts_keep_their_level_and_coverage(bench, name: str):
    studies = 100
    rates = bench.rates(design(bench, name), studies, (0.2, 0.3))
    assert rates["rejected"] <= bench.LEVEL + bound(0.05, studies)
    assert rates["covered"] >= bench.COVERAGE - bound(0.05, studies)
    assert rates["nb"] <= 0.05 + bound(0.05, studies)


@pytest.mark.parametrize("name", ["speaker-5, 40", "official, 40", "official-5"])
def test_swapping_speakers_cries_wolf_where_they_share_trained_models(bench, name: str):
    assert bench.rates(design(bench, name), 60, (0.2, 0.3))["swap"] > 0.3


@pytest.mark.parametrize("name", ["official, 10", "official, 40", "official-5"])
def test_one_training_part_gives_no_verdict_but_an_interval_for_these_models(bench, name: str):
    one = design(bench, name)
    item = bench.Study(one, np.random.default_rng(0), 0.2, 0.3, effect=2.0).compared()
    assert item.rejected and not item.significant
    assert bench.rates(one, 100, (0.2, 0.3))["these"] >= bench.COVERAGE - bound(0.05, 100)


def test_the_usual_tests_cry_wolf(bench):
    rates = bench.rates(design(bench, "session (5"), 60, (0.4, 0.12), usual=True)
    assert rates["utterance permutation"] > 0.2 and rates["McNemar"] > 0.2, "utterances are no replicates"


def test_a_large_planted_difference_is_found(bench):
    for name in ("session (5", "speaker (24"):
        rates = bench.rates(design(bench, name), 30, (0.2, 0.12), effect=1.0)
        assert rates["rejected"] > 0.8 and rates["points"] > rates["detectable"]
