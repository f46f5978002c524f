"""What the page of results needs beside ser-extract and ser-fuse: control corpora, and figures that no run prints.

``python docs/controls.py COMMAND --help``. The commands read the corpora of the folder in the variable ``SHARED``. Control
corpora hold clips and lines of the pairs, so their frames are copied from the cache of the pairs, not encoded again.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

PENALTY = {"audio": 0.05, "text": 0.01, "both": 0.05}  # C of the probes beside the earlier default
CACHE = click.Path(path_type=Path, exists=True)
NEW = click.Path(path_type=Path)


def _manifest(name: str) -> Path:
    return Path(os.environ["SHARED"]) / "corpora" / name / "manifest.csv"


def _probe(stream: str, x: "np.ndarray", y: "np.ndarray") -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=PENALTY[stream], max_iter=500, tol=1e-3).fit(x, y)


@click.group()
def main() -> None:
    """Control corpora and figures for the page of results."""


@main.command()
@click.argument("pairs", type=CACHE)
@click.argument("out", type=NEW)
def congruence(pairs: Path, out: Path) -> None:
    """Write the cache OUT of the congruence pairs: the clips and lines of the cache PAIRS, paired otherwise."""
    from ser_cache import Item, Row, create_cache, open_cache
    from ser_data.corpora import CORPORA

    old = CORPORA["csv"].read(_manifest("ravdess-x-meld")).table
    new = CORPORA["csv"].read(_manifest("ravdess-x-meld-congruence"))
    source, target = open_cache(pairs), create_cache(out)
    target.attach("manifest.parquet", new.to_bytes())
    for modality, column in (("audio", "path"), ("text", "text")):
        entry = source.select(modality)
        twin = new.table[column].map(dict(zip(old[column], old["id"], strict=True)))
        twin.index = new.table["id"]
        writer = target.writer(entry.spec)
        writer.plan(Item(name, entry.input_hashes[like], 1.0, len(entry[like])) for name, like in twin.items())
        for shard in writer.pending():
            writer.commit(shard, [Row(i.id, entry.read(twin[i.id]), entry.special(twin[i.id])) for i in shard.items])


@main.command()
@click.argument("pairs", type=CACHE)
@click.argument("out", type=NEW)
def sentences(pairs: Path, out: Path) -> None:
    """Write sentences.csv (every clip with the sentence that was said) and the cache OUT with its speech frames."""
    import pandas as pd

    from ser_cache import Item, Row, create_cache, open_cache
    from ser_data.corpora import CORPORA

    table = CORPORA["csv"].read(_manifest("ravdess-x-meld")).table
    said = pd.read_csv(_manifest("ravdess-x-meld"), dtype=str).set_index("id")["sentence"]
    columns = ["id", "path", "label", "speaker", "gender", "fold"]
    table[columns].assign(text=table["id"].map(said)).to_csv("sentences.csv", index=False)
    entry = open_cache(pairs).select("audio")
    writer = create_cache(out).writer(entry.spec)
    writer.plan(Item(name, entry.input_hashes[name], 1.0, len(entry[name])) for name in table["id"])
    for shard in writer.pending():
        writer.commit(shard, [Row(item.id, entry.read(item.id)) for item in shard.items])


@main.command("more-text")
@click.argument("out", type=NEW)
def more_text(out: Path) -> None:
    """Write a CSV of MELD lines that are in no pair, at most 600 of a class.

    A dialogue that has lines in pairs belongs to their fold.
    """
    import pandas as pd

    pairs = pd.read_csv(_manifest("ravdess-x-meld"), dtype=str)
    meld = Path(os.environ["SHARED"]) / "corpora/meld-text"
    parts = {part: pd.read_csv(meld / f"{part}_sent_emo.csv", dtype=str) for part in ("train", "dev", "test")}
    lines = pd.concat([table.assign(part=part) for part, table in parts.items()])
    lines["dialogue"] = lines["part"] + lines["Dialogue_ID"]
    lines["id"] = lines["dialogue"] + "_utt" + lines["Utterance_ID"]
    fold_of = dict(zip(pairs["meld_id"].str.partition("_")[0], pairs["fold"], strict=True))
    more = lines[~lines["id"].isin(pairs["meld_id"])]
    more = more.groupby("Emotion").sample(frac=1, random_state=0).groupby("Emotion").head(600)
    more = more.assign(fold=more["dialogue"].map(fold_of), label=more["Emotion"], text=more["Utterance"])
    more[["id", "text", "label", "fold"]].to_csv(out, index=False)


@main.command()
@click.argument("root", type=CACHE)
@click.argument("out", type=NEW)
def clips(root: Path, out: Path) -> None:
    """Write a CSV of one RAVDESS clip per actor and emotion: odd actors say one sentence, even actors the other."""
    from ser_data.corpora import CORPORA

    table = CORPORA["ravdess"].read(root).table
    chosen = table["id"].str.match(r"03-01-\d\d-01-(01-01-\d[13579]|02-01-\d[02468])$")
    table[chosen][["id", "path", "label", "text", "speaker", "gender", "fold"]].to_csv(out, index=False)


@main.command()
@click.argument("pairs", type=CACHE)
def probes(pairs: Path) -> None:
    """Print the scores of linear probes that are fitted on the training part alone, without the development part."""
    import numpy as np
    import pandas as pd

    from ser_fusion import open_study
    from ser_fusion.evaluation.metrics import METRICS
    from ser_fusion.evaluation.parts import parts_of, posterior_frame
    from ser_fusion.evaluation.probes import standardise
    from ser_fusion.evaluation.run_metrics import summarise

    study = open_study(pairs, protocol="manifest")
    y, parts = study.targets, parts_of(study.table.index, study.folds.folds)
    pooled = {stream: study.pooled(stream, "stats") for stream in ("audio", "text")}
    pooled["both"] = np.concatenate(list(pooled.values()), axis=1)
    for name, x in pooled.items():
        frames = []
        for part in parts:
            train, test = standardise(x[part.train], x[part.test])
            posteriors = _probe(name, train, y[part.train]).predict_proba(test)
            frames.append(posterior_frame(study.table, study.classes, part.test, part.name, 0, posteriors))
        scores = summarise(pd.concat(frames), study.classes)["metrics"]
        click.echo(" ".join([name, *(f"{m} {scores[m]['mean']:.3f} ± {scores[m]['std_folds']:.3f}" for m in METRICS)]))


@main.command()
@click.argument("pairs", type=CACHE)
def rule(pairs: Path) -> None:
    """Print the AUC of *same* of the rule that knows the emotions: the sum over classes of p_audio x p_text / prior."""
    import numpy as np
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    from ser_fusion import open_study
    from ser_fusion.evaluation.parts import parts_of
    from ser_fusion.evaluation.probes import standardise

    study = open_study(pairs, protocol="manifest")
    x = {stream: study.pooled(stream, "stats") for stream in ("audio", "text")}
    table = pd.read_csv(_manifest("ravdess-x-meld-congruence"), dtype=str)
    clip = {path.rpartition("/")[2]: row for row, path in enumerate(study.table["path"])}
    line = {text: row for row, text in enumerate(study.table["text"])}
    a, t = table["path"].str.rpartition("/")[2].map(clip).to_numpy(), table["text"].map(line).to_numpy()
    auc = []
    for part in parts_of(study.table.index, study.folds.folds):
        prior = np.bincount(study.targets[part.train]) / len(part.train)
        scaled = {stream: standardise(values[part.train], values)[1] for stream, values in x.items()}
        p, q = (
            _probe(s, scaled[s][part.train], study.targets[part.train]).predict_proba(scaled[s])
            for s in ("audio", "text")
        )
        tested = np.isin(a, part.test)
        auc.append(roc_auc_score(table["label"][tested] == "same", (p[a] * q[t] / prior).sum(1)[tested]))
    click.echo(f"rule: AUC {np.mean(auc):.3f} ± {np.std(auc, ddof=1):.3f}")


@main.command()
@click.argument("run", type=CACHE)
def auc(run: Path) -> None:
    """Print the AUC of *same* of every row of a run on the congruence pairs: mean over seeds, then ± deviation over folds."""
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    predictions = pd.read_parquet(run / "predictions.parquet")
    for row, frame in predictions.groupby("row"):
        each = {key: roc_auc_score(f["label"] == "same", f["p_same"]) for key, f in frame.groupby(["fold", "seed"])}
        table = pd.Series(each).unstack()
        folds, seeds = table.mean(axis=1), ", ".join(f"{value:.3f}" for value in table.mean())
        click.echo(f"{row}: AUC {folds.mean():.3f} ± {folds.std():.3f} (by seed {seeds})")


if __name__ == "__main__":
    main()
