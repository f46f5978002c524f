"""Batches and small caches for the tests of stage two. The caches are written by ser_cache's own writer."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ser_cache import EntrySpec, Item, Row, create_cache
from ser_cache.items import Failure
from ser_data.manifest.table import CorpusInfo, Manifest
from ser_data.manifest.text import text_hash
from ser_fusion.frames.batches import Packed
from ser_fusion.testing import random_batch

sys.path.insert(0, str(Path(__file__).parent))  # for fake_run: tests are imported by path, not as a package


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two cores serve several workers: one thread each, and equal numbers everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Packed]]:
    """Random packed batches: ``make_batch({stream: lengths}, {stream: features})``."""
    return random_batch


@dataclass
class Corpus:
    """Utterances with frames per stream and layer, to be written as a cache."""

    labels: Sequence[str]
    frames: Mapping[tuple[str, int], Sequence[np.ndarray]]  # (stream, layer) -> per utterance (T, d)
    speakers: int = 6
    failures: Mapping[str, Failure] = field(default_factory=dict)
    missing: Sequence[str] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # further columns of the manifest

    def ids(self) -> list[str]:
        return [f"u{number:05d}" for number in range(len(self.labels))]

    def table(self) -> pd.DataFrame:
        """Two speakers per session."""
        who = [number % self.speakers for number in range(len(self.labels))]
        return pd.DataFrame(
            {
                "id": self.ids(),
                "corpus": "planted",
                "label": list(self.labels),
                "speaker": [f"s{n}" for n in who],
                "session": [f"{n // 2 + 1}" for n in who],
                "gender": ["female" if n % 2 else "male" for n in who],
                "text": [f"words of utterance {number}" for number in range(len(self.labels))],
                **self.columns,
            }
        )


def write(corpus: Corpus, path: Path, dtype: str = "float16") -> Path:
    """Writes the corpus as a cache with its manifest."""
    cache = create_cache(path)
    info = CorpusInfo(name="planted", title="Planted signal", licence="none", synthetic=True)
    manifest = Manifest(corpus.table(), info)
    cache.attach("manifest.parquet", manifest.to_bytes())
    texts = dict(zip(manifest.table["id"], manifest.table["text"], strict=True))
    for (stream, layer), frames in corpus.frames.items():
        audio = stream != "text"  # speech, or video: a frame rate, and no text that names it
        spec = EntrySpec(
            modality=stream,
            encoder=f"planted/{stream}",
            layer=layer,
            dtype=dtype,
            features=frames[0].shape[1],
            frame_rate=50.0 if audio else None,
            declared={"made": "by a test"},
        )
        rows = dict(zip(corpus.ids(), frames, strict=True))
        writer = cache.writer(spec)
        writer.plan(
            [Item(name, f"x{name}" if audio else text_hash(texts[name]), 1.0, len(rows[name])) for name in rows]
        )
        for shard in writer.pending():
            done, failed = [], {}
            for item in shard.items:
                if item.id in corpus.failures and stream == "audio":
                    failed[item.id] = corpus.failures[item.id]
                    continue
                values = rows[item.id].astype(dtype)
                special = None
                if stream == "text":
                    special = np.zeros(len(values), dtype=bool)
                    special[[0, -1]] = True
                done.append(Row(item.id, values, special))
            writer.commit(shard, done, failed, {})
    if corpus.missing:  # ids of the manifest that nobody ever planned
        more = manifest.table.iloc[[0] * len(corpus.missing)].assign(id=list(corpus.missing))
        cache.attach("manifest.parquet", Manifest(pd.concat([manifest.table, more]), info).to_bytes())
    return path


def planted(
    kind: str,
    n: int = 240,
    seed: int = 0,
    classes: int = 3,
    strength: float = 1.0,
    features: tuple[int, int] = (16, 12),
    speakers: int = 6,
    longest: int = 40,
    shares: Sequence[float] | None = None,
) -> Corpus:
    """Frames in which only ``audio``, only ``text``, ``both``, or only their ``conjunction`` carries the label.

    In the conjunction every utterance's speech has two kinds of frames, marked A and B, with contents +s and -s; the text
    points at A or at B; the label is the sign of the content pointed at. Each stream alone says nothing.

    ``shares`` makes classes unequally frequent; ``longest`` is the greatest number of speech frames (the shortest has 8, or
    half of the longest).
    """
    draw = np.random.default_rng(seed)
    d_audio, d_text = features
    basis = np.linalg.qr(draw.normal(size=(d_audio, d_audio)))[0]
    text_basis = np.linalg.qr(draw.normal(size=(d_text, d_text)))[0]
    if kind == "conjunction":
        classes = 2
    target = np.tile(np.arange(classes), n // classes + 1)[:n]
    draw.shuffle(target)
    if shares is not None:
        target = draw.choice(classes, n, p=shares)
    audio, text = [], []
    for label in target:
        t_audio, t_text = int(draw.integers(min(8, longest // 2), longest)), int(draw.integers(3, 10))
        x, y = draw.normal(size=(t_audio, d_audio)), draw.normal(size=(t_text, d_text))
        if kind in ("audio", "both"):
            x += strength * basis[label]
        if kind in ("text", "both"):
            y += strength * text_basis[label]
        if kind == "conjunction":
            pointer = int(draw.integers(2))
            sign = (1 if label else -1) * (1 if pointer else -1)  # content of A
            marks = np.arange(t_audio) % 2  # 1: A
            x += 3.0 * np.outer(2 * marks - 1, basis[0]) + strength * sign * np.outer(2 * marks - 1, basis[1])
            y += 2.0 * (2 * pointer - 1) * text_basis[0]
        audio.append(x.astype(np.float32))
        text.append(y.astype(np.float32))
    names = [f"class{label}" for label in target]
    return Corpus(names, {("audio", 2): audio, ("text", 6): text}, speakers=speakers)


@pytest.fixture
def corpus() -> Callable[..., Corpus]:
    """``corpus(kind, n=..)``: a planted corpus in memory."""
    return planted


@pytest.fixture
def cache_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a corpus below ``tmp_path``."""

    def make(corpus: Corpus, name: str = "cache", **options: Any) -> Path:
        return write(corpus, tmp_path / name, **options)

    return make


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of 120 utterances in which both streams carry the label; shared by many tests, never changed."""
    return write(planted("both", n=120), tmp_path_factory.mktemp("small") / "cache")


@pytest.fixture
def read_json() -> Callable[[Path], Any]:
    """Reads a JSON file."""
    return lambda path: json.loads(path.read_text())


def in_memory(corpus: Corpus) -> dict[str, Any]:
    """The corpus's frames as training sees them, without a cache."""
    from ser_fusion.frames.features import StreamFrames

    streams = {}
    for (stream, _), frames in corpus.frames.items():
        offsets = np.cumsum([0, *(len(f) for f in frames)])
        content = np.ones(offsets[-1], dtype=bool)
        empty = np.zeros(frames[0].shape[1])
        means = np.stack([f.mean(0) if len(f) else empty for f in frames])[None]
        variances = np.stack([f.var(0) if len(f) else empty for f in frames])[None]
        streams[stream] = StreamFrames((np.concatenate(frames),), offsets, content, means, variances, None)
    return streams


@pytest.fixture(scope="session")
def frames_of() -> Callable[[Corpus], dict[str, Any]]:
    """Frames of a planted corpus in memory."""
    return in_memory


@pytest.fixture(scope="session")
def plant() -> Callable[..., Corpus]:
    """``plant(kind, n=..)``, for fixtures that live longer than a test."""
    return planted


@pytest.fixture(scope="session")
def write_cache() -> Callable[..., Path]:
    """``write_cache(corpus, path)``, for fixtures that live longer than a test."""
    return write


@pytest.fixture(scope="session")
def judged_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run directory with metrics.json; read only."""
    from fake_run import write_run

    from ser_fusion.evaluation.run_metrics import evaluate_run

    path = write_run(tmp_path_factory.mktemp("runs") / "demo", per_speaker=25, seeds=(0, 1))
    evaluate_run(path)
    return path


@pytest.fixture
def run_copy(judged_run: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(judged_run, tmp_path / "copy"))
