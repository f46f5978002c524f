"""A run end to end in this process: what it writes, what it does not do twice, what it refuses."""

import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ser_extract.work.shard
from ser_base.progress import Display, Lines
from ser_cache import SpecMismatch, open_cache
from ser_data.manifest.table import Manifest
from ser_data.media.audio import load_audio
from ser_extract.errors import DiskTooSmall, EncoderNotSupported, LayerOutOfRange, UtteranceFailed
from ser_extract.run import run


def arrays(cache: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Every row of every entry."""
    opened = open_cache(cache)
    return {f"{info.address}/{name}": values for info in opened.entries() for name, values in opened.open(info).scan()}


class Counted(Lines):
    """Counts the utterances that went through an encoder, by modality."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: dict[str, int] = {}

    def advance(self, name: str, count: int = 1, *rest: Any, **more: Any) -> None:
        super().advance(name, count, *rest, **more)
        if not name.startswith("hash"):
            self.encoded[name] = self.encoded.get(name, 0) + count


def test_a_cache_holds_what_transformers_gives(corpus, job, tiny):
    import torch
    from transformers import AutoModel, Wav2Vec2FeatureExtractor

    root = corpus()
    result = run(job(root, dtype="float32", audio_layer="1,3", text_layer="last"))
    assert result.exit_code == 0
    assert result.encoded == {"audio": 6, "text": 6}
    cache = open_cache(tmp := root.parent.parent / "cache")
    assert {info.spec.layer for info in cache.entries() if info.spec.modality == "audio"} == {1, 3}
    entry = cache.select(modality="audio", layer=1)
    assert entry.ids == tuple(f"u{k:02d}" for k in range(6))
    model = AutoModel.from_pretrained(tiny("wav2vec2")).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tiny("wav2vec2"))
    for name in entry.ids:
        values = extractor(
            load_audio(root.parent / f"{name}.wav"), sampling_rate=16_000, return_tensors="pt"
        ).input_values
        with torch.inference_mode():
            expected = model(values, output_hidden_states=True).hidden_states[1][0].numpy()
        assert np.linalg.norm(entry[name] - expected) < 1e-5 * np.linalg.norm(expected)
    text = cache.select(modality="text")
    assert text.spec.layer == 3
    assert text.special("u00").tolist() == [True, False, False, False, True]
    manifest = Manifest.from_bytes(cache.attachment("manifest.parquet"))
    assert list(manifest.table["label"]) == list("ababab")
    assert (tmp / "failures.csv").read_text().strip() == "id,modality,reason,detail"
    declared = entry.spec.declared
    assert declared["weights"].startswith("xxh3:") and declared["final_norm"] is False and declared["rate"] == 16_000


def test_layers_share_one_forward_pass(corpus, job):
    counted = Counted()
    assert run(job(corpus(), audio_layer="all", modalities=("audio",)), counted).encoded == {"audio": 6}
    assert counted.encoded == {"audio": 6}


def test_a_second_run_encodes_nothing_and_a_new_layer_only_itself(corpus, job):
    root = corpus()
    run(job(root, audio_layer="1"))
    first = arrays(root.parent.parent / "cache")
    counted = Counted()
    assert run(job(root, audio_layer="1"), counted).encoded == {"audio": 0, "text": 0}
    assert counted.encoded == {}
    assert (
        run(job(root, audio_layer="1,2"), counted).encoded == counted.encoded | {"text": 0} == {"audio": 6, "text": 0}
    )
    after = arrays(root.parent.parent / "cache")
    assert all(np.array_equal(after[name], values) for name, values in first.items())


def test_changed_and_new_inputs_are_encoded_and_nothing_else(corpus, job, speech):
    import soundfile

    root = corpus()
    run(job(root))
    before = arrays(cache := root.parent.parent / "cache")
    soundfile.write(root.parent / "u03.wav", speech(0.5, 99), 16_000)
    assert run(job(root), Lines(said := io.StringIO())).encoded == {"audio": 1, "text": 0}
    assert "Note: 1 changed since the last run: u03 (audio)." in said.getvalue()
    after = arrays(cache)
    changed = {name for name, values in after.items() if not np.array_equal(values, before[name])}
    assert [name.rpartition("/")[2] for name in changed] == ["u03"]
    with root.open("a") as file:
        file.write("u77,u03.wav,a,happy\n")
    added = run(job(root), Lines(said := io.StringIO()))  # its sound is that of u03: taken over by content
    assert added.encoded == {"audio": 0, "text": 1} and added.taken == {"audio": 1}
    assert "changed" not in said.getvalue()


def test_other_weights_are_refused_by_name_until_replaced(corpus, job, tiny, tmp_path):
    from safetensors.numpy import load_file, save_file

    root, folder = corpus(2), tmp_path / "mine"
    shutil.copytree(tiny("bert"), folder)
    run(job(root, text_encoder=str(folder)))
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecMismatch, match="weights"):
        run(job(root, text_encoder=str(folder)))
    assert run(job(root, text_encoder=str(folder), replace=True)).encoded == {"audio": 0, "text": 2}
    shutil.move(folder, tmp_path / "moved" / "mine")
    assert run(job(root, text_encoder=str(tmp_path / "moved" / "mine"))).encoded == {"audio": 0, "text": 0}


def test_shards_make_the_same_cache_as_one_run(corpus, job, tmp_path, finest):
    root = corpus(7)
    run(job(root), pace=finest)
    whole = arrays(tmp_path / "cache")
    for part in (2, 1, 3):
        result = run(job(root, cache=tmp_path / "parts", part=(part, 3)), pace=finest)
        assert result.exit_code == 0
    parts = arrays(tmp_path / "parts")
    assert parts.keys() == whole.keys()
    assert all(np.array_equal(parts[name], whole[name]) for name in whole)


@pytest.mark.parametrize("container", ["zarr", "hdf5"])
def test_both_containers_hold_the_same(corpus, job, tmp_path, container):
    root = corpus(3)
    run(job(root, container=container, cache=tmp_path / container, dtype="float32"))
    run(job(root, cache=tmp_path / "other", dtype="float32"))
    one, other = arrays(tmp_path / container), arrays(tmp_path / "other")
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_what_float16_cannot_hold_fails_that_utterance_only(corpus, job, monkeypatch, tmp_path):
    monkeypatch.setitem(ser_extract.work.shard.LARGEST, "float16", 0.0)
    result = run(job(corpus(2), modalities=("text",)))
    assert {line.reason for line in result.skipped} == {"overflow"}
    assert "--dtype float32" in result.skipped[0].detail
    assert result.exit_code == 3
    assert result.encoded == {"text": 0}
    monkeypatch.undo()
    assert run(job(tmp_path / "corpus" / "corpus.csv", modalities=("text",))).exit_code == 3  # remembered
    assert run(job(tmp_path / "corpus" / "corpus.csv", modalities=("text",), retry_failed=True)).exit_code == 0


def test_on_error_fail_ends_the_run_and_commits_nothing_of_the_shard(corpus, job, tmp_path):
    root = corpus(2, ({"id": "quiet", "path": "empty.wav", "label": "a", "text": "a"},))
    (root.parent / "empty.wav").write_bytes(b"")
    with pytest.raises(UtteranceFailed, match="quiet .audio. failed: empty"):
        run(job(root, on_error="fail", modalities=("audio",)))
    assert open_cache(tmp_path / "cache").select(modality="audio").ids == ()


def test_limit_takes_the_first_and_a_full_run_the_rest(corpus, job, tmp_path):
    root = corpus()
    assert run(job(root, limit=2)).utterances == 2
    whole = run(job(root))
    assert whole.utterances == 6 and whole.encoded == {"audio": 4, "text": 4}
    assert len(open_cache(tmp_path / "cache").select(modality="text").ids) == 6


def test_a_corpus_without_text_is_audio_only(corpus, job):
    root = corpus()
    lines = [",".join(line.split(",")[:3]) for line in root.read_text().splitlines()]
    root.write_text("\n".join(lines) + "\n")
    assert run(job(root)).encoded == {"audio": 6}


def test_spans_of_one_long_file(corpus, job, tmp_path, speech):
    import soundfile

    soundfile.write(tmp_path / "long.flac", speech(4.0, 5), 16_000)
    table = tmp_path / "spans.csv"
    table.write_text("id,path,start,end,label\na,long.flac,0.5,1.5,x\nb,long.flac,2.0,3.25,y\nc,long.flac,3.5,9.0,y\n")
    result = run(job(table, dtype="float32"))
    entry = open_cache(tmp_path / "cache").select(modality="audio")
    assert entry.ids == ("a", "b")
    assert entry.frames("a") == 49
    assert [(line.id, line.reason) for line in result.skipped] == [("c", "span")]


def test_layers_and_types_out_of_range_name_what_is_there(corpus, job, tiny):
    root = corpus(1)
    with pytest.raises(LayerOutOfRange, match=r"no hidden state 9; it has 0 .* to 3"):
        run(job(root, audio_layer="9"))
    with pytest.raises(EncoderNotSupported, match="which is not a known audio encoder"):
        run(job(root, audio_encoder=str(tiny("bert"))))
    assert not (root.parent.parent / "cache").exists()


def test_a_full_disk_is_told_before_work_begins(corpus, job, tmp_path):
    """Spans of 1e6 s, which nothing but the recording's end refutes, take 6 GB each in float32."""
    spans = shutil.disk_usage(tmp_path).free // 6_000_000_000 + 2
    rows = tuple(
        {"id": f"long{k}", "path": "u00.wav", "label": "a", "text": "", "start": "0", "end": "1e6"}
        for k in range(spans)
    )
    with pytest.raises(DiskTooSmall, match="--dtype float16"):
        run(job(corpus(1, rows), modalities=("audio",), dtype="float32"))


def test_refusals_of_the_encoder_become_failures(corpus, job, tiny, tmp_path):
    """A recording shorter than one frame is what an encoder refuses; the other one is encoded."""
    import soundfile

    root = corpus(2)
    soundfile.write(root.parent / "u01.wav", np.full(390, 0.1), 16_000)
    result = run(job(root, modalities=("audio",)))
    assert [(line.id, line.reason) for line in result.skipped] == [("u01", "too_short")]
    assert result.encoded == {"audio": 1}


def test_other_compute_is_declared(corpus, job):
    root = corpus(1)
    run(job(root, modalities=("text",)))
    with pytest.raises(SpecMismatch, match="compute"):
        run(job(root, modalities=("text",), compute="bfloat16"))
    assert run(job(root, modalities=("text",), compute="bfloat16", replace=True)).encoded == {"text": 1}
    records = (root.parent.parent / "cache").glob("entries/text-*/commits/**/*.json")
    errors = [
        float(found) for file in records for found in re.findall(r'"compute_error":\s*([0-9.e-]+)', file.read_text())
    ]
    assert len(errors) == 1 and 1e-5 < errors[0] < 0.1


def test_what_is_odd_about_the_table_is_told(corpus, job, capsys):
    root = corpus(2)
    root.write_text(root.read_text().replace(",a,", ",a ,").replace("\n", ",\n"))
    assert run(job(root, modalities=("text",))).exit_code == 0
    told = capsys.readouterr().err
    assert "Note: blanks in names: blanks were removed from" in told and "1 of label (as 'a ')" in told
    assert "Note: empty columns" in told


def test_a_recording_that_was_cut_off_is_a_failure_or_kept(corpus, job, capsys):
    import soundfile

    root = corpus(3)
    folder = root.parent
    whole = (folder / "u00.wav").read_bytes()
    (folder / "u00.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "u01.wav").unlink()
    soundfile.write(folder / "u01.ogg", 0.1 * np.random.default_rng(0).standard_normal(48_000), 16_000)
    streamed = (folder / "u01.ogg").read_bytes()
    (folder / "u01.ogg").write_bytes(streamed[: len(streamed) // 2])
    root.write_text(root.read_text().replace("u01.wav", "u01.ogg"))
    result = run(job(root, modalities=("audio",)))
    assert result.exit_code == 3 and [(line.id, line.reason) for line in result.skipped] == [("u00", "truncated")]
    assert (
        "1 recordings do not state their length, such as u01 (it has no end-of-stream page: 1)"
        in capsys.readouterr().err
    )
    kept = run(job(root, modalities=("audio",), on_truncated="keep", retry_failed=True))
    assert kept.exit_code == 0 and kept.encoded == {"audio": 1}


def test_sound_in_an_mp4_gives_features(corpus, job, shared):
    folder = shared / "cases" / "m4a"
    if not folder.is_dir():
        pytest.skip("no cases there")
    result = run(job(folder / "list.csv", modalities=("audio",)))
    assert result.exit_code == 0 and result.encoded == {"audio": 1}


def test_meld_is_read_with_the_sound_of_its_mp4(job, shared):
    folder = shared / "cases" / "m4a" / "meldmini"
    if not folder.is_dir():
        pytest.skip("no cases there")
    result = run(job(folder, corpus="meld", modalities=("audio",)))
    assert result.encoded["audio"] == 3  # of the other two parts no sound is there
    assert {line.id.split("_")[0] for line in result.skipped} == {"dev", "test"}


def moved(root: Path) -> Path:
    """The same recordings listed in another folder by absolute paths and without ids, as the case moved-absolute-paths."""
    folder = root.parent.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    rows = [line.split(",") for line in root.read_text().splitlines()[1:]]
    lines = ["path,label,text"] + [f"{root.parent / path},{label},{text}" for _, path, label, text in rows]
    (folder / "abs.csv").write_text("\n".join(lines))
    return folder / "abs.csv"


def test_moved_recordings_are_taken_over_by_content(corpus, job):
    from ser_extract.inputs.dry_run import forecast

    root = corpus(6, extra=({"id": "bad", "path": "bad.wav", "label": "a", "text": "b"},))
    (root.parent / "bad.wav").write_bytes(b"no sound at all")
    assert run(job(root, audio_layer="1,2")).exit_code == 3
    before = arrays(root.parent.parent / "cache")
    told = forecast(job(moved(root), audio_layer="1,2"), Display())
    assert "L1 1 to do, 6 taken over by content" in told and "text" in told and "0 to do, 7 taken over" in told
    counted = Counted()
    result = run(job(moved(root), audio_layer="1,2"), counted)
    assert result.taken == {"audio": 6, "text": 7} and result.encoded == {"audio": 0, "text": 0}
    assert counted.encoded == {"audio": 1}  # failed rows are no source: it is tried under its new id
    assert [(line.id, line.modality) for line in result.skipped] == [(str(root.parent / "bad"), "audio")]
    after = arrays(root.parent.parent / "cache")
    for place, values in before.items():
        address, _, name = place.rpartition("/")
        other = f"{address}/{root.parent / name}" if name != "bad" else f"{address}/{root.parent / 'bad'}"
        np.testing.assert_array_equal(after[other], values)
    assert run(job(moved(root), audio_layer="1,2")).taken == {}


def test_absolute_paths_below_the_table_have_ids_relative_to_it(corpus, job):
    """A cache that an earlier version made has absolute ids for such a table; its rows are found again, and that is told."""
    root = corpus(3)
    rows = [line.split(",") for line in root.read_text().splitlines()[1:]]
    old = "id,path,label,text\n" + "".join(f"{root.parent / p[:-4]},{p},{label},{t}\n" for _, p, label, t in rows)
    (root.parent / "old.csv").write_text(old)
    run(job(root.parent / "old.csv"))
    new = "path,label,text\n" + "".join(f"{root.parent / p},{label},{t}\n" for _, p, label, t in rows)
    (root.parent / "new.csv").write_text(new)
    result = run(job(root.parent / "new.csv"))
    assert result.taken == {"audio": 3, "text": 3} and result.encoded == {"audio": 0, "text": 0}
    manifest = Manifest.from_bytes(open_cache(root.parent.parent / "cache").attachment("manifest.parquet"))
    assert list(manifest.table["id"]) == ["u00", "u01", "u02"]


def test_one_channel_is_declared_and_its_features_are_that_channels(corpus, job):
    import soundfile

    root = corpus(2)
    folder = root.parent
    left, rate = soundfile.read(folder / "u00.wav", dtype="float32")
    soundfile.write(folder / "u00.wav", np.stack([left, -left], axis=1), rate, "FLOAT")
    result = run(job(root, modalities=("audio",)))
    assert [(line.id, line.reason) for line in result.skipped] == [("u00", "silent")]
    assert "--channel left" in result.skipped[0].detail
    mean = open_cache(root.parent.parent / "cache").select(modality="audio")
    assert "channel" not in mean.spec.declared
    with pytest.raises(SpecMismatch, match="channel"):
        run(job(root, modalities=("audio",), channel="left"))
    alone = job(root, modalities=("audio",), channel="left", cache=root.parent.parent / "left")
    assert run(alone).exit_code == 0
    taken = open_cache(root.parent.parent / "left").select(modality="audio")
    assert taken.spec.declared["channel"] == "left" and set(taken.ids) == {"u00", "u01"}
    np.testing.assert_array_equal(taken["u01"], mean["u01"])
