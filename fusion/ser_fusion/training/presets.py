"""Presets: how heads are built and trained, as data. A result always names its preset and lists its departures.

``corrected``  the default: masked, normalised, statistics over time, special tokens left out. Its sizes and its training were
               chosen on development parts (see docs/reference/heads.md).
``as-found``   the study's heads as the published code that matches it has them. It reproduces the heads, not the features.
``s3prl-er``   the downstream model of SUPERB's emotion task.
``emobox``     the downstream model of EmoBox.
"""

from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ser_base.catalog import Catalog
from ser_fusion.heads.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a head is trained.

    Attributes:
        optimiser: ``adam`` or ``adamw``.
        lr: Learning rate (the peak for one-cycle).
        weight_decay: L2 penalty (adam) or decoupled decay (adamw).
        batch: Utterances per step.
        schedule: ``plateau`` (halved after 4 epochs without a better development score), ``cosine``, ``one-cycle``, ``none``.
        patience: Epochs without a better development score before training stops, and the best epoch's weights are kept. None
            for a fixed length (``fixed_epochs``), whose last weights are kept.
        clip: Greatest norm of the gradient; 0 for none.
        average: Decay per step of the running average of the weights, which is what is scored and kept; 0 for the plain
            weights. 0.99 averages about the last hundred steps.
    """

    optimiser: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch: int = 32
    schedule: str = "plateau"
    patience: int | None = 10
    clip: float = 1.0
    average: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One way to build and train heads.

    Attributes:
        name: As given to ``--preset``.
        title: One line for lists.
        source: Paper or code, with the version read.
        shape: Sizes and switches.
        training: Optimiser and schedule.
        normalise: Features to zero mean and unit deviation, fitted on the training part.
        pad_seconds: Frames up to this length are added as zeros (and cut behind it) and count as frames: no masks. None for
            none. Streams without a frame rate are padded to the longest utterance of the corpus.
        statistical: Pooling meant by the study's "SP".
        plain: Pooling meant by the study's "noSP".
        single_statistical: What "SP" means in its single-stream models.
        weighted_layers: Meant for a learned weighted sum of all layers.
        departures: What differs from the source in every run.
    """

    name: str
    title: str
    source: str
    shape: Shape
    training: Training
    normalise: bool = True
    pad_seconds: float | None = None
    statistical: str = "stats"
    plain: str = "mean"
    single_statistical: str = "stats"
    weighted_layers: bool = False
    departures: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


EARLY_STOPPING = Training(lr=5e-4, average=0.99)
"""What ``--early-stopping`` puts in the place of a training of fixed length: at most ``STOPPED_EPOCHS``, not refitted."""

STOPPED_EPOCHS = 50
EPOCHS = 5  # of a training of fixed length, and so many more that these steps are made
STEPS = 80


def fixed_epochs(utterances: int, batch: int) -> int:
    """How long a training without early stopping lasts: whole epochs that make ``STEPS`` steps, at least ``EPOCHS`` of them.

    Measured on development parts; docs/reference/heads.md has the figures.

    Args:
        utterances: Of the training part.
        batch: Utterances per step.
    """
    steps = -(-utterances // batch)
    return max(EPOCHS, -(-STEPS // max(1, steps)))


CORRECTED = Preset(
    name="corrected",
    title="masked, normalised, statistics over time (default)",
    source="this project; the heads of Rajan et al. 2022 with the faults of docs/reference/heads.md mended",
    shape=Shape(pool_norm="batch", norm_first=True),
    training=Training(lr=2e-3, schedule="one-cycle", patience=None, average=0.99),
)

AS_FOUND = Preset(
    name="as-found",
    title="the study's heads as the published code that matches it has them: no masks, no normalisation",
    source="UCL Group 26, heads SSE_Self, SSE_Cross, SSE_Text, SSE_Audio; parameter counts equal",
    shape=Shape(
        width=None,
        project_single=False,
        activation="none",
        attention_heads=8,
        residual=False,
        hidden=0.25,
        frame_dropout=0.0,
        pool_dropout=0.0,
    ),
    training=Training(optimiser="adam", lr=1e-4, weight_decay=0.0, schedule="plateau", clip=0.0),
    normalise=False,
    pad_seconds=10.0,
    statistical="modality-stats",
    plain="concat",
    departures=(
        "heads only, not the study's features: it read RoBERTa-large, and 22.05 kHz audio declared as 16 kHz, and encoded the padding",
        "its attention heads, dropout, learning rate and batch size are not published; taken here: 8, none, 1e-4 (Adam), 32",
        "padding is zero frames behind the encoder's output (to 10 s of audio, to the longest transcript)",
        "stopped and chosen on development data; the study looked at the test fold every epoch",
    ),
)

S3PRL_ER = Preset(
    name="s3prl-er",
    title="SUPERB emotion: layer-weighted sum, Linear 256, mean pooling, Adam 1e-4",
    source="s3prl/downstream/emotion/config.yaml (01b17a8): UtteranceLevel, MeanPooling, projector 256, clip 1, batch 4 x 8",
    shape=Shape(pooling="mean", width=256, attention=False, frame_dropout=0.0, pool_dropout=0.0),
    training=Training(optimiser="adam", lr=1e-4, weight_decay=0.0, batch=32, schedule="none", clip=1.0, patience=10),
    normalise=False,
    plain="mean",
    weighted_layers=True,
    departures=(
        "epochs and early stopping on a speaker-independent development part instead of 30,000 steps and a random fifth",
        "one batch of 32 instead of 8 accumulated batches of 4",
    ),
)

EMOBOX = Preset(
    name="emobox",
    title="EmoBox: last layer, Linear 256, ReLU, mean pooling, Adam 1e-4",
    source="emo-box/EmoBox examples/sb/classifier_head.py and hparams/wav2vec2-base_freeze.yaml (bb22000)",
    shape=Shape(pooling="mean", width=256, activation="relu", attention=False, frame_dropout=0.0, pool_dropout=0.0),
    training=Training(optimiser="adam", lr=1e-4, weight_decay=0.0, batch=32, schedule="none", clip=0.0, patience=20),
    normalise=False,
    plain="mean",
    departures=("no warm-up over the epochs", "early stopping on development data of other speakers"),
)

PRESETS: Catalog[Preset] = Catalog(
    "preset",
    {
        "corrected": "ser_fusion.training.presets:CORRECTED",
        "as-found": "ser_fusion.training.presets:AS_FOUND",
        "s3prl-er": "ser_fusion.training.presets:S3PRL_ER",
        "emobox": "ser_fusion.training.presets:EMOBOX",
    },
)


def resolve_shape(preset: Preset, *, pooling: str, text_pooling: str | None, streams: int) -> Shape:
    """The preset's shape for one row of a table.

    Args:
        preset: Where sizes come from.
        pooling: Pooling of the row.
        text_pooling: Pooling of the stream ``text`` if it is another one.
        streams: How many streams the head reads. The study's single-stream models have the second linear layer only with
            statistical pooling.
    """
    shape = replace(preset.shape, pooling=pooling, text_pooling=text_pooling)
    if preset.name == "as-found" and streams == 1 and (pooling != "stats" or text_pooling):
        shape = replace(shape, hidden=0.0)
    return shape


STUDY_ROWS = MappingProxyType(
    {  # name: (fusion, "SP" or "noSP", text pooling); the row Random is a reference row, computed and not trained
        "Audio": ("audio", "single", None),
        "Text": ("text", "single", None),
        "MDRE": ("mdre", "single", None),
        "Self-MHA": ("self", "SP", None),
        "Cross-MHA": ("cross", "SP", None),
        "Self-noSP": ("self", "noSP", None),
        "Self-CLS": ("self", "SP", "cls"),
        "Cross-noSP": ("cross", "noSP", None),
        "Cross-CLS": ("cross", "SP", "cls"),
    }
)
