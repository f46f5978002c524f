"""Heads as a folder in the layout of the Hugging Face hub: ``config.json``, ``model.safetensors``, ``README.md``.

The folder holds every head of the ensemble with its temperature, and what prediction needs to know of the run: classes,
stride, the features' specs, the training's durations. It holds no encoder (those have their own homes) and nothing of the
corpus but its name, licence and scores. ``Predictor`` and the commands take such a folder wherever they take a run.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_fusion.errors import RecordBroken
from ser_fusion.evaluation.probes import Probe
from ser_fusion.evaluation.records import Export, check, read_json
from ser_predict.errors import BadExport
from ser_predict.models.card import model_card
from ser_predict.models.ensemble import RAW, Chosen, Ensemble, HeadSource, Member
from ser_predict.models.runs import RunHeads
from ser_predict.models.stacks import Stack, checked

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FACTS = ("corpus", "protocol", "labels", "held_out", "dev", "folds_fingerprint", "counts", "seeds", "stride", "epochs")
"""Of ``run.json``; beside these, the entries of the cache without its path."""


def write_heads(chosen: Chosen, ensembles: Sequence[Ensemble], folder: Path) -> Path:
    """Writes heads, so that ``HubHeads`` reads them.

    Args:
        chosen: The heads that answer, for the model card.
        ensembles: All heads to write: those that answer, and those they fall back to without a transcript.
        folder: Made if it is not there; files of the same names are replaced.

    Returns:
        The folder.
    """
    from safetensors.numpy import save_file

    from ser_base.files import replacing

    source, tensors, rows = chosen.source, {}, []
    for ensemble in ensembles:
        for number, member in enumerate(ensemble.members):
            for name, value in member.model.state_dict().items() if member.model is not None else ():
                tensors[f"{ensemble.slug}/{number}/{name}"] = value.contiguous().cpu().numpy()
        for fold, stack in _stacks(ensemble).items():
            for number, probe in enumerate(stack.probes):
                place = f"{ensemble.slug}/stack/{fold}/{number}"
                tensors |= {f"{place}/weights": probe.weights, f"{place}/bias": probe.bias}
        confidence, right = ensemble.sure
        tensors[f"{ensemble.slug}/development/confidence"] = confidence
        tensors[f"{ensemble.slug}/development/right"] = right
        rows.append(_row(source, ensemble))
    entries = source.facts.get("cache", {}).get("entries", {})
    config = {
        "format": FORMAT,
        "model_type": "ser-fusion",
        "library_name": "ser-fusion",
        "classes": list(source.classes),
        "durations": _durations(source.durations),
        "main": chosen.main.slug,
        "rows": rows,
        "leaks": list(source.leaks),
        **{name: source.facts[name] for name in FACTS if name in source.facts},
        "cache": {"entries": entries},
    }
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as scratch:
        save_file(tensors, scratch, metadata={"format": "pt"})
    texts = {
        CARD: model_card(chosen),
        CONFIG: json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, text in texts.items():  # config.json last: the folder reads as an export only with all of it
        with replacing(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")
    return folder


def _row(source: HeadSource, ensemble: Ensemble) -> dict[str, Any]:
    return {
        "slug": ensemble.slug,
        "name": ensemble.name,
        "kind": "head" if all(member.model is not None for member in ensemble.members) else "reference",
        "streams": list(ensemble.streams),
        "text_input": "cls" if ensemble.text_first_only else "tokens",
        "uwa": ensemble.uwa if math.isfinite(ensemble.uwa) else None,
        "scores": source.scores(ensemble.slug),
        "uncalibrated": ensemble.uncalibrated,
        "by_seed": ensemble.by_seed,
        "stacks": {fold: dict(stack.card) for fold, stack in _stacks(ensemble).items()},
        "members": [
            {
                "fold": member.fold,
                "seed": member.seed,
                "temperature": member.temperature,
                "pad_to": dict(member.pad_to),
                "card": None if member.model is None else member.model.card,
            }
            for member in ensemble.members
        ],
    }


def _stacks(ensemble: Ensemble) -> dict[str, Stack]:
    return {member.fold: member.stack for member in ensemble.members if member.stack is not None}


def _durations(seconds: Sequence[float]) -> list[float]:
    """Two values that give the same windows as all of them: nine tenths of the utterances are shorter, and the longest."""
    lengths = sorted(value for value in seconds if value > 0)
    return [lengths[int(0.9 * (len(lengths) - 1))], lengths[-1]] if lengths else []


class HubHeads(HeadSource):
    """The heads of an exported folder. Reads JSON and safetensors; nothing in it is ever run.

    Raises:
        BadExport: The folder cannot be read as an export.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        self.path = path
        try:
            config = read_json(path / CONFIG)
            if not isinstance(config, dict) or config.get("format") != FORMAT:
                version = config.get("format") if isinstance(config, dict) else None
                raise BadExport(str(path), f"{CONFIG} has format {version!r}, but this version reads format {FORMAT}")
            self.facts = check(config, Export, path / CONFIG)
            self._tensors = load_file(path / WEIGHTS)
        except RecordBroken as error:
            raise BadExport(str(path), f"{CONFIG}: {error.problem}") from error
        except (OSError, SafetensorError) as error:
            raise BadExport(str(path), f"{WEIGHTS}: {error}") from error
        self.classes = tuple(self.facts["classes"])
        self._rows = {str(row["slug"]): row for row in self.facts["rows"]}

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        return list(self._rows.values())

    def best(self, available: Sequence[str], preferred: Sequence[str] = ()) -> Mapping[str, Any] | None:
        main = self._rows.get(str(self.facts.get("main")))
        fits = main is not None and set(preferred) <= set(main["streams"]) <= set(available)
        return main if fits else super().best(available, preferred)

    @property
    def durations(self) -> list[float]:
        return [float(value) for value in self.facts.get("durations", [])]

    def streams(self, slug: str) -> tuple[str, ...]:
        return tuple(self._rows[slug]["streams"])

    def uwa(self, slug: str) -> float:
        value = self._rows[slug].get("uwa")
        return float("nan") if value is None else float(value)

    def scores(self, slug: str) -> Mapping[str, Any] | None:
        scores: Mapping[str, Any] | None = self._rows[slug].get("scores")
        return scores

    def open(
        self, row: Mapping[str, Any], *, fold: str | None = None, seed: int | None = None, calibrate: bool = True
    ) -> Ensemble:
        slug = str(row["slug"])
        members = []
        try:
            for number, facts in enumerate(self._rows[slug]["members"]):
                if fold in (None, str(facts["fold"])) and seed in (None, int(facts["seed"])):
                    members.append(self._member(slug, number, facts, calibrate))
            confidence = self._tensors[f"{slug}/development/confidence"].astype(np.float64)
            right = self._tensors[f"{slug}/development/right"].astype(np.bool_)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BadExport(str(self.path), f"the row '{slug}' is not complete ({first})") from error
        if not members:
            heads = ((card["fold"], card["seed"]) for card in self._rows[slug]["members"])
            raise self.lacks(slug, fold, seed, heads)
        return Ensemble(
            slug=slug,
            name=str(row["name"]),
            streams=self.streams(slug),
            text_first_only=row.get("text_input") == "cls",
            uwa=self.uwa(slug),
            members=tuple(members),
            sure=(confidence, right),
            by_seed=bool(row.get("by_seed")),
            uncalibrated=str(row.get("uncalibrated") or "") if calibrate else RAW,
        )

    def _member(self, slug: str, number: int, facts: Mapping[str, Any], calibrate: bool) -> Member:
        import torch

        from ser_fusion.heads.model import model_from_card

        temperature = float(facts["temperature"]) if calibrate else 1.0
        stack = self._stack(slug, str(facts["fold"]))
        if facts["card"] is None:
            return Member(None, str(facts["fold"]), int(facts["seed"]), temperature, {}, stack)
        prefix = f"{slug}/{number}/"
        own = {name.removeprefix(prefix): value for name, value in self._tensors.items() if name.startswith(prefix)}
        held = {name: value.shape for name, value in own.items()}
        model = model_from_card(
            facts["card"], held, lambda name: torch.from_numpy(np.array(own[name])), self.path / WEIGHTS
        )
        return Member(model, str(facts["fold"]), int(facts["seed"]), temperature, dict(facts["pad_to"]), stack)

    def _stack(self, slug: str, fold: str) -> Stack | None:
        card = (self._rows[slug].get("stacks") or {}).get(fold)
        if card is None:
            return None
        probes = []
        for number in range(len(card["probes"])):
            weights, bias = (self._tensors[f"{slug}/stack/{fold}/{number}/{name}"] for name in ("weights", "bias"))
            probes.append(Probe(weights, bias, float("nan"), np.zeros((0, len(bias)))))
        return checked(Stack(card, tuple(probes), str(self.path)), slug)


def open_heads(path: str | Path) -> HeadSource:
    """The heads in a folder: of ``ser fuse``, or of ``ser export --hub``.

    Raises:
        NotARun: The folder is neither.
        BadExport: It is an export that cannot be read.
    """
    folder = Path(path)
    exported = (folder / CONFIG).exists() and not (folder / "run.json").exists()
    return HubHeads(folder) if exported else RunHeads(folder)


def fetch(name: str | Path, *, offline: bool = False) -> Path:
    """The folder of exported heads: a local one as it is, else a snapshot of a repository on the hub.

    Raises:
        BadExport: Neither a folder nor a repository has this name.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), allow_patterns=[CONFIG, WEIGHTS, CARD], local_files_only=offline))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise BadExport(str(name), "neither a local folder nor a repository on the hub has this name") from error
