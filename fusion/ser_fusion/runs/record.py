"""``run.json`` as it stands while a run is under way: what was asked, on what, with what, and how rows differ from their source."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ser_fusion.heads import HEADS, facts_of
from ser_fusion.runs.environment import environment
from ser_fusion.runs.job import NORMS, FuseJob, Row
from ser_fusion.runs.planning import OVERRIDES, refits, training_of
from ser_fusion.study.context import departure as context_departure
from ser_fusion.study.context import described, previous_turns
from ser_fusion.study.open import Study
from ser_fusion.training.losses import LOSSES
from ser_fusion.training.losses.levers import levers_of
from ser_fusion.training.presets import PRESETS

FORMAT = 1


def describe(job: FuseJob, study: Study, rows: Sequence[Row], command: str, device: str) -> dict[str, Any]:
    """``run.json`` as it stands while the run is under way."""
    info = asdict(study.info)
    transductive = job.transductive
    note = NORMS[job.norm]
    return {
        "format": FORMAT,
        "finished": False,
        "job": job.model_dump(mode="json"),
        "classes": list(study.classes),
        "labels": study.labels,
        "protocol": study.folds.protocol,
        "dev": study.folds.dev,
        "held_out": list(study.folds.held_out),
        "folds_fingerprint": study.folds.fingerprint,
        "data_fingerprint": study.data_fingerprint,
        "corpus": {key: info.get(key) for key in ("name", "title", "synthetic", "licence", "citation", "transcripts")},
        "cache": {
            "path": str(study.cache),
            "entries": {name: _entry(study, name) for name in study.streams},
        },
        "counts": {
            "utterances": len(study.table),
            "excluded": len(study.excluded),
            "failed": study.failed,
            "masked": dict(study.masked),
            "per_class": study.counts,
        },
        "rows": [
            {
                "name": row.name,
                "slug": row.slug,
                "kind": "head",
                "fusion": row.fusion,
                "streams": list(facts_of(row.fusion).reads(row.fusion, tuple(study.streams))),
                "pooling": row.pooling,
                "preset": row.preset,
                "text_pooling": row.text_pooling,
                "text_input": row.text_input,
                "fraction": row.fraction,
                "parameters": None,
                "transductive": transductive,
                "departures": departures(job, row, study),
                "note": note,
            }
            for row in rows
        ],
        "seeds": list(job.seeds),
        "stride": job.stride,
        "epochs": job.epochs,
        "norm": job.norm,
        "device": device,
        "environment": environment(),
        "command": command,
        "seconds": None,
        "notes": [*study.notes, *refit_note(job, study)],
        **_context(job, study),
    }


def _context(job: FuseJob, study: Study) -> dict[str, Any]:
    """What was read of previous turns; nothing at all without ``--context``."""
    return {"context": described(previous_turns(study, job.context), study)} if job.context else {}


def _entry(study: Study, name: str) -> dict[str, Any]:
    spec = study.streams[name].spec
    return {
        "encoder": spec.encoder,
        "layer": spec.layer,
        "layers": [entry.spec.layer for entry in study.layers[name]],
        "specs": [entry.spec.as_dict() for entry in study.layers[name]],  # all that ser predict needs to encode again
        "dtype": spec.dtype,
        "fingerprint": study.streams[name].fingerprint,
        "frame_rate": spec.frame_rate,
        "features": spec.features,
    }


def departures(job: FuseJob, row: Row, study: Study) -> list[str]:
    """How a row deviates from the source that its preset names, in words."""
    preset = PRESETS[row.preset]
    said = list(preset.departures)
    training = training_of(job, preset)
    for name in OVERRIDES:
        value, own = getattr(training, name), getattr(preset.training, name)
        if value != own and (name != "patience" or own is not None):
            said.append(f"{name.replace('_', ' ')} {value} instead of {own}")
    if training.patience is not None and preset.training.patience is None:
        said.append(f"stopped after {training.patience} epochs without a better development score, the best epoch kept")
    if job.epochs is not None:
        said.append(f"{'at most ' if training.patience is not None else ''}{job.epochs} epochs")
    for name in ("frame_dropout", "pool_dropout"):
        chosen, own = getattr(job, name), getattr(preset.shape, name)
        if chosen and chosen != (own,):
            said.append(f"{name.replace('_', ' ')} {' or '.join(map(str, chosen))} instead of {own}")
    if job.pool_norm is not None and job.pool_norm != preset.shape.pool_norm:
        said.append(f"pooled vectors' norm: {job.pool_norm} instead of {preset.shape.pool_norm}")
    if job.norm_first is not None and job.norm_first != preset.shape.norm_first:
        said.append(f"attention normalises what it {'reads' if job.norm_first else 'gives'}")
    if preset.weighted_layers and all(len(entries) == 1 for entries in study.layers.values()):
        said.append("one layer instead of a learned sum of all (--layer all)")
    if training.patience is not None and job.refit:
        said.append("trained again on training and development part for the number of epochs chosen on the latter")
    if training.patience is None and not refits(job, training, row.fraction):
        said.append("not trained again on training and development part together")
    if job.re_pair:
        said.append("streams paired again within the class in every training epoch")
    said += _losses(job, study.classes, row.fusion)
    if job.tune:
        said.append(f"settings chosen per fold, the best of {job.tune} trials on inner folds (tuning.md)")
    if job.context:
        said.append(context_departure(HEADS[row.fusion].reads_context(preset.shape), job.context))
    if job.extra_text and "text" in facts_of(row.fusion).reads(row.fusion, tuple(study.streams)):
        said.append("text drawn again in every training epoch from all of its class, extra text included")
    said += facts_of(row.fusion).departures
    if row.text_input == "cls" and facts_of(row.fusion).may_read("text"):
        said.append("text is one token: self-attention over it is linear, and attention to it constant")
    return said


def refit_note(job: FuseJob, study: Study) -> list[str]:
    """What a reader of the result must know where tested heads have seen the development part; empty if none has."""
    if not any(refits(job, training_of(job, PRESETS[name])) for name in job.preset):
        return []
    if not any(len(fold.dev) for fold in study.folds.folds):
        return []
    note = (
        "the tested heads are trained again on training and development part together; development predictions, temperatures "
        "and whatever else is fitted on the development part come from the first training, which has not seen it"
    )
    return [note]


def _losses(job: FuseJob, classes: Sequence[str], fusion: str) -> list[str]:
    """What of a job's row with this head differs by its levers, in words; empty for the defaults."""
    levers, said = levers_of(job, classes), []
    if levers.loss != "cross-entropy":
        kind = LOSSES[levers.loss]
        number = kind.default if levers.strength is None else levers.strength
        said.append(f"loss {levers.loss}, {kind.symbol} {number:g}, instead of cross-entropy")
    if levers.smoothing:
        said.append(f"labels smoothed by {levers.smoothing:g}")
    if levers.votes:
        said.append("targets are the annotators' votes; turns without a majority train too and are never scored")
    if levers.mixup:
        said.append(f"pooled vectors mixed up, alpha {levers.mixup:g}")
    if levers.contrastive:
        names = [f"{classes[a]} and {classes[b]}" for a, b in levers.pairs]
        pairs = f"negatives of {', '.join(names)} weigh {levers.pair_weight:g}" if names else "no confused pair"
        said.append(f"supervised contrastive loss, weight {levers.contrastive:g}; {pairs}")
    if job.stream_dropout is not None:
        useless = "" if HEADS[fusion].drops_streams else ", which this head has no use for"
        said.append(f"stream dropout {job.stream_dropout:g}{useless}")
    if levers.vad_weight:
        said.append(f"valence, arousal and dominance learned as well (CCC loss), weight {levers.vad_weight:g}")
    return said
