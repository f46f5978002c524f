"""What is exported is read again: every head, and every option that gives a head further weights or another shape."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_fusion.frames.batches import Packed
from ser_fusion.heads import HEADS
from ser_fusion.heads.model import Model
from ser_fusion.heads.shape import Shape
from ser_fusion.poolings import POOLINGS
from ser_predict.models.ensemble import Chosen, Ensemble, HeadSource, Member
from ser_predict.models.hub import HubHeads, write_heads

CLASSES = ("angry", "neutral", "sad")
DIMS = {"audio": 6, "text": 4, "video": 5, "prosody": 3}
SMALL: dict[str, Any] = {"width": 4, "attention_heads": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ratings": {"ratings": 3},  # --vad-weight
    "layers": {"layers": 3},  # --layer all
    "raw features": {"normalise": False},
    "pool norm": {"shape": {"pool_norm": "batch"}},
    "feed-forward": {"shape": {"feedforward": 8, "hidden": 0.5, "activation": "gelu"}},
    "as found": {"shape": {"width": None, "project_single": False, "attention": False, "residual": False}},
    "stream dropout": {"shape": {"stream_dropout": 0.3}},
    "text pooling": {"shape": {"text_pooling": "cls"}},
    **{f"pooling {name}": {"shape": {"pooling": name}} for name in POOLINGS},
}


class Source(HeadSource):
    """Facts of a run that has just one row."""

    path, classes, rows, durations = Path("run"), CLASSES, (), (1.0, 2.0)  # type: ignore[assignment]
    facts = {"corpus": {"name": "drawn", "title": "Drawn", "licence": "none"}, "protocol": "session"}  # noqa: RUF012

    def streams(self, slug: str) -> tuple[str, ...]:
        return tuple(DIMS)

    def uwa(self, slug: str) -> float:
        return 0.5

    def open(self, row: Any, **given: Any) -> Ensemble:
        raise NotImplementedError

    def scores(self, slug: str) -> None:
        return None


def made(name: str, given: dict[str, Any]) -> Model:
    torch.manual_seed(0)
    dims = {stream: DIMS[stream] for stream in HEADS[name].reads(name, tuple(DIMS))}
    layers = dict.fromkeys(dims, given.get("layers", 1))
    shape = Shape(**{**SMALL, **given.get("shape", {})})
    model = Model(name, dims, layers, 3, shape, given.get("normalise", True), ratings=given.get("ratings", 0))
    for value in model.state_dict().values():  # moments and temperatures too differ from those of a new model
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    return model.eval()


def answers(model: Model) -> dict[str, np.ndarray]:
    draw = torch.Generator().manual_seed(1)
    lengths = [3, 1, 5]
    batch = {}
    for stream in model.streams:
        layers = model.card["layers"][stream]
        shape = (sum(lengths), layers, DIMS[stream]) if layers > 1 else (sum(lengths), DIMS[stream])
        batch[stream] = Packed(torch.randn(shape, generator=draw), lengths, torch.ones(sum(lengths), dtype=torch.bool))
    with torch.inference_mode():
        return {"logits": model(batch).numpy(), **{name: v.numpy() for name, v in model.state_dict().items()}}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_head_with_this_option_is_read_as_it_was_written(option: str, tmp_path: Path) -> None:
    models = {name: made(name, OPTIONS[option]) for name in HEADS}
    ensembles = []
    for number, (name, model) in enumerate(models.items()):
        member = Member(model, "1", number, 1.5, {"audio": 7})
        ensembles.append(
            Ensemble(name, name, model.streams, False, 0.5, (member,), (np.array([0.7, 0.9]), np.array([True, False])))
        )
    write_heads(Chosen(Source(), ensembles[0]), ensembles, tmp_path)
    source = HubHeads(tmp_path)
    assert [row["slug"] for row in source.rows] == list(HEADS)
    for row in source.rows:
        opened = source.open(row)
        (member,) = opened.members
        wanted, given = answers(models[row["slug"]]), answers(member.model)  # type: ignore[arg-type]
        assert list(wanted) == list(given) and member.temperature == 1.5 and member.pad_to == {"audio": 7}
        for key, value in wanted.items():
            assert np.array_equal(value, given[key]), (row["slug"], key)
        assert member.model is not None and member.model.card == models[row["slug"]].card
