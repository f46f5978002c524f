"""Video end to end through stage one: exact, resumed after a kill, hostile files told, utterances without a video kept.

The encoders are tiny and random (the architecture is real, the weights are not).
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_cache import SpecMismatch, open_cache
from ser_extract.run import run

pytest.importorskip("av", reason="video needs PyAV: pip install 'ser-fusion[video]'")

from ser_data.media.video import decode_video
from ser_data.synthetic.clips import draw, write_video

Array = np.ndarray[Any, Any]
CLASSES = "abc"
FILES = {"u00": "u00.mp4", "u01": "u01.avi", "u02": "u02.mp4", "u03": "long.avi", "u04": "long.avi", "u05": None}
SPANS = {"u03": ("0.5", "2.0", "left"), "u04": ("2.5", "3.4", "right")}


def write_corpus(folder: Path, extra: tuple[dict[str, str], ...] = ()) -> Path:
    """Six utterances: three files of their own, two spans and halves of one file, and one without a video."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(("u00.mp4", "u01.avi", "u02.mp4", "long.avi")):
        count = 40 if name == "long.avi" else 12 + 5 * k
        write_video(folder / name, [draw((48, 64), k % 3, 3, t / 20) for t in range(count)], 10)
    rows = []
    for k, (name, file) in enumerate(FILES.items()):
        start, end, crop = SPANS.get(name, ("", "", ""))
        row = {"id": name, "label": CLASSES[k % 3], "text": f"happy {CLASSES[k % 3]}", "video_path": file or ""}
        rows.append(row | {"video_start": start, "video_end": end, "video_crop": crop})
    with (folder / "corpus.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, *extra])
    return folder / "corpus.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "clips")


@pytest.fixture
def video_job(job: Callable[..., Any], tiny: Callable[[str], Path]) -> Callable[..., Any]:
    """(csv, **changes) -> a job that encodes video only."""
    return lambda root, **changes: job(
        root, **({"modalities": ("video",), "video_encoder": str(tiny("vit")), "dtype": "float32"} | changes)
    )


def rows(cache: Path) -> dict[str, bytes]:
    opened = open_cache(cache)
    return {
        f"{info.address}/{name}": values.tobytes()
        for info in opened.entries()
        for name, values in opened.open(info).scan()
    }


@pytest.mark.parametrize("variant_name", ["vit", "clip", "dinov2"])
def test_a_cache_holds_what_transformers_gives(variant_name, root, video_job, tiny, tmp_path):
    import torch
    from transformers import AutoImageProcessor, AutoModel

    folder = tiny(variant_name)
    result = run(video_job(root, video_encoder=str(folder), video_layer="all", fps=5.0))
    assert (result.exit_code, result.encoded, result.without_video) == (0, {"video": 6}, 1)
    model = AutoModel.from_pretrained(folder).eval()
    tower = getattr(model, "vision_model", model)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    cache = open_cache(tmp_path / "cache")
    for layer in range(4):
        entry = cache.select(modality="video", layer=layer)
        assert entry.ids == tuple(FILES) and entry.spec.frame_rate == 5.0
        assert entry["u05"].shape == (0, 32), "without a video, a row without frames"
        for name, file in FILES.items():
            if file is None:
                continue
            start, end, crop = SPANS.get(name, (None, None, None))
            span = (float(start) if start else None, float(end) if end else None)
            frames = decode_video(root.parent / file, 5.0, *span, crop)
            assert len(entry[name]) == len(frames)
            for frame, stored in zip(frames, entry[name], strict=True):
                pixels = processor(frame, return_tensors="pt")["pixel_values"]  # one picture at a time
                with torch.inference_mode():
                    state = tower(pixels, output_hidden_states=True).hidden_states[layer][0, 0].numpy()
                assert np.linalg.norm(stored - state) < 1e-5 * np.linalg.norm(state)
    declared = cache.select(modality="video", layer=3).spec.declared
    assert (
        declared["fps"] == 5.0 and declared["vector"] == "class token" and declared["pixels"]["mean"] == [0.4, 0.5, 0.6]
    )
    environment = cache.select(modality="video", layer=3).environment("u00")
    assert set(environment["versions"]) >= {"av", "pillow", "torch"}


def test_a_second_run_does_nothing_and_a_changed_span_or_crop_only_itself(root, video_job):
    run(video_job(root))
    assert run(video_job(root)).encoded == {"video": 0}
    root.write_text(root.read_text().replace("0.5,2.0,left", "0.5,2.1,left"))
    assert run(video_job(root)).encoded == {"video": 1}
    root.write_text(root.read_text().replace("2.5,3.4,right", "2.5,3.4,left"))
    assert run(video_job(root)).encoded == {"video": 1}
    with pytest.raises(SpecMismatch, match="fps"):
        run(video_job(root, fps=4.0))


def test_videos_join_audio_and_text_only_when_asked(corpus, job, tiny, tmp_path):
    root = corpus(3)
    write_video(root.parent / "v.mp4", [draw((32, 32), 1, 3, 0.0)] * 10, 10)
    lines = root.read_text().splitlines()
    root.write_text(
        "\n".join([lines[0] + ",video_path", lines[1] + ",v.mp4", *(f"{line}," for line in lines[2:])]) + "\n"
    )
    assert run(job(root)).encoded == {"audio": 3, "text": 3}
    result = run(job(root, modalities=("audio", "text", "video"), video_encoder=str(tiny("clip-tower"))))
    assert result.encoded == {"audio": 0, "text": 0, "video": 3} and result.without_video == 2
    assert {info.spec.modality for info in open_cache(tmp_path / "cache").entries()} == {"audio", "text", "video"}


def test_hostile_videos_are_listed_and_the_rest_is_done(tmp_path, video_job):
    names = ("gone.mp4", "text.mp4", "cut.avi", "codec.avi", "sound.avi")
    extra = tuple({"id": f"x{k}", "label": "a", "text": "a", "video_path": name} for k, name in enumerate(names))
    behind = {"id": "y", "label": "a", "text": "a", "video_path": "u00.mp4", "video_start": "3", "video_end": "9"}
    root = write_corpus(tmp_path / "clips", (*extra, behind))
    good = (root.parent / "long.avi").read_bytes()
    (root.parent / "text.mp4").write_bytes(b"this is no video\n" * 99)
    (root.parent / "cut.avi").write_bytes(good[: good.index(b"movi") + 1200])
    (root.parent / "codec.avi").write_bytes(good.replace(b"DIVX", b"QQQQ"))
    (root.parent / "sound.avi").write_bytes(b"RIFF" + bytes(40) + b"WAVE" + bytes(4000))
    result = run(video_job(root))
    assert result.exit_code == 3 and result.encoded == {"video": 6}
    with (tmp_path / "cache" / "failures.csv").open() as file:
        reasons = {line["id"]: line["reason"] for line in csv.DictReader(file)}
    assert reasons == {
        "x0": "missing",
        "x1": "unreadable",
        "x2": reasons["x2"],
        "x3": "codec",
        "x4": "unreadable",
        "y": "span",
    }
    assert reasons["x2"] in ("truncated", "unreadable")
    write_video(root.parent / "gone.mp4", [draw((48, 64), 1, 3, 0.0)] * 20, 10)
    assert run(video_job(root)).encoded == {"video": 1}, "there now, encoded now"


def test_a_check_finds_no_drift_and_a_forecast_counts(root, video_job):
    from ser_base.progress import Display
    from ser_extract.inputs.dry_run import forecast
    from ser_extract.work.check import check_cache

    run(video_job(root, dtype="float16"))
    drift = check_cache(video_job(root, dtype="float16"), 5)
    assert drift.fine and drift.lines[0].utterances == 5 and drift.lines[0].worst < 1e-3
    said = forecast(video_job(root, fps=10.0, dtype="float16"), Display())
    assert "video with tiny-vit" in said and "about 75 frames" in said, said  # 12 + 17 + 22 + 15 + 9


def test_refusals_help(root, corpus, video_job, job, tiny, monkeypatch):
    from ser_base.errors import PackageMissing
    from ser_extract.errors import EncoderNotFound, EncoderNotSupported, NoVideo

    with pytest.raises(EncoderNotSupported, match="which is not a known video encoder") as caught:
        run(video_job(root, video_encoder=str(tiny("bert"))))
    assert "Known for video: vit, clip, clip_vision_model, dinov2" in str(caught.value)
    with pytest.raises(EncoderNotFound, match="the demo has no encoder for video"):
        run(video_job(root, video_encoder="demo"))
    with pytest.raises(NoVideo, match="none of the 2 utterances has a video"):
        run(video_job(corpus(2)))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PackageMissing, match=r"ser-fusion\[video\]"):
        run(video_job(root))


PROGRAM = """
import json, sys
from pathlib import Path
from ser_extract.job import ExtractJob
from ser_extract.run import run

run(ExtractJob.model_validate(json.loads(Path(sys.argv[1]).read_text())), pace=float(sys.argv[2]))
"""


def test_killed_and_resumed_equals_uninterrupted(tmp_path, video_job, finest):
    many = tuple(
        {
            "id": f"m{k:03d}",
            "label": "a",
            "text": "a",
            "video_path": "long.avi",
            "video_start": f"{k / 20}",
            "video_end": "4",
        }
        for k in range(30)
    )
    root = write_corpus(tmp_path / "clips", many)
    told = video_job(root, fps=8.0, cache=tmp_path / "killed")
    (tmp_path / "job.json").write_text(told.model_dump_json())
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(tmp_path / "job.json"), str(finest)])
    deadline = time.monotonic() + 120
    while process.poll() is None and not list((tmp_path / "killed").rglob("commits/*/0000000[3-9]*")):
        if time.monotonic() > deadline:
            raise TimeoutError("three shards were not committed")
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = rows(tmp_path / "killed")
    assert 0 < len(before) < 36
    resumed = run(told, pace=finest)
    assert resumed.encoded == {"video": 36 - len(before)}
    whole = run(video_job(root, fps=8.0, cache=tmp_path / "whole"))
    assert whole.encoded == {"video": 36}
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert json.loads((tmp_path / "job.json").read_text())["modalities"] == ["video"]
