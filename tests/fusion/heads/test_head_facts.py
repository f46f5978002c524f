"""What a head says of itself is true, for every head of the table and for heads of other packages."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ser_base.catalog import Catalog
from ser_fusion import heads
from ser_fusion.errors import StreamMissing
from ser_fusion.frames.batches import Packed
from ser_fusion.heads import HEADS, check_streams, facts_of
from ser_fusion.heads.facts import FACTS
from ser_fusion.heads.late import SingleHead
from ser_fusion.heads.pooled import ConcatHead
from ser_fusion.heads.shape import Shape
from ser_fusion.poolings import POOLINGS
from ser_fusion.runs import job as jobs
from ser_fusion.runs.job import FuseJob

STREAMS = ("audio", "text", "video", "prosody")
FUSING = [name for name in HEADS if HEADS[name].single_stream is None]


class FacesHead(SingleHead):
    """A head of another package, on a stream that no head here reads alone."""

    single_stream = "faces"


class SumHead(ConcatHead):
    """Another one, which has no pooling to choose."""

    pools = False


@pytest.fixture
def with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Catalog[Any]("head", HEADS._own)
    table.__dict__["_rows"] = HEADS._own | {"faces": f"{__name__}:FacesHead", "sum": f"{__name__}:SumHead"}
    for module in (heads, jobs):
        monkeypatch.setattr(module, "HEADS", table)


def logits(name: str, values: dict[str, torch.Tensor]) -> torch.Tensor:
    torch.manual_seed(0)
    shape = Shape(width=8, attention_heads=2, pool_norm="batch", frame_dropout=0.0)
    head = HEADS[name]({stream: value.shape[1] for stream, value in values.items()}, 4, shape).double().eval()
    head.prepare(torch.tensor([0, 1, 1, 2, 3]))
    batch = {
        stream: Packed(value, [len(value)], torch.ones(len(value), dtype=torch.bool))
        for stream, value in values.items()
    }
    with torch.inference_mode():
        return head(batch)[0].log_softmax(0)


@pytest.mark.parametrize("name", FUSING)
def test_a_head_interacts_where_it_says_so(name: str) -> None:
    """Of log-posteriors (or posteriors, for their mean) the second difference in two streams is 0 for additive heads."""
    torch.manual_seed(1)
    audio, text = torch.randn(2, 5, 6, dtype=torch.float64), torch.randn(2, 3, 7, dtype=torch.float64)
    found = {(a, t): logits(name, {"audio": audio[a], "text": text[t]}) for a in (0, 1) for t in (0, 1)}

    def second(values: dict[tuple[int, int], torch.Tensor]) -> torch.Tensor:
        return values[0, 0] + values[1, 1] - values[0, 1] - values[1, 0]

    logs = second(found)
    additive = min(
        float((logs - logs[0]).abs().max()), float(second({k: v.exp() for k, v in found.items()}).abs().max())
    )
    assert (additive > 1e-6) == HEADS[name].interacts, additive


@pytest.mark.parametrize("name", FUSING)
def test_a_head_pools_where_it_says_so(name: str) -> None:
    shapes = [Shape(width=8, attention_heads=2, pooling=pooling) for pooling in ("mean", "stats")]
    sizes = {sum(v.numel() for v in HEADS[name]({"audio": 6, "text": 7}, 4, shape).parameters()) for shape in shapes}
    assert (len(sizes) > 1) == HEADS[name].pools


def test_the_facts_of_a_head_are_known_before_torch_is_loaded() -> None:
    own = [name for name in HEADS if HEADS.own(name)]
    assert set(FACTS) < set(own)
    for name in own:
        stream, facts = HEADS[name].single_stream, facts_of(name)
        assert facts in HEADS[name].__mro__
        for fact in ("single_stream", "pools", "departures"):
            assert getattr(facts, fact) == getattr(HEADS[name], fact), (name, fact)
        for available in (STREAMS, STREAMS[:1], STREAMS[1:], ("faces",)):
            answers = [refused(check_streams, [name], available), refused(HEADS[name].reads, name, available)]
            assert answers[0] == answers[1], (name, available)
        assert [one for one in STREAMS if HEADS[name].may_read(one)] == ([stream] if stream else list(STREAMS))


def refused(ask: Callable[..., Any], *given: Any) -> str:
    try:
        ask(*given)
    except StreamMissing as error:
        return str(error)
    return ""


@pytest.mark.usefixtures("with_others")
def test_a_head_of_another_package_is_asked_what_it_is() -> None:
    assert facts_of("faces") is FacesHead
    check_streams(["faces"], ("faces",))
    assert "faces" in refused(check_streams, ["faces"], STREAMS)
    assert "two streams" in refused(check_streams, ["sum"], ("audio",))
    options: dict[str, Any] = {"text_pooling": "cls", "pooling": ("concat",), "text_input": "cls"}
    rows = {
        row.fusion: row for row in FuseJob(cache=".", out="x", fusion=("faces", "sum", "self"), **options).rows(STREAMS)
    }
    assert (rows["faces"].pooling, rows["faces"].text_pooling, rows["faces"].name) == ("mean", None, "faces-mean")
    assert (rows["sum"].pooling, rows["sum"].slug) == (None, "sum-clsonly")
    assert (rows["self"].pooling, rows["self"].text_pooling) == ("concat", "cls")
    assert set(rows) - {"faces", "sum"} < set(HEADS) and "concat" in POOLINGS
