"""How often do the tests cry wolf, how often do intervals cover, and how often is a real difference seen? Simulated.

Two methods of equal expected quality answer the same utterances. Speakers, utterances, training parts and seeds have
effects of their own (normal, in logits); some speakers may suit one method better. The luck of a training part is shared by
all seeds, so seeds cannot show it. A test of level 5 % should reject about 5 % of such studies, and a 95 % interval should
hold the true difference in about 95 %. One table walks the designs of the field; one shows the field's usual tests in the
usual design (5 sessions x 2 speakers, 3 seeds); one shows what no test can see: luck that all training parts share.

    python tests/benchmarks/bench_statistics.py --scale full --json runs/bench/bench_statistics.json
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ser_fusion.evaluation.comparison import Comparison, Judged, compare_rows
from ser_fusion.evaluation.metrics import UnitCounts, independent_groups
from ser_fusion.evaluation.statistics import swap_test

IEMOCAP = np.array([1103, 1041, 1849, 595, 1708, 1084, 107]) / 7487
EVEN = np.full(4, 0.25)
SEEDS = 3
SPEAKER_SD, UTTERANCE_SD, TASTE_SD, SEED_SD = 0.4, 1.5, 0.5, 0.12
NULLS = ((0.0, 0.12), (0.2, 0.12), (0.4, 0.12), (0.2, 0.3))  # sd of speaker x method, sd of training part x method
USUAL = (0.2, 0.12)
PLANTED = (0.3, 0.6)  # logits
COMMON = (0.0, 0.2, 0.5)  # share of the training parts' variance that all of them have in common
LEVEL, COVERAGE = 0.08, 0.92
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(31)


@dataclass(frozen=True)
class Design:
    """Who is tested by which trained models.

    Attributes:
        name: as printed.
        folds: `(speakers, parts)`: the fold that tests this part of a speaker's utterances.
        per_speaker: utterances of a speaker, split evenly into the parts.
        shares: of the classes.
        crossed: every fold tests every utterance (`folds` then lists all folds for each speaker).
        common: share of the training parts' variance that all folds have in common, because they share their training part.
    """

    name: str
    folds: np.ndarray
    per_speaker: int
    shares: np.ndarray
    crossed: bool = False
    common: float = 0.0

    @property
    def speakers(self) -> int:
        """How many speakers are tested."""
        return len(self.folds)

    @property
    def models(self) -> int:
        """How many training parts there are."""
        return int(self.folds.max()) + 1

    @cached_property
    def groups(self) -> np.ndarray:
        """Groups of speakers that no trained model links."""
        return independent_groups(np.repeat(np.arange(self.speakers), self.folds.shape[1]), self.folds.ravel())


def _blocks(speakers: int, folds: int) -> np.ndarray:
    return (np.arange(speakers) * folds // speakers)[:, None]


_CELLS = (np.arange(10) // 2 * 5)[:, None] + np.arange(5)  # session x scenario part
DESIGNS = (
    Design("session (5 x 2)", _blocks(10, 5), 300, IEMOCAP),
    Design("session+scenario (25 cells)", _CELLS, 300, IEMOCAP),
    Design("speaker-5, 10 speakers", _blocks(10, 5), 100, EVEN),
    Design("speaker-5, 24 speakers", _blocks(24, 5), 60, EVEN),
    Design("speaker-5, 40 speakers", _blocks(40, 5), 60, EVEN),
    Design("six folds of four", _blocks(24, 6), 60, EVEN),
    Design("speaker (10 folds)", _blocks(10, 10), 100, EVEN),
    Design("speaker (24 folds)", _blocks(24, 24), 60, EVEN),
    Design("official, 10 speakers", _blocks(10, 1), 100, EVEN),
    Design("official, 40 speakers", _blocks(40, 1), 60, EVEN),
    Design("official-5, 40 speakers", np.tile(np.arange(5), (40, 1)), 60, EVEN, crossed=True, common=0.75),
)


class Study:
    """One simulated study: who got which utterance right, `right` (methods, seeds, repeats, utterances) bool."""

    def __init__(
        self,
        design: Design,
        rng: np.random.Generator,
        interaction: float,
        training: float,
        effect: float = 0.0,
        common: float | None = None,
    ) -> None:
        self.design = design
        n, k = design.speakers * design.per_speaker, len(design.shares)
        self.speaker = np.repeat(np.arange(design.speakers), design.per_speaker)
        self.label = rng.choice(k, size=n, p=design.shares)
        self.label[:k] = np.arange(k)
        parts = design.folds.shape[1]
        part = np.tile(np.arange(design.per_speaker) * parts // design.per_speaker, design.speakers)
        self.fold = design.folds[self.speaker].T if design.crossed else design.folds[self.speaker, part][None]
        logits = rng.normal(0, SPEAKER_SD, design.speakers)[self.speaker] + rng.normal(0, UTTERANCE_SD, n)
        own = rng.normal(0, interaction, (2, design.speakers))[:, self.speaker] if interaction else np.zeros((2, n))
        taste = rng.normal(0, TASTE_SD, (2, n))
        share = design.common if common is None else common
        luck = np.sqrt(1 - share) * rng.normal(0, training, (2, design.models))
        luck += np.sqrt(share) * rng.normal(0, training, (2, 1))
        self.skill = luck[:, None] + rng.normal(0, SEED_SD, (2, SEEDS, design.models))
        self.skill += np.array([effect / 2, -effect / 2])[:, None, None]
        p = 1 / (1 + np.exp(-((logits + own + taste)[:, None, None] + self.skill[:, :, self.fold])))
        self.right = rng.random(p.shape, dtype=np.float32) < p
        self.spread = float(np.sqrt(SPEAKER_SD**2 + UTTERANCE_SD**2 + TASTE_SD**2 + interaction**2))

    def counts(self, method: int) -> UnitCounts:
        """Confusion matrices per speaker, averaged over seeds; errors go to the next class (UWA does not care)."""
        k, size = len(self.design.shares), self.design.speakers
        hit = self.right[method].mean(axis=(0, 1))
        cell = (self.speaker * k + self.label) * k
        counts = np.bincount(cell + self.label, weights=hit, minlength=size * k * k)
        counts += np.bincount(cell + (self.label + 1) % k, weights=1 - hit, minlength=size * k * k)
        names = tuple(str(number) for number in range(size))
        return UnitCounts("speaker", names, counts.reshape(size, k, k), self.design.groups)

    def true_difference_of_these_models(self) -> float:
        """What the trained models would differ by on endless new speakers (recall is the same for every class here)."""
        recall = (1 / (1 + np.exp(-(self.skill[..., None] + self.spread * NODES)))) @ WEIGHTS / WEIGHTS.sum()
        a, b = recall.mean(axis=(1, 2))
        return float(a - b)

    def compared(self) -> Comparison:
        """The declared test, as `ser-fuse` and `ser compare` make it."""
        a, b = (Judged(name, name, self.counts(method)) for method, name in enumerate("ab"))
        test = self.design.per_speaker * self.design.speakers // self.design.models
        whole = self.design.per_speaker * self.design.speakers
        sizes = {str(fold): (test, max(whole - test, whole // 2)) for fold in range(self.design.models)}
        return compare_rows(a, b, sizes=sizes, draws=1000)

    def runs(self) -> np.ndarray:
        """UWA of every (method, fold, seed)."""
        k, out = len(self.design.shares), np.empty((2, self.design.models, SEEDS))
        for fold in range(self.design.models):
            inside = self.fold[0] == fold
            labels = self.label[inside]
            total = np.bincount(labels, minlength=k)
            for method in range(2):
                for seed in range(SEEDS):
                    hit = np.bincount(labels, weights=self.right[method, seed, 0, inside], minlength=k)
                    out[method, fold, seed] = (hit[total > 0] / total[total > 0]).mean()
        return out

    def usual_tests(self, rng: np.random.Generator) -> dict[str, float]:
        """p-values of the tests that papers use (the bootstrap as 0 or 1)."""
        from scipy.stats import binomtest, ttest_1samp

        a, b = self.counts(0).counts, self.counts(1).counts
        runs = self.runs()
        gaps = runs[0] - runs[1]
        right = self.right[:, :, 0]
        ensemble = right.sum(axis=1) * 2 > SEEDS
        only_a, only_b = int((ensemble[0] & ~ensemble[1]).sum()), int((~ensemble[0] & ensemble[1]).sum())
        k, speakers = len(self.design.shares), self.design.speakers
        total = np.bincount(self.label, minlength=k)
        share = ((right[0].mean(axis=0) - right[1].mean(axis=0)) / total[self.label] / k).astype(np.float32)
        bits = np.unpackbits(rng.integers(0, 256, size=(400, -(-len(share) // 8)), dtype=np.uint8), axis=1)
        signs = 1 - 2 * bits[:, : len(share)].astype(np.float32)
        extreme = int((np.abs(signs @ share) >= abs(share.sum()) - 1e-9).sum())
        weights = rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=1000)
        true, hits = a.sum(axis=2), np.diagonal(a - b, axis1=1, axis2=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            boot = np.nanmean((weights @ hits) / (weights @ true), axis=1)
        low, high = np.quantile(boot, [0.025, 0.975])
        return {
            "plain t, fold x seed": float(ttest_1samp(gaps.ravel(), 0).pvalue),
            "McNemar": float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0,
            "utterance permutation": (extreme + 1) / 401,
            "bootstrap over speakers": 0.0 if low > 0 or high < 0 else 1.0,
        }


def rates(
    design: Design,
    studies: int,
    null: tuple[float, float] = USUAL,
    effect: float = 0.0,
    *,
    usual: bool = False,
    common: float | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Shares of simulated studies.

    Returns:
        `rejected` by the declared test, `swap` by swapping speakers, `nb` by Nadeau-Bengio (absent where it is not given), the
        field's `usual` tests by name; `covered` (the interval holds the expected difference) and `these` (it holds the
        difference of the trained models); `points` (mean difference) and `detectable`, in points of UWA.
    """
    found: dict[str, list[float]] = {}
    lows, highs, gaps = [], [], []
    for number in range(studies):
        rng = np.random.default_rng([seed, number, *(round(100 * value) for value in (*null, effect))])
        study = Study(design, rng, *null, effect, common)
        item = study.compared()
        these = study.true_difference_of_these_models()
        told: dict[str, float] = {
            "rejected": item.p < 0.05,
            "these": item.low <= these <= item.high,
            "detectable": 100 * item.detectable,
        }
        a, b = study.counts(0).counts, study.counts(1).counts
        told["swap"] = told["rejected"] if item.test == "swap" else swap_test(a, b, draws=1000).p < 0.05
        if item.corrected is not None:
            told["nb"] = item.corrected.p < 0.05
        if usual:
            told |= {name: p < 0.05 for name, p in study.usual_tests(rng).items()}
        for name, value in told.items():
            found.setdefault(name, []).append(float(value))
        lows.append(item.low)
        highs.append(item.high)
        gaps.append(item.difference)
    truth = float(np.mean(gaps)) if effect else 0.0
    covered = float(np.mean((np.array(lows) <= truth) & (truth <= np.array(highs))))
    return {name: float(np.mean(v)) for name, v in found.items()} | {"covered": covered, "points": 100 * truth}


def walk(design: Design, studies: int) -> dict[str, Any]:
    """One line of the table of designs: the worst level and coverage over all nulls, and power."""
    nulls = [rates(design, studies, null) for null in NULLS]
    power = [rates(design, max(studies // 4, 30), USUAL, effect, seed=1) for effect in PLANTED]
    item = Study(design, np.random.default_rng(0), *USUAL).compared()
    worst: dict[str, Any] = {
        "design": design.name,
        "speakers": design.speakers,
        "models": design.models,
        "groups": item.groups,
        "test": item.test,
        "verdict": item.general,
        "level": max(one["rejected"] for one in nulls),
        "coverage": min(one["covered"] for one in (*nulls, *power)),
        "swap": max(one["swap"] for one in nulls),
        "nb": max((one["nb"] for one in nulls if "nb" in one), default=None),
        "these": min(one["these"] for one in nulls),
        "nulls": nulls,
        "power": power,
    }
    return worst


def print_designs(lines: list[dict[str, Any]]) -> None:
    """The table of designs, and what it means where no verdict is printed."""
    print(f"{'':27s}{'speak-':>7s}{'':>7s}{'':>7s}{'':>6s}{'':>7s}{'cover-':>7s}{'speaker':>8s}{'':>7s}   power at")
    head = ("ers", "models", "groups", "test", "level", "age", "swap", "NB")
    points = "   ".join(f"{one['points']:.1f} pt" for one in lines[0]["power"])
    print(
        f"{'design':27s}"
        + "".join(f"{name:>{8 if name == 'swap' else 6 if name == 'test' else 7}s}" for name in head)
        + f"   {points}"
    )
    for line in lines:
        text = f"{line['design']:27s}{line['speakers']:7d}{line['models']:7d}{line['groups']:7d}{line['test']:>6s}"
        if line["verdict"]:
            text += f"{line['level']:7.3f}{line['coverage']:7.3f}{line['swap']:8.3f}{line['nb']:7.3f}"
            text += "   " + "     ".join(f"{one['rejected']:.2f}" for one in line["power"])
        else:
            text += f"{'-':>7s}{'-':>7s}{line['swap']:8.3f}{'-':>7s}   no verdict; of these models the interval covers {line['these']:.3f}"
        print(text)


def main() -> int:
    """Runs the simulation, prints its tables and says whether every verdict keeps its level and coverage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("smoke", "full"), default="smoke")
    parser.add_argument("--studies", type=int, help="studies per null (default: 1,000 full, 60 smoke)")
    parser.add_argument("--json", help="write the numbers here")
    options = parser.parse_args()
    studies = options.studies or (1000 if options.scale == "full" else 60)
    began = time.perf_counter()
    lines = []
    for design in DESIGNS:
        lines.append(walk(design, studies))
        print(f"{design.name}: done ({time.perf_counter() - began:.0f} s)", file=sys.stderr)
    print(f"Worst of {len(NULLS)} nulls, {studies:,} studies each (level at 5 %, coverage of 95 % intervals)")
    print_designs(lines)

    session = DESIGNS[0]
    print(
        f"\nFalse positives at 5 % in the usual design, {studies:,} studies per null (sd of speaker x method in logits)"
    )
    usual = [rates(session, studies, null, usual=True) for null in NULLS[:3]]
    print(f"{'test':28s}" + "".join(f"{f'sd {null[0]}':>9s}" for null in NULLS[:3]))
    names = {"rejected": "t over groups (declared)", "nb": "Nadeau-Bengio", "swap": "speaker swap"}
    names |= {name: name for name in usual[0] if " " in name or name == "McNemar"}
    for name, title in names.items():
        print(f"{title:28s}" + "".join(f"{one[name]:9.3f}" for one in usual))

    print(f"\nLuck that all training parts share cannot be seen in one corpus, {studies:,} studies each")
    print(f"{'false positives at 5 %':28s}" + "".join(f"{f'share {share}':>11s}" for share in COMMON) + "   (NB)")
    shared: dict[str, Any] = {}
    for design in (DESIGNS[0], DESIGNS[4], DESIGNS[7]):
        found = [rates(design, studies, common=share) for share in COMMON]
        shared[design.name] = found
        cells = "".join(f"{one['rejected']:11.3f}" for one in found)
        print(f"{design.name:28s}{cells}   ({', '.join(format(one['nb'], '.3f') for one in found)})")

    slack = 2.5 * float(np.sqrt(0.05 * 0.95 / studies)) if studies < 1000 else 0.0
    judged = [line for line in lines if line["verdict"]]
    held = all(line["level"] <= LEVEL + slack and line["coverage"] >= COVERAGE - slack for line in judged)
    seconds = time.perf_counter() - began
    print(f"\nlevels and coverages {'held' if held else 'BROKEN'} in {len(judged)} designs; {seconds:.0f} s")
    if options.json:
        result = {
            "studies": studies,
            "designs": lines,
            "usual": usual,
            "shared": shared,
            "held": held,
            "seconds": seconds,
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
