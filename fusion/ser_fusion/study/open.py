"""A study: the utterances that have a label and every stream, their folds, and where their frames lie.

Opening one reads labels and directories only (seconds for 10,000 utterances); frames are read when they are asked for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ser_fusion.errors import ManifestMissing, MissingRows, NothingToTrain, StreamMissing
from ser_fusion.study.data import StudyData
from ser_fusion.study.usable import CLASS, OPTIONAL, given_folds, mask, rated

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Cache, Entry
    from ser_data.manifest.table import Manifest
    from ser_fusion.study.to_sklearn import SklearnData
    from ser_fusion.study.to_torch import UtteranceDataset, UtteranceStream

MANIFEST = "manifest.parquet"
Layer = int | Literal["last", "all"] | None


class Study(StudyData):
    """A study as ``open_study`` gives it: its data, and the ways out of it into other libraries.

    Examples:
        >>> from ser_fusion import open_study
        >>> X, y, groups, splits = open_study("cache", layer="last").to_sklearn(pooling="stats")
        >>> X.shape, y.shape, len(splits)  # mean and deviation of 32 features in each of two streams
        ((36, 128), (36,), 3)
    """

    __slots__ = ()

    def to_sklearn(self, **options: Any) -> "SklearnData":
        """Arrays ``X, y, groups, splits``; see ``ser_fusion.study.to_sklearn.to_sklearn``."""
        from ser_fusion.study.to_sklearn import to_sklearn

        return to_sklearn(self, **options)

    def to_pandas(self, **options: Any) -> "pd.DataFrame":
        """The utterances as a table, with pooled features if asked; see ``ser_fusion.study.to_sklearn.to_pandas``."""
        from ser_fusion.study.to_sklearn import to_pandas

        return to_pandas(self, **options)

    def to_torch(self, **options: Any) -> "UtteranceDataset | UtteranceStream":
        """A torch data set with a ragged collate; see ``ser_fusion.study.to_torch.to_torch``."""
        from ser_fusion.study.to_torch import to_torch

        return to_torch(self, **options)


def open_study(
    cache: str | Path,
    *,
    labels: str | None = None,
    protocol: str = "session",
    dev: str = "next",
    manifest: str | Path | None = None,
    folds: str | Path | None = None,
    folds_root: str | Path | None = None,
    allow_overlap: Sequence[str] = (),
    drop_seen_text: bool = False,
    modalities: Sequence[str] = (),
    layer: Layer = None,
    audio_layer: Layer = None,
    text_layer: Layer = None,
    video_layer: Layer = None,
    audio_encoder: str | None = None,
    text_encoder: str | None = None,
    video_encoder: str | None = None,
    prosody_encoder: str | None = None,
    dtype: str | None = None,
    task: str = "emotion",
) -> Study:
    """Joins a cache with labels and folds.

    Args:
        cache: Directory that ser-extract wrote.
        labels: Label scheme by name or TOML file; None for the corpus's own.
        protocol: How folds are made (``session``, ``manifest``, ...).
        dev: How the development part is chosen.
        manifest: Labels, speakers and folds from this file instead of the cache's own manifest.
        folds: CSV with id, fold, part; overrides ``protocol``, which then only says whether folds may share test utterances.
        folds_root: Folder with EmoBox's fold files, for the protocol ``emobox``.
        allow_overlap: Held-out keys that may be on both sides.
        drop_seen_text: Leave training and development utterances out whose text is tested.
        modalities: Streams to use; empty for all in the cache.
        layer: Layer of every stream: a number, ``last``, ``all``, or None if there is only one.
        audio_layer: Layer of the stream ``audio``; overrides ``layer``.
        text_layer: Layer of ``text``.
        video_layer: Layer of ``video``.
        audio_encoder: Encoder of the audio features, if the cache has several.
        text_encoder: Encoder of the text features.
        video_encoder: Encoder of the video features.
        prosody_encoder: Set of hand-crafted features.
        dtype: Stored precision, if the cache has several.
        task: ``vad`` takes all utterances with ratings, labelled or not, as one class.

    Raises:
        RatingsMissing: ``vad`` where there are none.
        CacheError: The folder is not a cache, or several entries fit.
        MissingRows: A labelled utterance is neither done nor failed.
        NothingToTrain: Nothing usable is left.
        CorpusError: Labels, manifest or folds cannot be used.

    Examples:
        >>> from ser_fusion import open_study
        >>> study = open_study("cache", protocol="session", layer="last")
        >>> study.classes, len(study.table), len(study.folds.folds)
        (('happy', 'neutral', 'sad'), 36, 3)
    """
    import pandas as pd

    from ser_cache import open_cache
    from ser_data.manifest.labels import LabelScheme, resolve_scheme
    from ser_data.protocols import PROTOCOLS, make_folds
    from ser_data.protocols import drop_seen_text as without_seen_text

    opened = open_cache(cache)
    source = read_manifest(opened, Path(cache), manifest)
    layers = _select(
        opened,
        modalities,
        {"audio": audio_layer, "text": text_layer, "video": video_layer},
        layer,
        {"audio": audio_encoder, "text": text_encoder, "video": video_encoder, "prosody": prosody_encoder},
        dtype,
    )
    table = source.table.copy()
    if task == "vad":
        scheme = LabelScheme("vad", (CLASS,), {})
        table["target_name"] = rated(table)
    else:
        scheme = resolve_scheme(labels, source)
        table["target_name"] = scheme.apply(table["label"])
    unused = table[table["target_name"].isna()]
    reasons = [
        (
            "no ratings"
            if task == "vad"
            else "no label"
            if pd.isna(value)
            else f"label {value!r} is not in {scheme.name}"
        )
        for value in unused["label"]
    ]
    excluded = [pd.DataFrame({"id": unused["id"], "reason": reasons})]
    labelled = table[table["target_name"].notna()].set_index("id", drop=False).sort_index()
    failures = _failures(str(cache), layers, list(labelled.index))
    excluded.append(pd.DataFrame({"id": list(failures), "reason": list(failures.values())}, dtype=object))
    usable = labelled[~labelled.index.isin(list(failures))].copy()
    if usable.empty:
        raise NothingToTrain(str(cache), len(table), len(labelled), scheme.name)
    classes = tuple(name for name in scheme.classes if (usable["target_name"] == name).any())
    usable["target"] = usable["target_name"].map({name: n for n, name in enumerate(classes)}).astype("int64")
    usable = usable.drop(columns="target_name")
    usable.index.name = None
    notes = [f"no utterance of class {name}" for name in scheme.classes if name not in classes]
    notes += [note.sentence for note in source.notes]
    notes += _text_changed(layers, usable)
    layers, masked, mask_notes = mask(layers, list(usable.index))
    notes += mask_notes
    if folds is not None:
        split = given_folds(folds, PROTOCOLS[protocol].once, table, usable)
    else:
        split = make_folds(usable, protocol, dev=dev, allow_overlap=tuple(allow_overlap), folds_root=folds_root)
    if drop_seen_text:
        split = without_seen_text(usable, split)
    return Study(
        cache=Path(cache),
        table=usable,
        classes=classes,
        folds=split,
        streams={name: entries[-1] for name, entries in layers.items()},
        layers=layers,
        excluded=pd.concat(excluded, ignore_index=True),
        failed=len(failures),
        labels=scheme.name,
        info=source.info,
        notes=(*notes, *split.notes),
        masked=masked,
        turns=source.table,
    )


def read_manifest(opened: "Cache", path: Path, asked: str | Path | None) -> "Manifest":
    """Reads the manifest that is asked for, else the one in the cache.

    Raises:
        ManifestMissing: There is neither.
        BadManifest: It cannot be read.
    """
    from ser_cache import MissingAttachment
    from ser_data.manifest.table import Manifest

    if asked is not None:
        return Manifest.read(asked)
    try:
        return Manifest.from_bytes(opened.attachment(MANIFEST), f"{path}/attachments/{MANIFEST}")
    except MissingAttachment:
        raise ManifestMissing(str(path)) from None


def _select(
    opened: "Cache",
    modalities: Sequence[str],
    own_layers: Mapping[str, Layer],
    layer: Layer,
    encoders: Mapping[str, str | None],
    dtype: str | None,
) -> dict[str, tuple["Entry", ...]]:
    """The entries of each stream, ascending by layer; audio first, then text, then others by name."""
    infos = opened.entries()
    available = sorted({info.spec.modality for info in infos}, key=lambda name: (name != "audio", name != "text", name))
    wanted = tuple(modalities) or tuple(available)
    chosen: dict[str, tuple[Entry, ...]] = {}
    for name in wanted:
        if name not in available:
            raise StreamMissing("--modalities", f"the stream {name}", tuple(available))
        which = own_layers.get(name)
        which = "last" if name == "prosody" else layer if which is None else which  # prosody has one layer
        encoder = encoders.get(name)
        if isinstance(which, str):
            fitting = [
                info.spec
                for info in infos
                if info.spec.modality == name
                and encoder in (None, info.spec.encoder)
                and dtype in (None, info.spec.dtype)
            ]
            encoder = encoder or (fitting[0].encoder if len({spec.encoder for spec in fitting}) == 1 else None)
            layers = sorted({spec.layer for spec in fitting})
            numbers: list[int | None] = [*(layers[-1:] if which == "last" else layers)] or [None]
        else:
            numbers = [which]  # None: the only one there is, or an error that lists them
        chosen[name] = tuple(opened.select(name, encoder, number, dtype) for number in numbers)
    return chosen


def _failures(cache: str, layers: Mapping[str, tuple["Entry", ...]], ids: list[str]) -> dict[str, str]:
    """Why utterances cannot be used: no row in a stream that all must have, or nothing at all; refuses the unknown."""
    failures: dict[str, str] = {}
    needed = [stream for stream in layers if stream not in OPTIONAL]
    for stream, entries in layers.items():
        for entry in entries:
            unknown = tuple(name for name in ids if name not in entry and name not in entry.failures)
            if unknown:
                raise MissingRows(cache, f"{stream} (layer {entry.spec.layer})", unknown, len(ids))
            for name in ids if stream in needed or not needed else ():
                if name not in entry:
                    failure = entry.failures[name]
                    failures.setdefault(name, f"{stream}: {failure.reason}")
                elif not needed and not entry.frames(name):
                    failures.setdefault(name, f"{stream}: none")
    return dict(sorted(failures.items()))


def _text_changed(layers: Mapping[str, tuple["Entry", ...]], table: "pd.DataFrame") -> list[str]:
    """Says when the manifest's transcripts are not those that were extracted."""
    if "text" not in layers or "text_hash" not in table:
        return []
    hashes = layers["text"][-1].input_hashes
    changed = sum(
        1
        for name, value in zip(table.index, table["text_hash"], strict=True)
        if isinstance(value, str) and hashes[name] != value
    )
    if not changed:
        return []
    return [f"{changed:,} transcripts of the manifest are not the ones the text features were made from"]
