"""Writes run directories with known content, as `ser-fuse` would: speakers differ, heads differ by as much as asked."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

CLASSES = ("angry", "excited", "frustrated", "happy", "neutral", "sad", "surprise")
SHARES = (0.147, 0.139, 0.247, 0.079, 0.228, 0.145, 0.015)
SKILL = {"audio": 0.9, "text": 1.1, "self": 1.7, "cross": 1.75, "self-nosp": 1.5}
SENTENCE = "i never said that you could leave the door open all night and nobody told me about the letter"
WORDS = tuple(SENTENCE.split())
HOSTILE = "</script><img src=x onerror=\"document.title='hacked'\"><b>bold</b>"


def utterance_table(rng: np.random.Generator, speakers: int, per_speaker: int, classes: Sequence[str]) -> pd.DataFrame:
    """IEMOCAP-shaped utterances: sessions of two speakers, improvised and scripted scenarios, repeated sentences."""
    shares = np.array(SHARES[: len(classes)]) / sum(SHARES[: len(classes)])
    rows = []
    for speaker in range(speakers):
        session, gender = speaker // 2 + 1, "FM"[speaker % 2]
        for turn in range(per_speaker):
            scripted = bool(rng.random() < 0.45)
            scenario = f"{'script' if scripted else 'impro'}{rng.integers(1, 5):02d}"
            dialogue = f"Ses{session:02d}{'FM'[turn % 2]}_{scenario}"
            text = " ".join(rng.choice(WORDS, size=int(rng.integers(2, 9))))
            rows.append(
                {
                    "id": f"{dialogue}_{gender}{turn:03d}",
                    "label": str(rng.choice(list(classes), p=shares)),
                    "speaker": f"Ses{session:02d}{gender}",
                    "session": f"Ses{session:02d}",
                    "dialogue": dialogue,
                    "scenario": scenario,
                    "scripted": scripted,
                    "gender": gender,
                    "text": text,
                    "text_hash": text.replace(" ", "_"),
                    "duration": float(np.round(rng.gamma(4.0, 1.1) + 0.4, 2)),
                }
            )
    table = pd.DataFrame(rows)
    for k, name in enumerate(classes):  # every class at least once for every speaker's fold
        table.loc[k, "label"] = name
    return table


def session_folds(table: pd.DataFrame) -> pd.DataFrame:
    """Leave one session out; the next session is the development part."""
    sessions = sorted(table["session"].unique())
    frames = []
    for number, held in enumerate(sessions):
        dev = sessions[(number + 1) % len(sessions)]
        part = table["session"].map(
            lambda s, held=held, dev=dev: "test" if s == held else "dev" if s == dev else "train"
        )
        frames.append(pd.DataFrame({"id": table["id"], "fold": held, "part": part}))
    return pd.concat(frames, ignore_index=True)


def posteriors(rng: np.random.Generator, table: pd.DataFrame, classes: Sequence[str], skill: float) -> np.ndarray:
    """Softmax of noisy logits with the true class raised by `skill`; confusable classes are raised a little too."""
    target = pd.Index(list(classes)).get_indexer(table["label"])
    logits = rng.normal(0, 1.0, size=(len(table), len(classes)))
    logits[np.arange(len(table)), target] += skill
    for a, b in (("angry", "frustrated"), ("excited", "happy")):
        if a in classes and b in classes:
            for x, y in ((a, b), (b, a)):
                logits[target == classes.index(x), classes.index(y)] += 0.6 * skill
    odds = np.exp(1.4 * (logits - logits.max(axis=1, keepdims=True)))
    return odds / odds.sum(axis=1, keepdims=True)


def write_run(
    path: Path,
    *,
    skill: Mapping[str, float] = SKILL,
    seeds: Sequence[int] = (0, 1, 2),
    speakers: int = 10,
    per_speaker: int = 60,
    classes: Sequence[str] = CLASSES,
    protocol: str = "session",
    hostile: bool = False,
    synthetic: bool = True,
    data_seed: int = 1,
    curves: bool = True,
) -> Path:
    """Writes one run directory (without metrics.json) and returns its path."""
    rng = np.random.default_rng(data_seed)
    table = utterance_table(rng, speakers, per_speaker, classes)
    if hostile:
        table.loc[:3, "text"] = [HOSTILE, "=cmd|' /C calc'!A0", "@SUM(1+1)*cmd", "+1-2 \u202e tuo"]
    folds = session_folds(table)
    drift = {speaker: rng.normal(0, 0.35) for speaker in table["speaker"].unique()}
    path.mkdir(parents=True, exist_ok=True)
    test, development, rows = [], [], []
    columns = [f"p_{name}" for name in classes]
    for slug, strength in skill.items():
        fusion = slug.split("-")[0]
        rows.append(_row(slug, fusion))
        for seed in seeds:
            own = np.random.default_rng([data_seed, seed, len(rows)])
            for fold in sorted(folds["fold"].unique()):
                for part, store in (("test", test), ("dev", development)):
                    ids = folds[(folds["fold"] == fold) & (folds["part"] == part)]["id"]
                    inside = table[table["id"].isin(ids)].reset_index(drop=True)
                    p = np.empty((len(inside), len(classes)))
                    for speaker, places in inside.groupby("speaker").groups.items():
                        p[places] = posteriors(own, inside.loc[places], list(classes), strength + drift[speaker])
                    frame = pd.DataFrame(p.astype(np.float32), columns=columns)
                    guess = [classes[k] for k in p.argmax(axis=1)]
                    frame.insert(0, "predicted", guess)
                    for name, value in (
                        ("label", inside["label"]),
                        ("seed", seed),
                        ("fold", fold),
                        ("id", inside["id"]),
                        ("row", slug),
                    ):
                        frame.insert(0, name, value)
                    store.append(frame)
                if curves:
                    _job(path / "jobs" / slug / f"fold{fold}-seed{seed}", own, strength, fusion)
    predictions = pd.concat(test, ignore_index=True)
    reference, information = reference_predictions(table, folds, classes, seeds)
    predictions = pd.concat([predictions, reference], ignore_index=True)
    predictions.to_parquet(path / "predictions.parquet")
    pd.concat(development, ignore_index=True).to_parquet(path / "development.parquet")
    table.to_parquet(path / "utterances.parquet")
    folds.to_csv(path / "folds.csv", index=False)
    pd.DataFrame({"id": ["Ses01F_impro01_F999"], "reason": ["silent"]}).to_csv(path / "excluded.csv", index=False)
    run = _run_json(table, classes, protocol, rows + information, seeds, synthetic)
    (path / "run.json").write_text(json.dumps(run, indent=1), encoding="utf-8")
    return path


def reference_predictions(
    table: pd.DataFrame, folds: pd.DataFrame, classes: Sequence[str], seeds: Sequence[int]
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The real reference rows (without probes), computed on the fake corpus."""
    from ser_fusion.evaluation.parts import Part
    from ser_fusion.evaluation.probes import Fits
    from ser_fusion.evaluation.references import chance_rows, deterministic_rows

    indexed = table.set_index(table["id"]).assign(target=pd.Index(list(classes)).get_indexer(table["label"]))
    parts = []
    for fold, rows in folds.groupby("fold"):
        train, test = (indexed.index.get_indexer(rows[rows["part"] == part]["id"]) for part in ("train", "test"))
        parts.append(Part(str(fold), train, test))
    rows = chance_rows(indexed, classes, parts, seeds)
    rows += deterministic_rows(indexed, classes, {}, parts, Fits())
    pairs = [(row.info, row.test) for row in rows]
    for row, frame in pairs:
        frame.insert(0, "row", row["slug"])
    return pd.concat([frame for _, frame in pairs], ignore_index=True), [row for row, _ in pairs]


def _row(slug: str, fusion: str) -> dict[str, Any]:
    plain = slug == fusion
    return {
        "name": {
            "audio": "Audio",
            "text": "Text",
            "self": "Self-MHA",
            "cross": "Cross-MHA",
            "self-nosp": "Self-noSP",
        }.get(slug, slug),
        "slug": slug,
        "kind": "head",
        "fusion": fusion,
        "pooling": "stats" if plain else "mean",
        "preset": "corrected",
        "parameters": 1_234_567,
        "transductive": False,
        "departures": [],
        "note": "",
    }


def _job(folder: Path, rng: np.random.Generator, strength: float, fusion: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    top = 0.2 + 0.2 * strength
    curve = [
        {
            "epoch": epoch,
            "train_loss": float(1.9 * np.exp(-epoch / 6) + 0.1 + rng.normal(0, 0.01)),
            "dev_loss": float(1.9 * np.exp(-epoch / 5) + 0.8 + 0.01 * epoch + rng.normal(0, 0.02)),
            "dev_uwa": float(top * (1 - np.exp(-epoch / 4)) + rng.normal(0, 0.01)),
            "lr": 1e-3,
        }
        for epoch in range(1, 16 + int(rng.integers(0, 5)))
    ]
    (folder / "curve.json").write_text(json.dumps(curve), encoding="utf-8")
    weights = rng.dirichlet(np.full(5, 4.0)).tolist()
    layers = {"audio": weights} if fusion in ("audio", "self", "cross") else {}
    (folder / "head.json").write_text(json.dumps({"layer_weights": layers}), encoding="utf-8")


def _run_json(
    table: pd.DataFrame,
    classes: Sequence[str],
    protocol: str,
    rows: list[dict[str, Any]],
    seeds: Sequence[int],
    synthetic: bool,
) -> dict[str, Any]:
    return {
        "format": 1,
        "job": {"fusion": ["audio", "text", "self", "cross"], "protocol": protocol, "epochs": 20},
        "classes": list(classes),
        "labels": "auto",
        "protocol": protocol,
        "dev": "next",
        "held_out": ["session", "speaker"],
        "folds_fingerprint": "5f0c1d2e3b4a59687786a5b4c3d2e1f0",
        "corpus": {
            "name": "demo",
            "title": "Synthetic IEMOCAP-shaped speech",
            "synthetic": synthetic,
            "licence": "Apache-2.0",
            "citation": "",
        },
        "cache": {
            "path": "/tmp/cache",
            "entries": {
                "audio": {
                    "encoder": "openai/whisper-tiny.en",
                    "layer": 2,
                    "dtype": "float16",
                    "fingerprint": "a1b2c3d4",
                    "frame_rate": 50.0,
                    "features": 384,
                },
                "text": {
                    "encoder": "all-MiniLM-L6-v2",
                    "layer": 6,
                    "dtype": "float16",
                    "fingerprint": "d4c3b2a1",
                    "frame_rate": None,
                    "features": 384,
                },
            },
        },
        "counts": {"utterances": len(table), "excluded": 1, "per_class": table["label"].value_counts().to_dict()},
        "rows": rows,
        "seeds": list(seeds),
        "stride": 4,
        "epochs": 20,
        "environment": {"python": "3.11", "torch": "2.10", "platform": "Linux"},
        "command": "ser-fuse --fusion audio,text,self,cross --cache cache --protocol session --seeds 0-2 --out runs/demo",
        "seconds": 123.4,
        "notes": ["One utterance was left out: silent."],
    }


def fake_study(seed: int = 0, per_speaker: int = 30) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    table = utterance_table(rng, 6, per_speaker, CLASSES)
    table = table.set_index("id", drop=False)
    table["target"] = pd.Index(list(CLASSES)).get_indexer(table["label"])
    listed = session_folds(table.reset_index(drop=True))
    folds = [
        SimpleNamespace(
            name=name, **{part: tuple(rows[rows["part"] == part]["id"]) for part in ("train", "dev", "test")}
        )
        for name, rows in listed.groupby("fold")
    ]
    audio = rng.normal(size=(len(table), 12)).astype(np.float32)
    audio[np.arange(len(table)), table["target"]] += 2.0
    pooled = {"audio": np.tile(audio, 2), "text": np.zeros((len(table), 10), np.float32)}  # as `stats`
    streams = {name: SimpleNamespace(spec=SimpleNamespace(modality=name)) for name in ("audio", "text")}
    return SimpleNamespace(
        table=table,
        classes=CLASSES,
        folds=SimpleNamespace(folds=folds),
        streams=streams,
        pooled=lambda stream, pooling: pooled[stream],
    )
