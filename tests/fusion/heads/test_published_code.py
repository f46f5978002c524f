"""The preset ``as-found`` against the published code it stands for: sizes, and the same numbers from torch's own module."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from ser_fusion.frames.batches import Packed, pad
from ser_fusion.heads import HEADS
from ser_fusion.heads.base import Attention, Head
from ser_fusion.heads.shape import Shape
from ser_fusion.training.presets import AS_FOUND, CORRECTED, EMOBOX, S3PRL_ER, resolve_shape

DIMS = {"audio": 768, "text": 1024}


def as_found(name: str, pooling: str, dims: dict[str, int], classes: int = 7) -> Head:
    streams = HEADS[name].reads(name, tuple(dims))
    shape = resolve_shape(AS_FOUND, pooling=pooling, text_pooling=None, streams=len(streams))
    return HEADS[name]({s: dims[s] for s in streams}, classes, shape)


@pytest.mark.parametrize(
    ("name", "pooling", "published"),
    [
        ("self", "modality-stats", 6_104_839),
        ("cross", "modality-stats", 6_104_839),
        ("text", "stats", 5_251_079),
        ("audio", "stats", 2_955_271),
        ("self", "concat", 6_104_839),  # noSP: the concatenation of two means is as wide as the two statistics
        ("audio", "mean", 2_362_368 + 768 * 7 + 7),  # single noSP: attention and one linear layer
        ("text", "mean", 4_198_400 + 1024 * 7 + 7),
    ],
)
def test_as_many_parameters_as_the_published_code(name: str, pooling: str, published: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in as_found(name, pooling, DIMS).parameters()) == published


def reference(ours: Attention) -> nn.MultiheadAttention:
    """torch's module with the same weights."""
    width = ours.query.out_features
    theirs = nn.MultiheadAttention(width, ours.heads, batch_first=True)
    theirs.in_proj_weight.data = torch.cat([ours.query.weight, ours.key_value.weight]).detach()
    theirs.in_proj_bias.data = torch.cat([ours.query.bias, ours.key_value.bias]).detach()
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = ours.out.weight.detach(), ours.out.bias.detach()
    return theirs


@pytest.mark.parametrize("name", ["self", "cross"])
def test_the_head_is_the_published_one(name: str, make_batch: Callable[..., dict[str, Packed]]) -> None:
    """Written down as the published code has it: MHA per stream, time mean, std_mean over the stack, two linear layers."""
    torch.manual_seed(0)
    dims = {"audio": 16, "text": 24}
    head = as_found(name, "modality-stats", dims).eval()
    batch = make_batch({"audio": [9, 9, 9], "text": [5, 5, 5]}, dims)
    audio, text = batch["audio"].values.view(3, 9, 16), batch["text"].values.view(3, 5, 24)
    text = head.project.linear["text"](text)
    if name == "self":
        a, _ = reference(head.attend["audio"])(audio, audio, audio)
        t, _ = reference(head.attend["text"])(text, text, text)
    else:
        a, _ = reference(head.attend["audio<text"])(audio, text, text)
        t, _ = reference(head.attend["text<audio"])(text, audio, audio)
    std, mean = torch.std_mean(torch.stack([a.mean(1), t.mean(1)], dim=1), dim=1)
    expected = head.readout.classify(torch.cat([mean, std], 1))
    torch.testing.assert_close(head(batch), expected, rtol=1e-5, atol=1e-6)


def test_masked_attention_equals_torchs(make_batch: Callable[..., dict[str, Packed]]) -> None:
    torch.manual_seed(0)
    block = Attention(16, Shape(width=16, residual=False, frame_dropout=0.0, pool_dropout=0.0)).eval()
    nn.init.normal_(block.query.bias)
    nn.init.normal_(block.key_value.bias)
    batch = make_batch({"audio": [9, 1, 30], "text": [5, 3, 12]}, {"audio": 16, "text": 16})
    audio, text = pad(batch["audio"]), pad(batch["text"])
    expected, _ = reference(block)(audio.values, text.values, text.values, key_padding_mask=~text.mask)
    found = block(batch["audio"], batch["text"]).values
    torch.testing.assert_close(found, expected[audio.mask], rtol=1e-5, atol=1e-6)
    maps = block.weights(batch["audio"], batch["text"])
    assert [tuple(m.shape) for m in maps] == [(4, 9, 5), (4, 1, 3), (4, 30, 12)]
    torch.testing.assert_close(maps[2].sum(-1), torch.ones(4, 30))


def test_the_default_attention_reads_normalised_frames_and_passes_them_on_as_they_are() -> None:
    torch.manual_seed(0)
    block = Attention(16, replace(CORRECTED.shape, width=16, frame_dropout=0.0)).eval()
    assert block.norm is not None
    nn.init.normal_(block.norm.weight)
    audio, text = (Packed(5 + torch.randn(n, 16), [n], torch.ones(n, dtype=torch.bool)) for n in (9, 4))
    normed = [block.norm(one.values)[None] for one in (audio, text)]
    for source, keys in ((audio, normed[0]), (text, normed[1])):
        found, weights = reference(block)(normed[0], keys, keys, average_attn_weights=False)
        torch.testing.assert_close(block(audio, source).values, audio.values + found[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(block.weights(audio, source)[0], weights[0], rtol=1e-5, atol=1e-5)
    former = Attention(16, Shape.read({"width": 16, "frame_dropout": 0.0}))  # a card without `norm_first`
    former.load_state_dict(block.state_dict())
    expected = block.norm(
        audio.values + reference(block)(*[text.values[None] if n else audio.values[None] for n in (0, 1, 1)])[0][0]
    )
    torch.testing.assert_close(former.eval()(audio, text).values, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("preset", [S3PRL_ER, EMOBOX])
def test_literature_heads_have_a_projection_and_a_classifier(preset: object) -> None:
    with torch.device("meta"):
        head = HEADS["audio"]({"audio": 768}, 4, resolve_shape(preset, pooling="mean", text_pooling=None, streams=1))
    assert sum(p.numel() for p in head.parameters()) == (768 * 256 + 256) + (256 * 4 + 4)
