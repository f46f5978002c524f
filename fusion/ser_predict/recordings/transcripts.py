"""Transcripts of recordings: by a speech recogniser, or from a table."""

import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_data.errors import BadManifest
from ser_data.manifest.csv_file import csv_frame
from ser_data.manifest.text import clean_name, visible
from ser_predict.errors import BadTranscripts, RecogniserBroken

# Transcripts by any transformers speech recogniser: Whisper and its like (encoder-decoder), or CTC models.
_SPECIAL = re.compile(r"<\|[^|]*\|>")  # Whisper's control tokens; some tokenizers do not know them as special
_ASIDE = re.compile(
    r"\[[^\]]*\]?|\([^)]*\)?"
)  # "[Music]", "(speaking in foreign language)": what it says when it hears no words

TOKENS_PER_SECOND = 10
"""Fast speech has 6; an encoder-decoder that goes on beyond repeats itself, for 14 s of computing per window."""

LOOP = 2.4
"""Bytes by zlib-compressed bytes above which a text is a loop and no transcript. Source: Radford et al. 2022, section 4.5."""


class Recogniser:
    """A speech recogniser, loaded at its first use.

    Args:
        name: Local folder or hub id.
        device: ``auto``, ``cpu`` or ``cuda``.
        offline: Never open a connection.

    Raises:
        RecogniserBroken: It is missing, or it is not a speech recogniser.
    """

    def __init__(self, name: str, *, device: str = "auto", offline: bool = False) -> None:
        from ser_base.machine import resolve_device
        from ser_extract.encoders.source import open_source
        from ser_extract.errors import ExtractError

        try:
            self._source = open_source(name, "audio", offline=offline)
        except ExtractError as error:
            raise RecogniserBroken(name, str(error).splitlines()[0].rstrip(".")) from error
        self.name = name
        self.revision = self._source.weights
        self._device = resolve_device(device)
        self._pipeline: Any = None

    @property
    def rate(self) -> int:
        """Samples per second it wants, in Hz."""
        return int(self._source.preprocessor().get("sampling_rate", 16_000))

    def transcribe(self, waveforms: Sequence[NDArray[np.float32]]) -> list[str]:
        """Texts of waveforms (samples,) at ``rate``, in the order given; empty where nothing was heard."""
        if not len(waveforms):
            return []
        if self._pipeline is None:
            self._pipeline = self._load()
        inputs = [{"raw": np.asarray(samples, np.float32), "sampling_rate": self.rate} for samples in waveforms]
        longest = max((len(samples) for samples in waveforms), default=0) / self.rate
        extra: dict[str, Any] = {}
        if self._pipeline.type == "seq2seq_whisper" and longest > 30:
            extra["return_timestamps"] = True  # Whisper's own way beyond its window
        elif self._pipeline.type.startswith("seq2seq"):
            extra["generate_kwargs"] = {"max_new_tokens": 16 + int(TOKENS_PER_SECOND * longest)}
        with warnings.catch_warnings(action="ignore"):  # it notes every setting it would like to hear of
            try:
                heard = self._pipeline(inputs, **extra)  # one by one: not every tokenizer can pad
            except (RuntimeError, ValueError, TypeError, KeyError) as error:
                raise RecogniserBroken(self.name, str(error).strip().splitlines()[0].rstrip(".")) from error
        return [words_of(str(answer["text"])) for answer in heard]

    def _load(self) -> Any:
        import torch
        from transformers import (
            MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
            AutoConfig,
            AutoModelForCTC,
            AutoModelForSpeechSeq2Seq,
            AutoProcessor,
            pipeline,
        )

        from ser_extract.encoders.loading import quiet

        quiet()
        folder = str(self._source.folder)
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(folder, **local)
            sequence = type(config) in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING
            kind = AutoModelForSpeechSeq2Seq if sequence else AutoModelForCTC
            model, info = kind.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=self._source.files.safetensors,
                weights_only=True,
                output_loading_info=True,
                **local,
            )
            missing = sorted(key for key in info["missing_keys"] if "masked_spec_embed" not in key)
            if missing:
                raise RecogniserBroken(
                    self.name, f"its weights lack {missing[0]}: it was not trained to recognise speech"
                )
            processor = AutoProcessor.from_pretrained(folder, **local)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            if isinstance(error, RecogniserBroken):
                raise
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise RecogniserBroken(self.name, first.rstrip(".")) from error
        return pipeline(
            "automatic-speech-recognition",
            model=model.eval(),
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            device=self._device,
        )


def words_of(text: str) -> str:
    """What was said, of what a recogniser wrote: without control tokens and asides; nothing where it went in circles."""
    plain = " ".join(_ASIDE.sub(" ", _SPECIAL.sub(" ", text)).split())
    data = plain.encode()
    return "" if len(data) > LOOP * len(zlib.compress(data)) or not any(map(str.isalnum, plain)) else plain


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """Word errors (substitutions, insertions, deletions) and words of the reference; case and punctuation do not count."""
    from torchaudio.functional import edit_distance

    from ser_data.manifest.text import comparison_key

    words, recognised = comparison_key(reference).split(), comparison_key(heard).split()
    return int(edit_distance(words, recognised)), len(words)


KEYS = ("path", "file", "id")


class Transcripts(Mapping[str, str]):
    """Texts of a table, found by path, file name, or file name without ending, whichever matches first.

    File names are compared as names (``ser_data.manifest.text``): composed and decomposed letters are the same.

    Args:
        texts: Key as written in the table -> text.
        folder: What relative paths of the table are relative to.
    """

    def __init__(self, texts: Mapping[str, str], folder: Path) -> None:
        self._texts = dict(texts)
        self._resolved = {str((folder / key).resolve()): text for key, text in texts.items()}
        names: dict[str, set[str]] = {}
        for key, text in texts.items():
            for name in (clean_name(Path(key).name), clean_name(Path(key).stem)):
                names.setdefault(name, set()).add(text)
        self._names = {name: next(iter(own)) for name, own in names.items() if len(own) == 1}

    def of(self, path: str | Path) -> str | None:
        """The text of a recording, or None."""
        file = Path(path)
        for text in (
            self._texts.get(str(path)),
            self._resolved.get(str(file.resolve())),
            self._names.get(clean_name(file.name)),
            self._names.get(clean_name(file.stem)),
        ):
            if text is not None:
                return text
        return None

    def __getitem__(self, key: str) -> str:
        return self._texts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def read_transcripts(path: Path) -> Transcripts:
    """Reads a table.

    Raises:
        BadTranscripts: It is missing, not UTF-8, without the columns, or has a quote or row that is broken.
    """
    try:
        table = csv_frame(path)
    except OSError as error:
        raise BadTranscripts(str(path), error.strerror or "it cannot be read") from error
    except BadManifest as error:
        raise BadTranscripts(str(path), f"{error.problem}. {error.remedy}") from error
    columns = [str(name).lower() for name in table.columns]
    key = next((name for name in KEYS if name in columns), None)
    if key is None or columns.count(key) != 1 or columns.count("text") != 1:
        raise BadTranscripts(str(path), f"its columns are {', '.join(map(str, table.columns)) or 'none'}")
    table.columns = columns
    lines = zip(table[key], table["text"], strict=True)
    texts = {name.strip(): text.strip() for name, text in lines if name.strip() and visible(text)}
    return Transcripts(texts, path.parent)
