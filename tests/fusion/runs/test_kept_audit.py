"""The leak audit is made once for a ground; what is kept of another ground, or damaged, is made again and said."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ser_cache import open_cache
from ser_fusion.evaluation.probes import Fits
from ser_fusion.runs.environment import JUDGING, makers
from ser_fusion.runs.kept import kept_audit
from ser_fusion.study.data import stream_features
from ser_fusion.study.open import Study, open_study


class Asked:
    """How often features were asked for, and what was told."""

    def __init__(self, study: Study) -> None:
        self.study, self.times, self.told = study, 0, list[str]()

    def features(self) -> Any:
        self.times += 1
        return stream_features(self.study)

    def audit(
        self, out: Path, refit: bool = True, made: dict[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """`made` stands for an audit that takes its time."""
        if made is not None:
            options["audit"] = lambda *_, **__: dict(made)
        return kept_audit(self.study, out, self.features, Fits(), refit, self.told.append, **options)


@pytest.fixture(scope="module")
def made(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A cache beside which an audit is kept, and the audit."""
    cache = Path(shutil.copytree(small_cache, tmp_path_factory.mktemp("kept") / "cache"))
    for kept in cache.glob("attachments/audit-*.json"):  # of other tests' runs on the small cache
        kept.unlink()
    first = Asked(open_study(cache))
    audit = first.audit(tmp_path_factory.mktemp("run"))
    assert first.times == 1 and first.told == []
    return cache, audit


@pytest.fixture
def cache(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "cache"))


def kept_in(cache: Path) -> Path:
    (found,) = cache.glob("attachments/audit-*.json")
    return found


def test_another_run_reads_it(made: tuple[Path, dict[str, Any]], cache: Path, tmp_path: Path) -> None:
    asked = Asked(open_study(cache))
    assert asked.audit(tmp_path / "other") == made[1] and asked.times == 0
    assert made[1] == json.loads(kept_in(cache).read_text()) and made[1]["rows"]


@pytest.mark.parametrize("spoil", ["byte", "json", "ground", "record"])
def test_what_is_damaged_is_made_again_and_said(
    spoil: str, made: tuple[Path, dict[str, Any]], cache: Path, tmp_path: Path
) -> None:
    kept = kept_in(cache)
    if spoil == "byte":
        data = bytearray(kept.read_bytes())
        data[50] ^= 1
        kept.write_bytes(data)
    else:
        other = {"json": "[", "ground": json.dumps({**made[1], "ground": "x"}), "record": "{}"}[spoil]
        open_cache(cache).attach(kept.name, other.encode())
    asked = Asked(open_study(cache))
    assert asked.audit(tmp_path / "run", made=made[1]) == made[1] and asked.times == 1
    assert len(asked.told) == 1 and "made again" in asked.told[0]
    assert Asked(open_study(cache)).audit(tmp_path / "run") == made[1]


def test_other_folds_have_the_same(made: tuple[Path, dict[str, Any]], cache: Path, tmp_path: Path) -> None:
    asked = Asked(open_study(cache, protocol="random"))
    assert asked.audit(tmp_path / "run") == made[1] and asked.times == 0


@pytest.mark.parametrize("change", ["refit", "table", "version", "code"])
def test_another_ground_has_its_own(change: str, cache: Path, tmp_path: Path) -> None:
    study, (code, versions) = open_study(cache), makers(*JUDGING)
    if change == "table":
        study.table["text"] = "the same words"
    by = {"version": (code, {**versions, "scikit-learn": "0"}), "code": ("other", versions)}.get(
        change, (code, versions)
    )
    asked = Asked(study)
    found = asked.audit(tmp_path / "run", change != "refit", {"of": "another ground"}, made_by=by)
    assert found["of"] == "another ground" and asked.times == 1


def test_a_cache_that_cannot_be_written_to_keeps_nothing(
    made: tuple[Path, dict[str, Any]], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_in(cache).unlink()

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("ser_cache.catalog.Cache.attach", refuse)
    assert Asked(open_study(cache)).audit(tmp_path / "run", made=made[1]) == made[1]
    assert not list(cache.glob("attachments/audit-*.json"))


def test_the_runs_own_is_read_where_the_cache_keeps_none(
    made: tuple[Path, dict[str, Any]], cache: Path, tmp_path: Path
) -> None:
    kept_in(cache).unlink()
    (tmp_path / "audit.json").write_text(json.dumps(made[1]))
    asked = Asked(open_study(cache))
    assert asked.audit(tmp_path) == made[1] and asked.times == 0
