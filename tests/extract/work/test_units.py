"""How the work is cut: all workers are busy, a commit comes about every 30 s, and all parts and layers are cut alike."""

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ser_cache import EntrySpec, Item, Shard, open_cache
from ser_cache.format.plan import cut, plan_log
from ser_data.manifest.columns import Utterance
from ser_extract.encoders import ENCODERS
from ser_extract.encoders.base import InputOptions
from ser_extract.run import run
from ser_extract.work import units as pace
from ser_extract.work.units import Waiting, core_pace, gather, part, shard_cost


@pytest.mark.parametrize("workers", [1, 2, 16])
def test_forty_clips_keep_every_worker_busy(workers: int, tiny: Callable[[str], Path]):
    """148 s of speech through an encoder of the size of wav2vec2-base; it was one shard, so one worker."""
    from ser_extract.encoders.source import open_source

    source = open_source(str(tiny("wav2vec2")), "audio")
    base = {"hidden_size": 768, "num_hidden_layers": 12, "conv_dim": [512] * 7}
    object.__setattr__(source, "config", {**source.config, **base})
    description = ENCODERS["wav2vec2"].describe(source, InputOptions())
    samples = [round(16_000 * (3.0 + k % 7 / 4)) for k in range(40)]
    items = [Item(f"u{k:02d}", "h", description.cost(each), description.frames(each)) for k, each in enumerate(samples)]
    most = shard_cost(sum(item.cost for item in items), workers, pace=1.0)
    shards = cut(items, EntrySpec(modality="audio", encoder="e", layer=12, dtype="float16", features=768), most)
    costs = [sum(item.cost for item in shard) for shard in shards]
    assert len(shards) >= min(2 * workers, sum(costs) / pace.LEAST_SECONDS)
    loads = [0.0] * workers
    for each in sorted(costs, reverse=True):
        loads[loads.index(min(loads))] += each
    if workers == 2:
        assert max(loads) <= 1.1 * sum(costs) / 2


def test_a_commit_comes_about_every_thirty_seconds_and_files_stay_few():
    for hours in (0.001, 0.1, 1.0, 30.0, 100.0, 10_000.0):
        cost = hours * 3600 * 2.0  # a core that does 2 in a second
        seconds = shard_cost(cost, workers=4, pace=2.0) / 2.0
        assert pace.LEAST_SECONDS <= seconds <= 120.0
        assert seconds <= 30.0 or math.isclose(seconds, min(hours * 3600 / 4_000, 120.0), rel_tol=1e-3)
        if hours < 100:
            assert seconds <= 30.0


def test_the_probe_is_a_pace():
    assert 0.01 < core_pace() < 100.0


def plans(cache: Path) -> dict[int, Any]:
    return {
        info.spec.layer: plan_log(info.path).read(plan_log(info.path).record(1), 1)
        for info in open_cache(cache).entries()
    }


def test_layers_and_parts_are_cut_alike_whatever_their_machines_are(corpus, job, tmp_path, finest):
    """A slow machine has planned the first layer and done nothing; a faster one comes with one layer more."""
    root = corpus(8)
    first = job(root, audio_layer="1", modalities=("audio",), part=(99, 99))  # no shard has this number
    assert run(first, pace=finest).encoded == {"audio": 0}
    (planned,) = plans(tmp_path / "cache").values()
    assert len(planned.shards) == 8 and planned.shard_seconds is not None
    two = job(root, audio_layer="1,2", modalities=("audio",), part=(1, 2))
    run(two, pace=1e6)
    found = plans(tmp_path / "cache")
    assert found[1] == planned
    assert found[2].shards == planned.shards and found[2].shard_seconds == planned.shard_seconds
    run(two.model_copy(update={"part": (2, 2)}), pace=1e6)
    assert all(len(open_cache(tmp_path / "cache").select(layer=layer)) == 8 for layer in (1, 2))


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("Features\t: fp asimd bf16\n", True),
        ("Features\t: fp asimd\n", False),
        ("", True),
    ],
)
def test_processors_without_bfloat16_are_known(text: str, fast: bool, tmp_path: Path):
    (tmp_path / "cpuinfo").write_text(text)
    assert pace.multiplies_bfloat16(tmp_path / "cpuinfo") is fast
    assert pace.multiplies_bfloat16(tmp_path / "none")


def test_ctrl_c_says_how_long_the_shards_in_hand_may_take():
    from types import SimpleNamespace

    now = [0.0]
    units = [
        SimpleNamespace(key=("audio", (name, f"{name}2")), modality="audio", ids=(name, f"{name}2"), cost=cost)
        for name, cost in (("a", 40.0), ("b", 20.0), ("c", 20.0))
    ]
    wait = Waiting(units, workers=2, clock=lambda: now[0])  # type: ignore[arg-type]
    assert wait.seconds is None and str(wait) == "how long is not known yet"
    now[0] = 30.0
    wait.encoded("audio", 3)  # half of all: a cost of 40 in 30 s by two workers
    assert wait.seconds == 60.0 and str(wait) == "at most about 60 s"
    wait.saved(("audio", ("a", "a2")))
    assert wait.seconds == 30.0
    wait.saved(("audio", ("b", "b2")))
    wait.saved(("audio", ("c", "c2")))
    assert wait.seconds == 0.0


def shard(number, *names, generation=1):
    return Shard(generation, number, tuple(Item(name, f"hash-{name}", 1.0, 10) for name in names))


def utterance(name):
    return Utterance(**{field.name: None for field in fields(Utterance)} | {"id": name})


def test_layers_with_the_same_utterances_share_a_unit():
    pending = {4: [shard(0, "a", "b"), shard(1, "c")], 8: [shard(0, "a", "b")], 12: [shard(5, "b")]}
    units = gather("audio", pending, {"a": 2.0, "b": 1.0, "c": 9.0}, {name: utterance(name) for name in "abc"})
    assert all(tuple(each.id for each in unit.utterances) == unit.ids for unit in units)
    assert [(unit.ids, unit.layers, unit.seconds) for unit in units] == [
        (("a", "b"), (4, 8), 3.0),
        (("b",), (12,), 1.0),
        (("c",), (4,), 9.0),
    ]


def test_parts_are_disjoint_and_together_everything():
    named = {f"u{n}": utterance(f"u{n}") for n in range(11)}
    units = gather("text", {1: [shard(n, f"u{n}") for n in range(11)]}, {}, named)
    parts = [part(units, (index, 3)) for index in (1, 2, 3)]
    assert sorted(unit.ids for piece in parts for unit in piece) == sorted(unit.ids for unit in units)
    assert part(units, None) == units
