"""A head with what stands before it: learned weights over layers, and the features' normalisation.

Its state holds everything that prediction needs beside the encoders, so a run's ``weights.safetensors`` and ``head.json``
are enough to use it again (``load_model``).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from ser_fusion.errors import RecordBroken
from ser_fusion.evaluation.records import LARGEST, Card, read_record
from ser_fusion.frames.batches import Batch, Frames
from ser_fusion.frames.feed import Distance
from ser_fusion.heads import HEADS
from ser_fusion.heads.shape import Shape, split_dropout
from ser_fusion.heads.vad import Raters


class Input(nn.Module):
    """Stored layers of one stream to the frames a head sees.

    ``x = sum over l of softmax(w)_l (x_l - mean_l) scale_l``; with one layer there are no weights.

    Args:
        layers: Cached layers.
        features: Features per frame.
        normalise: Whether mean and scale are used.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, layers: int, features: int, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise
        self.layer_weights = nn.Parameter(torch.zeros(layers)) if layers > 1 else None
        self.register_buffer("mean", torch.zeros(layers, features))
        self.register_buffer("scale", torch.ones(layers, features))

    def forward(self, frames: Frames) -> Frames:
        """(.., features) from (.., features) with one layer, or (.., layers, features) with several."""
        values = frames.values
        if self.layer_weights is None:
            return frames.with_values((values - self.mean[0]).mul_(self.scale[0])) if self.normalise else frames
        weights = self.layer_weights.softmax(0).unsqueeze(1)
        factors = weights * self.scale if self.normalise else weights.expand(self.scale.shape)
        total = values[..., 0, :] * factors[0]
        for number in range(1, len(factors)):  # not all at once: their product is as large as the batch
            total = torch.addcmul(total, values[..., number, :], factors[number])
        # the mean is folded into the sum: one pass over the frames
        return frames.with_values(total - (factors * self.mean).sum(0) if self.normalise else total)


FACTS = ("fusion", "dims", "layers", "classes", "shape", "normalise", "context", "ratings")
"""What decides a model's sizes: the arguments of ``Model``, the keys of its card."""


class Model(nn.Module):
    """Inputs and a head.

    Args:
        fusion: Name of the head.
        dims: Features per frame of each stream it reads.
        layers: Cached layers of each stream.
        classes: Number of classes.
        shape: Sizes and switches.
        normalise: Whether features are normalised.
        context: Previous turns that are read at most.
        ratings: Dimensions (valence, arousal, dominance) that are learned from the pooled vectors; 0 for none.
    """

    def __init__(
        self,
        fusion: str,
        dims: Mapping[str, int],
        layers: Mapping[str, int],
        classes: int,
        shape: Shape,
        normalise: bool,
        context: int = 0,
        ratings: int = 0,
    ) -> None:
        super().__init__()
        facts = (fusion, dict(dims), dict(layers), classes, shape.as_dict(), normalise, context, ratings)
        self.card: dict[str, Any] = dict(zip(FACTS, facts, strict=True))
        self.card = {name: value for name, value in self.card.items() if value or name not in ("context", "ratings")}
        self.inputs = nn.ModuleDict({s: Input(layers[s], d, normalise) for s, d in dims.items()})
        self.head = HEADS[fusion](dims, classes, shape)
        self.distance: nn.ModuleDict | None = None
        if context:
            self.distance = nn.ModuleDict({s: Distance(context, d) for s, d in dims.items()})
        self.raters: Raters | None = None
        if ratings:
            self.raters = Raters(self.head, ratings)

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams the head reads."""
        return self.head.streams

    @property
    def parameters_trained(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for p in self.parameters())

    def frames(self, batch: Batch) -> dict[str, Frames]:
        """What the head sees."""
        seen = {s: self.inputs[s](batch[s]) for s in self.streams}
        return seen if self.distance is None else {s: self.distance[s](frames) for s, frames in seen.items()}

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        return self.head(self.frames(batch))

    def loss(self, batch: Batch, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum over the batch of what training minimises by default."""
        return self.head.loss(self.frames(batch), targets, weight)

    def expert_logits(self, batch: Batch) -> list[Tensor]:
        """The logits that have a loss each, (batch, classes); see ``Head.expert_logits``."""
        return self.head.expert_logits(self.frames(batch))

    def layer_weights(self) -> dict[str, list[float]]:
        """Softmax weights over layers of the streams that have several."""
        return {
            stream: module.layer_weights.detach().softmax(0).tolist()
            for stream, module in self.inputs.items()
            if isinstance(module, Input) and module.layer_weights is not None
        }


def load_model(folder: Path) -> Model:
    """A trained model from a job's folder (``head.json``, ``weights.safetensors``); ready to predict.

    Examples:
        >>> from pathlib import Path
        >>> from ser_fusion import load_model
        >>> model = load_model(Path("run/jobs/cross-stats/fold0-seed0"))
        >>> model.card["fusion"], model.card["classes"]
        ('cross', 3)
    """
    from safetensors import SafetensorError, safe_open

    card, path = read_record(folder / "head.json", Card), folder / "weights.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            held = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            return model_from_card(card, held, file.get_tensor, path)
    except (OSError, SafetensorError) as error:
        raise RecordBroken(str(path), f"it is not a file of safetensors ({error})") from error


def model_from_card(
    card: Mapping[str, Any], held: Mapping[str, Sequence[int]], read: Callable[[str], Tensor], path: Path
) -> Model:
    """The trained model that a card describes, ready to predict; of a run's job or of an export.

    Args:
        card: As ``Model.card`` gave it, of this version or of an earlier one.
        held: Name -> shape of the weights at hand; no weight is read, and no memory taken, before card and weights agree.
        read: Name -> weights.
        path: Of the weights, for messages.

    Raises:
        RecordBroken: The card describes no head that is known, or another one than the file holds.
    """
    try:
        checked = Card.model_validate(card)
        facts = {name: getattr(checked, name) for name in FACTS} | {"shape": _shape(checked.shape)}
        with torch.device("meta"):
            described = Model(**facts)
        wanted = {name: tuple(value.shape) for name, value in described.state_dict().items()}
    except Exception as error:  # whatever a foreign card makes torch raise
        first = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise RecordBroken(str(path), f"its card describes no head that is known here ({first})") from error
    if other := sorted(set(wanted.items()) ^ {(name, tuple(shape)) for name, shape in held.items()}):
        name = other[0][0]
        there, asked = held.get(name), wanted.get(name)
        problem = f"{name} has the shape {list(there)}" if there is not None else f"it lacks {name}"
        raise RecordBroken(
            str(path), f"{problem}, and its card {'asks for ' + str(list(asked)) if asked else 'has none'}"
        )
    model = Model(**facts)
    model.load_state_dict({name: read(name) for name in held})
    return model.eval()


def _shape(stated: Mapping[str, Any]) -> Shape:
    """The shape of a card.

    Raises:
        ValueError: An unknown switch, or a value of the wrong type or beyond all heads.
    """
    values = split_dropout(stated)
    shape = TypeAdapter(Shape).validate_python(values)
    if unknown := sorted(set(values) - set(shape.as_dict())):
        raise ValueError(f"shape has {unknown[0]}, which no head knows")
    sizes = [value for value in shape.as_dict().values() if isinstance(value, int | float)]
    if not all(0 <= value <= LARGEST for value in sizes):
        raise ValueError("shape has a size that no head has")
    return shape
