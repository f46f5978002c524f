"""Every error of a corpus survives a process pool and speaks; paths that leave an archive are refused."""

import pickle

import pytest

from ser_data import errors
from ser_data.corpora.contained import PathEscapes, contained

EXAMPLES = [
    errors.UnknownLabel("iemocap-4", ("joyful",), ("ang", "joy")),
    errors.MissingColumn("session", "session", 3, 10, ("speaker",), ("speaker", "random")),
    errors.BadManifest("x.csv", "no column 'path'", "Rename it."),
    errors.BadRoot("iemocap", "IEMOCAP", "folder Session1", ("IEMOCAP_full_release",), "Give --root deeper."),
    errors.BadFolds("session", "too few", "Give another."),
    PathEscapes("/root", "../x", "it has '..'"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_pickle_and_say_two_lines_or_more(error: errors.CorpusError):
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert "\n" in str(error) and "\\n" not in str(error)
    assert isinstance(error, errors.CorpusError)


def test_every_error_class_has_an_example():
    classes = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.CorpusError)}
    bases = {errors.CorpusError, errors.MediaError}  # the latter's own are in test_audio.py: one line each, for lists
    assert classes - bases <= {type(error) for error in EXAMPLES}


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
