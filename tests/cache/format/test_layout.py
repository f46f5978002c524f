"""A link in the place of every file and folder of both golden caches in turn: nothing behind it is read, moved or deleted."""

import ast
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_cache import CONTAINERS, copy, items, write

import ser_cache
from ser_cache import CacheError, Unsafe, create_cache, open_cache
from ser_cache.cli.main import main
from ser_cache.format.layout import check
from ser_cache.maintenance.repair import repair
from ser_cache.maintenance.verify import verify

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
OLD = 48 * 3600


def _content(root: Path) -> dict[str, tuple[str, bytes]]:
    """Every name below a folder with what is there; a link is its target's name, and is not followed."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.fsencode(os.readlink(path)))
        elif path.is_file():
            found[name] = ("file", path.read_bytes())
        else:
            found[name] = ("folder", b"")
    return found


def _aged(root: Path) -> None:
    """Everything looks two days old, so that gc would take it."""
    for path in (root, *root.rglob("*")):
        status = os.lstat(path)
        os.utime(path, (status.st_mtime - OLD, status.st_mtime - OLD), follow_symlinks=False)


def _run(*arguments: object) -> int:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code


def _library(root: Path) -> None:
    """What ser-extract and ser-fuse call: every row, every attachment, and a writer."""
    for use in (
        lambda: [open_cache(root).attachment(name) for name in open_cache(root).attachments()],
        lambda: [list(open_cache(root).open(info).scan()) for info in open_cache(root).entries()],
        lambda: create_cache(root).attach("manifest.parquet", b"other"),
        lambda: create_cache(root).withdraw(["one"]),
        lambda: [create_cache(root).writer(info.spec).plan(items(3)) for info in open_cache(root).entries()],
    ):
        with suppress(CacheError):
            use()


def _swap(path: Path, outside: Path) -> None:
    os.rename(path, outside)
    os.symlink(outside, path)


def _paths(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for path in root.rglob("*"))


@pytest.mark.parametrize("container", CONTAINERS)
def test_no_command_reaches_behind_a_link(container: str, in_memory: Path):
    tmp_path = in_memory
    source = copy(GOLDEN / f"cache-v1-{container}", tmp_path / "source")
    for entry in (source / "entries").iterdir():  # what gc and repair empty
        (entry / "quarantine").mkdir()
        (entry / "quarantine" / "old.json").write_bytes(b"moved aside")
    address = min(path.name for path in (source / "entries").iterdir())
    _aged(source)
    paths = _paths(source)
    assert len(paths) > 35
    root, outside = tmp_path / "c", tmp_path / "outside"
    for relative in paths:
        copy(source, root)
        _swap(root / relative, outside)
        before = (outside.read_bytes(), {}) if outside.is_file() else (b"", _content(outside))
        inside = _content(root)
        for command in (
            ("gc", root, "--older", "0"),
            ("verify", root),
            ("verify", root, "--records", "--repair"),
            ("rm", root, "--ids", "one"),
            ("rm", root, "--entry", address),
            ("du", root),
            ("push", root, f"memory://{uuid.uuid4().hex}"),
            ("merge", root, "--into", tmp_path / "merged"),
            ("merge", GOLDEN / f"cache-v1-{container}", "--into", root),
            ("ls", root),
            ("info", root),
            ("export", root, "--to", tmp_path / "x"),
        ):
            if command[-1] == tmp_path / "merged" and ".zarr/" in str(relative):
                continue  # it reads as export does, and writes much: once for each shard is enough
            code = _run(*command)
            if command[0] in ("gc", "verify", "rm", "du", "push") or command[-2:] == ("--into", root):
                assert code == 1, (relative, command)
            shutil.rmtree(tmp_path / "merged", ignore_errors=True)
            shutil.rmtree(tmp_path / "x", ignore_errors=True)
        assert _content(root) == inside, relative  # what moves or deletes has refused before it began
        _library(root)
        after = (outside.read_bytes(), {}) if outside.is_file() else (b"", _content(outside))
        assert after == before, relative
        with pytest.raises(Unsafe, match="symbolic link"):
            check(root)
        shutil.rmtree(root)
        shutil.rmtree(outside) if outside.is_dir() else outside.unlink()


def _foreign(tmp_path: Path, container: str) -> tuple[Path, Path]:
    """A cache, and another one that belongs to somebody else."""
    for name in ("ours", "theirs"):
        write(tmp_path / name, items(4), container).attach("manifest.parquet", b"rows")
    return tmp_path / "ours", tmp_path / "theirs"


@pytest.mark.parametrize("folder", ["data", "quarantine", "commits", "plans", ""])
def test_the_folders_of_another_cache_are_left_alone(folder: str, container: str, tmp_path: Path):
    ours, theirs = _foreign(tmp_path, container)
    (mine,), (other,) = (ours / "entries").iterdir(), (theirs / "entries").iterdir()
    _aged(theirs)
    before = _content(theirs)
    shutil.rmtree(mine / folder)
    os.symlink(other / folder, mine / folder)
    assert _run("gc", ours) == 1 and _run("verify", ours) == 1 and _run("verify", ours, "--repair") == 1
    with pytest.raises(Unsafe, match="symbolic link"):
        create_cache(ours).writer(open_cache(theirs).entries()[0].spec)
    assert _content(theirs) == before


def test_notes_behind_a_link_are_not_taken_and_not_deleted(tmp_path: Path):
    ours, theirs = _foreign(tmp_path, "hdf5")
    before = _content(theirs)
    for inner in ("checksums", "checksums/manifest.parquet"):
        root = copy(ours, tmp_path / inner.replace("/", "-"))
        shutil.rmtree(root / inner)
        os.symlink(theirs / inner, root / inner)
        with pytest.raises(Unsafe, match="symbolic link"):
            open_cache(root).attachment("manifest.parquet")
        report = verify(root)
        assert [each.kind for each in report.findings] == ["link"]
        assert "by hand" in repair(root, report)[0]
        assert _content(theirs) == before


def _uses(tree: ast.AST, names: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names:
            yield node.attr


def test_only_one_module_walks_deletes_and_renames():
    """So that no command can list or delete without the check for links."""
    walking = {"iterdir", "glob", "rglob", "walk", "listdir", "scandir", "rmtree", "rename", "rmdir"}
    allowed = {"layout.py", "importing.py"}  # importing: other people's folders
    found = {
        file.name: sorted(set(_uses(ast.parse(file.read_text()), walking)))
        for file in sorted(Path(ser_cache.__file__).parent.rglob("*.py"))
        if file.name not in allowed
    }
    assert len(found) > 25
    assert {name: used for name, used in found.items() if used} == {}


def test_a_link_to_the_cache_itself_is_followed(tmp_path: Path, container: str):
    write(tmp_path / "c", items(4), container)
    os.symlink(tmp_path / "c", tmp_path / "link")
    assert len(open_cache(tmp_path / "link").select()) == 4 and verify(tmp_path / "link").findings == []
    assert _run("gc", tmp_path / "link") == 0
