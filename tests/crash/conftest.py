"""Encoders for the suites that kill."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wav2vec 2.0 of small blocks and a small BERT, slow enough to be hit at work."""
    import torch
    from transformers import BertConfig, BertModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    folder = tmp_path_factory.mktemp("encoders")
    speech, text = folder / "speech", folder / "text"
    Wav2Vec2Model(Wav2Vec2Config(**sizes, conv_dim=[128] * 7)).save_pretrained(speech)
    Wav2Vec2FeatureExtractor().save_pretrained(speech)
    BertModel(BertConfig(**sizes, vocab_size=32)).save_pretrained(text)
    (text / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"])
    )
    (text / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizerFast"}')
    return speech, text
