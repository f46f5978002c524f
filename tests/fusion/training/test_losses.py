"""Every loss against an independent computation: torch's own, scikit-learn's, or loops written from the paper's equation."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import log_loss
from torch import Tensor
from torch.nn.functional import cross_entropy

from ser_base.errors import UnknownName
from ser_fusion.heads import HEADS
from ser_fusion.heads.base import Head, tapped, widths
from ser_fusion.heads.model import Model
from ser_fusion.heads.shape import Shape
from ser_fusion.runs.job import FuseJob
from ser_fusion.training.losses import LOSSES
from ser_fusion.training.losses.base import effective_weights
from ser_fusion.training.losses.levers import LeverImpossible, Levers, levers_of
from ser_fusion.training.losses.objective import Mix, Objective, Truth, check_heads, contrastive, draw_mix, pair_weights

COUNTS = torch.tensor([50.0, 7.0, 300.0, 1.0])
ROWS = np.arange(4)
DIMS = {"audio": 12, "text": 10, "video": 6, "prosody": 5}
LENGTHS = {"audio": [7, 1, 9, 12], "text": [5, 3, 4, 9], "video": [2, 4, 1, 3], "prosody": [4, 1, 1, 2]}


@pytest.fixture
def given() -> tuple[Tensor, Tensor]:
    """Logits and targets of 9 utterances, 4 classes."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(9, 4, generator=generator) * 2, torch.tensor([0, 1, 2, 3, 2, 2, 0, 1, 2])


def objective(levers: Levers, targets: Tensor | None = None, **options: Any) -> Objective:
    wanted = torch.tensor([0, 1, 2, 3]) if targets is None else targets
    return Objective(
        levers, Truth(wanted), np.arange(len(wanted)), 4, seed=(0, 0), device=torch.device("cpu"), **options
    )


def make_model(name: str = "self", **shape: Any) -> Model:
    torch.manual_seed(1)
    streams = HEADS[name].reads(name, (name,) if name in ("video", "prosody") else ("audio", "text"))
    dims = {s: DIMS[s] for s in streams}
    return Model(
        name,
        dims,
        dict.fromkeys(streams, 1),
        4,
        Shape(**{"width": 8, "frame_dropout": 0.0, "pool_dropout": 0.0, **shape}),
        False,
    )


@pytest.mark.parametrize("name", list(LOSSES))
def test_class_numbers_equal_their_one_hot_distributions(name: str, given: tuple[Tensor, Tensor]) -> None:
    logits, targets = given
    loss = LOSSES[name](COUNTS)
    torch.testing.assert_close(loss(logits, targets), loss(logits, torch.eye(4)[targets]))


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.99999])
def test_class_balanced_is_scikit_learns_log_loss_with_effective_numbers(
    beta: float, given: tuple[Tensor, Tensor]
) -> None:
    logits, targets = given
    raw = [(1 - beta) / (1 - beta ** int(n)) for n in COUNTS]
    weights = np.array(raw) * 4 / sum(raw)
    probabilities = logits.double().softmax(1).numpy()
    expected = log_loss(targets, probabilities, sample_weight=weights[targets], normalize=False)
    assert LOSSES["class-balanced"](COUNTS, strength=beta)(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_effective_numbers_end_in_plain_and_in_inverse_frequency() -> None:
    assert torch.equal(effective_weights(COUNTS, 0.0), torch.ones(4))
    inverse = (1 / COUNTS) * 4 / (1 / COUNTS).sum()
    torch.testing.assert_close(effective_weights(COUNTS, 1 - 1e-9), inverse, rtol=1e-5, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_is_the_papers_sum(gamma: float, given: tuple[Tensor, Tensor]) -> None:
    logits, targets = given
    right = logits.double().softmax(1).numpy()[np.arange(9), targets]
    expected = sum(-((1 - p) ** gamma) * math.log(p) for p in right)
    assert LOSSES["focal"](COUNTS, strength=gamma)(logits, targets).item() == pytest.approx(expected, rel=1e-5)
    if not gamma:
        torch.testing.assert_close(
            LOSSES["focal"](COUNTS, strength=0.0)(logits, targets), cross_entropy(logits, targets, reduction="sum")
        )


def test_focal_has_a_finite_gradient_where_everything_is_right() -> None:
    logits = torch.tensor([[60.0, 0.0, -60.0, 0.0]], requires_grad=True)
    LOSSES["focal"](COUNTS, strength=0.5)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
def test_logit_adjustment_is_the_papers_sum(tau: float, given: tuple[Tensor, Tensor]) -> None:
    logits, targets = given
    prior = (COUNTS / COUNTS.sum()).double().numpy()
    scores = logits.double().numpy()
    expected = 0.0
    for row, label in zip(scores, targets, strict=True):  # eq. 10: log[1 + sum over others (pi'/pi)^tau exp(f' - f)]
        others = [c for c in range(4) if c != label]
        expected += math.log1p(sum((prior[c] / prior[label]) ** tau * math.exp(row[c] - row[label]) for c in others))
    assert LOSSES["logit-adjust"](COUNTS, strength=tau)(logits, targets).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("balanced", [False, True])
def test_smoothing_is_torchs(balanced: bool, make_batch: Callable[..., Any]) -> None:
    model, batch = make_model(), make_batch(LENGTHS, DIMS)
    targets = torch.tensor([0, 0, 2, 3])
    ours = objective(Levers(smoothing=0.2), targets, balanced=balanced)
    weight = torch.tensor([0.5, 1.0, 1.0, 1.0]) if balanced else None  # 4 / (4 classes x n), an absent class as if once
    torch.testing.assert_close(ours.weight, weight)
    expected = cross_entropy(model(batch), targets, weight=weight, label_smoothing=0.2, reduction="sum")
    torch.testing.assert_close(ours(model, batch, ROWS), expected)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_contrastive_loss_is_the_papers_sum(weight: float) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(8, 5, generator=generator)
    targets = [0, 0, 1, 2, 2, 2, 3, -1]  # 1 and 3 have no partner, the last one has no class
    z = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
    expected = 0.0
    for i, y in enumerate(targets):
        partners = [p for p in range(8) if p != i and targets[p] == y and y >= 0]
        if not partners:
            continue
        total = 0.0
        for a in range(8):
            if a != i and targets[a] >= 0:
                confused = {y, targets[a]} == {0, 2}
                total += (weight if confused else 1.0) * math.exp(z[i] @ z[a] / 0.1)
        expected -= sum(math.log(math.exp(z[i] @ z[p] / 0.1) / total) for p in partners) / len(partners)
    got = contrastive(vectors, torch.tensor(targets), pair_weights([(0, 2)], weight, 4))
    assert got.item() == pytest.approx(expected, rel=1e-5)
    if weight == 1:
        torch.testing.assert_close(got, contrastive(vectors, torch.tensor(targets)))


def test_a_batch_without_partners_has_no_contrastive_loss_and_a_gradient() -> None:
    vectors = torch.randn(3, 4, requires_grad=True)
    loss = contrastive(vectors, torch.tensor([0, 1, -1]))
    loss.backward()
    assert loss.item() == 0 and not vectors.grad.any()


@pytest.mark.parametrize("name", list(HEADS))
def test_every_head_shows_its_pooled_vectors(name: str, make_batch: Callable[..., Any]) -> None:
    """Behind the pooled vector every head is linear, so mixed vectors give mixed logits; each expert has one of its own."""
    model, batch = make_model(name).eval(), make_batch(LENGTHS, DIMS)
    mix = Mix(0.3, torch.tensor([2, 0, 3, 1]))
    plain = model.expert_logits(batch)
    with tapped(model.head, mix) as vectors:
        mixed = model.expert_logits(batch)
    assert len(vectors) == len(plain) == len(mixed) == (2 if name.startswith("late") else 1)
    assert [vector.shape[1] for vector in vectors] == widths(model.head)
    for one, other in zip(plain, mixed, strict=True):
        torch.testing.assert_close(other, 0.3 * one + 0.7 * one[mix.partner], rtol=1e-4, atol=1e-5)
    assert all(
        torch.equal(a, b) for a, b in zip(plain, model.expert_logits(batch), strict=True)
    )  # nothing is left behind


@pytest.mark.parametrize("name", ["self", "late"])
def test_mixup_mixes_vectors_and_labels_alike(name: str, make_batch: Callable[..., Any]) -> None:
    model, batch, targets = make_model(name).eval(), make_batch(LENGTHS, DIMS), torch.tensor([0, 1, 2, 3])
    mix = draw_mix(np.random.default_rng([0, 0, 977]), 4, 0.4, torch.device("cpu"))
    expected = 0.0
    for logits in model.expert_logits(batch):
        mixed = mix.share * logits + (1 - mix.share) * logits[mix.partner]
        own, other = (cross_entropy(mixed, y, reduction="sum") for y in (targets, targets[mix.partner]))
        expected += (mix.share * own + (1 - mix.share) * other).item()
    assert objective(Levers(mixup=0.4))(model, batch, ROWS).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["cross", "late"])
def test_levers_add_up(name: str, make_batch: Callable[..., Any]) -> None:
    model, batch = make_model(name).eval(), make_batch(LENGTHS, DIMS)
    targets = torch.tensor([0, 0, 2, 2])
    both = objective(Levers(loss="focal", contrastive=0.5, pairs=((0, 2),), pair_weight=2.0), targets)
    with tapped(model.head) as vectors:
        logits = model.expert_logits(batch)
    expected = sum(LOSSES["focal"](COUNTS)(one, targets) for one in logits)
    expected = expected + 0.5 * sum(contrastive(one, targets, pair_weights([(0, 2)], 2.0, 4)) for one in vectors)
    torch.testing.assert_close(both(model, batch, ROWS), expected)


@pytest.mark.parametrize("name", list(HEADS))
def test_the_default_is_the_heads_own_loss_to_the_bit(name: str, make_batch: Callable[..., Any]) -> None:
    model, batch, targets = make_model(name), make_batch(LENGTHS, DIMS), torch.tensor([3, 1, 2, 0])
    assert torch.equal(objective(Levers(), targets)(model, batch, ROWS), model.loss(batch, targets))
    assert objective(Levers(), targets).prior is None


@pytest.mark.parametrize(
    ("levers", "balanced", "expected"),
    [
        (Levers(loss="logit-adjust"), False, [0.25] * 4),
        (Levers(loss="logit-adjust", strength=0.5), False, (COUNTS.sqrt() / COUNTS.sqrt().sum()).tolist()),
        (Levers(), True, [0.25] * 4),
        (Levers(smoothing=0.4), False, (0.6 * COUNTS / COUNTS.sum() + 0.1).tolist()),
        (Levers(loss="focal"), False, (COUNTS / COUNTS.sum()).tolist()),
    ],
)
def test_late_fusion_divides_by_the_prior_that_its_experts_learned(
    levers: Levers, balanced: bool, expected: list[float]
) -> None:
    targets = torch.repeat_interleave(torch.arange(4), COUNTS.long())
    prior = objective(levers, targets, balanced=balanced).prior
    head = make_model("late").head
    head.prepare(targets, prior)
    torch.testing.assert_close(head.log_prior.exp(), torch.tensor(expected), rtol=1e-4, atol=1e-6)


CLASSES = ("angry", "excited", "frustrated", "happy")


def job(**options: Any) -> FuseJob:
    return FuseJob(cache=Path("c"), out=Path("o"), **options)


def test_pairs_are_found_by_name_or_declared() -> None:
    assert set(levers_of(job(contrastive=0.1), CLASSES).pairs) == {(0, 2), (3, 1)}
    assert levers_of(job(contrastive=0.1), ("sad", "neutral")).pairs == ()
    assert levers_of(job(contrastive=0.1, confused_pairs=("happy-angry",)), CLASSES).pairs == ((3, 0),)
    assert levers_of(job(contrastive=0.1, confused_pairs=("a-b-c",)), ("a-b", "c")).pairs == ((0, 1),)
    for wrong in ("happy", "happy-sad", "happy-happy"):
        with pytest.raises(LeverImpossible, match=r"not two of the classes angry, excited"):
            levers_of(job(contrastive=0.1, confused_pairs=(wrong,)), CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "cross-entropy", "loss_strength": 1.0}, "it has no number"),
        ({"loss": "class-balanced", "loss_strength": 1.0}, r"beta lies in \[0, 1\)"),
        ({"loss": "focal", "loss_strength": -1.0}, "gamma is not negative"),
        ({"loss": "logit-adjust", "class_weights": "balanced"}, "both balance the classes"),
        ({"confused_pairs": ("a-b",)}, "Give --contrastive W as well"),
        ({"smoothing": 1.0}, "less than 1"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job(**options)


def test_an_unknown_loss_is_named_with_those_known() -> None:
    with pytest.raises(UnknownName, match="focal"):
        job(loss="fokal")


class OwnLoss(Head):
    """A head that does not let itself be told what to minimise."""

    def loss(self, batch: Any, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        return torch.zeros(())


def test_heads_that_cannot_follow_are_named() -> None:
    with pytest.raises(LeverImpossible, match=r"of the heads late, mdre none pools several streams"):
        check_heads(job(stream_dropout=0.2), ("late", "mdre"), CLASSES)
    check_heads(job(stream_dropout=0.2), ("late", "cross"), CLASSES)
    check_heads(job(), ("own",), CLASSES, {"own": OwnLoss})
    with pytest.raises(LeverImpossible, match="'own' has its own"):
        check_heads(job(mixup=0.2), ("own",), CLASSES, {"own": OwnLoss})
