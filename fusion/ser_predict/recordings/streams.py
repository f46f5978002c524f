"""The encoders of a run, found again: the same weights and the same settings, or a refusal that names what differs."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ser_base.errors import SerError
from ser_base.option_values import streams_of
from ser_cache import CacheError, EntrySpec, Ragged, open_cache
from ser_extract.encoders.base import Encoded
from ser_extract.job import DEMO
from ser_predict.errors import EncoderDiffers, FeaturesUnknown

if TYPE_CHECKING:
    from ser_extract.encoders.base import Engine, Modality, Refused
    from ser_extract.inputs.streams import Encoder
    from ser_extract.job import ExtractJob


# Where the encoder of a run may lie: a run records names and contents, never paths.
#
# Each place is a guess: its weights are compared with those of the run.
def places(stream: str, spec: EntrySpec, run: Mapping[str, Any], cache: Path | None) -> Iterator[str]:
    """Names and folders to try, in order.

    Args:
        stream: ``audio`` or ``text``.
        spec: What the run was trained with.
        run: ``run.json``.
        cache: Where the run's cache lies now; None: where it was.

    Yields:
        The recorded name (a hub id or an entry point is found by it), the folder in the command that wrote the cache,
        ``demo``.
    """
    yield spec.encoder
    folder = cache or Path(str(run.get("cache", {}).get("path", "")))
    for recipe in _recipes(folder, spec):
        for value in _encoders(recipe, stream):
            if Path(value).expanduser().is_dir():
                yield value
    yield "demo"


def _recipes(folder: Path, spec: EntrySpec) -> list[str]:
    """The commands that wrote an entry, latest first; empty if the cache is gone."""
    from ser_cache.format.ledger import Ledger

    try:
        entry = open_cache(folder).select(spec.modality, spec.encoder, spec.layer, spec.dtype)
        ledger = Ledger(entry.path, entry.fingerprint)
        ledger.refresh()
        plans = ledger.own_plans()
    except (CacheError, OSError):
        return []
    return [plan.recipe for plan in reversed(plans) if plan.recipe]


def _encoders(command: str, stream: str) -> Iterator[str]:
    """The encoder of a stream in a recorded command: ``--encoder audio=DIR``, or the earlier ``--audio-encoder DIR``."""
    try:
        words = shlex.split(command)
    except ValueError:
        return
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        value = value if equals else following
        if name == f"--{stream}-encoder":
            yield value
        elif name == "--encoder" and (named := streams_of(value).get(stream)) is not None:
            yield named


def specs_of(run: Mapping[str, Any], path: Path, cache: Path | None = None) -> dict[str, tuple[EntrySpec, ...]]:
    """Stream -> what its features were computed from, one entry per layer, ascending.

    Args:
        run: ``run.json``.
        path: The run directory, for messages.
        cache: Where the cache lies now, if it was moved; only needed for runs that do not hold the specs themselves.

    Raises:
        FeaturesUnknown: The run does not say, and its cache is gone.
    """
    entries: Mapping[str, Any] = run.get("cache", {}).get("entries", {})
    specs = {}
    for stream, entry in entries.items():
        if entry.get("specs"):
            specs[stream] = tuple(EntrySpec.from_dict(spec) for spec in entry["specs"])
            continue
        folder, layers = cache or Path(str(run["cache"].get("path", ""))), entry.get("layers") or [entry["layer"]]
        try:
            opened = open_cache(folder)
            own = [opened.select(stream, entry["encoder"], layer, entry["dtype"]) for layer in layers]
        except FileNotFoundError:
            raise FeaturesUnknown(str(path), stream, str(folder)) from None
        specs[stream] = tuple(stored.spec for stored in own)
    return specs


@dataclass(slots=True)
class StreamEncoder:
    """One stream's encoder, as in training.

    Attributes:
        encoder: Files, description and specs of the encoder on this machine.
        specs: Specs of the features that the run was trained with.
        job: The job with the settings.
    """

    encoder: "Encoder"
    specs: tuple[EntrySpec, ...]
    job: "ExtractJob"
    _engine: "Engine | None" = None

    @property
    def rate(self) -> int:
        """Samples per second of the input, in Hz (audio)."""
        return self.encoder.description.rate or 16_000

    @property
    def fps(self) -> float:
        """Frames per second that are taken of a video."""
        return self.encoder.description.frame_rate or 1.0

    def encode(self, inputs: list[Any]) -> "list[Encoded | Refused]":
        """Hidden states of waveforms, normalised texts or clips; the weights are loaded at the first call."""
        if self._engine is None:
            from ser_extract.encoders.base import load_engine

            kind = self.encoder
            options = self.job.engine_options(kind.modality, kind.description.rate)
            self._engine = load_engine(kind.family, kind.source, kind.description, kind.layers, options)
        return self._engine.encode(inputs)


def open_stream_encoder(
    stream: str, specs: tuple[EntrySpec, ...], names: Iterable[str], *, device: str = "auto", offline: bool = False
) -> StreamEncoder:
    """Finds the encoder of a stream: the first of some places that holds exactly what the run was trained with.

    Args:
        stream: ``audio``, ``text`` or ``video``.
        specs: Of the run, one per layer.
        names: Folders, hub ids or ``demo`` to try.
        device: As for ser-extract.
        offline: Never open a connection.

    Raises:
        ExtractError: None of them is there, or the first that is there is broken.
        EncoderDiffers: There is one, but with other weights or settings than the run's.
    """
    from ser_extract.errors import EncoderBroken, EncoderNotFound
    from ser_extract.inputs.streams import open_encoder

    modality: Modality = cast("Modality", stream)
    problem: Exception | None = None
    for name in names:
        job = _job(specs, modality, name, device, offline)
        try:
            encoder = open_encoder(job, modality)
            _check(stream, encoder, specs)
        except (SerError, EncoderDiffers, ImportError) as error:
            # an encoder that differs tells more than one that is missing
            if problem is None or (
                isinstance(problem, EncoderNotFound) and isinstance(error, EncoderDiffers) and name != DEMO
            ):
                problem = error
            continue
        return StreamEncoder(encoder, specs, job)
    own = str(specs[0].declared.get("model_type", ""))
    if isinstance(problem, EncoderNotFound) and ":" in own:
        raise EncoderBroken(
            problem.name, f"it is the class {own}, and files of a run never name code", f"Give --encoder {stream}={own}"
        )
    if isinstance(problem, EncoderNotFound) and "hub" in problem.tried:
        raise EncoderNotFound(
            problem.name, modality, "a run records the name of its encoder, not its path, and this name leads nowhere"
        )
    raise problem or EncoderNotFound(specs[0].encoder, modality, "no place to look at")


def _job(specs: tuple[EntrySpec, ...], modality: str, name: str, device: str, offline: bool) -> "ExtractJob":
    """The settings of the run's features as an extraction job: read back from what was declared."""
    from ser_extract.job import ExtractJob

    first = specs[0]
    declared = first.declared
    values: dict[str, Any] = {
        f"{modality}_encoder": name,
        **({} if modality == "prosody" else {f"{modality}_layer": ",".join(str(spec.layer) for spec in specs)}),
        "dtype": first.dtype,
        "device": device,
        "offline": offline,
        **{setting: declared[setting] for setting in ("compute", "channel", "fps") if setting in declared},
    }
    windowing = declared.get("windowing") or {}
    if windowing.get("unit") == "samples":
        rate = float(declared.get("rate") or 16_000)
        values["overlap_seconds"] = windowing["overlap"] / rate
        context = declared.get("context")
        if context is None:
            values["max_seconds"] = max(1.0, windowing["length"] / rate)
        elif not context.get("own"):
            values["context_seconds"] = context["seconds"]
    return ExtractJob(corpus="csv", cache=Path("unused"), **values)


def _check(stream: str, encoder: "Encoder", specs: tuple[EntrySpec, ...]) -> None:
    from ser_cache.format.spec import differences

    for ours, theirs in zip(encoder.specs, specs, strict=True):
        # a folder may have been renamed: its content counts, not its name
        mine = {**ours.as_dict(), "encoder": theirs.encoder}
        if unequal := differences(theirs.as_dict(), mine):
            fields = tuple((str(field).removeprefix("declared."), str(a), str(b)) for field, a, b in unequal)
            raise EncoderDiffers(stream, str(encoder.source.folder), fields)


# Hidden states fresh from an encoder, put where the training reads stored ones: `MemoryEntry` looks like an entry of the
# cache to `read_stream`, which then does what it does in training (the stored type's rounding, the stride, special tokens).
LARGEST = {"float16": 65504.0, "float32": 3.4e38}


class MemoryEntry:
    """Rows of one layer in memory, with the reading face of ``ser_cache.Entry`` that stage two uses.

    Args:
        spec: What the run's own entry was computed from.
        encoded: Utterance -> hidden states.
    """

    def __init__(self, spec: EntrySpec, encoded: Mapping[str, Encoded]) -> None:
        self.spec = spec
        self._rows = {
            name: np.ascontiguousarray(own.states[spec.layer], dtype=spec.dtype) for name, own in encoded.items()
        }
        self._special = {name: own.special for name, own in encoded.items()}

    def lengths(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Frames of each utterance."""
        return np.array([len(self._rows[name]) for name in ids], dtype=np.int64)

    def gather(self, ids: Sequence[str], out: NDArray[Any] | None = None) -> Ragged:
        """Several utterances, ragged; in the front of ``out`` if it is given, (at least total frames, features)."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths(ids))]).astype(np.int64)
        place = None if out is None else out[: offsets[-1]]
        return Ragged(np.concatenate([self._rows[name] for name in ids], out=place), offsets)

    def read(self, id: str) -> NDArray[Any]:
        """Frames of one utterance, (frames, features)."""
        return self._rows[id]

    def special(self, id: str) -> NDArray[np.bool_] | None:
        """Mask of special tokens."""
        return self._special[id]


def unusable(spec: EntrySpec, encoded: Encoded) -> str | None:
    """Why hidden states cannot be stored as in training, or None; the rule of ``ser extract``."""
    values = encoded.states[spec.layer]
    if not np.isfinite(values).all():
        return f"layer {spec.layer} holds values that are not finite"
    largest = float(np.abs(values).max(initial=0.0))
    return f"layer {spec.layer} reaches {largest:.4g}, beyond {spec.dtype}" if largest > LARGEST[spec.dtype] else None
