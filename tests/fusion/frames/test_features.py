"""Frames in memory: strides, positions, moments, speakers, and the shared arena."""

import mmap
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_base import machine
from ser_cache import open_cache
from ser_fusion.frames import features
from ser_fusion.frames.device import on_disk, pages, read_ahead
from ser_fusion.frames.features import Arena, StreamFrames, attach, read_stream
from ser_fusion.frames.feed import Feed
from ser_fusion.study import data


def entry(cache: Path, stream: str) -> Any:
    return open_cache(cache).select(modality=stream)


def test_rows_are_those_of_the_cache(small_cache: Path) -> None:
    audio = entry(small_cache, "audio")
    ids = list(audio.ids)[::-1]  # any order
    frames = read_stream([audio], ids)
    assert frames.frame_rate == 50.0
    for n in (0, 7, len(ids) - 1):
        rows = slice(frames.offsets[n], frames.offsets[n + 1])
        assert np.array_equal(frames.layers[0][rows], audio[ids[n]])


def test_stride_is_the_mean_of_k_frames(small_cache: Path) -> None:
    audio = entry(small_cache, "audio")
    ids = list(audio.ids)[:20]
    frames = read_stream([audio], ids, stride=4)
    assert frames.frame_rate == 12.5
    for n, name in enumerate(ids):
        full = audio[name].astype(np.float32)
        expected = [full[start : start + 4].mean(0) for start in range(0, len(full), 4)]
        got = frames.layers[0][frames.offsets[n] : frames.offsets[n + 1]]
        np.testing.assert_allclose(got, np.asarray(expected, dtype=np.float16), atol=2e-3)
    text = read_stream([entry(small_cache, "text")], ids, stride=4)
    assert text.frame_rate is None
    assert text.lengths[0] == entry(small_cache, "text").frames(ids[0])


def test_text_marks_special_tokens_and_can_be_cut_to_the_first(small_cache: Path) -> None:
    text = entry(small_cache, "text")
    ids = list(text.ids)[:5]
    frames = read_stream([text], ids)
    start, stop = frames.offsets[0], frames.offsets[1]
    assert not frames.content[start] and not frames.content[stop - 1] and frames.content[start + 1 : stop - 1].all()
    cls = read_stream([text], ids, first_only=True)
    assert cls.lengths.tolist() == [1] * 5 and cls.content.all()
    assert np.array_equal(cls.layers[0][3], text[ids[3]][0])


def test_moments_are_those_of_all_frames_and_a_constant_channel_is_dropped() -> None:
    draw = np.random.default_rng(0)
    lengths = [3, 0, 9, 5]
    values = draw.normal(100, 2, size=(17, 4)).astype(np.float32)
    values[:, 2] = 7.0
    offsets = np.cumsum([0, *lengths])
    parts = [values[a:b] for a, b in pairwise(offsets)]
    means = np.stack([p.mean(0) if len(p) else np.zeros(4) for p in parts]).astype(np.float32)
    variances = np.stack([p.var(0) if len(p) else np.zeros(4) for p in parts]).astype(np.float32)
    frames = StreamFrames((values,), offsets, np.ones(17, bool), means[None], variances[None], None)
    (mean,), (scale,) = frames.moments(np.array([0, 1, 3]))
    chosen = np.concatenate([parts[0], parts[3]])
    np.testing.assert_allclose(mean, chosen.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale[[0, 1, 3]], 1 / chosen.std(0)[[0, 1, 3]], rtol=1e-4)
    assert scale[2] == 0.0


@pytest.mark.parametrize("neutral_only", [False, True])
def test_speakers_are_normalised_by_their_own_speech(small_cache: Path, neutral_only: bool) -> None:
    audio = entry(small_cache, "audio")
    ids = list(audio.ids)[:60]
    groups = np.arange(60) % 3
    reference = (np.arange(60) < 30) if neutral_only else None
    frames = read_stream([audio], ids, groups=groups, reference=reference)
    for group in range(3):
        own = [n for n in range(60) if groups[n] == group and (reference is None or reference[n])]
        rows = np.concatenate([frames.layers[0][frames.offsets[n] : frames.offsets[n + 1]] for n in own]).astype(
            np.float32
        )
        np.testing.assert_allclose(rows.mean(0), 0, atol=5e-3)
        np.testing.assert_allclose(rows.std(0), 1, atol=5e-3)
    n = 17
    one = frames.layers[0][frames.offsets[n] : frames.offsets[n + 1]].astype(np.float32)
    np.testing.assert_allclose(frames.means[0, n], one.mean(0), atol=2e-3)
    np.testing.assert_allclose(frames.variances[0, n], one.var(0), atol=2e-2)


def test_whole_utterances_lie_in_their_place_with_the_moments_of_a_plain_reader(small_cache: Path) -> None:
    audio = entry(small_cache, "audio")
    ids, sample = list(audio.ids)[::-1], np.array([0, 3, 4, 5, 6, 7, 11])
    for rows in (None, sample):
        frames = read_stream([audio], ids, rows=rows)
        read = set(range(len(ids)) if rows is None else rows.tolist())
        for n, name in enumerate(ids):
            here = frames.layers[0][frames.offsets[n] : frames.offsets[n + 1]]
            assert here.tobytes() == (audio[name].tobytes() if n in read else b"")
            if n in read:
                plain = audio[name].astype(np.float32)
                assert np.array_equal(frames.means[0, n], plain.mean(0))
                assert np.array_equal(frames.variances[0, n], plain.var(0))


def _sum_there(handle: Any, channel: Any) -> None:
    frames = attach(handle)
    channel.send((float(frames.layers[0].astype(np.float64).sum()), int(frames.offsets[-1]), frames.frame_rate))


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_another_process_sees_the_arena(
    small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool
) -> None:
    if on_disk:
        monkeypatch.setattr(features, "memory_left", lambda: 0)
    arena = Arena(tmp_path)
    frames = read_stream([entry(small_cache, "audio")], list(entry(small_cache, "audio").ids), allocate=arena.allocate)
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_sum_there, args=(arena.handle(frames), there))
    process.start()
    assert here.poll(60)
    layers = (*frames.layers, *attach(arena.handle(frames)).layers)
    assert [isinstance(layer, np.memmap) for layer in layers] == [on_disk] * 2
    total, count, rate = here.recv()
    process.join(10)
    assert total == float(frames.layers[0].astype(np.float64).sum())
    assert (count, rate) == (int(frames.offsets[-1]), 50.0)
    if sys.platform == "linux":
        assert not list(tmp_path.iterdir())  # no name, so that a killed process leaves nothing
    arena.close()
    assert not list(tmp_path.iterdir())


class Asked(Feed):
    """Notes what it asks the disk for."""

    asked: list[list[int]]

    def expect(self, rows: Any, partners: Any = None) -> None:
        self.asked = [*getattr(self, "asked", []), rows.tolist()]
        super().expect(rows, partners)


def test_frames_on_the_disk_are_asked_for_ahead_and_equal(small_cache: Path, tmp_path: Path) -> None:
    source = entry(small_cache, "audio")
    usual = read_stream([source, source], list(source.ids))
    stored = [np.memmap(tmp_path / str(k), np.float16, "w+", shape=usual.layers[k].shape) for k in range(2)]
    for own, layer in zip(stored, usual.layers, strict=True):
        own[:] = layer
    feed = Asked({"audio": replace(usual, layers=tuple(stored))}, ("audio",))
    assert len(feed.frames["audio"].files) == 2
    assert Feed({"audio": usual}, ("audio",)).frames["audio"].files == ()
    parts = [(np.array([5, 3]), {}), (np.array([7, 1]), {}), (np.array([2]), {})]
    for number, (batch, (rows, _)) in enumerate(zip(feed.batches(parts), parts, strict=True)):
        assert number == 2 or parts[number + 1][0].tolist() in feed.asked
        whole = Feed({"audio": usual}, ("audio",)).batch(rows)
        assert np.array_equal(batch["audio"].values, whole["audio"].values)


def test_the_disk_is_asked_for_the_pages_of_utterances_alone() -> None:
    offsets = np.array([0, 3, 3, 5000])
    page = mmap.PAGESIZE
    assert pages(offsets, np.array([0, 1, 2]), page // 2) == [(0, 3 * page // 2), (page, 5000 * page // 2 - page)]


def test_layers_in_a_file_are_told_from_others(tmp_path: Path) -> None:
    stored = np.memmap(tmp_path / "layer", np.float16, "w+", shape=(5000, 8))
    stored[:] = np.arange(5000)[:, None]
    files = on_disk([np.zeros((4, 4)), stored, stored[2:]])
    assert files == ((stored.base, 16),)
    read_ahead(files, np.array([0, 3, 3, 5000]), np.array([2, 0, 1]))
    assert stored[4999, 0] == np.float16(4999)


def test_pooled_features_leave_special_tokens_out(small_cache: Path) -> None:
    from ser_fusion.study.open import open_study

    study = open_study(small_cache)
    text = entry(small_cache, "text")
    pooled = study.pooled("text", "stats")
    for n in (0, 5):
        words = text[study.table.index[n]].astype(np.float32)[1:-1]
        np.testing.assert_allclose(pooled[n], np.concatenate([words.mean(0), words.std(0)]), rtol=1e-5, atol=1e-5)
    assert study.pooled("audio", "mean").shape == (120, 16)


@pytest.mark.parametrize("long", [0, 1 << 60])
def test_several_threads_pool_as_one_does(small_cache: Path, monkeypatch: pytest.MonkeyPatch, long: int) -> None:
    monkeypatch.setattr(machine, "LONG", long)
    audio = entry(small_cache, "audio")
    ids = list(audio.ids)[::-1]
    whole = [audio[name].astype(np.float32) for name in ids]
    for pooling, plain in (
        ("stats", lambda frames: np.concatenate([frames.mean(0), frames.std(0)])),
        ("mean", lambda frames: frames.mean(0)),
        ("max", lambda frames: frames.max(0)),
    ):
        assert np.array_equal(data.pool_entry(audio, ids, pooling), np.stack([plain(frames) for frames in whole]))
    read = read_stream([audio], ids)
    assert np.array_equal(read.layers[0], np.concatenate([audio[name] for name in ids]))
    assert np.array_equal(read.means[0], np.stack([frames.mean(0) for frames in whole]))
    assert np.array_equal(read.variances[0], np.stack([frames.var(0) for frames in whole]))
    strided = read_stream([audio], ids, stride=3)
    monkeypatch.setattr(machine, "LONG", (1 << 60) - long)  # the other way
    other = read_stream([audio], ids, stride=3)
    for name in ("means", "variances", "layers", "offsets"):
        assert np.array_equal(getattr(strided, name), getattr(other, name))


def test_a_large_entry_is_read_in_pieces(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> None:
    cache = cache_of(corpus("both", n=300))
    audio = entry(cache, "audio")
    frames = read_stream([audio], list(audio.ids))
    assert frames.lengths.sum() == audio.total_frames
    assert np.array_equal(frames.layers[0][-3:], audio[audio.ids[-1]][-3:])
