"""What an encoder family must offer, in two halves: a description that costs nothing, and an engine that has the weights.

The description is read from `config.json` alone (no torch, no transformers): it is all that planning, `--dry-run` and a
finished cache need. The engine is loaded once per worker, runs only the blocks up to the deepest wanted layer, and gives
the same features whatever else is in the batch (relative L2 1e-5 to transformers at batch 1 in float32; the contract test
`tests/extract/encoders/test_encoder_contract.py` walks the table).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ser_extract.encoders.source import Source
from ser_extract.errors import EncoderBroken, ExtractError

if TYPE_CHECKING:
    import numpy as np


Modality = Literal["audio", "text", "video", "prosody"]
"""A stream; `prosody` is hand-crafted features of the sound."""


@dataclass(frozen=True)
class Encoded:
    """Hidden states of one utterance.

    Attributes:
        states: Layer -> array `(frames, features)` float32. All layers have the same number of frames.
        special: For text, `(frames,)` bool, true at special tokens (CLS, SEP, `<s>` ...); None for audio and video.
    """

    states: "Mapping[int, np.ndarray[Any, Any]]"
    special: "np.ndarray[Any, Any] | None" = None


@dataclass(frozen=True)
class Refused:
    """One utterance that an encoder cannot encode, with a reason code of `failures.csv`."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Windowing:
    """How inputs beyond a limit are cut into overlapping windows and joined again.

    Attributes:
        unit: `samples`, `tokens` or `frames`.
        length: Longest piece that goes through the model at once, in units.
        overlap: Units that two neighbouring windows share; each gives half of it.
    """

    unit: str
    length: int
    overlap: int


@dataclass(frozen=True)
class Description:
    """What the config of an encoder says; everything that planning needs.

    Attributes:
        modality: `audio`, `text`, `video` or `prosody`.
        family: The table's name of the family, e.g. `wav2vec2`.
        depth: Number of blocks; the valid layers are 0 (input of the first block) to `depth`.
        features: Width of a hidden state.
        rate: Sampling rate of the input in Hz (audio), or None.
        frame_rate: Frames per second (audio, video), or None.
        shortest: Fewest samples that give a frame (the receptive field), or 1.
        frames: Number of input units (samples, characters, frames of video) -> number of frames; an estimate for text.
        cost: Number of input units -> rough seconds of one core for all blocks; cuts the work into shards, so it must
            depend on nothing else.
        final_norms: Layers whose hidden state has been through a final norm, as transformers gives them.
        windowing: The limit of one piece.
        declared: Further facts that change the features and so belong to the fingerprint (JSON values).
        note: A sentence for the user at the start of a run, or empty.
    """

    modality: Modality
    family: str
    depth: int
    features: int
    rate: int | None
    frame_rate: float | None
    shortest: int
    frames: Callable[[int], int]
    cost: Callable[[int], float]
    windowing: Windowing
    final_norms: frozenset[int] = frozenset()
    declared: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """How an engine computes. None of it changes the features beyond rounding, so it goes into the environment record.

    Attributes:
        device: `cpu`, `cuda` or `cuda:0`.
        compute: Type of the arithmetic: float32, or bfloat16 and float16 (the error is recorded).
        batch: Input units per batch: padded samples or tokens. None: the engine's own choice for the device
            (audio on a CPU: one by one; batching gains nothing there).
        engine: `auto` takes the packed engine where the config fits it (CPU, float32 or bfloat16), `stock` never.
    """

    device: str = "cpu"
    compute: str = "float32"
    batch: int | None = None
    engine: Literal["auto", "stock"] = "auto"

    @property
    def packs(self) -> bool:
        """Whether a packed engine may be taken."""
        return (
            self.engine == "auto"
            and self.device == "cpu"
            and self.compute in ("float32", "bfloat16")
            and self.batch is None
        )


class Engine(Protocol):
    """A loaded encoder, cut to the blocks it needs."""

    @property
    def policy(self) -> Mapping[str, Any]:
        """Facts for the environment record: engine, batch policy, device, type of arithmetic."""
        ...

    def encode(self, inputs: "Sequence[Any]") -> "list[Encoded | Refused]":
        """Encodes inputs in the order given.

        Waveforms `(samples,)` float32 at the description's rate, normalised texts, or clips
        `(frames, height, width, 3)` uint8.
        """
        ...


class Family(Protocol):
    """One file of `ser_extract.encoders`: how one kind of model is described and loaded."""

    modality: Modality

    def describe(self, source: "Source", options: "InputOptions") -> Description:
        """Reads the config; loads no library."""
        ...

    def load(
        self, source: "Source", description: Description, layers: tuple[int, ...], options: EngineOptions
    ) -> Engine:
        """Loads the weights, cut to the deepest of `layers`, in evaluation mode."""
        ...


@dataclass(frozen=True)
class InputOptions:
    """What the user says about inputs; it changes features, so it is declared in the fingerprint.

    Attributes:
        max_seconds: Audio above this goes through the model in overlapping windows.
        overlap_seconds: Overlap of two neighbouring windows.
        context_seconds: Context of fixed-window encoders (Whisper), at most their own; None: their own, 30 s.
        fps: Frames per second taken of a video.
    """

    max_seconds: float = 60.0
    overlap_seconds: float = 2.0
    context_seconds: float | None = None
    fps: float = 2.0


CORE_FLOPS = 60e9
"""Multiplications and additions per second of one core in float32, roughly: only for cutting work into shards."""


def block_flops(frames: int, width: int) -> float:
    """Operations of one transformer block with a feed-forward part of four times the width."""
    return 24.0 * frames * width * width + 4.0 * frames * frames * width


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


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
        except ExtractError:
            raise
        except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            problem = f"its model or its tokenizer fails on an input ({type(error).__name__}: {first_line(error)})"
            remedy = "Compare config.json, preprocessor and tokenizer with those of the model's repository."
            raise EncoderBroken(self._name, problem, remedy) from error
