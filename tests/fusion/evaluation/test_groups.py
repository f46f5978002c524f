"""Speakers that share trained models are one observation of the methods: the groups, the tests over them, the words."""

import numpy as np
import pandas as pd
import pytest
from fake_run import write_run
from scipy import stats

from ser_fusion.evaluation.comparison import Comparison, Judged, compare_rows, correct_families
from ser_fusion.evaluation.metrics import UnitCounts, independent_groups, unit_counts
from ser_fusion.evaluation.run_metrics import evaluate_run
from ser_fusion.evaluation.statistics import detectable_errors, difference_test, joint_groups, swap_test
from ser_fusion.reporting.tables import comparison_table, result_tables
from ser_fusion.reporting.words import headline, summary, warnings

SPEAKERS = np.arange(10)
DESIGNS = {  # pairs of a tested speaker and its fold, and the groups that follow
    "session": (SPEAKERS, SPEAKERS // 2, SPEAKERS // 2),
    "speaker": (SPEAKERS, SPEAKERS, SPEAKERS),
    "speaker-3": (SPEAKERS, SPEAKERS % 3, SPEAKERS % 3),
    "official": (SPEAKERS, 0 * SPEAKERS, 0 * SPEAKERS),
    "official-5": (np.repeat(SPEAKERS, 5), np.tile(np.arange(5), 10), 0 * SPEAKERS),
    "session+scenario": (
        np.repeat(SPEAKERS, 5),
        (SPEAKERS[:, None] // 2 * 5 + np.arange(5)).ravel(),
        SPEAKERS // 2,
    ),
    "a chain": (np.r_[SPEAKERS[:-1], SPEAKERS[1:]], np.tile(np.arange(9), 2), 0 * SPEAKERS),
}


@pytest.mark.parametrize("design", DESIGNS)
def test_groups_are_speakers_that_no_trained_model_links(design: str):
    units, folds, groups = DESIGNS[design]
    order = np.random.default_rng(0).permutation(len(units))
    assert np.array_equal(independent_groups(units[order], folds[order]), groups)


def counted(seed: int, groups: np.ndarray, gain: float = 0.0, luck: float = 0.0) -> tuple[UnitCounts, UnitCounts]:
    """Two models on the same 60 utterances of each of 10 speakers; `luck` differs by group, `gain` is A's."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((2, len(groups), 3, 3))
    skill = 0.5 + rng.normal(0, luck, (2, groups.max() + 1)) + np.array([[gain], [0.0]])
    for unit, group in enumerate(groups):
        true = np.repeat([0, 1, 2], 20)
        for model in range(2):
            right = rng.random(60) < skill[model, group] + rng.normal(0, 0.03)
            np.add.at(counts[model, unit], (true, np.where(right, true, (true + 1) % 3)), 1)
    names = tuple(str(unit) for unit in range(len(groups)))
    return UnitCounts("speaker", names, counts[0], groups), UnitCounts("speaker", names, counts[1], groups)


def compared(a: UnitCounts, b: UnitCounts, family: str = "exploratory") -> Comparison:
    return compare_rows(Judged("self", "self", a), Judged("cross", "cross", b), family=family, sizes={"1": (120, 300)})


@pytest.mark.parametrize("design", ["session", "session+scenario"])
def test_where_speakers_share_models_it_is_a_t_test_over_groups(design: str):
    a, b = counted(1, DESIGNS[design][2], gain=0.03, luck=0.05)
    gaps = (np.diagonal(a.counts - b.counts, axis1=1, axis2=2).sum(axis=1) / 60).reshape(5, 2).mean(axis=1)
    item, reference = compared(a, b), stats.ttest_1samp(gaps, 0)
    assert (item.test, item.groups, item.units, item.general) == ("t", 5, 10, True)
    assert item.p == pytest.approx(reference.pvalue)
    assert (item.low, item.high) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert "10 speakers in 5 groups that share no trained model: " in item.sentence()
    assert item.corrected.groups == 5 and item.corrected.ratio == pytest.approx(120 / 300)


def test_where_every_speaker_has_models_of_its_own_speakers_are_swapped():
    a, b = counted(2, DESIGNS["speaker"][2], gain=0.05)
    item = compared(a, b)
    assert item.test == "swap" and item.general and item.p == swap_test(a.counts, b.counts).p


@pytest.mark.parametrize("design", ["official", "official-5", "speaker-3", "a chain"])
def test_with_few_training_parts_nothing_is_said_about_the_methods(design: str):
    a, b = counted(3, DESIGNS[design][2], gain=0.3)
    item = correct_families([compared(a, b, "primary")])[0]
    assert item.rejected and not item.significant and not item.general
    assert item.corrected is None and np.isnan(item.detectable)
    why = "3 groups of speakers share no trained model, 5 are needed" if design == "speaker-3" else "all speakers share"
    assert "about these trained models, not about the methods (" + why in item.sentence()
    assert "this design could show" not in item.sentence()


def test_rows_whose_folds_are_named_otherwise_are_joined():
    a, b = counted(4, DESIGNS["session"][2])
    one = UnitCounts(b.kind, b.units, b.counts, 0 * SPEAKERS)  # an ensemble over all folds
    left, right = joint_groups(a, one)
    assert left.independent == right.independent == 1 and not difference_test(a, one).general


@pytest.mark.parametrize(("speakers", "alpha"), [(7, 0.05 / 3), (9, 0.05), (12, 0.05 / 3)])
def test_the_detectable_difference_is_found_four_times_in_five(speakers: int, alpha: float):
    """By the swap test itself, on two-class counts whose gaps are normal speakers plus the difference."""
    shift, rng, found = detectable_errors(speakers, alpha, swap=True) / np.sqrt(speakers), np.random.default_rng(0), 0
    for _ in range(300):
        gap = rng.normal(0, 1, speakers) + shift  # in standard deviations of a speaker
        a, b = np.zeros((2, speakers, 2, 2))
        for counts, right in ((a, 500 + 20 * gap), (b, np.full(speakers, 500.0))):
            counts[:, 0, 0], counts[:, 0, 1], counts[:, 1, 1] = right, 1000 - right, 1
        found += swap_test(a, b, "WA").p < alpha
    assert found / 300 == pytest.approx(0.8, abs=0.06)


def test_the_detectable_difference_is_that_of_the_corrected_test():
    a, b = counted(5, DESIGNS["speaker"][2])
    single, family = compared(a, b), correct_families([compared(a, b, "primary")])[0]
    t = (stats.t.ppf(0.975, 9) + stats.t.ppf(0.8, 9)) * single.error
    assert single.detectable == pytest.approx(t, rel=0.05)  # ten speakers: the swap test's power is nearly that of t
    assert family.detectable > 1.2 * single.detectable
    a, b = counted(5, DESIGNS["session"][2])
    grouped = correct_families([compared(a, b, "primary")])[0]
    power = stats.nct.sf(stats.t.ppf(1 - 0.05 / 6, 4), 4, grouped.detectable / grouped.error)
    assert power == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("speakers", [2, 5, 6])
def test_below_seven_speakers_no_power_is_promised(speakers: int):
    groups = np.arange(speakers)
    item = compared(*counted(6, groups))
    assert np.isnan(item.detectable) and "80 % power" not in item.sentence()
    assert np.isnan(detectable_errors(6, 0.05 / 3, swap=True))


def test_counts_of_a_run_know_their_groups():
    utterances = pd.DataFrame({"speaker": [f"s{i // 4}" for i in range(24)]}, index=[f"u{i}" for i in range(24)])
    frame = pd.DataFrame({"id": utterances.index, "seed": 0, "label": "a", "predicted": "b"})
    by_pair = unit_counts(frame.assign(fold=[str(i // 8) for i in range(24)]), utterances, ["a", "b"])
    assert list(by_pair.groups) == [0, 0, 1, 1, 2, 2] and not by_pair.general
    alone = unit_counts(frame.assign(fold=[str(i // 4) for i in range(24)]), utterances, ["a", "b"])
    assert alone.independent == 6 and alone.general and alone.replicates is alone.counts


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """metrics.json of a run whose one fold tests all speakers."""
    path = write_run(tmp_path_factory.mktemp("official") / "run", per_speaker=20, seeds=(0, 1), curves=False)
    for name in ("predictions.parquet", "development.parquet"):
        frame = pd.read_parquet(path / name)
        frame.assign(fold="official").drop_duplicates(["row", "id", "seed"]).to_parquet(path / name)
    folds = pd.read_csv(path / "folds.csv", dtype=str)
    folds[folds["fold"] == "Ses01"].assign(fold="official").to_csv(path / "folds.csv", index=False)
    return evaluate_run(path)


def test_one_split_for_all_speakers_gives_no_winner_and_the_report_says_why(official: dict):
    assert official["unit"] == {"kind": "speaker", "n": 10, "groups": 1, "general": False}
    assert set(official["best"].values()) == {None}
    assert not any(pair["significant"] or pair["corrected"] for pair in official["comparisons"])
    assert any(pair["p"] < 0.05 for pair in official["comparisons"]), "or there is nothing to hold back"
    assert "about these trained models, not about the methods" in headline(official)
    assert any("not about the methods" in line for line in summary(official))
    assert any("Further seeds repeat the luck of one training part" in line for line in warnings(official))
    main, pairs = result_tables(official)[0], comparison_table(official)
    assert not any(cell.best for table in (main, pairs) for row in table.rows for cell in row.cells)
    assert any("Nothing is bold: all speakers share trained models" in note for note in main.notes)
    assert any("About these trained models only" in note for note in pairs.notes)


def test_transcripts_seen_in_training_are_told_only_to_runs_that_read_them(official: dict):
    said = [line for line in warnings(dict(official, overlap={"share": 0.5})) if "transcript that also occurs" in line]
    rows = [row for row in official["rows"] if row.get("fusion") in ("audio", None)]
    deaf = [
        line
        for line in warnings(dict(official, rows=rows, overlap={"share": 0.5}))
        if "transcript that also occurs" in line
    ]
    no_text = warnings(dict(official, streams=["audio", "video"], overlap={"share": 0.5}))
    assert len(said) == 1 and deaf == [] and not any("transcript that also occurs" in line for line in no_text)
