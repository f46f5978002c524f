"""How often do the tests cry wolf, and how often do they see a real difference? Simulated for the field's usual design.

5 sessions x 2 speakers, 7 classes in IEMOCAP's proportions, 3 seeds, leave one session out. Two methods of equal expected
quality answer the same utterances; speakers, utterances, folds and seeds have effects of their own, and in the second and
third null some speakers suit one method better (speaker x method, sd in logits). A test of level 5 % should reject about
5 % of such studies. Power is measured for planted differences and printed beside what the design predicts for itself.

    python tests/benchmarks/bench_statistics.py --scale full --json runs/bench/bench_statistics.json
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np

from ser_fusion.evaluation.intervals import corrected_t, difference_interval
from ser_fusion.evaluation.swap_test import swap_test

SHARES = np.array([1103, 1041, 1849, 595, 1708, 1084, 107]) / 7487
SESSIONS, SPEAKERS, SEEDS, PER_SPEAKER = 5, 10, 3, 300
NULLS = (0.0, 0.2, 0.4)
SPEAKER_SD, UTTERANCE_SD, TASTE_SD, TRAINING_SD = 0.4, 1.5, 0.5, 0.12
BANDS = {"speaker swap": (0.03, 0.09), "Nadeau-Bengio": (0.0, 0.05)}
PLANTED = (0.15, 0.3, 0.45)  # logits


class Study:
    """One simulated study: who got which utterance right, `right` (methods, seeds, utterances) bool."""

    def __init__(self, rng: np.random.Generator, interaction: float, effect: float) -> None:
        n = SPEAKERS * PER_SPEAKER
        self.speaker = np.repeat(np.arange(SPEAKERS), PER_SPEAKER)
        self.label = rng.choice(len(SHARES), size=n, p=SHARES)
        self.label[: len(SHARES)] = np.arange(len(SHARES))
        fold = self.speaker // 2
        logits = rng.normal(0, SPEAKER_SD, SPEAKERS)[self.speaker] + rng.normal(0, UTTERANCE_SD, n)
        own = rng.normal(0, interaction, (2, SPEAKERS))[:, self.speaker] if interaction else np.zeros((2, n))
        taste = rng.normal(0, TASTE_SD, (2, n))
        training = rng.normal(0, TRAINING_SD, (2, SEEDS, SESSIONS))[:, :, fold]
        gain = np.array([effect / 2, -effect / 2])[:, None, None]
        p = 1 / (1 + np.exp(-(logits + own[:, None] + taste[:, None] + training + gain)))
        self.right = rng.random((2, SEEDS, n)) < p
        self.fold = fold

    def counts(self, method: int) -> np.ndarray:
        """Confusion matrices per speaker, averaged over seeds; errors go to the next class (UWA does not care)."""
        k = len(SHARES)
        hit = self.right[method].mean(axis=0)
        counts = np.zeros((SPEAKERS, k, k))
        np.add.at(counts, (self.speaker, self.label, self.label), hit)
        np.add.at(counts, (self.speaker, self.label, (self.label + 1) % k), 1 - hit)
        return counts

    def runs(self) -> np.ndarray:
        """UWA of every (method, fold, seed)."""
        k, out = len(SHARES), np.empty((2, SESSIONS, SEEDS))
        for fold in range(SESSIONS):
            inside = self.fold == fold
            labels = self.label[inside]
            total = np.bincount(labels, minlength=k)
            for method in range(2):
                for seed in range(SEEDS):
                    hit = np.bincount(labels, weights=self.right[method, seed, inside], minlength=k)
                    out[method, fold, seed] = (hit[total > 0] / total[total > 0]).mean()
        return out

    def p_values(self, rng: np.random.Generator) -> tuple[dict[str, float], float]:
        """p-value of every test (the bootstrap as 0 or 1), and the design's own smallest detectable difference."""
        from scipy.stats import binomtest, ttest_1samp

        a, b = self.counts(0), self.counts(1)
        runs = self.runs()
        gaps = runs[0] - runs[1]
        interval = difference_interval(a, b, "UWA")
        sizes = np.full(SESSIONS, 2 * PER_SPEAKER)
        ensemble = self.right.sum(axis=1) * 2 > SEEDS
        only_a, only_b = int((ensemble[0] & ~ensemble[1]).sum()), int((~ensemble[0] & ensemble[1]).sum())
        k = len(SHARES)
        total = np.bincount(self.label, minlength=k)
        share = (self.right[0].mean(axis=0) - self.right[1].mean(axis=0)) / total[self.label] / k
        signs = 1 - 2 * np.unpackbits(rng.bytes_array(400, len(share)), axis=1)[:, : len(share)].astype(np.float32)
        extreme = (np.abs(signs @ share.astype(np.float32)) >= abs(share.sum()) - 1e-9).sum()
        weights = rng.generator.multinomial(SPEAKERS, np.full(SPEAKERS, 1 / SPEAKERS), size=1000)
        true, hits = a.sum(axis=2), np.diagonal(a - b, axis1=1, axis2=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            boot = np.nanmean((weights @ hits) / (weights @ true), axis=1)
        low, high = np.quantile(boot, [0.025, 0.975])
        tests = {
            "speaker swap": swap_test(a, b).p,
            "Nadeau-Bengio": corrected_t(gaps.mean(axis=1), sizes, SPEAKERS * PER_SPEAKER - sizes).p,
            "t over speakers (interval)": 0.0 if interval.low > 0 or interval.high < 0 else 1.0,
            "plain t, fold x seed": float(ttest_1samp(gaps.ravel(), 0).pvalue),
            "plain t, fold means": float(ttest_1samp(gaps.mean(axis=1), 0).pvalue),
            "McNemar": float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0,
            "utterance permutation": float((extreme + 1) / 401),
            "bootstrap over speakers": 0.0 if low > 0 or high < 0 else 1.0,
        }
        return tests, interval.detectable


class Draws:
    """A generator and packed random bits."""

    def __init__(self, seed: list[int]) -> None:
        self.generator = np.random.default_rng(seed)

    def bytes_array(self, rows: int, bits: int) -> np.ndarray:
        """Random bytes for `bits` bits in each of `rows` rows."""
        return self.generator.integers(0, 256, size=(rows, -(-bits // 8)), dtype=np.uint8)


def rejections(studies: int, interaction: float, effect: float, seed: int = 0) -> tuple[dict[str, float], float, float]:
    """Share of studies that each test rejects at 5 %, the mean UWA difference, and the mean detectable difference."""
    counts: dict[str, int] = {}
    differences, detectable = [], []
    for number in range(studies):
        draws = Draws([seed, number, round(100 * interaction), round(100 * effect)])
        study = Study(draws.generator, interaction, effect)
        tests, smallest = study.p_values(draws)
        for name, p in tests.items():
            counts[name] = counts.get(name, 0) + (p < 0.05)
        runs = study.runs()
        differences.append(float((runs[0] - runs[1]).mean()))
        detectable.append(smallest)
    return (
        {name: value / studies for name, value in counts.items()},
        float(np.mean(differences)),
        float(np.mean(detectable)),
    )


def predicted_power(difference: float, detectable: float) -> float:
    """Power of a two-sided t-test over speakers for a true difference, by the design's own standard error."""
    from scipy.stats import nct, t

    freedom = SPEAKERS - 1
    error = detectable / (t.ppf(0.975, freedom) + t.ppf(0.80, freedom))
    cut, shift = t.ppf(0.975, freedom), difference / error
    return float(nct.sf(cut, freedom, shift) + nct.cdf(-cut, freedom, shift))


def main() -> int:
    """Runs the simulation, prints its tables and says whether the bands hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("smoke", "full"), default="smoke")
    parser.add_argument("--studies", type=int, help="studies per null (default: 2,000 full, 60 smoke)")
    parser.add_argument("--json", help="write the numbers here")
    options = parser.parse_args()
    studies = options.studies or (2000 if options.scale == "full" else 60)
    began = time.perf_counter()
    result: dict[str, Any] = {"studies": studies, "nulls": {}, "power": []}
    for interaction in NULLS:
        rates, _, _ = rejections(studies, interaction, 0.0)
        result["nulls"][str(interaction)] = rates
        print(f"null, speaker x method sd {interaction}: done ({time.perf_counter() - began:.0f} s)", file=sys.stderr)
    names = list(result["nulls"]["0.0"])
    print(f"False positives at 5 %, {studies:,} studies per null (sd of speaker x method in logits)")
    print(f"{'test':28s}" + "".join(f"{f'sd {sd}':>9s}" for sd in NULLS) + "   band")
    for name in names:
        cells = "".join(f"{result['nulls'][str(sd)][name]:9.3f}" for sd in NULLS)
        band = BANDS.get(name)
        print(f"{name:28s}{cells}   {f'{band[0]:.2f} to {band[1]:.2f}' if band else ''}")
    for effect in PLANTED:
        rates, difference, detectable = rejections(max(studies // 4, 30), 0.2, effect, seed=1)
        entry = {
            "effect": effect,
            "points": 100 * difference,
            "power": rates["speaker swap"],
            "predicted": predicted_power(difference, detectable),
            "detectable": 100 * detectable,
        }
        result["power"].append(entry)
    print("\nPower of the speaker swap test, speaker x method sd 0.2")
    print("planted (logits)   points UWA   power   predicted   detectable (80 %)")
    for entry in result["power"]:
        print("{effect:16.2f} {points:12.1f} {power:7.2f} {predicted:11.2f} {detectable:19.1f}".format(**entry))
    slack = 2.5 * float(np.sqrt(0.05 * 0.95 / studies)) if studies < 2000 else 0.0
    held = all(
        low - slack <= result["nulls"][str(sd)][name] <= high + slack
        for name, (low, high) in BANDS.items()
        for sd in NULLS
    )
    result |= {"held": held, "seconds": time.perf_counter() - began}
    print(f"\nbands {'held' if held else 'BROKEN'}; {result['seconds']:.0f} s")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
