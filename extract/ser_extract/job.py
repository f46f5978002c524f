"""What one run of `ser-extract` is to do: frozen, checked when made, the same for the command line and for Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ser_base.machine import DEVICES, check_part, each_device, resolve_device, usable_cores
from ser_base.options import Option, spread
from ser_data.corpora import CORPORA
from ser_extract.encoders.base import EngineOptions, InputOptions, Modality

AUDIO_ENCODER = "facebook/wav2vec2-base"
TEXT_ENCODER = "google-bert/bert-base-uncased"
VIDEO_ENCODER = "openai/clip-vit-base-patch32"
PROSODY = "acoustic"
DEMO = "demo"
STREAMS: tuple[Modality, ...] = get_args(Modality)
LAYERED: tuple[Modality, ...] = ("audio", "text", "video")
"""Streams whose encoders have layers and revisions."""


def _list(context: Any, parameter: Any, value: tuple[str, ...]) -> str | None:
    return ",".join(value) or None


def _former(instead: str, **more: Any) -> Option:
    return Option(f"Earlier spelling of {instead}.", "Streams", hidden=True, **more)


class ExtractJob(BaseModel):
    """One extraction: corpus -> encoders -> cache. Its fields are the options of ``ser extract``.

    ``layer`` and ``encoder`` are taken apart into the fields of each stream when the job is made, and are None afterwards;
    layer L is transformers' ``hidden_states[L]``.

    Examples:
        >>> from ser_extract import ExtractJob
        >>> job = ExtractJob(corpus="csv", root="corpus.csv", cache="cache", layer="audio=12,text=9")
        >>> job.audio_layer, job.text_layer
        ('12', '9')
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    corpus: Annotated[
        str, Option("Read this corpus. Use csv for a table of your own.", "Data", common=True, choices=CORPORA)
    ]
    root: Annotated[Path | None, Option("Folder of the corpus; for csv, the file.", "Data", common=True)] = None
    cache: Annotated[
        Path, Option("Write the features to this folder. It is made if it is missing.", "Data", common=True)
    ]
    labels: Annotated[
        str | None,
        Option("Check labels against this scheme, and skip rows whose label it does not know.", "Data", common=True),
    ] = None
    limit: Annotated[
        int | None, Option("Encode only the first N utterances. Use it for a first try.", "Data", common=True)
    ] = Field(None, ge=1)
    modalities: Annotated[
        tuple[Modality, ...] | None,
        Option(
            "Encode these streams: any of audio,text,video,prosody. Prosody is hand-crafted features of the sound.",
            "Streams",
            common=True,
            default="of audio and text what the corpus has",
        ),
    ] = None
    encoder: Annotated[
        str | None,
        Option(
            "Encoder of a stream: a hub id, a local folder, demo, or a class of your own (package.module:Class). "
            "A commit, tag or branch of the hub may follow @. Of prosody: acoustic, egemaps or egemaps-lld.",
            "Streams",
            common=True,
            default=f"{AUDIO_ENCODER}, {TEXT_ENCODER}, {VIDEO_ENCODER}, {PROSODY}",
            metavar="audio=ID@REVISION,text=DIR",
            streams=STREAMS,
            for_all=False,
        ),
    ] = Field(None, exclude=True)
    layer: Annotated[
        str | None,
        Option(
            "Store this hidden state of all streams, or of each: a number, a list such as 4,8,12, all, or last.",
            "Streams",
            common=True,
            default="last",
            metavar="L | audio=L,text=L",
            streams=LAYERED,
        ),
    ] = Field(None, exclude=True)
    audio_encoder: Annotated[str, _former("--encoder audio=ID")] = AUDIO_ENCODER
    text_encoder: Annotated[str, _former("--encoder text=ID")] = TEXT_ENCODER
    video_encoder: Annotated[str, _former("--encoder video=ID")] = VIDEO_ENCODER
    prosody_encoder: Annotated[str, _former("--encoder prosody=NAME")] = PROSODY
    audio_revision: Annotated[str | None, _former("--encoder audio=ID@REVISION")] = None
    text_revision: Annotated[str | None, _former("--encoder text=ID@REVISION")] = None
    video_revision: Annotated[str | None, _former("--encoder video=ID@REVISION")] = None
    audio_layer: Annotated[str, _former("--layer audio=L", read=_list, several=True)] = "last"
    text_layer: Annotated[str, _former("--layer text=L", read=_list, several=True)] = "last"
    video_layer: Annotated[str, _former("--layer video=L", read=_list, several=True)] = "last"
    fps: Annotated[
        float,
        Option("Take this many frames per second of a video. Each is encoded as a picture.", "Streams", common=True),
    ] = Field(2.0, gt=0, le=60)
    dtype: Annotated[
        Literal["float16", "float32"],
        Option("Store features in this type. Use float32 where float16 overflows.", "Streams", common=True),
    ] = "float16"
    channel: Annotated[
        Literal["mean", "left", "right"],
        Option(
            "Encode the mean of all channels, or one of two. Use left or right where each speaker has a channel.",
            "Recordings",
            common=True,
        ),
    ] = "mean"
    on_truncated: Annotated[
        Literal["fail", "keep"],
        Option(
            "List a recording that ends before its header says as failed, or keep what is there.",
            "Recordings",
            common=True,
        ),
    ] = "fail"
    max_seconds: Annotated[float, Option("Cut longer audio into overlapping windows of this length.", "Recordings")] = (
        Field(60.0, ge=1, le=3600)
    )
    overlap_seconds: Annotated[float, Option("Overlap of two neighbouring windows, in seconds.", "Recordings")] = Field(
        2.0, gt=0
    )
    context_seconds: Annotated[
        float | None,
        Option(
            "Shorten Whisper's window to these seconds. Short utterances are faster, and get other features.",
            "Recordings",
            default="its own 30",
        ),
    ] = Field(None, gt=0, le=30)
    decode_timeout: Annotated[float, Option("Give up decoding a file after these seconds.", "Recordings")] = Field(
        60.0, gt=0
    )
    on_error: Annotated[
        Literal["skip", "fail"],
        Option("Skip utterances that fail (and list them), or stop at the first.", "Work", common=True),
    ] = "skip"
    retry_failed: Annotated[
        bool,
        Option(
            "Encode utterances again that are recorded as failed. Use it after an upgrade or a repair.",
            "Work",
            common=True,
        ),
    ] = False
    replace: Annotated[
        bool,
        Option(
            "Replace features that were made with other settings. Without it they are an error.", "Work", common=True
        ),
    ] = False
    rehash: Annotated[
        bool,
        Option(
            "Read the weight files again for their hashes. Use it if a file changed and kept its time stamps.",
            "Work",
        ),
    ] = False
    offline: Annotated[
        bool,
        Option("Never open a connection. An encoder that is not on this machine is an error.", "Machine", common=True),
    ] = False
    device: Annotated[
        str,
        Option("Device that encodes: auto, cpu, cuda for every card, or cuda:0,2 for some.", "Machine", common=True),
    ] = Field("auto", pattern=DEVICES)
    workers: Annotated[
        int | None,
        Option(
            "Number of worker processes, one thread each. Use 0 to see errors as they are raised.",
            "Machine",
            common=True,
            default="one per core, one per card",
        ),
    ] = Field(None, ge=0, le=1024)
    part: Annotated[
        tuple[int, int] | None,
        Option(
            "Do only the i-th of N parts of the work. Use it for the jobs of a SLURM array.",
            "Work",
            common=True,
            former=("--shards",),
        ),
    ] = None
    container: Annotated[Literal["zarr", "hdf5"], Option("Store shards as Zarr or as HDF5 files.", "Machine")] = "zarr"
    compute: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Option(
            "Compute in this type. The cache declares any but float32, with its error. "
            "Use bfloat16 for 1.6 to 2.2 times the speed on processors with avx512_bf16 or amx_bf16.",
            "Machine",
            common=True,
        ),
    ] = "float32"
    engine: Annotated[
        Literal["auto", "stock"],
        Option("Use the packed CPU engine where it fits (auto), or always transformers' own code (stock).", "Machine"),
    ] = "auto"
    batch_seconds: Annotated[
        float | None,
        Option(
            "Seconds of padded audio in one batch. Lower it if a card runs out of memory.",
            "Machine",
            default="by device",
        ),
    ] = Field(None, ge=0)
    runner: Annotated[
        Literal["local", "ray"], Option("Run the work on this machine or on a Ray cluster.", "Machine")
    ] = "local"
    ray_address: Annotated[
        str | None,
        Option("Join the Ray cluster at this address.", "Machine", default="RAY_ADDRESS, else one on this machine"),
    ] = None
    ray_gpus: Annotated[float | None, Option("GPUs of each Ray actor, as 0.5.", "Machine", default="1 on CUDA")] = (
        Field(None, ge=0, le=1)
    )

    @model_validator(mode="before")
    @classmethod
    def _of_each_stream(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        job = dict(values)
        spread(job, "layer")
        spread(job, "encoder")
        layer = job.pop("layer", None)
        for name in LAYERED:
            if layer is not None:
                job.setdefault(f"{name}_layer", str(layer))
            encoder = str(job.get(f"{name}_encoder", ""))
            if "@" in encoder and not Path(encoder).exists():
                job[f"{name}_encoder"], _, job[f"{name}_revision"] = encoder.rpartition("@")
        if "shards" in job:
            job["part"] = job.pop("shards")
        return job

    @field_validator("part")
    @classmethod
    def _part_of_parts(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if value is None else check_part(value)

    @model_validator(mode="after")
    def _windows_advance(self) -> "ExtractJob":
        shortest = min(self.max_seconds, self.context_seconds or self.max_seconds)
        if self.overlap_seconds > shortest / 2:
            raise ValueError(f"an overlap of {self.overlap_seconds:g} s is more than half a window of {shortest:g} s")
        return self

    @property
    def inputs(self) -> InputOptions:
        """The options that change features."""
        return InputOptions(self.max_seconds, self.overlap_seconds, self.context_seconds, self.fps)

    def encoder_of(self, modality: Modality) -> str:
        """The encoder asked for, by modality."""
        return {
            "audio": self.audio_encoder,
            "text": self.text_encoder,
            "video": self.video_encoder,
            "prosody": self.prosody_encoder,
        }[modality]

    def revision_of(self, modality: Modality) -> str | None:
        """The revision asked for, by modality."""
        return {"audio": self.audio_revision, "text": self.text_revision, "video": self.video_revision}.get(modality)

    def layer_of(self, modality: Modality) -> str:
        """The layers asked for, by modality."""
        return {"audio": self.audio_layer, "text": self.text_layer, "video": self.video_layer}.get(modality, "last")

    def engine_options(self, modality: Modality, rate: int | None) -> EngineOptions:
        """How the engine of a modality computes, with the device resolved."""
        batch = None
        if modality == "audio" and self.batch_seconds is not None:
            batch = int(self.batch_seconds * (rate or 16_000))
        return EngineOptions(each_device(self.device)[0], self.compute, batch, self.engine)

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU encodes."""
        return resolve_device(self.device) == "cpu"

    def worker_count(self) -> int:
        """Worker processes: as asked, else one per usable core on a CPU, one per card on CUDA."""
        if self.workers is not None:
            return self.workers
        return usable_cores() if self.on_cpu else len(each_device(self.device))
