"""A small IEMOCAP-shaped tree, made once, and a writer of tiny wavs."""

import os
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ser_data.synthetic.iemocap_shaped import generate_iemocap_shaped


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """302 turns with a twentieth of the real lengths; not to be written to."""
    root = tmp_path_factory.mktemp("generated") / "IEMOCAP_full_release"
    generate_iemocap_shaped(root, turns=302, shorten=0.05, seed=1)
    return root


@pytest.fixture
def tree(pristine: Path, tmp_path: Path) -> Path:
    """A copy of `pristine` in hard links: replace files, never write into them."""
    root = tmp_path / "IEMOCAP_full_release"
    shutil.copytree(pristine, root, copy_function=os.link)
    return root


def write_tone(path: Path, seconds: float = 0.2, rate: int = 16_000, seed: int = 0) -> Path:
    """A mono 16-bit wav of noise; another seed is another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9000, 9000, round(seconds * rate)).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture
def tone() -> Callable[..., Path]:
    return write_tone
