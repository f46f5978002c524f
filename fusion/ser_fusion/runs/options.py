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
STREAM_NAMES = ("audio", "text", "video")
TUNE_KEYS = {"trials": "tune", "space": "space", "sampler": "sampler", "inner": "inner"}
THE_PRESETS = "the preset's"

Layer = int | Literal["last", "all"] | None


def _tune(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> values.Parts | None:
    """``20``, or a TOML file with the keys `TUNE_KEYS`, or both."""
    found = values.Parts()
    for one in sorted(value, key=lambda one: not str(one).lstrip("-").isdecimal()):  # a number goes before a file's
        if str(one).lstrip("-").isdecimal():
            found["tune"] = int(one)
            continue
        for key, told in (values.toml_table(context, parameter, one) or {}).items():
            if key not in TUNE_KEYS:
                raise click.BadParameter(
                    f"{one}: unknown key '{key}'. {suggestion(key, TUNE_KEYS)}Keys are {', '.join(TUNE_KEYS)}; "
                    "settings to search stand in tables [space.NAME]."
                )
            found.setdefault(TUNE_KEYS[key], told)
    if found and "tune" not in found:
        raise click.BadParameter(
            "it is not said how many trials; add trials = 20 to the file, or give --tune 20 as well"
        )
    return found or None


def _former(instead: str, read: values.Callback | None = None) -> Option:
    return Option(f"Earlier spelling of {instead}.", STREAMS, hidden=True, read=read)


class FuseOptions(LeverOptions):
    """What may be asked of ``ser fuse``; ``FuseJob`` checks how it fits together."""

    cache: Annotated[Path, Option("Feature cache written by ser extract.", DATA, common=True)]
    out: Annotated[Path, Option("Run directory.", DATA, common=True, default="runs/HEADS-HASH, by what is asked")]
    manifest: Annotated[
        Path | None, Option("Labels and folds from this file instead of the cache's manifest.", DATA, common=True)
    ] = None
    labels: Annotated[
        str | None, Option("Label scheme, or a TOML file.", DATA, common=True, default="the corpus's own")
    ] = None
    protocol: Annotated[
        str, Option("How folds are made: session, manifest, speaker, session+scenario, ...", DATA, common=True)
    ] = "session"
    dev: Annotated[str, Option("Development part: next, speaker, partner, random:0.2 or none.", DATA, common=True)] = (
        "next"
    )
    folds: Annotated[
        Path | None, Option("Folds from a CSV (id,fold,part) instead of a protocol.", DATA, common=True)
    ] = None
    allow_overlap: Annotated[
        tuple[str, ...], Option("Held-out keys that may be on both sides.", DATA, metavar="KEYS")
    ] = ()
    drop_seen_text: Annotated[
        bool, Option("Leave training and development utterances out whose text is tested.", DATA)
    ] = False
    train_fraction: Annotated[
        tuple[float, ...], Option("Shares of the training speakers, nested.", DATA, metavar="F,...")
    ] = (1.0,)
    modalities: Annotated[
        tuple[str, ...], Option("Streams to use.", STREAMS, common=True, default="all in the cache")
    ] = ()
    layer: Annotated[
        Layer,
        Option(
            "Layer of all streams, or of each: a number, last, or all, which learns a weighted sum.", STREAMS, common=True,
            metavar="L | audio=L,text=L", streams=STREAM_NAMES, read=values.layer, default="the one in the cache",
        ),
    ] = None  # fmt: skip
    encoder: Annotated[
        str | None,
        Option(
            "Which encoder's features of a stream, if the cache holds several.", STREAMS, common=True,
            metavar="audio=ID,text=ID", streams=STREAM_NAMES, for_all=False,
        ),
    ] = Field(None, exclude=True)  # fmt: skip
    audio_layer: Annotated[Layer, _former("--layer audio=L", values.layer)] = None
    text_layer: Annotated[Layer, _former("--layer text=L", values.layer)] = None
    video_layer: Annotated[Layer, _former("--layer video=L", values.layer)] = None
    audio_encoder: Annotated[str | None, _former("--encoder audio=ID")] = None
    text_encoder: Annotated[str | None, _former("--encoder text=ID")] = None
    video_encoder: Annotated[str | None, _former("--encoder video=ID")] = None
    dtype: Annotated[
        Literal["float16", "float32"] | None, Option("Which precision, if the cache holds both.", STREAMS)
    ] = None
    stride: Annotated[
        int, Option("Mean of K audio frames before any head; text and video keep all.", STREAMS, common=True)
    ] = Field(1, ge=1, le=1000)
    norm: Annotated[
        Literal["train", "corpus", "speaker", "speaker-neutral"],
        Option("Features' normalisation; all but train are transductive.", STREAMS, common=True),
    ] = "train"
    context: Annotated[
        int,
        Option(
            "The K previous turns of the dialogue as further tokens: features only, never labels.", STREAMS, common=True
        ),
    ] = Field(0, ge=0, le=50)
    text_input: Annotated[Literal["tokens", "cls"], Option("cls: only the text's position 0 is read.", STREAMS)] = (
        "tokens"
    )
    fusion: Annotated[
        tuple[str, ...],
        Option(f"Heads: {', '.join(HEADS)}.", HEADS_PANEL, common=True, known=HEADS),
    ] = ("cross",)
    pooling: Annotated[
        tuple[str, ...], Option(f"Poolings: {', '.join(POOLINGS)}.", HEADS_PANEL, common=True, known=POOLINGS)
    ] = ("stats",)
    classifier: Annotated[
        tuple[str, ...],
        Option(
            f"Classifiers on pooled features: {', '.join(CLASSIFIERS)}, or any pkg.mod:Class; without --fusion only these.",
            HEADS_PANEL,
            common=True,
        ),
    ] = ()
    preset: Annotated[tuple[str, ...], Option(f"{', '.join(PRESETS)}.", HEADS_PANEL, common=True, known=PRESETS)] = (
        "corrected",
    )
    table: Annotated[
        Literal["study"] | None,
        Option("The study's ten rows, instead of --fusion and --pooling.", HEADS_PANEL, common=True),
    ] = None
    text_pooling: Annotated[
        Literal["same", "cls"], Option("cls: the text's position 0 after attention.", HEADS_PANEL)
    ] = "same"
    named_head: Annotated[
        str, Option("Head declared beforehand for the primary comparisons.", HEADS_PANEL, common=True)
    ] = "cross"
    seeds: Annotated[
        tuple[int, ...],
        Option("Seeds; each trains every row on every fold.", TRAINING, common=True, metavar="0-2"),
    ] = (0,)
    epochs: Annotated[
        int | None,
        Option(
            "So many; with early stopping at most so many.", TRAINING, common=True,
            default="5, more for few utterances; with early stopping 50",
        ),
    ] = Field(None, ge=1, le=50)  # fmt: skip
    early_stopping: Annotated[
        bool,
        Option(
            "Stop when the development score falls behind and keep the best epoch, instead of a fixed length.",
            TRAINING,
            common=True,
        ),
    ] = False
    patience: Annotated[
        int | None,
        Option("Epochs without a better development score before early stopping.", TRAINING, default="10, emobox 20"),
    ] = Field(None, ge=1)
    select: Annotated[
        Literal["uwa", "loss"], Option("Development score that chooses the epoch, or among dropouts.", TRAINING)
    ] = "uwa"
    refit: Annotated[
        bool | None,
        Option(
            "Train again on training and development part together and test that head.", TRAINING, common=True,
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
        Option("Learning rate over time.", TRAINING, default=THE_PRESETS),
    ] = None
    weight_decay: Annotated[float | None, Option("Weight decay.", TRAINING, default=THE_PRESETS)] = Field(None, ge=0)
    frame_dropout: Annotated[
        tuple[float, ...],
        Option(
            "Dropout of frames; several are tried and chosen on development data.", TRAINING, common=True,
            default=THE_PRESETS, metavar="P,...",
        ),
    ] = ()  # fmt: skip
    pool_dropout: Annotated[
        tuple[float, ...],
        Option(
            "Dropout of the pooled vector before the classifier; several likewise, taken pair by pair.", TRAINING, common=True,
            default=THE_PRESETS, metavar="P,...",
        ),
    ] = ()  # fmt: skip
    pool_norm: Annotated[
        Literal["none", "batch"] | None,
        Option("batch: normalise pooled vectors over the training utterances.", TRAINING, default=THE_PRESETS),
    ] = None
    norm_first: Annotated[
        bool | None,
        Option(
            "Normalise what attention reads, or, with --no-norm-first, what it gives, as earlier versions did.",
            TRAINING,
            default=THE_PRESETS,
        ),
    ] = None
    class_weights: Annotated[
        Literal["none", "balanced"],
        Option("balanced: weigh the loss by inverse class frequency.", "Losses", common=True),
    ] = "none"
    re_pair: Annotated[
        bool,
        Option(
            "Pair the streams again within the class in each training epoch; only for corpora whose pairs are artificial.",
            TRAINING,
        ),
    ] = False
    extra_text: Annotated[
        Path | None,
        Option(
            "CSV (id, label, fold) of more text in the cache: training draws each utterance's text from all of its class.",
            TRAINING,
        ),
    ] = None
    tune: Annotated[
        int,
        Option(
            "Search each row's settings with N trials per fold; FILE.toml holds trials, space, sampler and inner.", TUNING,
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
            "probes: a further row for each head, weighed with the linear probes of its streams on development data. none: "
            "only the heads, where they alone are the question.",
            ROWS,
            common=True,
        ),
    ] = "probes"
    ensemble: Annotated[
        tuple[Literal["seeds", "folds"], ...],
        Option(
            "Add rows: calibrated averages over seeds, or over folds that test the same utterances.", ROWS, common=True,
            metavar="seeds,folds",
        ),
    ] = ()  # fmt: skip
    lost_streams: Annotated[
        bool, Option("Add rows: heads tested with every subset of their streams, as they are.", ROWS, common=True)
    ] = False
    audit_heads: Annotated[
        tuple[str, ...],
        Option(
            "Train these heads under every protocol of the leak audit too: as many trainings again for each.",
            ROWS,
            common=True,
            known=HEADS,
        ),
    ] = ()
    save_attention: Annotated[int, Option("Keep attention maps of N test utterances per job.", ROWS, metavar="N")] = (
        Field(0, ge=0)
    )
    device: Annotated[str, Option("auto, cpu, cuda for every card, or cuda:0,2 for some.", MACHINE, common=True)] = (
        Field("auto", pattern=DEVICES)
    )
    workers: Annotated[
        int | None,
        Option("One-thread processes; 0: in this one.", MACHINE, common=True, default="one per core, one per card"),
    ] = Field(None, ge=0)
    part: Annotated[
        tuple[int, int] | None,
        Option("Only the i-th of N shares of the jobs (SLURM arrays).", MACHINE, common=True, former=("--jobs",)),
    ] = None
    runner: Annotated[Literal["local", "ray"], Option("Who gives the jobs out.", MACHINE)] = "local"
    ray_address: Annotated[
        str | None, Option("Ray cluster to join.", MACHINE, default="RAY_ADDRESS, else one on this machine")
    ] = None
    ray_gpus: Annotated[float | None, Option("GPUs per Ray actor, as 0.5.", MACHINE, default="1 on CUDA")] = Field(
        None, ge=0, le=1
    )
