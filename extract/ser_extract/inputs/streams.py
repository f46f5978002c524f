"""One stream per modality: which encoder, which layers, which cache entries. Read from files, without torch.

The entries of a stream differ in their layer only, so their plans have the same shards, and one forward pass serves all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from platformdirs import user_cache_path

from ser_base.errors import UnknownName
from ser_cache import EntrySpec
from ser_data.corpora import CORPORA
from ser_data.manifest.columns import Utterance
from ser_data.manifest.labels import resolve_scheme
from ser_data.manifest.table import Manifest, Problem
from ser_data.media.video import require_video
from ser_extract.encoders import ENCODERS, FEATURES
from ser_extract.encoders.base import Description, Family, Modality
from ser_extract.encoders.generic import generic_family
from ser_extract.encoders.plugged import SOUND, family_of, find_class, is_class, open_class
from ser_extract.encoders.source import Source, open_source
from ser_extract.errors import EncoderNotFound, EncoderNotSupported, LayerOutOfRange, NoVideo, SettingMissing
from ser_extract.inputs.items import Input, collect
from ser_extract.job import DEMO, ExtractJob

# The corpus of a job as a manifest: read, labels judged if a scheme is named, cut to the limit.
SELF_MADE = "demo"
"""The corpus that makes itself; without a root in the user's cache directory."""


def read_corpus(job: ExtractJob) -> Manifest:
    """Reads the corpus.

    Raises:
        SettingMissing: The corpus needs a root and none is given.
        CorpusError: What `ser_data` finds wrong.
    """
    reader = CORPORA[job.corpus]
    root = job.root
    if root is None and job.corpus == SELF_MADE:
        root = user_cache_path("ser-fusion") / "demo-corpus"
    if root is None:
        raise SettingMissing("The folder of the corpus", "--root", "SER_ROOT")
    manifest = reader.read(root)
    if job.labels is not None:
        manifest = judge_labels(manifest, job.labels)
    if job.limit is not None and job.limit < len(manifest):
        manifest = Manifest(manifest.table.head(job.limit), manifest.info, manifest.problems)
    return manifest


def judge_labels(manifest: Manifest, scheme: str) -> Manifest:
    """Drops rows whose label the scheme does not know; each becomes a problem that lists the known ones."""
    judge = resolve_scheme(scheme, manifest)
    names = set(judge.mapping) | set(judge.ignored)
    labels = manifest.table["label"]
    unknown = labels.notna() & ~labels.isin(names)
    problems = tuple(
        Problem(str(row.id), "unknown label", f"'{row.label}'; {judge.name} knows {', '.join(sorted(names))}")
        for row in manifest.table[unknown].itertuples()
    )
    return Manifest(manifest.table[~unknown], manifest.info, (*manifest.problems, *problems))


# Which hidden states are meant by `--layer`.
def parse_layers(text: str, depth: int, *, name: str, modality: str) -> tuple[int, ...]:
    """`12`, `4,8,12`, `all`, `last`, or a list that mixes numbers and `last` -> layers in rising order, each once.

    Args:
        text: As typed.
        depth: Number of the encoder's blocks, and its last layer.
        name: Of the encoder, for the message.
        modality: Likewise.

    Raises:
        LayerOutOfRange: Not a layer of this encoder.
    """
    if text.strip() == "all":
        return tuple(range(depth + 1))
    layers = set()
    for part in text.split(","):
        word = part.strip()
        if word == "last":
            layers.add(depth)
        elif word.isdecimal() and int(word) <= depth:
            layers.add(int(word))
        else:
            raise LayerOutOfRange(name, modality, word or "''", depth)
    return tuple(sorted(layers))


TEXT_FIELD = "text, normalised, version 1"


@dataclass(frozen=True)
class Encoder:
    """An encoder of a job: its files, its description, the wanted layers and their addresses in the cache."""

    modality: Modality
    source: Source
    family: Family
    description: Description
    layers: tuple[int, ...]
    specs: tuple[EntrySpec, ...]


@dataclass(frozen=True)
class Stream:
    """An encoder with the inputs that it is to encode."""

    encoder: Encoder
    inputs: tuple[Input, ...]

    @property
    def modality(self) -> Modality:
        return self.encoder.modality

    @property
    def seconds(self) -> float:
        """Seconds of all inputs; 0 for text."""
        return sum(entry.seconds for entry in self.inputs)


def open_encoder(job: ExtractJob, modality: Modality) -> Encoder:
    """Finds and describes the encoder of a modality.

    Raises:
        EncoderNotFound, EncoderBroken, EncoderNotSupported, LayerOutOfRange: See `ser_extract.errors`.
    """
    name = job.encoder_of(modality)
    if modality != "video" and (path := find_class(name)) is not None:
        return describe(job, modality, open_class(path, modality))
    if modality == "prosody":
        raise UnknownName(FEATURES.kind, name, tuple(FEATURES))
    source = open_source(
        demo_folder(modality) if name == DEMO else name,
        modality,
        revision=job.revision_of(modality),
        offline=job.offline,
        rehash=job.rehash,
    )
    return describe(job, modality, source)


def describe(job: ExtractJob, modality: Modality, source: Source) -> Encoder:
    """An encoder from its opened files: what a worker does with the source that its parent has hashed."""
    family = family_of(source, modality) or generic_family(source, modality)
    if family is None:
        kinds = (kind for kind in ENCODERS if ENCODERS[kind].modality == modality and not is_class(ENCODERS[kind]))
        raise EncoderNotSupported(source.name, source.model_type, modality, tuple(kinds))
    description = family.describe(source, job.inputs)
    layers = parse_layers(job.layer_of(modality), description.depth, name=source.name, modality=modality)
    specs = tuple(entry_spec(job, source, description, layer) for layer in layers)
    return Encoder(modality, source, family, description, layers, specs)


def demo_folder(modality: Modality) -> str:
    """The folder of the demo's encoder of a modality."""
    if modality == "video":
        raise EncoderNotFound(DEMO, modality, "the demo has no encoder for video")
    from ser_extract.demo import demo_audio_encoder, demo_text_encoder

    return str(demo_audio_encoder() if modality == "audio" else demo_text_encoder())


def entry_spec(job: ExtractJob, source: Source, description: Description, layer: int) -> EntrySpec:
    """The cache entry of one layer: its address, and everything declared that changes a value."""
    declared = {
        "model_type": source.plugin or source.model_type,
        **source.declared(),
        "final_norm": layer in description.final_norms,
        **description.declared,
    }
    if description.modality == "text":
        declared["field"] = TEXT_FIELD
    if description.modality in SOUND and job.channel != "mean":
        declared["channel"] = job.channel
    if job.compute != "float32":
        declared["compute"] = job.compute
    return EntrySpec(
        modality=description.modality,
        encoder=source.name,
        layer=layer,
        dtype=job.dtype,
        features=description.features,
        frame_rate=description.frame_rate,
        declared=declared,
    )


def modalities(job: ExtractJob, manifest: Manifest) -> tuple[Modality, ...]:
    """What to encode: as asked, else audio and text where at least one utterance has them.

    Video must be asked for: it costs far more, and needs an extra. So must prosody.

    Raises:
        PackageMissing: It is asked for and PyAV is not installed.
        NoVideo: It is asked for and no utterance has one.
    """
    if job.modalities is not None:
        if "video" in job.modalities:
            require_video()
            if manifest.table["video_path"].isna().all():
                raise NoVideo(manifest.info.title, len(manifest))
        return job.modalities
    has: dict[Modality, bool] = {
        "audio": bool(manifest.table["path"].notna().any()),
        "text": bool(manifest.table["text_normalised"].notna().any()),
    }
    return tuple(modality for modality, there in has.items() if there)


def open_stream(encoder: Encoder, utterances: Sequence[Utterance], tick: Callable[[], None] = lambda: None) -> Stream:
    """Hashes the inputs of an encoder; reads every audio and video file once."""
    return Stream(encoder, tuple(collect(utterances, encoder.modality, encoder.description, tick)))
