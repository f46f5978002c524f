"""What one run of `ser-extract` is to do: frozen, checked when made, the same for the command line and for Python."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ser_base.machine import check_part, resolve_device, usable_cores
from ser_extract.encoders.base import EngineOptions, InputOptions, Modality

AUDIO_ENCODER = "facebook/wav2vec2-base"
TEXT_ENCODER = "google-bert/bert-base-uncased"
VIDEO_ENCODER = "openai/clip-vit-base-patch32"
DEMO = "demo"


class ExtractJob(BaseModel):
    """One extraction: corpus -> encoders -> cache.

    Attributes:
        corpus: Name in the table of corpora.
        root: Folder or file of the corpus; None where the corpus can make or find itself.
        cache: Directory of the feature cache; made if missing.
        labels: Label scheme; rows with a label it does not know are listed as problems. None: labels are not judged.
        modalities: What to encode; None: audio and text, whichever the corpus has; video only when it is named.
        audio_encoder: Hub id, local folder, or `demo`.
        text_encoder: The same for text.
        video_encoder: The same for video, but for `demo`.
        audio_revision: Branch, tag or commit of a hub repository.
        text_revision: The same for text.
        video_revision: The same for video.
        audio_layer: A layer, a list (`4,8,12`), `all`, or `last`; layer L is transformers' `hidden_states[L]`.
        text_layer: The same for text.
        video_layer: The same for video.
        fps: Frames per second taken of a video, each encoded as a picture of its own.
        dtype: Type of the stored features.
        container: How shards are stored.
        device: `auto` takes CUDA where there is one.
        compute: Type of the arithmetic; other than float32 it is declared in the fingerprint.
        batch_seconds: Padded audio seconds per batch; None: the engine's choice for the device.
        engine: `auto` takes the packed engine where the config fits it, `stock` the plain model.
        workers: Worker processes with one thread each; None: one per usable core, one on CUDA; 0: no process of their own.
        runner: Who gives the work out: `local` or `ray`.
        ray_address: Ray cluster to join; None: RAY_ADDRESS, else one is started on this machine.
        ray_gpus: GPUs per Ray actor, fractions allowed; None: 1 on CUDA, 0 on a CPU.
        max_seconds: Longer audio goes through the encoder in overlapping windows.
        overlap_seconds: Overlap of the windows.
        context_seconds: Context of fixed-window encoders (Whisper); None: their own.
        limit: Only the first so many utterances.
        shards: (i, N): only the i-th of N parts of the work, i from 1.
        on_error: What an utterance that cannot be encoded does.
        channel: What is taken of recordings with several channels: their mean, or one of the first two.
        on_truncated: What a recording does that ends before its header says: `fail`, or `keep` what is there.
        retry_failed: Also try again what is recorded as failed.
        replace: Replace entries that were made with other declared inputs.
        offline: Never open a connection.
        decode_timeout: Seconds that one file may take to decode.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str
    root: Path | None = None
    cache: Path
    labels: str | None = None
    modalities: tuple[Modality, ...] | None = None
    audio_encoder: str = AUDIO_ENCODER
    text_encoder: str = TEXT_ENCODER
    video_encoder: str = VIDEO_ENCODER
    audio_revision: str | None = None
    text_revision: str | None = None
    video_revision: str | None = None
    audio_layer: str = "last"
    text_layer: str = "last"
    video_layer: str = "last"
    fps: float = Field(default=2.0, gt=0, le=60)
    dtype: Literal["float16", "float32"] = "float16"
    container: Literal["zarr", "hdf5"] = "zarr"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    compute: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_seconds: float | None = Field(default=None, ge=0)
    engine: Literal["auto", "stock"] = "auto"
    workers: int | None = Field(default=None, ge=0, le=1024)
    runner: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    ray_gpus: float | None = Field(default=None, ge=0, le=1)
    max_seconds: float = Field(default=60.0, ge=1, le=3600)
    overlap_seconds: float = Field(default=2.0, gt=0)
    context_seconds: float | None = Field(default=None, gt=0, le=30)
    limit: int | None = Field(default=None, ge=1)
    shards: tuple[int, int] | None = None
    on_error: Literal["skip", "fail"] = "skip"
    channel: Literal["mean", "left", "right"] = "mean"
    on_truncated: Literal["fail", "keep"] = "fail"
    retry_failed: bool = False
    replace: bool = False
    offline: bool = False
    decode_timeout: float = Field(default=60.0, gt=0)

    @field_validator("shards")
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

    def encoder(self, modality: Modality) -> str:
        """The encoder asked for, by modality."""
        return {"audio": self.audio_encoder, "text": self.text_encoder, "video": self.video_encoder}[modality]

    def revision(self, modality: Modality) -> str | None:
        """The revision asked for, by modality."""
        return {"audio": self.audio_revision, "text": self.text_revision, "video": self.video_revision}[modality]

    def layer(self, modality: Modality) -> str:
        """The layers asked for, by modality."""
        return {"audio": self.audio_layer, "text": self.text_layer, "video": self.video_layer}[modality]

    def engine_options(self, modality: Modality, rate: int | None) -> EngineOptions:
        """How the engine of a modality computes, with the device resolved."""
        batch = None
        if modality == "audio" and self.batch_seconds is not None:
            batch = int(self.batch_seconds * (rate or 16_000))
        return EngineOptions(resolve_device(self.device), self.compute, batch, self.engine)

    def worker_count(self, device: str) -> int:
        """Worker processes: as asked, else one per usable core on a CPU, one on CUDA."""
        if self.workers is not None:
            return self.workers
        return 1 if device != "cpu" else usable_cores()
