"""Encoders of one's own: the example of docs/plugin through the whole of stage one, and the public contract on broken ones."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ser_cache import CacheError, open_cache
from ser_extract.encoders.base import EngineOptions, InputOptions, load_engine
from ser_extract.encoders.plugged import ClassFamily, open_class
from ser_extract.errors import EncoderBroken
from ser_extract.run import run
from ser_extract.testing import check_encoder

ROOT = Path(__file__).resolve().parents[3]
LOG_MEL, LETTERS = "ser_example.log_mel:LogMel", "ser_example.log_mel:Letters"


@pytest.fixture(autouse=True)
def _example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs/plugin")


class Halves:
    """Two values per half of a hundred samples: what the broken ones below are made from."""

    name, modality, layers, features = "halves", "audio", 2, 2
    rate, frame_rate, shortest = 8_000, 80.0, 100
    identity: ClassVar[Any] = 1

    def __init__(self, device: str) -> None:
        self.calls = 0

    def frames(self, waveform: Any) -> Any:
        count = len(waveform) // 100
        halves = waveform[: count * 100].reshape(count, 2, 50).mean(2)
        return np.stack([halves, halves * 2])


class Counting(Halves):
    def frames(self, waveform: Any) -> Any:
        self.calls += 1
        return super().frames(waveform) + self.calls


class Narrow(Halves):
    features = 3


class Slower(Halves):
    frame_rate = 40.0


class Failing(Halves):
    def frames(self, waveform: Any) -> Any:
        return waveform.reshape(3, -1, 7)


class Unmade(Halves):
    def __init__(self, device: str) -> None:
        raise OSError("halves.bin is not there")


class Talking(Halves):
    def frames(self, waveform: Any) -> Any:
        return "halves"


class Shuttered(Halves):
    window = 300


class Nothing(Halves):
    identity = ""


class Crooked(Halves):
    frame_rate = 77.0


class Infinite(Halves):
    def frames(self, waveform: Any) -> Any:
        return super().frames(waveform) / np.float32(0)


class Lost:
    name, modality, layers, features, identity = "lost", "text", 1, 2, 1

    def __init__(self, device: str) -> None: ...

    def frames(self, text: Any) -> Any:
        return np.zeros((1, len(text), 2))


@pytest.mark.parametrize("kind", [LOG_MEL, LETTERS, Halves])
def test_an_encoder_keeps_the_contract(kind: Any):
    check_encoder(kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Counting, "gives other values"),
        (Narrow, r"Give \(2, frames, 3\)"),
        (Slower, "frames gave .* its frame_rate foretells"),
        (Unmade, "cannot be made for the device cpu .*halves.bin is not there"),
        (Shuttered, "Give at least 800 samples"),
        (Nothing, "identity is empty"),
        (Crooked, "a frame takes 103.896 samples"),
        (Infinite, "."),
        (Lost, "gave ndarray"),
        ("ser_example.log_mel:Nobody", "PYTHONPATH"),
        ("pathlib:Path", "not a class with a method frames"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
def test_a_broken_one_is_found(kind: Any, message: str):
    with pytest.raises((AssertionError, EncoderBroken), match=message):
        check_encoder(kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Failing, r"frames fails on an input \(ValueError: cannot reshape .*; line \d+ of test_plugged.py\)"),
        (Talking, "gave a str that is not an array"),
        (Slower, "frames gave 9 for 900 samples; its frame_rate foretells 5"),
    ],
)
def test_a_fault_of_the_class_is_a_sentence(kind: type[Halves], message: str):
    path = f"{kind.__module__}:{kind.__qualname__}"
    source, family = open_class(path, "audio"), ClassFamily(path)
    engine = load_engine(family, source, family.describe(source, InputOptions()), (0,), EngineOptions())
    with pytest.raises(EncoderBroken, match=message) as caught:
        engine.encode([np.ones(900, np.float32)])
    assert len(str(caught.value).splitlines()) == 2


def test_windows_meet_on_the_grid():
    """Halves see no neighbour, so a recording in windows gives what it gives as a whole."""
    path = f"{Halves.__module__}:Halves"
    source, family = open_class(path, "audio"), ClassFamily(path)
    wave = np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    states = [
        load_engine(family, source, description, (1,), EngineOptions()).encode([wave])[0].states[1]
        for description in (family.describe(source, InputOptions(seconds, 0.3)) for seconds in (60.0, 1.0))
    ]
    np.testing.assert_array_equal(*states)


def test_a_run_stores_what_the_classes_give(corpus, job, monkeypatch: pytest.MonkeyPatch):
    root = corpus(3)
    own = job(root, audio_encoder=LOG_MEL, text_encoder=LETTERS, dtype="float32")
    result = run(own)
    assert result.encoded == {"audio": 3, "text": 3} and not result.skipped
    assert not any(run(own).encoded.values())
    cache = open_cache(own.cache)
    audio, text = cache.select(modality="audio"), cache.select(modality="text")
    assert (audio.spec.encoder, audio.spec.frame_rate, audio.spec.declared["model_type"]) == ("log-mel", 100.0, LOG_MEL)
    from ser_example.log_mel import Letters

    np.testing.assert_array_equal(text.read("u01"), Letters("cpu").frames("b the sad")[0][0])
    assert text.special("u01").tolist() == [True] + [False] * 9
    monkeypatch.setattr(Letters, "identity", "version 2")
    with pytest.raises(CacheError, match="identity"):
        run(own)


def test_two_workers_go_on_where_a_part_ended(corpus, job, finest: float):
    from ser_example.log_mel import Letters

    own = {"text_encoder": LETTERS, "modalities": ("text",), "dtype": "float32"}
    root = corpus(4)
    assert run(job(root, **own, part=(1, 2)), pace=finest).encoded == {"text": 2}
    assert run(job(root, **own, workers=2), pace=finest).encoded == {"text": 2}
    entry = open_cache(job(root).cache).select(modality="text")
    for name, first in zip(entry.ids, "abcd", strict=True):
        np.testing.assert_array_equal(entry.read(name), Letters("cpu").frames(f"{first} the sad")[0][0])


def test_another_name_of_a_class_is_the_same_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ser_other_name.py").write_text("from ser_example.log_mel import Letters as Other\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert open_class("ser_other_name:Other", "text").plugin == LETTERS


def test_the_other_modality_is_refused(corpus, job):
    with pytest.raises(EncoderBroken, match=f"--encoder text={LETTERS}"):
        run(job(corpus(1), audio_encoder=LETTERS))


def test_a_checkpoint_never_names_code(tiny, tmp_path: Path):
    """Only what is typed is imported; a config's model_type is a word and nothing more."""
    from ser_extract.encoders.generic import generic_family
    from ser_extract.encoders.plugged import family_of
    from ser_extract.encoders.source import open_source

    folder = tmp_path / "folder"
    folder.mkdir()
    for file in tiny("bert").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    text = (folder / "config.json").read_text().replace('"model_type": "bert"', f'"model_type": "{LETTERS}"')
    assert LETTERS in text
    (folder / "config.json").write_text(text)
    source = open_source(str(folder), "text")
    assert family_of(source, "text") is None and generic_family(source, "text") is None
