"""Frames to compare two engines on: the run's own, from its cache, or drawn ones like them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_cache import CacheError, EntrySpec, open_cache
from ser_fusion.frames.features import StreamFrames, read_stream

if TYPE_CHECKING:
    from ser_predict.recordings.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Samples:
    """Utterances as heads read them.

    Attributes:
        streams: Frames by stream.
        count: Number of utterances.
        origin: Where they come from, for people.
    """

    streams: Mapping[str, StreamFrames]
    count: int
    origin: str


def read_samples(predictor: "Predictor", count: int) -> Samples | None:
    """Utterances of the run, spread over it, from its cache; None where the cache is gone or holds other features now."""
    from ser_predict.models.sources import RunHeads

    source = predictor.source
    if not isinstance(source, RunHeads):
        return None
    path = Path(str(source.facts.get("cache", {}).get("path", "")))
    known = list(source.run.utterances.index)
    ids = [known[int(place)] for place in np.linspace(0, len(known) - 1, min(count, len(known)))] if known else []
    stride = int(source.facts.get("stride") or 1)
    streams = {}
    try:
        cache = open_cache(path)
        for stream in predictor.main.streams:
            specs = predictor.specs[stream]
            entries = [cache.select(spec.modality, spec.encoder, spec.layer, spec.dtype) for spec in specs]
            if [entry.spec for entry in entries] != list(specs):
                return None
            first = stream == "text" and predictor.main.text_first_only
            streams[stream] = read_stream(entries, ids, stride=stride, first_only=first)
    except (CacheError, OSError, KeyError):
        return None
    return Samples(streams, len(ids), f"{len(ids)} utterances of the run's cache") if ids else None


def draw_samples(predictor: "Predictor", count: int) -> Samples:
    """Normal frames with the mean and spread of the training's, of 1 to 120 frames; the first and last token of a text are
    special."""
    draw = np.random.default_rng(0)
    streams = {s: _drawn(predictor, s, predictor.specs[s], count, draw) for s in predictor.main.streams}
    return Samples(streams, count, f"{count} utterances drawn like the training's (its cache is not there)")


def _drawn(
    predictor: "Predictor", stream: str, specs: tuple[EntrySpec, ...], count: int, draw: np.random.Generator
) -> StreamFrames:
    first = stream == "text" and predictor.main.text_first_only
    lengths = np.ones(count, np.int64) if first else draw.integers(1, 121, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    model = predictor.main.members[0].model
    assert model is not None  # probes are not exported as graphs
    state = model.inputs[stream].state_dict()
    mean, scale = state["mean"].numpy(), state["scale"].numpy()
    spread = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
    noise = draw.standard_normal((len(specs), int(offsets[-1]), specs[0].features))
    layers = tuple((mean[n] + spread[n] * noise[n]).astype(spec.dtype) for n, spec in enumerate(specs))
    content = np.ones(int(offsets[-1]), np.bool_)
    if specs[0].frame_rate is None and not first:
        for start, stop in pairwise(offsets.tolist()):
            if stop - start > 2:
                content[[start, stop - 1]] = False
    moments = np.zeros((len(specs), count, specs[0].features), np.float32)
    return StreamFrames(layers, offsets, content, moments, moments, specs[0].frame_rate)
