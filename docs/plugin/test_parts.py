"""The parts of this package keep the public contracts of SER Fusion."""

import numpy as np
import soundfile
from ser_example.log_mel import Letters, LogMel
from ser_example.tensor_fusion import TensorFusionHead
from ser_example.weather import CORPUS

from ser_data.testing import check_corpus
from ser_extract.testing import check_encoder
from ser_fusion.testing import check_head


def test_corpus(tmp_path):
    for name in ("ann/rain_sad_1", "ann/sun_happy_1", "bob/rain_sad_1", "bob/oddly named"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.sin(0.02 * len(name) * np.arange(8000)), 16_000)
    check_corpus(CORPUS, tmp_path)


def test_encoders():
    check_encoder(LogMel)
    check_encoder(Letters)


def test_head():
    check_head(TensorFusionHead)
