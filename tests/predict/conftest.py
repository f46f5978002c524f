"""A small run whose encoders are tiny and random: speech is noise bursts, the words carry the label as well."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "so", "very", "good", "bad", "calm", "day", "night", "we", "go"]
LABELS = {"happy": ("good", 3.0), "sad": ("bad", 0.5), "neutral": ("calm", 1.2)}  # word, bursts per second


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the workers that train."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Small:
    """A corpus, its cache and a run on it."""

    folder: Path
    audio_encoder: Path
    text_encoder: Path
    run: Path
    rows: list[dict[str, str]]

    def file(self, number: int) -> str:
        return str(self.folder / self.rows[number]["path"])


def speech(label: str, seconds: float, seed: int) -> "np.ndarray[Any, Any]":
    """Noise in bursts whose rate tells the label."""
    draw = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    swell = 0.1 + np.maximum(0, np.sin(2 * np.pi * LABELS[label][1] * time + draw.uniform(0, 6)))
    return (0.2 * draw.standard_normal(len(time)) * swell).astype(np.float32).clip(-1, 1)


SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def save_encoders(folder: Path) -> tuple[Path, Path]:
    """A wav2vec2 and a BERT with random weights, as transformers folders."""
    from transformers import BertConfig, BertModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    conv = {"conv_dim": [24] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    audio, text = folder / "tiny-audio", folder / "tiny-text"
    Wav2Vec2Model(Wav2Vec2Config(**SIZE, **conv)).save_pretrained(audio)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(audio)
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=40, **SIZE)).save_pretrained(text)
    save_tokenizer(text)
    return audio, text


def save_tokenizer(folder: Path) -> None:
    """Whole words, between CLS and SEP."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


@pytest.fixture(scope="session")
def save_albert() -> Callable[[Path], Path]:
    """Writes an ALBERT with random weights, which runs on the generic engine, into a folder."""

    def save(folder: Path) -> Path:
        from transformers import AlbertConfig, AlbertModel

        torch.manual_seed(0)
        config = AlbertConfig(vocab_size=len(WORDS), max_position_embeddings=40, embedding_size=16, **SIZE)
        AlbertModel(config).save_pretrained(folder)
        save_tokenizer(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Small]:
    """``make_run(folder, audio, text, number, **of_fuse_job)``: a run on that many utterances, encoded by these two."""
    return _make_run


def _make_run(folder: Path, audio: str, text: str, count: int, layers: dict[str, str], **changes: Any) -> Small:
    import soundfile

    from ser_extract.job import ExtractJob
    from ser_extract.run import run as extract
    from ser_fusion.runs.job import FuseJob
    from ser_fusion.runs.prepare import prepare, train_all
    from ser_fusion.runs.run import gather

    rows = []
    for number in range(count):
        label, speaker = list(LABELS)[number % 3], number // 6
        name = f"u{number:02d}.wav"
        soundfile.write(folder / name, speech(label, 0.6 + 0.05 * (number % 7), number), 16_000)
        words = f"so very {LABELS[label][0]} {'day' if number % 2 else 'night'} we go"
        rows.append(
            {"id": f"u{number:02d}", "path": name, "label": label, "text": words, "speaker": f"s{speaker}",
             "session": f"{speaker // 2}"}
        )  # fmt: skip
    with (folder / "corpus.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    encoders = {"audio_encoder": audio, "text_encoder": text, **layers}
    root = folder / "corpus.csv"
    extract(ExtractJob(corpus="csv", root=root, cache=folder / "cache", workers=0, device="cpu", **encoders))
    values: dict[str, Any] = {"stride": 2, "workers": 0, "device": "cpu", **changes}
    job = FuseJob(cache=folder / "cache", out=folder / "run", **values)
    prepared = prepare(job)
    train_all(prepared)
    gather(job.out, prepared.tasks, [])  # predictions without the report
    return Small(folder, Path(audio), Path(text), folder / "run", rows)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """36 utterances, 6 speakers in 3 sessions; heads audio, text and cross, 3 folds, 2 seeds."""
    folder = tmp_path_factory.mktemp("predict")
    audio, text = save_encoders(folder)
    return _make_run(
        folder, str(audio), str(text), 36, {"audio_layer": "1,2", "text_layer": "2"}, fusion=("audio", "text", "cross"),
        seeds=(0, 1), epochs=4, audio_layer="all", text_layer="last",
    )  # fmt: skip


@pytest.fixture
def predictor(small: Small) -> Callable[..., Any]:
    """``predictor(**options)``: on the small run, told where its encoders are."""
    from ser_predict import Predictor

    def make(**options: Any) -> Any:
        places = {"audio_encoder": str(small.audio_encoder), "text_encoder": str(small.text_encoder)}
        return Predictor(small.run, **{**places, "device": "cpu", "offline": True, **options})

    return make
