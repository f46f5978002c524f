"""Checks what heads, poolings and classifiers promise, their public contracts, with functions that raise AssertionError.

`check_head(MyHead)`, `check_pooling(MyPooling)` and `check_classifier(RECIPE)` ask a part of your own everything
(docs/guides/add-a-part.md). The repository's own tests ask the same, check by check, of every row of the tables.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.testing import assert_close

from ser_fusion.frames.batches import Packed, Padded, pad
from ser_fusion.heads.base import Head
from ser_fusion.heads.pool_norm import PoolNorm
from ser_fusion.heads.shape import Shape
from ser_fusion.poolings.base import Pooling

if TYPE_CHECKING:
    from ser_fusion.classifiers.base import Recipe

CLASSES = 4
DIMS = {"audio": 12, "text": 10, "video": 6, "prosody": 5}
LENGTHS = {"audio": [7, 1, 30, 12], "text": [5, 3, 1, 9], "video": [2, 8, 3, 1], "prosody": [9, 1, 4, 1]}
SHAPES = {
    "corrected": Shape(width=16, frame_dropout=0.0, pool_dropout=0.0, pool_norm="batch", norm_first=True),
    "as-found": Shape(
        width=None,
        project_single=False,
        residual=False,
        hidden=0.25,
        frame_dropout=0.0,
        pool_dropout=0.0,
        pooling="modality-stats",
        attention_heads=4,
    ),
    "full": Shape(
        width=16,
        frame_dropout=0.0,
        pool_dropout=0.0,
        pooling="attention",
        feedforward=24,
        activation="gelu",
        text_pooling="cls",
    ),
}
"""Widths, poolings and norms under which a head is asked."""


def random_batch(
    lengths: Mapping[str, Sequence[int]], dims: Mapping[str, int] = DIMS, seed: int = 0, special: bool = True
) -> dict[str, Packed]:
    """Makes random frames of several utterances; in `text` the first and the last token are special, as in a BERT.

    Args:
        lengths: Stream -> frames of each utterance.
        dims: Stream -> width of a frame.
        seed: Seed of the values.
        special: Whether a text has special tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for stream, counts in lengths.items():
        values = torch.randn(sum(counts), dims[stream], generator=generator)
        content = torch.ones(sum(counts), dtype=torch.bool)
        if stream == "text" and special:
            start = 0
            for count in counts:
                if count > 2:
                    content[start] = content[start + count - 1] = False
                start += count
        batch[stream] = Packed(values, counts, content)
    return batch


def utterance(batch: Mapping[str, Packed], index: int) -> dict[str, Packed]:
    """Cuts one utterance out of a batch, as a batch of one."""
    out = {}
    for stream, frames in batch.items():
        start = sum(frames.lengths[:index])
        rows = slice(start, start + frames.lengths[index])
        out[stream] = Packed(frames.values[rows], [frames.lengths[index]], frames.content[rows])
    return out


def make_head(kind: type[Head], name: str, shape: Shape, streams: tuple[str, ...] = ()) -> Head:
    """Makes a random head of 4 classes in evaluation mode, its norms as training would leave them.

    Args:
        kind: The class.
        name: As given to `--fusion`.
        shape: Widths and poolings.
        streams: Which it reads; none: the one of a head of a single stream, else audio and text.
    """
    torch.manual_seed(1)
    streams = streams or ((kind.single_stream,) if kind.single_stream else ("audio", "text"))
    head = kind({stream: DIMS[stream] for stream in kind.reads(name, streams)}, CLASSES, shape).eval()
    head.prepare(torch.tensor([0, 0, 0, 1, 1, 2, 3]))
    for norm in (module for module in head.modules() if isinstance(module, PoolNorm)):
        assert norm.running_mean is not None and norm.running_var is not None
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.1, 2.0)
    return head


def gradients(head: Head, batch: Any, weights: Tensor) -> dict[str, Tensor]:
    """Returns parameter -> gradient of the weighted sum of the logits."""
    head.zero_grad()
    (head(batch) * weights).sum().backward()
    return {name: p.grad.clone() for name, p in head.named_parameters() if p.grad is not None}


def _weights(rows: int = 4) -> Tensor:
    return torch.randn(rows, CLASSES, generator=torch.Generator().manual_seed(2))


def _padded(batch: Mapping[str, Packed]) -> dict[str, Padded]:
    return {stream: pad(frames) for stream, frames in batch.items()}


def _same_gradients(head: Head, batch: Any, twin: Any, rows: int = 4) -> None:
    expected, actual = gradients(head, batch, _weights(rows)), gradients(head, twin, _weights(rows))
    for key in expected:
        assert_close(expected[key], actual[key], rtol=1e-5, atol=1e-5, msg=partial("{}: {}".format, key))


def packed_equals_padded(kind: type[Head], name: str, shape: Shape) -> None:
    """The head does not ask how a batch is stored: logits and gradients are equal."""
    head, batch = make_head(kind, name, shape), random_batch(LENGTHS)
    assert_close(head(batch), head(_padded(batch)), rtol=1e-6, atol=1e-6)
    _same_gradients(head, batch, _padded(batch))


def dirty(batch: Mapping[str, Padded], last: float) -> dict[str, Padded]:
    """Fills the padding of a batch with 1,000, and that of the last frame with `last`."""
    out = {}
    for stream, frames in batch.items():
        values = torch.where(frames.mask.unsqueeze(2), frames.values, torch.tensor(1e3))
        values[:, -1] = torch.where(frames.mask[:, -1:], values[:, -1], torch.tensor(last))
        out[stream] = Padded(values.detach(), frames.lengths, frames.content)
    return out


def garbage_in_padding_changes_nothing(kind: type[Head], name: str, shape: Shape) -> None:
    """Logits and gradients never read what stands behind the end of an utterance."""
    head, batch = make_head(kind, name, shape), _padded(random_batch(LENGTHS))
    assert torch.equal(head(batch), head(dirty(batch, float("nan"))))
    _same_gradients(head, batch, dirty(batch, 1e3))


def one_is_a_row_of_many(kind: type[Head], name: str, shape: Shape) -> None:
    """Utterances never meet: a batch of one gives the row of the whole batch."""
    head, batch = make_head(kind, name, shape), random_batch(LENGTHS)
    together = head(batch)
    for index in range(4):
        assert_close(head(utterance(batch, index))[0], together[index], rtol=1e-5, atol=1e-6)


def order_does_not_matter(kind: type[Head], name: str, shape: Shape) -> None:
    """A shuffled batch gives shuffled rows."""
    head, batch, order = make_head(kind, name, shape), random_batch(LENGTHS), [2, 0, 3, 1]
    parts = [utterance(batch, index) for index in order]
    shuffled = {
        stream: Packed(
            torch.cat([part[stream].values for part in parts]),
            [part[stream].lengths[0] for part in parts],
            torch.cat([part[stream].content for part in parts]),
        )
        for stream in batch
    }
    assert_close(head(shuffled), head(batch)[order], rtol=1e-5, atol=1e-6)


def gradients_reach_every_parameter(kind: type[Head], name: str, shape: Shape) -> None:
    """Nothing of the head stays untrained."""
    head = make_head(kind, name, shape).train()
    head.zero_grad()
    head.loss(random_batch(LENGTHS), torch.tensor([0, 1, 2, 3])).backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None, key
        grad = parameter.grad
        if key.endswith("key_value.bias"):  # softmax does not see a bias of the keys
            grad = grad.chunk(2)[1]
        assert grad.abs().max() > 0, key


def empty_stream_is_finite(kind: type[Head], name: str, shape: Shape) -> None:
    """An utterance without frames of a stream gives finite logits and gradients."""
    head, batch = (
        make_head(kind, name, shape),
        random_batch({"audio": [3, 9, 4], "text": [0, 4, 2], "video": [2, 0, 3], "prosody": [1, 0, 1]}),
    )
    logits = head(batch)
    assert torch.isfinite(logits).all()
    assert_close(logits, head(_padded(batch)), rtol=1e-5, atol=1e-6)
    assert all(torch.isfinite(grad).all() for grad in gradients(head, batch, torch.ones(3, CLASSES)).values())
    empty = random_batch({"audio": [3, 2], "text": [0, 0], "video": [0, 0], "prosody": [0, 0]})
    assert torch.isfinite(head(empty)).all()


def one_frame_and_two_thousand(kind: type[Head], name: str, shape: Shape) -> None:
    """Very short and very long utterances share a batch."""
    head, batch = (
        make_head(kind, name, shape),
        random_batch({"audio": [1, 2000], "text": [1, 40], "video": [1, 60], "prosody": [1, 70]}),
    )
    together = head(batch)
    assert torch.isfinite(together).all()
    assert_close(head(utterance(batch, 0))[0], together[0], rtol=1e-4, atol=1e-5)
    assert all(torch.isfinite(grad).all() for grad in gradients(head, batch, torch.ones(2, CLASSES)).values())


def any_number_of_streams(kind: type[Head], name: str, shape: Shape) -> None:
    """A head of several streams takes three, and does not read the one that an utterance lacks."""
    if kind.single_stream:
        return
    head = make_head(kind, name, shape, ("audio", "text", "video"))
    whole = random_batch(LENGTHS)
    assert head(whole).shape == (4, CLASSES)
    assert_close(head(whole), head(_padded(whole)), rtol=1e-5, atol=1e-5)
    batch = random_batch(LENGTHS | {"video": [2, 0, 3, 0]})
    logits = head(batch)
    assert_close(logits, head(_padded(batch)), rtol=1e-5, atol=1e-5)
    for index in range(4):
        assert_close(head(utterance(batch, index))[0], logits[index], rtol=1e-5, atol=1e-5)
    other = {**batch, "video": batch["video"].with_values(batch["video"].values + 1.0)}
    same = (head(other) - logits).abs().amax(1) < 1e-6
    assert same.tolist() == [False, True, False, True], (
        "a video that is not there changes the answer, or one is not read"
    )
    assert all(torch.isfinite(grad).all() for grad in gradients(head, batch, torch.ones(4, CLASSES)).values())


HEAD_CHECKS: Mapping[str, Callable[[type[Head], str, Shape], None]] = {
    check.__name__: check
    for check in (
        packed_equals_padded,
        garbage_in_padding_changes_nothing,
        one_is_a_row_of_many,
        order_does_not_matter,
        gradients_reach_every_parameter,
        empty_stream_is_finite,
        one_frame_and_two_thousand,
        any_number_of_streams,
    )
}


def check_head(
    kind: type[Head], name: str = "own", checks: Iterable[str] = HEAD_CHECKS, shapes: Iterable[str] = SHAPES
) -> None:
    """Checks everything that a head promises, under every shape.

    Args:
        kind: The class.
        name: As given to `--fusion`.
        checks: Names of `HEAD_CHECKS`.
        shapes: Names of `SHAPES`.

    Raises:
        AssertionError: A promise is not kept; the message begins with the check and the shape.

    Examples:
        >>> from ser_fusion.heads import HEADS
        >>> from ser_fusion.testing import check_head
        >>> check_head(HEADS["cross"], "cross", checks=["packed_equals_padded"], shapes=["corrected"])
    """
    for check, shape in product(checks, shapes):
        try:
            HEAD_CHECKS[check](kind, name, SHAPES[shape])
        except AssertionError as error:
            raise AssertionError(f"{check.replace('_', ' ')} ({shape}): {error}") from error


def pooling_ignores_padding(kind: type[Pooling]) -> None:
    """Packed equals padded, in vectors and gradients, and the pooling does not read the padding."""
    torch.manual_seed(0)
    pooling, frames = kind(10), random_batch({"text": [5, 1, 9, 2]})["text"]
    padded = pad(frames)
    values = torch.where(padded.mask.unsqueeze(2), padded.values, torch.tensor(7.0))
    assert pooling(frames).shape == (4, pooling.out_width)
    assert_close(pooling(frames), pooling(padded), rtol=1e-6, atol=1e-6)
    assert torch.equal(pooling(padded), pooling(Padded(values, padded.lengths, padded.content)))
    scale, grads = torch.randn(4, pooling.out_width), []
    for batch in (frames, padded):
        leaf = batch.values.clone().requires_grad_()
        (pooling(batch.with_values(leaf)) * scale).sum().backward()
        assert leaf.grad is not None
        grads.append(leaf.grad[batch.mask] if isinstance(batch, Padded) else leaf.grad)
        assert not isinstance(batch, Padded) or not leaf.grad[~batch.mask].any()
    assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-5)


def pooling_trains_every_parameter(kind: type[Pooling]) -> None:
    """Gradients reach every parameter."""
    torch.manual_seed(0)
    pooling, frames = kind(10), random_batch({"text": [5, 3, 9, 4]})["text"]
    if list(pooling.parameters()):
        (pooling(frames) * torch.randn(4, pooling.out_width)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in pooling.parameters())


def pooling_of_no_frames_is_zero(kind: type[Pooling]) -> None:
    """An utterance without frames gives zeros and finite gradients."""
    pooling, frames = kind(10), random_batch({"text": [0, 1, 4]})["text"]
    leaf = frames.values.clone().requires_grad_()
    out = pooling(frames.with_values(leaf))
    out.sum().backward()
    assert leaf.grad is not None
    assert torch.isfinite(out).all() and torch.isfinite(leaf.grad).all()
    assert not out[0].any(), "no frames give something else than zeros"


POOLING_CHECKS: Mapping[str, Callable[[type[Pooling]], None]] = {
    check.__name__: check
    for check in (pooling_ignores_padding, pooling_trains_every_parameter, pooling_of_no_frames_is_zero)
}


def check_pooling(kind: type[Pooling], checks: Iterable[str] = POOLING_CHECKS) -> None:
    """Checks everything that a pooling promises.

    Args:
        kind: The class.
        checks: Names of `POOLING_CHECKS`.

    Raises:
        AssertionError: A promise is not kept; the message begins with the check.

    Examples:
        >>> from ser_fusion.poolings import POOLINGS
        >>> from ser_fusion.testing import check_pooling
        >>> check_pooling(POOLINGS["stats"])
    """
    for check in checks:
        try:
            POOLING_CHECKS[check](kind)
        except AssertionError as error:
            raise AssertionError(f"{check.replace('_', ' ')}: {error}") from error


def blobs(seed: int = 0) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]":
    """Makes three classes that are easily told apart: features (120, 10) with one constant channel, targets, three parts."""
    draw = np.random.default_rng(seed)
    targets = np.tile(np.arange(3), 40)
    features = draw.normal(size=(120, 10)).astype(np.float32)
    features[np.arange(120), targets] += 3.0
    features[:, 9] = 5.0  # MiniLM, too, has a channel without variance
    order = draw.permutation(120)
    return features, targets, {"train": order[:60], "dev": order[60:90], "test": order[90:]}


def check_classifier(recipe: "Recipe") -> None:
    """Checks that a classifier learns what is easy, gives posteriors of all classes, is deterministic, and refits.

    Raises:
        AssertionError: A promise is not kept.

    Examples:
        >>> from ser_fusion.classifiers import CLASSIFIERS
        >>> from ser_fusion.testing import check_classifier
        >>> check_classifier(CLASSIFIERS["lda"])
    """
    from ser_fusion.classifiers.base import choose_and_fit

    features, targets, parts = blobs()
    dev, test, settings = choose_and_fit(recipe, features, targets, parts, 3, seed=0)
    again = choose_and_fit(recipe, features, targets, parts, 3, seed=0)
    assert dev.shape == (30, 3) and test.shape == (30, 3), f"posteriors {dev.shape} and {test.shape}"
    assert np.allclose(test.sum(axis=1), 1.0) and np.isfinite(test).all(), "posteriors do not sum to 1"
    assert np.array_equal(test, again[1]) and settings == again[2], "a second fit with one seed gives another result"
    accuracy = float((test.argmax(axis=1) == targets[parts["test"]]).mean())
    assert accuracy > 0.7, f"accuracy {accuracy:.2f} on classes that are easily told apart"
