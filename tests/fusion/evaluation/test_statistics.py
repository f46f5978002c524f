"""Every test and interval against an independent implementation."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from ser_fusion.evaluation.comparison import Judged, compare_rows, correct_families, holm
from ser_fusion.evaluation.metrics import METRICS, UnitCounts, scores_of
from ser_fusion.evaluation.statistics import (
    Interval,
    corrected_t,
    difference_interval,
    equivalence,
    jackknife,
    score_interval,
    swap_differences,
    swap_test,
)

CLASSES = ["a", "b", "c", "d"]


def two_models(seed: int, units: int, gain: float = 0.0, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Confusion matrices per speaker of two models on the same utterances."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((2, units, 4, 4))
    for unit in range(units):
        true = rng.integers(0, 4, n)
        for model, skill in enumerate((0.5 + gain, 0.5)):
            guess = np.where(rng.random(n) < skill + rng.normal(0, 0.05), true, rng.integers(0, 4, n))
            np.add.at(counts[model, unit], (true, guess), 1)
    return counts[0], counts[1]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("units", [3, 6])
def test_exact_swap_test_equals_brute_force(metric: str, units: int):
    a, b = two_models(1, units, 0.1)
    observed = float(scores_of(a.sum(axis=0))[metric] - scores_of(b.sum(axis=0))[metric])
    extreme = 0
    for flips in itertools.product([False, True], repeat=units):
        mask = np.array(flips)[:, None, None]
        left, right = np.where(mask, b, a).sum(axis=0), np.where(mask, a, b).sum(axis=0)
        extreme += abs(float(scores_of(left)[metric] - scores_of(right)[metric])) >= abs(observed) - 1e-12
    result = swap_test(a, b, metric)
    assert result.exact and result.assignments == 2**units
    assert result.p == pytest.approx(extreme / 2**units)
    assert result.difference == pytest.approx(observed)


def test_swap_test_equals_scipys_permutation_test_on_speaker_shares():
    a, b = two_models(2, 8, 0.08)
    true = a.sum(axis=(0, 2))
    share = (np.diagonal(a - b, axis1=1, axis2=2) / true).sum(axis=1) / 4
    reference = stats.permutation_test(
        (share,), lambda x, axis: np.sum(x, axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert swap_test(a, b).p == pytest.approx(reference.pvalue)


@pytest.mark.parametrize("metric", ["UWA", "WF1"])
def test_drawn_swaps_approach_the_exact_p_value_and_are_seeded(metric: str):
    a, b = two_models(3, 12, 0.05)
    exact = swap_test(a, b, metric)
    drawn = swap_test(a, b, metric, exact_to=5, draws=20_000)
    assert not drawn.exact and drawn.p == swap_test(a, b, metric, exact_to=5, draws=20_000).p
    assert drawn.p == pytest.approx(exact.p, abs=4 * np.sqrt(exact.p * (1 - exact.p) / 20_000) + 1e-4)


def test_linear_shortcut_equals_the_general_way():
    a, b = two_models(4, 7, 0.1)
    swaps = np.random.default_rng(0).integers(0, 2, size=(50, 7))
    for metric in ("WA", "UWA"):
        for row, value in zip(swaps, swap_differences(a, b, swaps, metric), strict=True):
            mask = row.astype(bool)[:, None, None]
            left, right = np.where(mask, b, a).sum(axis=0), np.where(mask, a, b).sum(axis=0)
            assert value == pytest.approx(float(scores_of(left)[metric] - scores_of(right)[metric]))


def test_equal_models_have_p_one_and_other_utterances_are_refused():
    a, b = two_models(5, 6)
    assert swap_test(a, a).p == 1.0
    with pytest.raises(ValueError, match="same utterances"):
        swap_test(a, b + 1)


def test_forty_speakers_take_a_moment_only():
    a, b = two_models(6, 40, 0.2)
    assert swap_test(a, b, "UWF1").p == pytest.approx(1 / 20_001, abs=2e-3)


def test_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).normal(0.4, 0.1, 10)
    left_out = (values.sum() - values) / 9
    got = jackknife(float(values.mean()), left_out)
    low, high = stats.t.interval(0.95, 9, loc=values.mean(), scale=stats.sem(values))
    assert (got.low, got.high) == pytest.approx((low, high))
    assert got.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_intervals_of_scores_leave_out_one_speaker_at_a_time():
    a, b = two_models(7, 5, 0.1)
    for metric in METRICS:
        left = [float(scores_of(np.delete(a, u, axis=0).sum(axis=0))[metric]) for u in range(5)]
        other = [float(scores_of(np.delete(b, u, axis=0).sum(axis=0))[metric]) for u in range(5)]
        for got, parts in (
            (score_interval(a, metric), left),
            (difference_interval(a, b, metric), np.subtract(left, other)),
        ):
            assert got.error == pytest.approx(np.sqrt(4 / 5 * ((parts - np.mean(parts)) ** 2).sum()))


def test_one_speaker_gives_no_interval():
    a, _ = two_models(8, 1)
    assert np.isnan(score_interval(a, "UWA").low) and np.isnan(score_interval(a, "UWA").p)


def test_corrected_t_without_test_data_is_the_plain_paired_t():
    gaps = np.array([0.02, -0.01, 0.03, 0.015, 0.0])
    plain = stats.ttest_1samp(gaps, 0)
    got = corrected_t(gaps, 0.0)
    assert got.p == pytest.approx(plain.pvalue)
    assert (got.low, got.high) == pytest.approx(tuple(plain.confidence_interval(0.95)))


def test_corrected_t_follows_nadeau_and_bengio():
    gaps = np.array([0.02, -0.01, 0.03, 0.015, 0.01])
    ratio = 100 / 300
    t = gaps.mean() / np.sqrt((1 / 5 + ratio) * gaps.var(ddof=1))
    got = corrected_t(gaps, ratio)
    assert got.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert got.p > stats.ttest_1samp(gaps, 0).pvalue


def test_holm_by_hand():
    values = [0.01, 0.04, 0.03]
    assert holm(values) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_equivalence_is_two_one_sided_tests():
    values = np.random.default_rng(1).normal(0.147, 0.01, 10)
    interval = jackknife(float(values.mean()), (values.sum() - values) / 9)
    chance = 1 / 7
    reference = DescrStatsW(values).ttost_mean(chance - 0.03, chance + 0.03)[0]
    got = equivalence(interval, chance)
    assert got.p == pytest.approx(reference) and got.equivalent
    assert not equivalence(interval, 0.25).equivalent
    constant = Interval(chance, 0.0, chance, chance, 10)
    assert equivalence(constant, chance).equivalent


def judged(slug: str, counts: np.ndarray) -> Judged:
    units = UnitCounts("speaker", tuple(str(i) for i in range(len(counts))), counts, np.arange(len(counts)))
    return Judged(slug, slug, units)


def test_sentence_as_the_issue_words_it():
    a, b = two_models(11, 10)
    item = compare_rows(judged("self", a), judged("cross", b))
    text = item.sentence()
    assert text.startswith(f"self - cross = {100 * item.difference:+.1f} points UWA, 95 % CI [")
    assert f"p = {item.p:.2f}, 10 speakers: no difference shown; this design could show" in text
    assert text.endswith("points with 80 % power")


def test_sentence_does_not_claim_or_deny_what_the_design_cannot_show():
    a, b = two_models(12, 6, 0.35)
    pairs = [compare_rows(judged(name, a), judged("text", b), family="primary") for name in ("x", "y", "z")]
    alone, corrected = pairs[0], correct_families(pairs)[0]
    assert alone.p == pytest.approx(2 / 64) and alone.significant
    assert not corrected.significant and "6 speakers are too few for a test of 3 comparisons" in corrected.sentence()


def test_leaving_a_planned_comparison_out_buys_nothing():
    a, b = two_models(13, 10, 0.1)
    one = compare_rows(judged("x", a), judged("y", b), family="primary")
    assert correct_families([one])[0].p_holm == pytest.approx(min(3 * one.p, 1))
