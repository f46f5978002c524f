"""Caches of released format versions open for ever, and today's writer still makes the same rows."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from ser_cache import open_cache
from ser_cache.format.ledger import Ledger
from ser_cache.maintenance.verify import verify

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cache_v1", GOLDEN / "make_cache_v1.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made = _maker()


@pytest.mark.parametrize("container", ["zarr", "hdf5"])
def test_version_1_opens(container: str):
    cache = open_cache(GOLDEN / f"cache-v1-{container}")
    assert [info.address for info in cache.entries()] == [made.AUDIO.address, made.TEXT.address]
    assert cache.attachment("manifest.parquet") == made.MANIFEST
    assert cache.withdrawn() == {"withdrawn"}
    for spec, fingerprint in (
        (made.AUDIO, "bcb9641a97bdb2dec6eda1a9260eac69"),
        (made.TEXT, "b8c521997b2ccd15dbd71797f62007c3"),
    ):
        entry = cache.select(modality=spec.modality)
        assert entry.spec == spec and entry.fingerprint == fingerprint
        assert set(entry.ids) == set(made.IDS) - {"failed", "withdrawn"}
        assert entry.failures["failed"].reason == "nan" and not entry.missing
        changed = "-changed" if spec is made.AUDIO else ""
        assert entry.input_hashes["three"] == f"hash-three{changed}"
        for name in entry.ids:
            number = made.IDS.index(name)
            assert entry[name].dtype == spec.dtype and entry[name].tobytes() == made.rows_of(number, spec).tobytes()
            mask = entry.special(name)
            if spec is made.TEXT:
                assert mask is not None and mask.tolist() == [each in (0, number - 1) for each in range(number)]
            else:
                assert mask is None
        assert len(entry) == 6
    report = verify(GOLDEN / f"cache-v1-{container}")
    assert report.findings == [] and not report.unfinished


@pytest.mark.parametrize("container", ["zarr", "hdf5"])
def test_the_writer_of_today_makes_the_same_rows(container: str, tmp_path: Path):
    made.make(tmp_path / "c", container)
    for modality in ("audio", "text"):
        commits = []
        for root in (tmp_path / "c", GOLDEN / f"cache-v1-{container}"):
            entry = open_cache(root).select(modality=modality)
            ledger = Ledger(entry.path, entry.fingerprint)
            ledger.refresh()
            commits.append(
                {
                    key: (each.ids, each.input_hashes, each.frames, each.crc32c, each.special_crc32c, each.left_out)
                    for key, each in ledger.commits.items()
                }
            )
        assert commits[0] == commits[1]
