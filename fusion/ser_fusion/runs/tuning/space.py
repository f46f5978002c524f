"""What a search may vary: named settings of training and shape, each with a range or a list of choices. Data, no code.

A space is a TOML file with one table per setting::

    [lr]
    low = 1e-4
    high = 3e-3
    log = true

    [width]
    choices = [64, 128, 256]
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ser_base.errors import UnknownName

Space = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that may be searched.

    Attributes:
        part: ``training`` or ``shape``: where it belongs in a plan.
        kind: Float, int or str.
        low: Least value.
        high: Greatest value; for shares the first that is too large.
        words: The words allowed, if it is a word.
    """

    part: str
    kind: type
    low: float = 0.0
    high: float = math.inf
    words: tuple[str, ...] = ()

    def fits(self, value: Any) -> bool:
        """Whether the value is of this kind and in its range."""
        if self.kind is str:
            return value in self.words
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return (self.kind is float or isinstance(value, int)) and self.low <= value < self.high


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "lr": Setting("training", float, 1e-9, 10.0),
        "weight_decay": Setting("training", float),
        "batch": Setting("training", int, 1),
        "schedule": Setting("training", str, words=("plateau", "cosine", "one-cycle", "none")),
        "patience": Setting("training", int, 1),
        "clip": Setting("training", float),
        "average": Setting("training", float, 0.0, 1.0),
        "frame_dropout": Setting("shape", float, 0.0, 1.0),
        "pool_dropout": Setting("shape", float, 0.0, 1.0),
        "pool_norm": Setting("shape", str, words=("none", "batch")),
        "dropout": Setting("shape", float, 0.0, 1.0),  # frame and pool alike, no norm: as earlier versions searched it
        "input_dropout": Setting("shape", float, 0.0, 1.0),
        "stream_dropout": Setting("shape", float, 0.0, 1.0),
        "width": Setting("shape", int, 1, 1 << 14),
        "attention_heads": Setting("shape", int, 1, 257),
        "feedforward": Setting("shape", int, 0, 1 << 16),
        "hidden": Setting("shape", float, 0.0, 17.0),
        "activation": Setting("shape", str, words=("none", "relu", "gelu")),
    }
)

DEFAULT: Space = MappingProxyType(
    {
        "lr": {"low": 1e-4, "high": 3e-3, "log": True},
        "weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
        "pool_dropout": {"low": 0.1, "high": 0.6},
        "width": {"choices": [64, 128, 256]},
        "attention_heads": {"choices": [1, 2, 4, 8]},
    }
)


def check_space(space: Space) -> dict[str, dict[str, Any]]:
    """Checks a search space and returns it.

    Raises:
        UnknownName: A setting that does not exist.
        ValueError: A range without values, or a value that the setting does not allow.
    """
    if not space:
        raise ValueError(
            "the space is empty; give at least one setting, as in: [lr] low = 1e-4, high = 3e-3, log = true"
        )
    for name, bounds in space.items():
        if name not in SETTINGS:
            raise UnknownName("setting", name, tuple(SETTINGS))
        _check_setting(name, SETTINGS[name], bounds)
    return {name: dict(bounds) for name, bounds in space.items()}


def _check_setting(name: str, setting: Setting, bounds: Mapping[str, Any]) -> None:
    choices = bounds.get("choices") if isinstance(bounds, Mapping) else bounds
    if choices is not None:
        if (
            not isinstance(bounds, Mapping)
            or set(bounds) != {"choices"}
            or not isinstance(choices, (list, tuple))
            or not choices
        ):
            raise ValueError(f"{name}: give a table with low and high, or with choices alone, a list; got {bounds!r}")
        values = list(choices)
    else:
        if setting.kind is str:
            raise ValueError(f"{name}: give choices, some of {', '.join(setting.words)}")
        if not {"low", "high"} <= set(bounds) <= {"low", "high", "log"}:
            raise ValueError(
                f"{name}: give low and high (and log = true), or choices; got {', '.join(bounds) or 'nothing'}"
            )
        values = [bounds["low"], bounds["high"]]
    for value in values:
        if not setting.fits(value):
            allowed = (
                ", ".join(setting.words) or f"a {setting.kind.__name__} from {setting.low:g} to below {setting.high:g}"
            )
            raise ValueError(f"{name}: {value!r} is not possible; it is {allowed}")
    if choices is None and not bounds["low"] < bounds["high"]:
        raise ValueError(f"{name}: low {bounds['low']} is not below high {bounds['high']}")
    if bounds.get("log") and not bounds["low"] > 0:
        raise ValueError(f"{name}: log = true needs a low above 0")


def own_values(space: Space, training: Any, shape: Any) -> dict[str, Any]:
    """The settings of the space as a row has them without a search; None for one that it has not (``dropout``)."""
    places = {"training": training, "shape": shape}
    return {name: getattr(places[SETTINGS[name].part], name, None) for name in space}
