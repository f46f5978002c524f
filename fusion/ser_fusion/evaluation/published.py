"""Compares a run with what others have published on the same labels: is a row where such rows usually are?

A range is not a target. A row far below it usually has a fault in its features or labels; a row far above it usually has a leak.
Every entry names its paper. Scores are WA (accuracy) and UWA (mean recall), whatever the paper calls them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ser_fusion.evaluation.metrics import METRICS

MARGIN = 0.05
"""How far outside the published scores is far: the same frozen wav2vec2-base has .577 in one table and .634 in another."""
SEEN_TEXT = 0.05
"""Share of test transcripts in training from which a score of text may be memory."""

EMOBOX = "EmoBox, Ma et al., Interspeech 2024, arXiv 2406.07162 (its intra-corpus table)"
EMOTION2VEC = "emotion2vec, Ma et al., Findings of ACL 2024, arXiv 2312.15185"
RAJAN = "Rajan, Brutti, Cavallaro, ICASSP 2022, arXiv 2202.09263 (its two accuracies carry each other's name)"
YOON = "Yoon et al., ICASSP 2020, arXiv 1912.00846, as corrected in david-yoon/attentive-modality-hopping-for-SER"
TUNED = "Wang, Boumadane, Heba 2021, arXiv 2111.02735"
AUXILIARY = "Sun, He, Han 2023, arXiv 2302.13661"
COSMIC = "COSMIC, Ghosal et al., Findings of EMNLP 2020, arXiv 2010.02795"

SESSIONS = ("session", "s3prl-er", "emobox")
ANY_FOLDS = (*SESSIONS, "random")
"""For results whose paper does not say how folds were drawn."""
MELD = ("official", "emobox")
AUDIO, TEXT, BOTH = ("audio",), ("text",), ("audio", "text")


@dataclass(frozen=True, slots=True)
class Published:
    """One published result.

    Attributes:
        kind: ``frozen`` (the same kind of features), ``tuned`` (the encoder was trained too: a ceiling), or ``older``
            (features from before pretrained encoders: a floor).
        labels: Label scheme.
        protocols: Protocols of ours that hold out the same.
        streams: What the model reads.
        system: Encoder, or method.
        source: The paper.
        scores: Name of a metric -> score.
    """

    kind: str
    labels: str
    protocols: tuple[str, ...]
    streams: tuple[str, ...]
    system: str
    source: str
    scores: Mapping[str, float]


def _frozen(source: str, labels: str, protocols: tuple[str, ...], table: str) -> list[Published]:
    """Reads audio encoders, a line each: ``encoder WA [UWA [UWF1]]``, in per cent."""
    entries = []
    for line in table.strip().splitlines():
        system, *numbers = line.split()
        scores = {name: float(number) / 100 for name, number in zip(("WA", "UWA", "UWF1"), numbers, strict=False)}
        entries.append(Published("frozen", labels, protocols, AUDIO, system, source, scores))
    return entries


def _scores(wa: float, uwa: float) -> dict[str, float]:
    return {"WA": wa, "UWA": uwa}


# EmoBox splits CREMA-D at random: it tests DFA of actor 1005 and trains on TSI of the same actor (its data/cremad/fold_1).
PUBLISHED: tuple[Published, ...] = (
    *_frozen(EMOTION2VEC, "iemocap-4", SESSIONS, """
        wav2vec2-base 63.43
        hubert-base-ls960 64.92
        wavlm-base 65.94
        wavlm-base-plus 67.98
        wav2vec2-large 65.64
        hubert-large-ll60k 67.62
        wavlm-large 70.03
        emotion2vec_base 71.79
    """),
    *_frozen(EMOBOX, "iemocap-4", SESSIONS, """
        wav2vec2-base 57.73 58.27
        hubert-base-ls960 63.10 63.87
        hubert-large-ll60k 66.69 67.42
        wavlm-base 63.94 62.92
        wavlm-large 69.07 69.47
        data2vec-audio-base 53.20 54.19
        whisper-large-v3 72.86 73.54
    """),
    *_frozen(EMOBOX, "meld-7", MELD, """
        wav2vec2-base 45.17 20.06 20.04
        wavlm-large 49.31 28.18 29.11
        whisper-large-v3 51.89 31.54 32.95
    """),
    *_frozen(EMOBOX, "cremad-6", ("random",), """
        wav2vec2-base 61.90
        wavlm-large 74.32
        whisper-large-v3 76.48
    """),
    Published("tuned", "iemocap-4", SESSIONS, AUDIO, "fine-tuned wav2vec 2.0 or HuBERT", TUNED, {"WA": 0.7301}),
    Published("tuned", "iemocap-4", ("random",), AUDIO, "fine-tuned wav2vec 2.0 or HuBERT", TUNED, {"WA": 0.7958}),
    Published("tuned", "iemocap-4", SESSIONS, BOTH, "fine-tuned wav2vec 2.0 + BERT, five folds", AUXILIARY, _scores(0.7842, 0.7971)),
    Published("older", "iemocap-7", ANY_FOLDS, BOTH, "self-attention on MFCC + GloVe", RAJAN, _scores(0.574, 0.518)),
    Published("older", "iemocap-7", ANY_FOLDS, BOTH, "cross-attention on MFCC + GloVe", RAJAN, _scores(0.562, 0.501)),
    Published("older", "iemocap-7", ANY_FOLDS, AUDIO, "self-attention on MFCC", RAJAN, _scores(0.452, 0.365)),
    Published("older", "iemocap-7", ANY_FOLDS, TEXT, "self-attention on GloVe", RAJAN, _scores(0.535, 0.474)),
    Published("older", "iemocap-7", ANY_FOLDS, BOTH, "MDRE on MFCC + GloVe", YOON, _scores(0.498, 0.418)),
    Published("older", "iemocap-7", ANY_FOLDS, BOTH, "multi-hop attention on MFCC + GloVe", YOON, _scores(0.543, 0.491)),
    Published("tuned", "meld-7", MELD, TEXT, "fine-tuned RoBERTa with dialogue context", COSMIC, {"WF1": 0.6521}),
)  # fmt: skip
DEPTHS = {r"(wav2vec2|hubert|wavlm|data2vec-audio)-base": 12, r"(wav2vec2|hubert|wavlm|data2vec-audio)-large": 24}
"""Pattern of an encoder's name -> its last layer."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A row beside what is published for it.

    Attributes:
        row: Name of the row.
        metric: Of ``METRICS``.
        value: Mean over folds.
        low: Least published score that counts, None where only a ceiling is known.
        high: The greatest, None where only a floor is known.
        verdict: ``within``, ``far below`` or ``far above``.
        systems: What was published, in words.
        sources: The papers.
        causes: What usually causes it, what applies to this run first; empty if ``within``.
    """

    row: str
    metric: str
    value: float
    low: float | None
    high: float | None
    verdict: str
    systems: str
    sources: tuple[str, ...]
    causes: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The published scores: ``.577 to .634``, ``at most .784``, ``at least .574``."""
        low, high = (None if value is None else f"{value:.3f}".removeprefix("0") for value in (self.low, self.high))
        if low is None or high is None:
            return f"at most {high}" if low is None else f"at least {low}"
        return low if low == high else f"{low} to {high}"

    @property
    def sentence(self) -> str:
        """The verdict, and what to look at."""
        value = f"{self.value:.3f}".removeprefix("0")
        text = (
            f"{self.row}: {self.metric} {value} is {self.verdict} what is published for {self.systems} ({self.range})."
        )
        return " ".join([text, "Usual causes:", *(f"{cause}." for cause in self.causes)]) if self.causes else text


def model_name(encoder: str) -> str:
    """Returns the last part of an encoder's name, in lower case and without what says that it was trained to transcribe."""
    return PurePosixPath(encoder).name.lower().removesuffix("-960h")


def place_rows(metrics: Mapping[str, Any], run: Mapping[str, Any]) -> list[Placed]:
    """Places every row that something comparable is published for.

    Args:
        metrics: ``metrics.json``.
        run: ``run.json``.

    Returns:
        Lines in the order of the rows; empty for synthetic corpora, own labels, or a protocol that nobody published on.
    """
    if run["corpus"].get("synthetic"):
        return []
    entries = run.get("cache", {}).get("entries", {})
    lines: list[Placed] = []
    for row in metrics["rows"]:
        streams = tuple(sorted(row.get("streams") or ()))
        fitting = [
            result
            for result in PUBLISHED
            if result.labels == run.get("labels")
            and str(run["protocol"]) in result.protocols
            and result.streams == streams
        ]
        if row["kind"] != "lost" and fitting:
            lines += _placed(row, _nearest(fitting, entries), metrics, run)
    return lines


def _nearest(fitting: Sequence[Published], entries: Mapping[str, Any]) -> list[Published]:
    """Chooses of frozen encoders only the run's own, if it is among them; a ceiling only where no frozen one is published."""
    own = model_name(str(entries.get("audio", {}).get("encoder", "")))
    frozen = [result for result in fitting if result.kind == "frozen"]
    return [result for result in frozen if result.system == own] or frozen or list(fitting)


def _placed(
    row: Mapping[str, Any], fitting: Sequence[Published], metrics: Mapping[str, Any], run: Mapping[str, Any]
) -> Iterator[Placed]:
    for metric in METRICS:
        scored = [result for result in fitting if metric in result.scores]
        value = row["metrics"][metric]["mean"]
        if not scored or value is None:
            continue
        floor = [result.scores[metric] for result in scored if result.kind != "tuned"]
        ceiling = [result.scores[metric] for result in scored if result.kind != "older"]
        low, high = min(floor, default=None), max(ceiling, default=None)
        verdict = "within"
        if low is not None and value < low - MARGIN:
            verdict = "far below"
        elif high is not None and value > high + MARGIN:
            verdict = "far above"
        causes = () if verdict == "within" else tuple(_causes(row, metric, verdict, (low, high), metrics, run))
        names = list(dict.fromkeys(result.system for result in scored))
        systems = names[0] if len(names) == 1 else f"{len(names)} systems such as {names[0]}"
        systems = f"frozen {systems}" if scored[0].kind == "frozen" and len(names) == 1 else systems
        sources = tuple(dict.fromkeys(result.source for result in scored))
        yield Placed(str(row["name"]), metric, float(value), low, high, verdict, systems, sources, causes)


def _causes(
    row: Mapping[str, Any], metric: str, verdict: str, ends: tuple[float | None, float | None],
    metrics: Mapping[str, Any], run: Mapping[str, Any],
) -> Iterator[str]:  # fmt: skip
    """Says what usually moves a row so far: facts of this run first, then what no file of a run can tell."""
    from ser_data.validate.published import SCHEME_SIZES

    expected, used = SCHEME_SIZES.get(str(run.get("labels"))), run.get("counts", {}).get("utterances")
    if expected and used and abs(used - expected) > expected / 100:
        yield f"{used:,} utterances were used, and published results have {expected:,} (ser data validate)"
    other = {"WA": "UWA", "UWA": "WA"}.get(metric)
    if other and (value := row["metrics"][other]["mean"]) is not None and _inside(value, ends):
        yield f"the {other} of this row would fit, so the source may call {metric} what is {other} here"
    if verdict == "far above":
        yield from _too_good(row, metrics, run)
    else:
        yield from _too_bad(row, metrics, run)


def _inside(value: float, ends: tuple[float | None, float | None]) -> bool:
    low, high = ends
    return (low is None or value >= low - MARGIN) and (high is None or value <= high + MARGIN)


def _too_good(row: Mapping[str, Any], metrics: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    if run["protocol"] == "random":
        yield "random folds share speakers, dialogues and scripts between training and test"
    if metrics.get("tuned_encoders"):
        yield "the encoder has seen labels of this corpus"
    if row.get("transductive"):
        yield "features were normalised with the test speech itself"
    overlap = metrics.get("overlap") or {}
    if "text" in row["streams"] and overlap.get("share", 0) >= SEEN_TEXT:
        yield f"{100 * overlap['share']:.0f} % of the test transcripts occur in training (--drop-seen-text)"
    yield "a development choice was made on test data, or a better layer or encoder than the published ones was used"


def _too_bad(row: Mapping[str, Any], metrics: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    if row.get("constant") or row.get("chance", {}).get("equivalent"):
        yield "the row is at chance: labels and features may belong to different utterances"
    entries = run.get("cache", {}).get("entries", {})
    for stream in row["streams"]:
        entry = entries.get(stream, {})
        encoder, layer = str(entry.get("encoder", "")), entry.get("layer")
        last = next((depth for pattern, depth in DEPTHS.items() if re.match(pattern, model_name(encoder))), None)
        if stream == "audio" and layer is not None and layer in (0, 1, last):
            where = "the last" if layer == last else "an early"
            yield f"layer {layer} is {where} one of {encoder}, and middle layers carry more (ser probe --layers all)"
        if encoder.endswith("-960h"):
            yield f"{encoder} was trained to transcribe, which costs emotion"
        if any((spec.get("declared") or {}).get("imported") for spec in entry.get("specs") or ()):
            yield f"the {stream} features were imported: check their sample rate (16 kHz), their padding and their order"
    if (run.get("stride") or 1) > 8:
        yield f"{run['stride']} frames were averaged into one (--stride)"
    if (row.get("fraction") or 1) < 1:
        yield f"{100 * row['fraction']:.0f} % of the training speakers were used"
    yield "recordings of another rate or of other turns lie under these names (ser data validate), or training ended too early"


def far_off(lines: Sequence[Placed]) -> list[str]:
    """Returns a sentence for each row that is far from what is published, with what usually causes it."""
    return [line.sentence for line in lines if line.verdict != "within"]
