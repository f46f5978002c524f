"""Loads the engine of an encoder: the one way to it, so that a model which fails says whose it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from ser_extract.encoders.base import Description, Encoded, Engine, EngineOptions, Family, Refused
from ser_extract.encoders.source import Source
from ser_extract.errors import EncoderBroken


def load_engine(
    family: Family, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions
) -> Engine:
    """Loads the weights, cut to the deepest of `layers`.

    Raises:
        EncoderBroken: The files are wrong; the engine's `encode` raises it too, where the model cannot be run.
    """
    return _Named(family.load(source, description, layers, options), source.name)


class _Named:
    """An engine that says whose model failed. A config can describe a model that loads and cannot run."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name

    @property
    def policy(self) -> Mapping[str, Any]:
        return self._engine.policy

    def encode(self, inputs: "Sequence[Any]") -> "list[Encoded | Refused]":
        try:
            return self._engine.encode(inputs)
        except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            from ser_extract.encoders.loading import first_line

            told = f"its model or its tokenizer fails on an input ({type(error).__name__}: {first_line(error)})"
            remedy = "Compare config.json, preprocessor and tokenizer with those of the model's repository."
            raise EncoderBroken(self._name, told, remedy) from error
