"""Transcripts by recognition: a tiny CTC model on the spot, Whisper where it is; and word errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ser_predict.errors import RecogniserBroken
from ser_predict.recordings.transcripts import Recogniser, word_errors, words_of


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec2 with random weights and letters; its bias makes it say "a b" whatever it hears."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder = tmp_path_factory.mktemp("ctc") / "tiny-ctc"
    folder.mkdir()
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", "a", "b"]
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, vocab_size=len(letters), pad_token_id=0,
    )  # fmt: skip
    model = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias.copy_(torch.tensor([0.0, -9, -9, -9, -9, 5, -9]))
    model.save_pretrained(folder)
    return folder


def test_a_ctc_model_transcribes(ctc: Path):
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    recogniser = Recogniser(str(ctc), device="cpu", offline=True)
    assert recogniser.rate == 16_000
    assert recogniser.transcribe([noise, noise[:8_000]]) == ["a", "a"]
    assert recogniser.transcribe([]) == []


def test_what_is_heard_is_used_and_shown(small: Any, predictor: Any, ctc: Path):
    own = predictor(row="cross", asr=str(ctc))
    given, heard = own.predict([small.file(0), small.file(1)], {small.file(0): small.rows[0]["text"]})
    assert (given.text_source, heard.text_source, heard.text) == ("given", "recognised", "a")
    assert heard.row == "cross-stats"


def test_a_model_without_recognition_is_refused(small: Any, tmp_path: Path):
    with pytest.raises(RecogniserBroken, match="--asr"):
        Recogniser(str(tmp_path), offline=True)
    with pytest.raises(RecogniserBroken):
        Recogniser(str(small.text_encoder), offline=True).transcribe([np.ones(16_000, np.float32)])
    with pytest.raises(RecogniserBroken, match="not trained to recognise|cannot be used"):
        Recogniser(str(small.audio_encoder), offline=True).transcribe([np.ones(16_000, np.float32)])


def test_word_errors():
    assert word_errors("Dogs are sitting by the door.", "dogs are sitting by the door") == (0, 6)
    assert word_errors("Kids are talking by the door.", "Kid's are talking at the door now") == (4, 6)
    assert word_errors("one two", "") == (2, 2)


@pytest.mark.real
def test_whisper_hears_ravdess(shared: Path):
    folder = shared / "corpora/ravdess/audio/Actor_01"
    files = sorted(folder.glob("03-01-01-01-0[12]-01-01.flac"))
    waves = [soundfile.read(file, dtype="float32")[0] for file in files]
    texts = Recogniser(str(shared / "models/whisper-tiny.en"), device="cpu", offline=True).transcribe(waves)
    assert texts == ["Kids are talking by the door.", "Dogs are sitting by the door."]


def test_a_corpus_with_recognised_transcripts(small: Any, ctc: Path, tmp_path: Path):
    import pandas as pd
    from click.testing import CliRunner

    from ser_predict.recordings.cli import transcribe as command

    table = pd.read_csv(small.folder / "corpus.csv").head(2)
    table["path"] = [str(small.folder / path) for path in table["path"]]
    table.loc[2] = table.loc[0].to_dict() | {"id": "broken", "path": str(small.folder / "corpus.csv")}
    table.to_csv(tmp_path / "corpus.csv", index=False)
    arguments = [str(tmp_path / "corpus.csv"), "--asr", str(ctc), "--out", str(tmp_path / "asr.csv"), "--offline"]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 3 and "word error rate 100.0% of 12 words" in done.stdout, done.output
    told = pd.read_csv(tmp_path / "asr.csv")
    assert list(told["text"].dropna()) == ["a", "a"] and list(told["text_given"]) == list(table["text"])
    assert list(told["speaker"]) == list(table["speaker"])


def test_asides_and_loops_are_no_words():
    assert (
        words_of("<|startoftranscript|> Kids are talking. [Music] (speaking in foreign language)")
        == "Kids are talking."
    )
    assert words_of("(speaking in for") == "" and words_of(" ... ") == ""
    assert words_of("That's it. " * 40) == ""
    said = "No, no, no, I said that the rules change every day and nobody tells me, nobody tells anybody."
    assert words_of(said) == said
