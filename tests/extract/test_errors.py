"""Every error can be pickled, says what failed first and what to do last."""

import pickle

import pytest

from ser_extract import errors
from ser_extract.work.workers import WorkersDie, portable

EXAMPLES = [
    errors.EncoderNotFound("facebook/x", "audio", "the hub does not answer"),
    errors.EncoderNotSupported("x", "gpt2", "text", ("bert",)),
    errors.EncoderBroken("x", "there is no config.json", "Copy it again."),
    errors.LayerOutOfRange("x", "audio", "13", 12),
    errors.SettingMissing("where the corpus is", "--root", "SER_ROOT"),
    errors.NoVideo("corpus.csv", 3),
    errors.DiskTooSmall("runs/cache", 5_000_000_000, 1_000_000),
    errors.UtteranceFailed("u1", "audio", "nan", "it holds samples that are not finite"),
    WorkersDie(5, -9),
]


def test_every_class_has_an_example():
    classes = {
        some for some in vars(errors).values() if isinstance(some, type) and issubclass(some, errors.ExtractError)
    }
    assert classes - {errors.ExtractError} <= {type(error) for error in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_a_process_and_speak(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)
    assert isinstance(error, errors.ExtractError) and len(type(error).__mro__) > 4
    first, *_, last = str(error).splitlines()
    assert first and last != first and last.rstrip()[-1] not in "!?"


class Unpicklable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} {b}")


def test_an_error_that_does_not_survive_pickling_is_told_in_ours():
    found = portable(Unpicklable(1, 2))
    assert isinstance(found, errors.ExtractError)
    assert "Unpicklable: 1 2" in str(found)
