"""Every engine computes with CUDA tensors, as far as it can be asked without a card.

Under torch's ``FakeTensorMode`` tensors have a device and a shape and no values. A tensor on the wrong device is an error there,
and so is a value that is read back in the middle of a forward pass. Each engine gets as far as its hidden states and stops where
it reads them: fake tensors have none. ``make gpu-check`` asks for the numbers on a card.
"""

from pathlib import Path

import numpy as np
import pytest
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from transformers import WhisperFeatureExtractor

from ser_extract.encoders import ENCODERS, loading
from ser_extract.encoders.base import EngineOptions, InputOptions
from ser_extract.encoders.source import open_source

RANDOM = np.random.default_rng(0)
INPUTS = {
    "audio": [RANDOM.standard_normal(samples).astype(np.float32) for samples in (9_000, 16_000, 12_000)],
    "text": ["a b c", "the sad", "z"],
    "video": [RANDOM.integers(0, 256, (frames, 40, 48, 3), dtype=np.uint8) for frames in (1, 2)],
}


def on_card(mode: FakeTensorMode, model: nn.Module, options: EngineOptions) -> nn.Module:
    """What `freeze` does, with weights that lie on a card that is not there."""
    model.eval().requires_grad_(False)
    with mode:
        for module in model.modules():
            for name, weight in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(weight.to(options.device), requires_grad=False))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(options.device))
    return model


def test_every_engine_computes_on_a_card(family_variant, tiny, monkeypatch):
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    log_mel = WhisperFeatureExtractor.__call__

    def on_host(*args, **options):
        with unset_fake_temporarily():
            return log_mel(*args, **options)

    monkeypatch.setattr(WhisperFeatureExtractor, "__call__", on_host)  # it computes with torch, then with numpy
    monkeypatch.setattr(loading, "freeze", lambda model, options: on_card(mode, model, options))
    source = open_source(str(tiny(family_variant)), "audio")
    family = ENCODERS[source.model_type]
    description = family.describe(source, InputOptions())
    engine = family.load(source, description, (description.depth,), EngineOptions("cuda:0", "float32", None, "stock"))
    with mode, pytest.raises(RuntimeError, match=r"numpy\(\) is not supported for tensor subclasses") as stopped:
        engine.encode(INPUTS[family.modality])
    assert Path(stopped.traceback[-1].path).name == "loading.py"
