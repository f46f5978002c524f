"""Paths that leave an archive are refused."""

import pytest

from ser_data.corpora.base import PathEscapes, contained


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "C:\\x", "\\\\host\\x", "a\\..\\..\\x", "", "a\0b"]
)
def test_paths_that_leave_an_archive_are_refused(tmp_path, name: str):
    with pytest.raises(PathEscapes):
        contained(tmp_path, name)


def test_links_that_leave_an_archive_are_refused_and_inner_ones_are_not(tmp_path):
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "in").symlink_to(root / "a")
    with pytest.raises(PathEscapes, match="link"):
        contained(root, "out/x.wav")
    assert contained(root, "in/x.wav") == root / "in/x.wav"
    assert contained(root, "a\\b c\\ü.wav") == root / "a/b c/ü.wav"
