"""The fields of a job, each with its option of ``ser fuse``: losses and sampling are those of ``LeverOptions``.

No torch and no pandas here: this serves ``--help``.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import rich_click as click
from pydantic import Field

from ser_base import option_values as values
from ser_base.errors import suggestion
from ser_base.machine import DEVICES
from ser_base.options import Option
from ser_fusion.classifiers import CLASSIFIERS
from ser_fusion.heads import HEADS
from ser_fusion.poolings import POOLINGS
from ser_fusion.training.losses.levers import LeverOptions
from ser_fusion.training.presets import PRESETS

PANELS = ("Data and folds", "Streams", "Heads", "Training", "Losses", "Tuning", "Extra rows", "Machine")
DATA, STREAMS, HEADS_PANEL, TRAINING, _, TUNING, ROWS, MACHINE = PANELS
LAYERED = ("audio", "text", "video")
"""Streams whose encoders have layers; hand-crafted features have none."""
TUNE_KEYS = {"trials": "tune", "space": "space", "sampler": "sampler", "inner": "inner"}
THE_PRESETS = "the preset's"

Layer = int | Literal["last", "all"] | None


def _tune(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> values.Parts | None:
    """``20``, or a TOML file with the keys ``TUNE_KEYS``, or both."""
    parts = values.Parts()
    for text in sorted(value, key=lambda text: not str(text).lstrip("-").isdecimal()):  # a number goes before a file's
        if str(text).lstrip("-").isdecimal():
            parts["tune"] = int(text)
            continue
        for key, setting in (values.toml_table(context, parameter, text) or {}).items():
            if key not in TUNE_KEYS:
                raise click.BadParameter(
                    f"{text}: unknown key '{key}'. {suggestion(key, TUNE_KEYS)}Keys are {', '.join(TUNE_KEYS)}; "
                    "settings to search stand in tables [space.NAME]."
                )
            parts.setdefault(TUNE_KEYS[key], setting)
    if parts and "tune" not in parts:
        raise click.BadParameter(
            "The number of trials is missing. Add trials = 20 to the file, or give --tune 20 as well."
        )
    return parts or None


def _former(instead: str, read: values.Callback | None = None) -> Option:
    return Option(f"Earlier spelling of {instead}.", STREAMS, hidden=True, read=read)


class FuseOptions(LeverOptions):
    """What may be asked of ``ser fuse``; ``FuseJob`` checks how it fits together."""

    cache: Annotated[Path, Option("Read features from this cache, as ser extract wrote it.", DATA, common=True)]
    out: Annotated[
        Path,
        Option(
            "Write the run to this folder. The same folder continues a run, or adds rows and seeds to it.",
            DATA,
            common=True,
            default="runs/HEADS-HASH, by the options",
        ),
    ]
    manifest: Annotated[
        Path | None,
        Option("Read labels and folds from this manifest instead of the one in the cache.", DATA, common=True),
    ] = None
    labels: Annotated[
        str | None,
        Option(
            "Map labels to classes with this label scheme, or with a TOML file.",
            DATA,
            common=True,
            default="the corpus's own",
        ),
    ] = None
    protocol: Annotated[
        str, Option("Make folds by this protocol: session, manifest, speaker, session+scenario, ...", DATA, common=True)
    ] = "session"
    dev: Annotated[
        str, Option("Choose the development part: next, speaker, partner, random:0.2 or none.", DATA, common=True)
    ] = "next"
    folds: Annotated[
        Path | None,
        Option("Read the folds from this CSV (id,fold,part). Use it to repeat a published split.", DATA, common=True),
    ] = None
    folds_root: Annotated[
        Path | None,
        Option(
            "Read EmoBox's published folds from this folder (data of its repository). Use it with --protocol emobox.",
            DATA, metavar="DIR",
        ),
    ] = None  # fmt: skip
    allow_overlap: Annotated[
        tuple[str, ...],
        Option(
            "Allow these held-out keys (speaker, session, ...) in training and test part alike.", DATA, metavar="KEYS"
        ),
    ] = ()
    drop_seen_text: Annotated[
        bool, Option("Leave out training and development utterances whose text is in the test part.", DATA)
    ] = False
    train_fraction: Annotated[
        tuple[float, ...],
        Option("Train on these shares of the training speakers. Use it for learning curves.", DATA, metavar="F,..."),
    ] = (1.0,)
    modalities: Annotated[
        tuple[str, ...], Option("Use only these streams.", STREAMS, common=True, default="all in the cache")
    ] = ()
    layer: Annotated[
        Layer,
        Option(
            "Use this layer of all streams, or of each: a number, last, or all (a learned weighted sum).", STREAMS, common=True,
            metavar="L | audio=L,text=L", streams=LAYERED, read=values.layer, default="the one in the cache",
        ),
    ] = None  # fmt: skip
    encoder: Annotated[
        str | None,
        Option(
            "Use this encoder's features of a stream. Needed where the cache holds several.", STREAMS, common=True,
            metavar="audio=ID,text=ID", streams=(*LAYERED, "prosody"), for_all=False,
        ),
    ] = Field(None, exclude=True)  # fmt: skip
    audio_layer: Annotated[Layer, _former("--layer audio=L", values.layer)] = None
    text_layer: Annotated[Layer, _former("--layer text=L", values.layer)] = None
    video_layer: Annotated[Layer, _former("--layer video=L", values.layer)] = None
    audio_encoder: Annotated[str | None, _former("--encoder audio=ID")] = None
    text_encoder: Annotated[str | None, _former("--encoder text=ID")] = None
    video_encoder: Annotated[str | None, _former("--encoder video=ID")] = None
    prosody_encoder: Annotated[str | None, _former("--encoder prosody=NAME")] = None
    dtype: Annotated[
        Literal["float16", "float32"] | None,
        Option("Use features of this precision. Needed where the cache holds both.", STREAMS),
    ] = None
    stride: Annotated[
        int,
        Option(
            "Average K audio frames into one, to train faster; text and video keep all frames.", STREAMS, common=True
        ),
    ] = Field(1, ge=1, le=1000)
    norm: Annotated[
        Literal["train", "corpus", "speaker", "speaker-neutral"],
        Option(
            "Normalise features by the training part, or per corpus or speaker (transductive).", STREAMS, common=True
        ),
    ] = "train"
    context: Annotated[
        int,
        Option(
            "Add the K previous turns of the dialogue as tokens: their features, never their labels.",
            STREAMS,
            common=True,
        ),
    ] = Field(0, ge=0, le=50)
    text_input: Annotated[
        Literal["tokens", "cls"], Option("Read all tokens of the text, or only its first one (cls).", STREAMS)
    ] = "tokens"
    fusion: Annotated[
        tuple[str, ...],
        Option(f"Train these heads: {', '.join(HEADS)}.", HEADS_PANEL, common=True, choices=HEADS),
    ] = ("cross",)
    pooling: Annotated[
        tuple[str, ...],
        Option(f"Pool frames over time by: {', '.join(POOLINGS)}.", HEADS_PANEL, common=True, choices=POOLINGS),
    ] = ("stats",)
    classifier: Annotated[
        tuple[str, ...],
        Option(
            f"Fit these classifiers on pooled features: {', '.join(CLASSIFIERS)}, or any pkg.mod:Class. Without --fusion only these.",
            HEADS_PANEL,
            common=True,
        ),
    ] = ()
    preset: Annotated[
        tuple[str, ...],
        Option(
            f"Train with the settings of a preset: {', '.join(PRESETS)}.", HEADS_PANEL, common=True, choices=PRESETS
        ),
    ] = ("corrected",)
    table: Annotated[
        Literal["study"] | None,
        Option("Train the ten rows of the study, instead of --fusion and --pooling.", HEADS_PANEL, common=True),
    ] = None
    text_pooling: Annotated[
        Literal["same", "cls"],
        Option("Pool text as the other streams, or take its first token after attention (cls).", HEADS_PANEL),
    ] = "same"
    named_head: Annotated[
        str, Option("Declare the head of the primary comparisons, before results are known.", HEADS_PANEL, common=True)
    ] = "cross"
    seeds: Annotated[
        tuple[int, ...],
        Option("Train every row on every fold with each of these seeds.", TRAINING, common=True, metavar="0-2"),
    ] = (0,)
    epochs: Annotated[
        int | None,
        Option(
            "Number of epochs; with early stopping the maximum.", TRAINING, common=True,
            default="5, more for few utterances; with early stopping 50",
        ),
    ] = Field(None, ge=1, le=50)  # fmt: skip
    early_stopping: Annotated[
        bool,
        Option(
            "Stop when the development score no longer rises, and keep the best epoch.",
            TRAINING,
            common=True,
        ),
    ] = False
    patience: Annotated[
        int | None,
        Option(
            "Stop early after this number of epochs without a better development score.",
            TRAINING,
            default="10, emobox 20",
        ),
    ] = Field(None, ge=1)
    select: Annotated[
        Literal["uwa", "loss"], Option("Choose the epoch, or the dropout, by this development score.", TRAINING)
    ] = "uwa"
    refit: Annotated[
        bool | None,
        Option(
            "Train again on training and development part together, and test that head.", TRAINING, common=True,
            default="unless training stops early",
        ),
    ] = None  # fmt: skip
    lr: Annotated[float | None, Option("Learning rate.", TRAINING, common=True, default=THE_PRESETS)] = Field(
        None, gt=0
    )
    batch: Annotated[int | None, Option("Utterances per step.", TRAINING, common=True, default=THE_PRESETS)] = Field(
        None, ge=1
    )
    schedule: Annotated[
        Literal["plateau", "cosine", "one-cycle", "none"] | None,
        Option("Schedule of the learning rate.", TRAINING, default=THE_PRESETS),
    ] = None
    weight_decay: Annotated[float | None, Option("Weight decay.", TRAINING, default=THE_PRESETS)] = Field(None, ge=0)
    frame_dropout: Annotated[
        tuple[float, ...],
        Option(
            "Dropout of frames. Of several values development data chooses one.", TRAINING, common=True,
            default=THE_PRESETS, metavar="P,...",
        ),
    ] = ()  # fmt: skip
    pool_dropout: Annotated[
        tuple[float, ...],
        Option(
            "Dropout of the pooled vector before the classifier. Several values are paired with those of --frame-dropout.", TRAINING, common=True,
            default=THE_PRESETS, metavar="P,...",
        ),
    ] = ()  # fmt: skip
    pool_norm: Annotated[
        Literal["none", "batch"] | None,
        Option(
            "Normalise pooled vectors over the training utterances (batch), or not (none).",
            TRAINING,
            default=THE_PRESETS,
        ),
    ] = None
    norm_first: Annotated[
        bool | None,
        Option(
            "Normalise the input of attention. Use --no-norm-first for its output, as earlier versions did.",
            TRAINING,
            default=THE_PRESETS,
        ),
    ] = None
    class_weights: Annotated[
        Literal["none", "balanced"],
        Option("Weigh the loss by inverse class frequency (balanced), or not (none).", "Losses", common=True),
    ] = "none"
    re_pair: Annotated[
        bool,
        Option(
            "Pair the streams again within the class in each epoch. Use it only where pairs are artificial.",
            TRAINING,
        ),
    ] = False
    extra_text: Annotated[
        Path | None,
        Option(
            "Add text from this CSV (id, text, label, fold) to training: each epoch draws a text of the same class.",
            TRAINING,
        ),
    ] = None
    tune: Annotated[
        int,
        Option(
            "Search the settings of each row with N trials per fold. FILE.toml holds trials, space, sampler and inner.", TUNING,
            common=True, metavar="N | FILE.toml", default="no search", read=_tune, several=True,
        ),
    ] = Field(0, ge=0, le=1000)  # fmt: skip
    space: Annotated[
        dict[str, dict[str, Any]], Option("Earlier spelling of --tune FILE.toml.", TUNING, hidden=True)
    ] = Field(default_factory=dict)
    sampler: Annotated[
        Literal["tpe", "random"], Option("Earlier spelling of --tune FILE.toml.", TUNING, hidden=True)
    ] = "tpe"
    inner: Annotated[int, Option("Earlier spelling of --tune FILE.toml.", TUNING, hidden=True)] = Field(3, ge=2, le=20)
    stack: Annotated[
        Literal["none", "probes"],
        Option(
            "Add a row for each head stacked with the linear probes of its streams (probes), or only train the heads (none).",
            ROWS,
            common=True,
        ),
    ] = "probes"
    ensemble: Annotated[
        tuple[Literal["seeds", "folds"], ...],
        Option(
            "Add rows that average calibrated heads over seeds, or over folds that test the same utterances.", ROWS, common=True,
            metavar="seeds,folds",
        ),
    ] = ()  # fmt: skip
    lost_streams: Annotated[
        bool,
        Option(
            "Add rows that test each head with every subset of its streams, without training again.", ROWS, common=True
        ),
    ] = False
    audit_heads: Annotated[
        tuple[str, ...],
        Option(
            "Train these heads under every protocol of the leak audit as well. This costs a whole run per protocol.",
            ROWS,
            common=True,
            choices=HEADS,
        ),
    ] = ()
    save_attention: Annotated[
        int, Option("Save attention maps of N test utterances per training.", ROWS, metavar="N")
    ] = Field(0, ge=0)
    device: Annotated[
        str,
        Option("Train on this device: auto, cpu, cuda (every card), or cuda:0,2 (some cards).", MACHINE, common=True),
    ] = Field("auto", pattern=DEVICES)
    workers: Annotated[
        int | None,
        Option(
            "Number of worker processes, one thread each; 0 trains in this process.",
            MACHINE,
            common=True,
            default="one per core, one per card",
        ),
    ] = Field(None, ge=0)
    part: Annotated[
        tuple[int, int] | None,
        Option(
            "Train only part i of N parts of the run, such as one task of a SLURM array.",
            MACHINE,
            common=True,
            former=("--jobs",),
        ),
    ] = None
    runner: Annotated[Literal["local", "ray"], Option("Run jobs on this machine or on a Ray cluster.", MACHINE)] = (
        "local"
    )
    ray_address: Annotated[
        str | None,
        Option("Join the Ray cluster at this address.", MACHINE, default="RAY_ADDRESS, else one on this machine"),
    ] = None
    ray_gpus: Annotated[
        float | None, Option("Number of GPUs per Ray actor, such as 0.5.", MACHINE, default="1 on CUDA")
    ] = Field(None, ge=0, le=1)
