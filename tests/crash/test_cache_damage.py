"""Flipped bits, cut and deleted files, swapped shards.

Every one is noticed, never is a wrong value returned, and repair and rerun bring the cache back.

The slice does 36 damages, in full (`make crash`) 320.
"""

import os
import random
import shutil
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cache"))

from made_cache import CONTAINERS, RECIPE, data_files, items, state, values, write

from ser_cache import CacheError, create_cache, open_cache
from ser_cache.format.log import withdrawal_log
from ser_cache.format.plan import plan_log
from ser_cache.maintenance.remove import remove_utterances
from ser_cache.maintenance.repair import repair
from ser_cache.maintenance.verify import Report, verify

FULL = bool(os.environ.get("SER_CRASH_FULL"))
COUNT = 160 if FULL else 18  # for each container
KINDS = ("flip", "flip", "flip", "truncate", "delete", "swap", "tail", "folder")
FILES = ("witnesses", "checksums", "attachments", "withdrawn", "data", "commits", "plans")
"""Folders of a cache; what lies in none of them is a record of the format or of an entry."""
WITHDRAWN = "u009"
MANIFEST = b"PAR1 what the corpus manifest would be PAR1"


def run(root: Path, container: str) -> None:
    """The command a user types again: plan, commit, attach; the second generation has a changed input."""
    wanted = items(12)
    wanted[2] = type(wanted[2])("u002", "b-2", 30.0, 4)
    cache = write(root, wanted, container)
    cache.attach("manifest.parquet", MANIFEST)


@pytest.fixture(scope="module", params=CONTAINERS)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache with two generations, failures, special tokens, a withdrawn utterance and an attachment."""
    root = tmp_path_factory.mktemp("damage") / "c"
    write(root, items(12), request.param)
    run(root, request.param)
    remove_utterances(create_cache(root), [WITHDRAWN])
    return root, str(request.param)


def _damage(root: Path, rng: random.Random) -> str | None:
    """Does one damage; returns what was done, or None if it changed nothing."""
    files = data_files(root)
    kind, path = rng.choice(KINDS), rng.choice(files)
    if rng.random() < 0.4:  # most files are records and metadata; see that the values get their share
        path = max(rng.sample(files, 5), key=lambda each: each.stat().st_size)
    if kind == "tail":  # the last record of a log, alone or with its copy
        log = rng.choice([withdrawal_log(root), *(plan_log(each.parent) for each in root.glob("entries/*/entry.json"))])
        lost = log.places(log.length())[: rng.randint(1, 2)]
        for each in lost:
            each.unlink()
        return f"tail {' '.join(str(each.relative_to(root)) for each in lost)}"
    if kind == "folder":
        path = rng.choice([each for each in root.rglob("*") if each.is_dir() and any(each.iterdir())])
        shutil.rmtree(path)
        return f"folder {path.relative_to(root)}"
    old = path.read_bytes()
    if kind == "delete":
        path.unlink()
    elif not old:
        return None
    elif kind == "truncate":
        path.write_bytes(old[: rng.randrange(len(old))])
    elif kind == "flip":
        new = bytearray(old)
        new[rng.randrange(len(new))] ^= 1 << rng.randrange(8)
        path.write_bytes(new)
    else:
        other = rng.choice([each for each in files if each != path and each.suffix == path.suffix] or [path])
        theirs = other.read_bytes()
        if theirs == old:
            return None
        other.write_bytes(old)
        path.write_bytes(theirs)
        return f"swap {path.relative_to(root)} {other.relative_to(root)}"
    return f"{kind} {path.relative_to(root)}"


def _read_everything(root: Path, expected: dict) -> bool:
    """Whether reading notices; a wrong value must never come back, an odd exception neither."""
    noticed = False
    try:
        cache = open_cache(root)
        entry = cache.select()
    except CacheError:
        return True
    assert WITHDRAWN not in entry
    for name in [each for each in expected if each.startswith("u0")]:
        try:
            row, mask = entry[name], entry.special(name)
        except CacheError:
            noticed = True
            continue
        content, shape, special_bytes, input_hash, _ = expected[name]
        assert entry.input_hashes[name] == input_hash and row.tobytes() == content and row.shape == shape
        assert (None if mask is None or not mask.any() else mask.tobytes()) == special_bytes
    try:
        noticed |= cache.attachment("manifest.parquet") != MANIFEST
    except CacheError:
        noticed = True
    return noticed


def _noticed(report: Report) -> bool:
    return bool(report.findings or report.unfinished or report.lacking)


def test_every_damage_is_noticed_and_repaired(original: tuple[Path, str], tmp_path: Path):
    source, container = original
    expected = state(source)
    assert not _noticed(verify(source)) and not _read_everything(source, expected)
    rng = random.Random(2026)
    done = by_reading = 0
    hit: Counter[str] = Counter()
    root = tmp_path / "c"
    while done < COUNT:
        shutil.copytree(source, root)
        what = _damage(root, rng)
        if what is not None:
            done += 1
            hit[next((kind for kind in FILES if f"{kind}/" in f"{what}/"), "records")] += 1
            read = _read_everything(root, expected)
            report = verify(root)
            assert _noticed(report), what
            by_reading += read
            assert repair(root, report) == [], what
            run(root, container)
            assert not _noticed(verify(root)), what
            assert state(root) == expected, what
            assert open_cache(root).attachment("manifest.parquet") == MANIFEST
        shutil.rmtree(root)
    print(f"{container}: {done} damages, all noticed by verify, {by_reading} by reading already")
    print(f"{container}: {', '.join(f'{count} {kind}' for kind, count in hit.most_common())}")


def test_several_damages_at_once(original: tuple[Path, str], tmp_path: Path):
    source, container = original
    expected = state(source)
    rng = random.Random(7)
    for number in range(40 if FULL else 4):
        root = tmp_path / f"c{number}"
        shutil.copytree(source, root)
        damages = []
        for _ in range(5):
            with suppress(CacheError, FileNotFoundError, IndexError):  # what an earlier one took cannot be hit again
                damages.append(_damage(root, rng))
        # all three places of a withdrawal hit: more than is promised
        withdrawn_lost = sum("withdrawn" in str(each) or each == "folder witnesses" for each in damages) > 1
        report = verify(root)
        assert _noticed(report) or not any(damages)
        problems = repair(root, report)
        if withdrawn_lost:
            continue
        if problems:  # a record and its only copy: that cannot be made again, and it is said
            assert all("by hand" not in each for each in problems), (damages, problems)
            continue
        run(root, container)
        assert not _noticed(verify(root)), damages
        assert state(root) == expected, damages


def test_flips_in_the_values_are_noticed_by_reading_alone(original: tuple[Path, str], tmp_path: Path):
    """Every single byte of one utterance's frames.

    The crc32c of the first read stops it, and without it the bytes would come through.
    """
    source, _ = original
    root = tmp_path / "c"
    shutil.copytree(source, root)
    entry = open_cache(root).select()
    name = max(entry.ids, key=entry.frames)
    needle = entry[name].tobytes()
    (file,) = [path for path in data_files(root) if needle in path.read_bytes()]
    whole = file.read_bytes()
    place = whole.index(needle)
    for number in range(0, len(needle), 1 if FULL else 17):
        bad = bytearray(whole)
        bad[place + number] ^= 1 << number % 8
        file.write_bytes(bad)
        fresh = open_cache(root).select()
        for read, given in (
            (fresh.__getitem__, name),
            (fresh.read, name),
            (fresh.gather, [name]),
        ):
            with pytest.raises(CacheError, match="checksum of utterance"):
                read(given)
        assert open_cache(root, verify_reads=False).select()[name].tobytes() != needle
    file.write_bytes(whole)
    assert open_cache(root).select()[name].tobytes() == needle


def test_repair_names_the_command(original: tuple[Path, str], tmp_path: Path):
    from click.testing import CliRunner

    from ser_cache.cli.main import main

    source, container = original
    root = tmp_path / "c"
    shutil.copytree(source, root)
    (file, *_) = [path for path in data_files(root) if "/data/0001-00000000" in str(path) and path.stat().st_size > 30]
    file.write_bytes(file.read_bytes()[:-1])
    invoke = CliRunner().invoke
    done = invoke(main, ["verify", str(root)])
    assert done.exit_code == 1 and "Damaged: " in done.output and "--repair" in done.output
    done = invoke(main, ["verify", str(root), "--repair"])
    assert done.exit_code == 3 and RECIPE in done.output and "utterances have no row now" in done.output
    assert list(root.glob("entries/*/quarantine/*"))
    done = invoke(main, ["verify", str(root)])
    assert done.exit_code == 3 and RECIPE in done.output
    run(root, container)
    assert invoke(main, ["verify", str(root)]).exit_code == 0
    assert state(root) == state(source)
    assert values(items(1)[0]).tobytes() == open_cache(root).select()["u000"].tobytes()
