"""A trained head on other pairs of its own test utterances: ``python docs/re_pairing.py RUN --head cross``.

For corpora whose pairs of speech and text are artificial. There the two are independent given the label, so every pairing
within fold and label is as good as the one that was drawn, and the product of the single streams' calibrated posteriors,
divided by the prior, is close to the best that fusion can do: a yardstick with a known answer. Nothing is trained here: the
run must hold the head and the heads ``audio`` and ``text``. Temperatures are fitted on development parts.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ser_base.errors import SerError
from ser_fusion.errors import RunUnreadable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ser_fusion.evaluation.run_directory import RunDirectory
    from ser_fusion.evaluation.statistics import Interval
    from ser_fusion.evaluation.temperatures import Temperature
    from ser_fusion.runs.task import Task

EXPERTS = ("audio", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class RePaired:
    """What other pairs give.

    Attributes:
        head: Slug of the head's row.
        better: The stream whose head is better on the development parts.
        scores: UWA (mean over folds, seeds averaged first) of the head, of ``product``, and of the single streams: the
            pairing as given first, then each new one, (1 + times,).
        gains: The head and the product, each less the better stream: pooled UWA averaged over the new pairings, interval over
            speakers, or over groups of them where they share trained models.
        over: What the intervals are over, in words.
    """

    head: str
    better: str
    scores: "Mapping[str, np.ndarray]"
    gains: "Mapping[str, Interval]"
    over: str

    def lines(self) -> Iterator[str]:
        """As the command prints it."""
        yield f"{'UWA':<12}{'as given':>10}{'mean':>8}{'sd':>8}{'lowest':>9}{'highest':>9}   over {self.times} new pairings"
        behind = self.scores[self.head] - self.scores["product"]
        for name, values in {**self.scores, f"{self.head} - product": behind}.items():
            new = values[1:]
            sd = new.std(ddof=1) if len(new) > 1 else 0.0
            yield f"{name:<16}{values[0]:>6.3f}{new.mean():>8.3f}{sd:>8.3f}{new.min():>9.3f}{new.max():>9.3f}"
        for name, gain in self.gains.items():
            yield (
                f"{name} - {self.better} = {100 * gain.estimate:+.1f} points UWA, 95 % CI [{100 * gain.low:+.1f}, "
                f"{100 * gain.high:+.1f}], {gain.units} {self.over}, pooled, averaged over the new pairings"
            )

    @property
    def times(self) -> int:
        """New pairings."""
        return len(self.scores["product"]) - 1


def re_pair(run: str | Path, head: str = "cross", times: int = 10, seed: int = 0) -> RePaired:
    """Scores a run's head on new pairs of its test utterances, beside the product of its single-stream heads.

    Args:
        run: Run directory of ser-fuse; its cache must still be there.
        head: Fusion or slug of the row to judge.
        times: New pairings; each permutes the text within (fold, label) of the test parts.
        seed: Of the pairings.

    Raises:
        FusionError: The run lacks a row, or its cache has changed.
    """
    import numpy as np

    from ser_fusion.evaluation.metrics import UnitCounts, independent_groups, scores_of
    from ser_fusion.evaluation.run_directory import RunDirectory
    from ser_fusion.evaluation.statistics import difference_interval
    from ser_fusion.runs.job import study_options
    from ser_fusion.runs.planning import tasks
    from ser_fusion.runs.run import repeat
    from ser_fusion.runs.task import read_frames
    from ser_fusion.study.open import open_study

    directory = RunDirectory.open(run)
    job, _ = repeat(Path(run))
    study = open_study(job.cache, **study_options(job))
    if study.data_fingerprint != directory.run["data_fingerprint"]:
        raise RunUnreadable(str(run), "its cache, labels or folds are not those it was trained on")
    slugs = {name: _slug(directory, name) for name in (head, *EXPERTS)}
    planned = {
        (task.row.slug, task.fold, task.seed): task for task in tasks(job, study, job.rows(tuple(study.streams)), "cpu")
    }
    temperatures = {name: directory.temperatures(slugs[name]) for name in EXPERTS}
    streams = read_frames(job, study, list(study.streams))
    partners = _pairings(study.table, study.folds.folds, times, seed)
    targets, k = study.targets, len(study.classes)
    speakers = study.table["speaker"].fillna("?").astype(str).factorize(sort=True)[0]
    folds, names = range(len(study.folds.folds)), (slugs[head], "product", *EXPERTS)
    counts = {name: np.zeros((1 + times, len(folds), speakers.max() + 1, k, k)) for name in names}
    for fold in folds:
        for number in job.seeds:
            task = planned[slugs[head], fold, number]
            test = task.parts["test"]
            experts = {
                name: _calibrated(Path(run), planned[slugs[name], fold, number], temperatures[name]) for name in EXPERTS
            }
            prior = np.bincount(targets[task.parts["train"]], minlength=k) / len(task.parts["train"])
            place = np.full(len(study.table), -1)
            place[test] = np.arange(len(test))
            for turn, others in enumerate(partners):
                text = others[test]
                product = experts["audio"] * experts["text"][place[text]] / prior
                given = {
                    slugs[head]: _head(Path(run), task, streams, test, text),
                    "product": product,
                    "audio": experts["audio"],
                    "text": experts["text"][place[text]],
                }
                for name, posteriors in given.items():
                    cells = counts[name][turn, fold].reshape(-1)  # a view
                    where = (speakers[test] * k + targets[test]) * k + posteriors.argmax(1)
                    cells += np.bincount(where, minlength=len(cells)) / len(job.seeds)
    # UWA is linear in the recalls, so averaging counts over seeds averages their scores
    scores = {name: scores_of(values.sum(2))["UWA"].mean(1) for name, values in counts.items()}
    better = _better(directory, {name: slugs[name] for name in EXPERTS})
    pooled = {name: values[1:].mean(0).sum(0) for name, values in counts.items()}
    tested = counts[better][0].sum((2, 3)) > 0  # (folds, speakers)
    groups = independent_groups(*np.nonzero(tested.T))
    units = {name: UnitCounts("speaker", tuple(map(str, range(len(groups)))), v, groups) for name, v in pooled.items()}
    replicates = {name: one.replicates for name, one in units.items()}
    gains = {
        name: difference_interval(replicates[name], replicates[better], "UWA") for name in (slugs[head], "product")
    }
    grouped = len(replicates[better]) < len(groups)
    over = "groups of speakers that share no trained model" if grouped else "speakers"
    return RePaired(head=slugs[head], better=better, scores=scores, gains=gains, over=over)


def _slug(directory: "RunDirectory", name: str) -> str:
    """The row of this slug, or the first head of this fusion."""
    for row in directory.rows:
        if row.get("kind") == "head" and name in (row["slug"], row.get("fusion")):
            return str(row["slug"])
    have = ", ".join(str(row["slug"]) for row in directory.rows if row.get("kind") == "head")
    raise RunUnreadable(str(directory.path), f"it has no head {name} (it has {have or 'none'}); add --fusion {name}")


def _pairings(table: "pd.DataFrame", folds: Sequence[Any], times: int, seed: int) -> "list[np.ndarray]":
    """For every utterance the one whose text it gets; as given first. Only test parts are permuted, within fold and label."""
    import numpy as np
    import pandas as pd

    draw, target = np.random.default_rng(seed), table["target"].to_numpy()
    out = [np.arange(len(table))]
    for _ in range(times):
        others = np.arange(len(table))
        for fold in folds:
            rows = table.index.get_indexer(pd.Index(list(fold.test)))
            for label in np.unique(target[rows]):
                own = rows[target[rows] == label]
                others[own] = draw.permutation(own)
        out.append(others)
    return out


def _calibrated(run: Path, task: "Task", temperatures: "Mapping[str, Temperature]") -> "np.ndarray":
    """Test posteriors of a single-stream head at its fold's temperature, rows as ``parts['test']``."""
    import numpy as np
    import pandas as pd

    from ser_fusion.evaluation.temperatures import tempered

    test = pd.read_parquet(run / task.folder / "test.parquet")
    columns = [str(name) for name in test if str(name).startswith("p_")]
    return tempered(test[columns].to_numpy(np.float64), temperatures[task.fold_name].value)


def _head(run: Path, task: "Task", streams: Any, test: "np.ndarray", text: "np.ndarray") -> "np.ndarray":
    from ser_fusion.frames.feed import Feed
    from ser_fusion.heads.model import load_model
    from ser_fusion.training.scoring import posteriors

    model = load_model(run / task.folder)
    feed = Feed(streams, task.plan.streams, pad_to=task.plan.pad_to)
    return posteriors(model, feed, test, {"text": text})


def _better(directory: "RunDirectory", slugs: Mapping[str, str]) -> str:
    """The stream whose head scores best on the development parts; speech if there are none."""
    from ser_fusion.evaluation.run_metrics import summarise

    frame = directory.development
    if frame is None:
        return EXPERTS[0]
    scores = {
        name: summarise(frame[frame["row"] == slug], directory.classes)["metrics"]["UWA"]["mean"]
        for name, slug in slugs.items()
    }
    return max(scores, key=lambda name: float(scores[name]))


@click.command("re-pairing")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--head", default="cross", show_default=True, help="Row to judge: a fusion or a slug.")
@click.option("--times", type=click.IntRange(1), default=10, show_default=True, help="New pairings.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the pairings.")
def command(run: Path, head: str, times: int, seed: int) -> None:
    """Scores a head of RUN on new pairs of its test utterances, beside the product of the single streams."""

    try:
        for line in re_pair(run, head, times, seed).lines():
            click.echo(line)
    except SerError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(0)


if __name__ == "__main__":
    command()
