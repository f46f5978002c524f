"""Merge, export, import: rows in other caches and in other people's formats."""

import csv
import json
import os
import shutil
import signal
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from made_cache import assert_right, fails, in_child, items, spec, special, state, values, write

from ser_cache import Item, Row, SpecMismatch, WrongRows, create_cache, open_cache
from ser_cache.cli.main import main
from ser_cache.exchange.export import TargetExists, export
from ser_cache.exchange.importing import CannotImport, import_features, read_kaldi
from ser_cache.exchange.merge import MergeConflict, merge
from ser_cache.format.spec import slug
from ser_cache.maintenance.verify import verify


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_merged_halves_are_the_whole(tmp_path: Path, container: str):
    everything = items(20)
    write(tmp_path / "whole", everything)
    write(tmp_path / "a", everything[:12], container)
    write(tmp_path / "b", everything[9:])  # some are in both
    create_cache(tmp_path / "a").attach("manifest.parquet", b"same")
    create_cache(tmp_path / "b").attach("manifest.parquet", b"same")
    told = run("merge", tmp_path / "a", tmp_path / "b", "--into", tmp_path / "c", "--container", container)
    assert "18 rows written, 0 kept, 2 failures" in told
    assert state(tmp_path / "c") == state(tmp_path / "whole")
    merged = open_cache(tmp_path / "c")
    assert merged.attachment("manifest.parquet") == b"same"
    assert "pid" in merged.select().environment("u000")["merged"][0]
    assert not verify(tmp_path / "c").findings
    again = run("merge", tmp_path / "a", tmp_path / "b", "--into", tmp_path / "c")
    assert "0 rows written, 18 kept" in again
    assert not write(tmp_path / "c", everything).select().missing  # an extraction into it finds nothing to do
    assert len(list((tmp_path / "c").glob("entries/*/plans/*.json"))) == 1


def test_one_id_with_two_hashes_is_refused_and_named(tmp_path: Path):
    write(tmp_path / "a", items(6))
    write(tmp_path / "b", items(9)[5:] + items(3, version="b")[2:])
    told = run("merge", tmp_path / "a", tmp_path / "b", "--into", tmp_path / "c", code=1)
    assert "u002: a-2 in" in told and "b-2 in" in told and "u005" not in told
    write(tmp_path / "d", items(3, version="b"), entry=spec(layer=4))
    with pytest.raises(MergeConflict, match="u001"):  # another layer of the same encoder, made from another recording
        merge([tmp_path / "a", tmp_path / "d"], tmp_path / "c")
    assert not (tmp_path / "c").exists()
    write(tmp_path / "c", items(3, version="b"))
    before = state(tmp_path / "c")
    with pytest.raises(MergeConflict, match="u000"):  # the target counts as well
        merge([tmp_path / "a"], tmp_path / "c")
    assert state(tmp_path / "c") == before


def test_other_declarations_other_attachments_and_the_target_as_source_are_refused(tmp_path: Path):
    write(tmp_path / "a", items(2))
    write(tmp_path / "b", items(4)[2:], entry=spec(declared={"weights": "xxh3:11"}))
    with pytest.raises(SpecMismatch, match="weights"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    with pytest.raises(WrongRows, match="one of the caches"):
        merge([tmp_path / "a"], tmp_path / "a")
    write(tmp_path / "d", items(4)[2:]).attach("manifest.parquet", b"one")
    create_cache(tmp_path / "a").attach("manifest.parquet", b"other")
    with pytest.raises(MergeConflict, match="--attachments"):
        merge([tmp_path / "a", tmp_path / "d"], tmp_path / "c")
    assert not (tmp_path / "c").exists()
    merge([tmp_path / "a", tmp_path / "d"], tmp_path / "c", attachments_of=tmp_path / "d")
    assert open_cache(tmp_path / "c").attachment("manifest.parquet") == b"one"
    assert_right(open_cache(tmp_path / "c").select(), items(4))


def test_who_withdrew_stays_withdrawn(tmp_path: Path):
    write(tmp_path / "a", items(4)).withdraw(["u001"])
    write(tmp_path / "b", items(4))
    assert merge([tmp_path / "b", tmp_path / "a"], tmp_path / "c").withdrawn == 1
    assert open_cache(tmp_path / "c").select().ids == ("u000", "u002", "u003")


@pytest.mark.parametrize("form", ["npz", "npz-each", "hdf5"])
def test_an_export_holds_every_value(tmp_path: Path, container: str, form: str):
    wanted = [item for item in items(12) if not fails(item)]
    write(tmp_path / "cache", items(12), container)
    entry = open_cache(tmp_path / "cache").select()
    target = tmp_path / ("all.h5" if form == "hdf5" else "out")
    run("export", tmp_path / "cache", "--to", target, "--format", form)
    if form == "npz-each":
        folder = target / entry.address
        for item in wanted:
            with np.load(folder / f"{item.id}.npz", allow_pickle=False) as found:
                assert np.array_equal(found["values"], values(item)) and found["values"].dtype == np.float16
        stored = json.loads((folder / "spec.json").read_text())
        assert (folder / "index.csv").read_text().splitlines()[1].startswith("u000,u000.npz,")
    else:
        if form == "hdf5":
            with h5py.File(target) as file:
                group = file[entry.address]
                found = {name: group[name][:] for name in ("values", "offsets", "special")}
                found["ids"] = group["ids"].asstr()[:]
                stored = json.loads(group.attrs["spec"])
        else:
            with np.load(target / f"{entry.address}.npz", allow_pickle=False) as archive:
                found = dict(archive)
                stored = json.loads(str(found["spec"]))
        assert list(found["ids"]) == [item.id for item in wanted]
        for item, start, stop in zip(wanted, found["offsets"], found["offsets"][1:], strict=False):
            assert np.array_equal(found["values"][start:stop], values(item))
            mask = special(item)
            assert np.array_equal(found["special"][start:stop], np.zeros(stop - start, bool) if mask is None else mask)
    assert stored["fingerprint"] == entry.fingerprint and stored["declared"]["rate"] == 16000
    with pytest.raises(TargetExists):
        export(tmp_path / "cache", target, form)
    assert "no entry" in run("export", tmp_path / "cache", "--to", tmp_path / "x", "--entry", "none", code=1)


def kaldi(path: Path, arrays: dict[str, np.ndarray], scp: bool) -> Path:
    """Writes an archive as Kaldi lays it out (KALDI: matrix/kaldi-matrix.cc, Matrix::Write)."""
    lines, data = [], b""
    for name, array in arrays.items():
        data += name.encode() + b" "
        lines.append(f"{name} {path.name}.ark:{len(data)}\n")
        kind = b"F" if array.dtype == np.float32 else b"D"
        data += b"\0B" + kind + (b"M " if array.ndim == 2 else b"V ")
        data += b"".join(b"\4" + struct.pack("<i", size) for size in array.shape) + array.tobytes()
    path.with_suffix(".ark").write_bytes(data)
    path.with_suffix(".scp").write_text("".join(lines))
    return path.with_suffix(".scp" if scp else ".ark")


@pytest.mark.parametrize("form", ["npy", "ark", "scp", "h5", "h5-folder"])
def test_an_import_holds_every_value_and_says_what_it_is(tmp_path: Path, form: str):
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((k, 6)).astype("f4" if k % 2 else "f8") for k, name in enumerate("abcdef")}
    arrays["vector"] = rng.standard_normal(6).astype("f4")
    source = tmp_path / "source"
    source.mkdir()
    if form == "npy":
        (source / "s1").mkdir()
        arrays["s1/deep"] = rng.standard_normal((3, 6)).astype("f4")
        for name, array in arrays.items():
            np.save(source / f"{name}.npy", array)
    elif form == "h5":
        source = source / "all.h5"
        arrays["s1/deep"] = rng.standard_normal((3, 6)).astype("f4")
        with h5py.File(source, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif form == "h5-folder":
        for name, array in arrays.items():
            with h5py.File(source / f"{name}.h5", "w") as file:
                file["features"] = array
    else:
        source = kaldi(source / "features", arrays, form == "scp")
    options = ["--cache", tmp_path / "cache", "--modality", "text", "--encoder", "mine", "--dtype", "float32"]
    assert f"{len(arrays)} rows imported, 0 kept, 0 skipped" in run("import", source, *options, "--note", "by hand")
    entry = open_cache(tmp_path / "cache").select(encoder="mine")
    assert entry.ids == tuple(sorted(arrays))
    assert entry.spec.declared["imported"] is True and entry.spec.declared["note"] == "by hand"
    for name, array in arrays.items():
        assert np.array_equal(entry[name], np.atleast_2d(array).astype("f4")), name
    assert f"0 rows imported, {len(arrays)} kept" in run("import", source, *options, "--note", "by hand")
    assert "other inputs" in run("import", source, *options, "--note", "of another origin", code=1)


def test_what_does_not_fit_is_skipped_and_a_changed_file_replaces_its_row(tmp_path: Path):
    folder = tmp_path / "npy"
    folder.mkdir()
    for name, value in (("good", 1.0), ("nan", np.nan), ("large", 1e6)):
        np.save(folder / f"{name}.npy", np.full((2, 3), value))
    options = {"modality": "audio", "encoder": "mine", "layer": 2, "frame_rate": 50.0}
    done = import_features(folder, tmp_path / "cache", **options)
    assert {name: failure.reason for name, failure in done.failures.items()} == {
        "nan": "not_finite",
        "large": "overflow",
    }
    np.save(folder / "good.npy", np.full((4, 3), 2.0))
    np.save(folder / "nan.npy", np.full((1, 3), 3.0))
    run("import", folder, "--cache", tmp_path / "cache", "--modality", "audio", "--encoder", "mine", "--layer", 2,
        "--frame-rate", 50)  # fmt: skip
    entry = open_cache(tmp_path / "cache").select()
    assert {name: (len(entry[name]), entry[name][0, 0]) for name in entry.ids} == {"good": (4, 2.0), "nan": (1, 3.0)}


def test_broken_and_hostile_sources_are_refused(tmp_path: Path):
    options = {"modality": "text", "encoder": "mine", "layer": 0}
    folder = tmp_path / "npy"
    folder.mkdir()
    np.save(folder / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CannotImport, match="pickled"):
        import_features(folder, tmp_path / "cache", **options)
    np.save(folder / "pickled.npy", np.zeros((2, 3)))
    np.save(folder / "wide.npy", np.zeros((2, 4)))
    with pytest.raises(CannotImport, match="4 features"):
        import_features(folder, tmp_path / "cache", **options)
    scp = tmp_path / "x.scp"
    scp.write_text(f"u1 touch {tmp_path / 'owned'} |\n")
    with pytest.raises(CannotImport, match="no commands"):
        import_features(scp, tmp_path / "cache", **options)
    assert not (tmp_path / "owned").exists()
    ark = kaldi(tmp_path / "y", {"u1": np.zeros((3, 4), "f4")}, scp=False)
    whole = ark.read_bytes()
    for data in (whole[:-1], whole.replace(b"FM ", b"CM "), whole[:3] + b" [ 1 2 ]\n", b"x" * 20_000):
        ark.write_bytes(data)
        with pytest.raises(CannotImport):
            import_features(ark, tmp_path / "cache", **options)
    ark.write_bytes(whole[:9] + struct.pack("<i", 2**31 - 1) + b"\4" + struct.pack("<i", 2**31 - 1) + b"\0" * 48)
    with pytest.raises(CannotImport, match="declares"):
        import_features(ark, tmp_path / "cache", **options)
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file["u1"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(CannotImport, match="link"):
        import_features(tmp_path / "z.h5", tmp_path / "cache", **options)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(CannotImport, match="Three formats can be imported"):
        import_features(tmp_path / "nothing", tmp_path / "cache", **options)


def test_our_kaldi_reader_reads_what_kaldiio_writes(tmp_path: Path):
    kaldiio = pytest.importorskip("kaldiio", reason="kaldiio is not installed")
    arrays = {name: np.random.default_rng(k).standard_normal((k + 1, 4)).astype("f4") for k, name in enumerate("abc")}
    kaldiio.save_ark(str(tmp_path / "x.ark"), arrays, scp=str(tmp_path / "x.scp"))
    for suffix in (".ark", ".scp"):
        found = {name: load() for name, load in read_kaldi(tmp_path / f"x{suffix}")}
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def _same_slug(count: int) -> tuple[str, str]:
    """Two ids that share their plain letters and the 32 bits of hash that a slug has."""
    seen: dict[str, str] = {}
    for number in range(count):
        name = "dia/" + chr(0x4E00 + number % 20000) + chr(0x4E00 + number // 20000)
        if (first := seen.setdefault(slug(name), name)) != name:
            return first, name
    raise AssertionError("no collision; try more")


def test_every_utterance_of_an_export_has_a_file_of_its_own(tmp_path: Path):
    ids = [*_same_slug(400_000), "A", "a", "a/b", "=cmd|x", "x\x1b\ny", "a" * 300, "a" * 301, ".", "...", "é", "-"]
    cache = create_cache(tmp_path / "c")
    writer = cache.writer(spec(declared={}))
    writer.plan(Item(name, str(number), 0.0, 1) for number, name in enumerate(ids))
    for shard in writer.pending():
        rows = [Row(item.id, np.full((1, 5), int(item.input_hash), np.float16)) for item in shard.items]
        writer.commit(shard, rows)
    export(tmp_path / "c", tmp_path / "out", "npz-each")
    (folder,) = (tmp_path / "out").iterdir()
    assert len({path.name.casefold() for path in folder.glob("*.npz")}) == len(ids)
    text = (folder / "index.csv").read_text("utf-8")
    assert "'=cmd|x" in text and "\x1b" not in text
    rows = list(csv.reader(text.splitlines()))[1:]
    for name, (told, file, _) in zip(sorted(ids), rows, strict=True):
        assert told.removeprefix("'") == name or not name.isprintable() or name[0] in "=-"
        assert np.load(folder / file)["values"][0, 0] == ids.index(name)


@pytest.mark.parametrize("form", ["npz", "npz-each"])
def test_an_export_that_was_killed_between_entries_is_finished_by_running_it_again(tmp_path: Path, form: str):
    for layer in (3, 4, 5):
        write(tmp_path / "c", items(4), entry=spec(layer=layer))
    export(tmp_path / "c", tmp_path / "whole", form)

    def killed() -> None:
        count = 0

        def die(done: int, total: int) -> None:
            nonlocal count
            count += 1
            if count == 6:  # in the middle of the second entry
                os.kill(os.getpid(), signal.SIGKILL)

        export(tmp_path / "c", tmp_path / "out", form, progress=die)

    assert in_child(killed) == -signal.SIGKILL
    assert [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".part")]
    first = next(path for path in sorted((tmp_path / "out").iterdir()) if not path.name.startswith("."))
    before = first.stat().st_mtime_ns
    export(tmp_path / "c", tmp_path / "out", form)
    assert first.stat().st_mtime_ns == before
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == sorted(
        path.name for path in (tmp_path / "whole").rglob("*")
    )
    with pytest.raises(TargetExists):  # finished
        export(tmp_path / "c", tmp_path / "out", form)
    shutil.rmtree(first) if first.is_dir() else first.unlink()
    write(tmp_path / "c", items(4, version="b"), entry=spec(layer=5))
    with pytest.raises(TargetExists, match="L5"):  # of other rows
        export(tmp_path / "c", tmp_path / "out", form)
