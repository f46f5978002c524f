"""Reference rows are computed once for a ground; what is kept of another ground, or damaged, is computed again and said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_fusion.evaluation.probes import Fits
from ser_fusion.evaluation.references import Reference
from ser_fusion.runs.kept import kept_references
from ser_fusion.study.data import stream_features
from ser_fusion.study.open import Study, open_study


def asked(study: Study, out: Path, told: list[str], features: Any = None, seeds: tuple[int, ...] = (0,)) -> Any:
    given = features or (lambda: pytest.fail("computed again"))
    return kept_references(study, out, seeds, given, Fits(out / "probes"), True, told.append)


def equal(some: list[Reference], others: list[Reference]) -> None:
    assert [one.info for one in some] == [one.info for one in others]
    for one, other in zip(some, others, strict=True):
        for a, b in ((one.test, other.test), (one.dev, other.dev)):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                pd.testing.assert_frame_equal(a.reset_index(drop=True), b.reset_index(drop=True), check_dtype=False)


@pytest.fixture(scope="module")
def study(small_cache: Path) -> Study:
    return open_study(small_cache)


@pytest.fixture(scope="module")
def made(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Reference]]:
    out, told = tmp_path_factory.mktemp("run"), list[str]()
    rows = asked(study, out, told, lambda: stream_features(study))
    assert not told
    return out, rows


@pytest.fixture
def out(made: tuple[Path, list[Reference]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "run"))


def test_they_are_read_to_the_last_digit(study: Study, out: Path, made: tuple[Path, list[Reference]]) -> None:
    told: list[str] = []
    equal(asked(study, out, told), made[1])
    assert not told


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: flip(out / "references" / "test.parquet"), "test.parquet is not as it was written"),
        (lambda out: (out / "references" / "dev.parquet").unlink(), "No such file"),
        (lambda out: (out / "references" / "rows.json").write_text("["), "it cannot be read"),
        (lambda out: flip(next((out / "probes").iterdir())), ""),
        (lambda out: next((out / "probes").iterdir()).unlink(), "cannot be read"),
    ],
)
def test_what_is_damaged_is_computed_again_and_said(
    spoil: Callable[[Path], Any], said: str, study: Study, out: Path, made: tuple[Path, list[Reference]]
) -> None:
    spoil(out)
    told: list[str] = []
    equal(asked(study, out, told, lambda: stream_features(study)), made[1])
    assert all("computed again" in one and said in one for one in told) and bool(told) == bool(said)
    told.clear()
    equal(asked(study, out, told), made[1])
    assert not told


def test_other_seeds_and_other_folds_have_their_own(small_cache: Path, out: Path, study: Study) -> None:
    told: list[str] = []
    found = asked(study, out, told, lambda: stream_features(study), (0, 1))
    assert sorted(found[0].test["seed"].unique()) == [0, 1] and not told
    other = open_study(small_cache, protocol="speaker")
    assert asked(other, out, told, lambda: stream_features(other))[2].test["fold"].nunique() == 6
    assert json.loads((out / "references" / "rows.json").read_text())["ground"]
