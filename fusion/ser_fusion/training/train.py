"""Trains one head on one fold with one seed: plain torch, deterministic, the test part touched once at the end.

A training lasts a fixed number of steps and its last weights count; or, with early stopping, every epoch is scored on the
development part and the best epoch's weights are restored. Randomness comes from one number derived from (seed, fold), so all
rows of a table start from the same draws, whatever else ran before.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_fusion.frames.features import StreamFrames
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.model import Model
from ser_fusion.heads.pool_norm import settle_moments
from ser_fusion.heads.vad import rate
from ser_fusion.training.losses.objective import Objective, Truth
from ser_fusion.training.plan import Plan, Trained, TrainingData
from ser_fusion.training.presets import Training
from ser_fusion.training.schedule import OPTIMISERS, Schedule
from ser_fusion.training.scoring import WHOLE, BestEpoch, apart, calibrate, posteriors, scores

Rows = NDArray[np.int64]


def train(
    plan: Plan,
    data: TrainingData,
    parts: Mapping[str, Rows],
    *,
    padded: bool = False,
    on_epoch: Callable[[int], None] | None = None,
    on_read: Callable[[Rows], None] | None = None,
) -> Trained:
    """Trains a head.

    Args:
        plan: What to train and how.
        data: What it learns from.
        parts: ``train``, ``dev``, ``test``: rows of the study. Without a development part nothing stops early, and the last
            epoch counts. ``extra``, if there: (2, lines), rows of the stream ``text`` behind the study's, and their classes.
        padded: Use the padded engine on the CPU too; same results within rounding.
        on_epoch: Called after each epoch with its number.
        on_read: Called with the rows of the study whose frames are read, whenever they are.

    Raises:
        Leak: The rows break that promise.

    Returns:
        The model that counts; among several dropouts the one with the best development score.
    """
    streams = data.streams
    if data.apart is not None:
        contexts = (streams[name].context for name in plan.streams)
        data.apart.check(parts, [context.previous for context in contexts if context is not None])
    candidates = plan.dropouts or ((plan.shape.frame_dropout, plan.shape.pool_dropout),)
    best: tuple[float, Trained] | None = None
    device = torch.device(plan.device)
    soft, rated = (None if values is None else torch.from_numpy(values) for values in (data.votes, data.ratings))
    truth = Truth(torch.from_numpy(data.targets), soft, rated)
    answers = rate if plan.levers.task == "vad" else posteriors
    feed = Feed(streams, plan.streams, pad_to=plan.pad_to, device=device, padded=padded, on_read=on_read)
    for frame_dropout, pool_dropout in candidates:
        candidate = replace(plan, shape=replace(plan.shape, frame_dropout=frame_dropout, pool_dropout=pool_dropout))
        score, trained = _fit(candidate, feed, streams, truth, parts, on_epoch)
        if best is None or score > best[0]:
            best, plan = (score, trained), candidate
    assert best is not None
    trained = best[1]
    trained.dev = answers(trained.model, feed, parts["dev"])
    if plan.refit and len(parts["dev"]):
        both = np.sort(np.concatenate([parts["train"], parts["dev"]]))
        whole = {**parts, "train": both, "dev": both[:0]}
        like = None if plan.training.patience is None else trained
        _, again = _fit(plan, feed, streams, truth, whole, on_epoch, like)
        again.model.head.calibrate_like(trained.model.head)
        trained.model = again.model
        trained.notes.append(f"trained again on {len(both)} utterances for {again.best_epoch} epochs")
    trained.test = answers(trained.model, feed, parts["test"])
    if plan.levers.vad_weight:
        trained.ratings = rate(trained.model, feed, parts["test"])
    return trained


def build(plan: Plan, streams: Mapping[str, StreamFrames], ratings: int = 0) -> Model:
    """An untrained model of the right sizes."""
    dims = {s: streams[s].features for s in plan.streams}
    layers = {s: len(streams[s].layers) for s in plan.streams}
    return Model(plan.fusion, dims, layers, plan.classes, plan.shape, plan.normalise, plan.context, ratings)


def _fit(
    plan: Plan,
    feed: Feed,
    streams: Mapping[str, StreamFrames],
    truth: Truth,
    parts: Mapping[str, Rows],
    on_epoch: Callable[[int], None] | None,
    like: Trained | None = None,
) -> tuple[float, Trained]:
    """One training, and its development score; ``like`` an earlier one that stopped early, for exactly as many epochs, the
    plateau schedule's learning rates replayed."""
    rates = [float(point["lr"]) for point in like.curve[: like.best_epoch]] if like else []
    number = int(np.random.SeedSequence(plan.seed).generate_state(1, np.uint64)[0] >> 1)
    torch.manual_seed(number)
    order = np.random.default_rng(plan.seed)
    model = build(plan, streams, truth.dimensions if plan.levers.rates else 0).to(feed.device)
    rows, targets = parts["train"], truth.classes
    balanced = plan.class_weights == "balanced"
    objective = Objective(plan.levers, truth, rows, plan.classes, seed=plan.seed, device=feed.device, balanced=balanced)
    feed.tell(rows)
    _prepare(model, plan, streams, rows, targets, objective.prior)
    if model.raters is not None and truth.ratings is not None:
        model.raters.fit_scale(truth.ratings[rows])
    settings = plan.training
    kind = OPTIMISERS[settings.optimiser]
    optimiser = kind(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    steps = -(-len(rows) // settings.batch)
    stops = settings.patience is not None
    epochs = plan.lasts(len(rows))
    schedule = Schedule(settings.schedule, optimiser, epochs, steps)
    average = Average(model, settings.average)
    curve: list[dict[str, Any]] = []
    best = BestEpoch(model, like.best_epochs if like else None)
    last = len(rates) or epochs
    for epoch in range(1, last + 1):
        if rates and schedule.plateau is not None:
            optimiser.param_groups[0]["lr"] = rates[epoch - 1]
        began, lr = time.perf_counter(), optimiser.param_groups[0]["lr"]
        shuffled = order.permutation(rows)
        partners = _partners(order, shuffled, targets.numpy(), plan.streams[1:]) if plan.re_pair else {}
        if "extra" in parts:
            partners["text"] = _drawn(order, shuffled, targets.numpy(), parts["extra"])
        loss = _epoch(model, feed, shuffled, partners, objective, optimiser, schedule, settings, average)
        point: dict[str, Any] = {"epoch": epoch, "lr": lr, "train_loss": loss}
        score = each = None
        if stops or epoch == last:
            settle_moments(average.model, feed, rows)
        if len(parts["dev"]):
            alone = calibrate(average.model, feed, parts["dev"], truth) if apart(model) else {}
            dev_scores = scores(average.model, feed, parts["dev"], truth)
            point |= {f"dev_{name}": value for name, value in dev_scores.items()}
            score = _chosen(plan, dev_scores)
            each = {part: _chosen(plan, own) for part, own in {**alone, WHOLE: dev_scores}.items()} if stops else None
        point["seconds"] = round(time.perf_counter() - began, 3)
        curve.append(point)
        schedule.after_epoch(score)
        if on_epoch is not None:
            on_epoch(epoch)
        if stops or epoch == last:
            best.offer(epoch, average.model, each)
        if settings.patience is not None and not rates and epoch - best.last >= settings.patience:
            break
    model.load_state_dict(best.state)
    if each is not None:
        score = best.scores[WHOLE]
    if apart(model) and len(parts["dev"]):  # the experts' weights were never scored together
        calibrate(model, feed, parts["dev"], truth)
        score = _chosen(plan, scores(model, feed, parts["dev"], truth))
    nothing = np.zeros((0, plan.classes), dtype=np.float32)
    notes = ["no development part: the last epoch counts"] if stops and not len(parts["dev"]) else []
    if apart(model) and not len(parts["dev"]):
        notes.append("no development part: the experts' posteriors are not calibrated")
    return -np.inf if score is None else score, Trained(model.eval(), nothing, nothing, curve, best.epochs, notes)


class Average:
    """The running average of a model's weights (Polyak averaging): less noise than any one step's, no cost in prediction.

    Args:
        model: Whose weights. Buffers that training changes (running moments) are copied after each epoch, not averaged.
        decay: Per step; 0 keeps the model itself. Smaller in the first steps, which should be forgotten soon.

    Attributes:
        model: The averaged model.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.model = deepcopy(model).requires_grad_(False) if decay else model

    @torch.no_grad()
    def after_step(self, model: Model) -> None:
        """One optimiser step was made."""
        if not self.decay:
            return
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)

    @torch.no_grad()
    def after_epoch(self, model: Model) -> None:
        """One epoch is over."""
        for ours, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)


def _prepare(
    model: Model, plan: Plan, streams: Mapping[str, StreamFrames], rows: Rows, targets: Tensor, prior: Tensor | None
) -> None:
    if plan.normalise:
        for name in plan.streams:
            mean, scale = streams[name].moments(rows)
            layer = model.inputs[name]
            layer.mean.copy_(torch.from_numpy(mean))  # type: ignore[operator]
            layer.scale.copy_(torch.from_numpy(scale))  # type: ignore[operator]
    if prior is None:
        model.head.prepare(targets[rows])
    else:
        model.head.prepare(targets[rows], prior)


def _partners(order: np.random.Generator, rows: Rows, targets: Rows, streams: tuple[str, ...]) -> dict[str, Rows]:
    """For each stream another training utterance of the same class, every one used once."""
    out = {}
    for name in streams:
        other = rows.copy()
        for label in np.unique(targets[rows]):
            own = np.flatnonzero(targets[rows] == label)
            other[own] = rows[order.permutation(own)]
        out[name] = other
    return out


def _drawn(order: np.random.Generator, rows: Rows, targets: Rows, extra: Rows) -> Rows:
    """For each row a text of the same class, from these rows' own and the extra ones (2, lines); none twice."""
    out = rows.copy()
    for label in np.unique(targets[rows]):
        own = np.flatnonzero(targets[rows] == label)
        pool = np.concatenate([rows[own], extra[0, extra[1] == label]])
        out[own] = order.permutation(pool)[: len(own)]
    return out


def _epoch(
    model: Model,
    feed: Feed,
    rows: Rows,
    partners: Mapping[str, Rows],
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    settings: Training,
    average: "Average",
) -> float:
    model.train()
    cuts = list(_batches(len(rows), settings.batch, even=model.head.shape.pool_norm == "batch"))
    parts = [rows[where] for where in cuts]
    others = [{name: other[where] for name, other in partners.items()} for where in cuts]
    losses = []
    for part, batch in zip(parts, feed.batches(zip(parts, others, strict=True)), strict=True):
        loss = objective(model, batch, part) / len(part)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        schedule.after_step()
        average.after_step(model)
        losses.append(loss.detach())  # read at the end: a number that is read waits for the device
    total = sum(float(loss) * len(part) for loss, part in zip(torch.stack(losses).cpu(), parts, strict=True))
    average.after_epoch(model)
    return total / max(1, len(rows))


def _batches(utterances: int, size: int, *, even: bool) -> Iterator[slice]:
    """Where each batch lies: all of this size and the rest in the last one, or as many of about equal size (``even``), so that
    no batch is too small for its own moments."""
    count = -(-utterances // size)
    for number in range(count):
        if even:
            yield slice(number * utterances // count, (number + 1) * utterances // count)
        else:
            yield slice(number * size, (number + 1) * size)


def _chosen(plan: Plan, dev_scores: Mapping[str, float]) -> float:
    """The score that epochs are chosen by; higher is better."""
    return dev_scores["uwa"] if plan.select == "uwa" and "uwa" in dev_scores else -dev_scores["loss"]
