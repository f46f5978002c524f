"""Every error keeps its facts through a process pool, says what to do next, and is one of the tree."""

import pickle

import pytest

from ser_predict import errors

CASES = [
    errors.NoModel("runs/x", "it has no finished training", ()),
    errors.FeaturesUnknown("runs/x", "audio", "cache"),
    errors.EncoderDiffers("text", "minilm", (("weights", "xxh3:1", "xxh3:2"),)),
    errors.BadTranscripts("said.csv", "its columns are a, b"),
    errors.RecogniserBroken("whisper", "it was not trained to recognise speech"),
    errors.ExtraMissing("ser live", "starlette", "live"),
    errors.NotServed("127.0.0.1 port 80 cannot be had: Permission denied", "Take another one: --port 0"),
    errors.NotExported("ONNX and torch differ by 0.1", "Tell us"),
    errors.BadExport("folder", "it has no config.json"),
]


@pytest.mark.parametrize("error", CASES, ids=lambda error: type(error).__name__)
def test_errors_travel_and_advise(error: errors.PredictError):
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and len(str(error).splitlines()) >= 2 and "'" not in str(error)[:1]


def test_no_error_is_left_out():
    known = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PredictError)}
    assert {type(error) for error in CASES} == known - {errors.PredictError}
