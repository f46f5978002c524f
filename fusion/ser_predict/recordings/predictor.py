"""From recordings to posteriors: decode, transcribe, encode, and let the heads of a run vote.

The path is that of training: the same decoder and resampler, the same engine, the stored type's rounding, the same stride,
normalisation inside the head. A test holds the two together on real speech.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_data.manifest.text import normalise
from ser_data.media.audio import AudioError, Limits
from ser_data.media.isolated import IsolatedDecoder, IsolatedVideoDecoder
from ser_data.media.resampling import resample
from ser_data.media.video import VideoError
from ser_extract.encoders.base import Encoded, Refused
from ser_fusion.frames.features import read_stream
from ser_fusion.study.data import pool_entry
from ser_predict.errors import NoModel
from ser_predict.models.ensemble import Chosen, Ensemble
from ser_predict.models.hub import open_heads
from ser_predict.recordings.pieces import Piece, Prediction, Windowing, answered, broken, cut, like_training, line_of
from ser_predict.recordings.segments import Tell, cut_at_pauses, cut_samples, detector
from ser_predict.recordings.streams import MemoryEntry, StreamEncoder, open_stream_encoder, places, specs_of, unusable
from ser_predict.recordings.transcripts import Recogniser

if TYPE_CHECKING:
    from numpy.typing import NDArray

STREAMS = ("audio", "text", "prosody")
HEARD = ("audio", "prosody")
"""Streams that are computed from the sound."""
NO_VIDEO = "which is missing (ser predict --video)"
CHUNK = 16
"""Pieces that are encoded at a time."""


class Predictor:
    """Predicts emotions of recordings with the heads of a run.

    Args:
        run: Run directory of ser-fuse, or a folder that ``ser export --hub`` wrote.
        row: Row (name or slug) whose heads predict; None: the best on development data.
        fold: Only the heads of this fold; None: all folds, averaged.
        seed: Only the heads of this seed.
        calibrate: Divide logits by temperatures fitted on development data.
        threshold: Below this posterior the label is ``unsure``.
        asr: Folder or hub id of a speech recogniser for recordings without a transcript.
        window: Seconds of a window of long recordings; None: like the training's utterances.
        hop: Seconds between windows; None: half a window.
        segment: Cut recordings at pauses; a segment that is too long is cut into windows.
        vad: What finds the pauses: ``energy`` or ``silero``.
        audio_encoder: Where the run's speech encoder is, if its recorded name leads nowhere.
        text_encoder: The same for text.
        video_encoder: The same for video.
        prosody_encoder: The same for hand-crafted features.
        text: Whether transcripts come with the recordings; rows that read them are then preferred.
        video: Whether videos come with the recordings; rows that read them are then preferred, else not used.
        video_crop: ``left`` or ``right`` half of the pictures; None: all of them.
        cache: Where the run's cache is, for old runs that were moved.
        device: ``auto``, ``cpu`` or ``cuda``.
        offline: Never open a connection.
        encoders: Look for the run's encoders. Without them heads can be exported, but nothing can be predicted.

    Attributes:
        classes: Class names in order.
        main: The heads used where every stream they read is there.
        specs: What the features of each stream were computed from, one per layer.
        windowing: How long recordings are cut.
        detector: What finds speech in recordings that are cut at pauses, or None.
        encoders: Stream to its encoder.
        reason: Why these heads answer.
        notes: What a reader of the predictions should know.
        source: Where the heads come from, and what is known about them.

    Raises:
        NotARun, NoModel, FeaturesUnknown, EncoderDiffers, RecogniserBroken, ExtractError: See their messages.

    Examples:
        >>> from ser_predict import Predictor
        >>> predictor = Predictor("run", row="cross", audio_encoder="tiny-audio", text_encoder="tiny-text")
        >>> for prediction in predictor.predict(["u00.wav"], {"u00.wav": "so very good night we go"}):
        ...     print(prediction.label in predictor.classes, len(prediction.posteriors))
        True 3
    """

    def __init__(
        self,
        run: str | Path,
        *,
        row: str | None = None,
        fold: str | None = None,
        seed: int | None = None,
        calibrate: bool = True,
        threshold: float = 0.0,
        asr: str | None = None,
        window: float | None = None,
        hop: float | None = None,
        segment: bool = False,
        vad: str = "energy",
        audio_encoder: str | None = None,
        text_encoder: str | None = None,
        video_encoder: str | None = None,
        prosody_encoder: str | None = None,
        text: bool = False,
        video: bool = False,
        video_crop: str | None = None,
        cache: str | Path | None = None,
        device: str = "auto",
        offline: bool = False,
        encoders: bool = True,
    ) -> None:
        self.detector = detector(vad) if segment else None
        self.source = open_heads(run)
        self.classes: tuple[str, ...] = self.source.classes
        self.threshold, self.notes, self.reason = threshold, list[str](), ""
        self._options: dict[str, Any] = {"fold": fold, "seed": seed, "calibrate": calibrate}
        self._streams, self._crop = (*STREAMS, "video") if video else STREAMS, video_crop
        offered = {"text": text or asr is not None, "video": video}
        self.main = self._choose(row, tuple(stream for stream, there in offered.items() if there))
        if calibrate and self.main.uncalibrated:
            self._note(f"the posteriors are not calibrated: {self.main.uncalibrated}")
        self.specs = specs_of(self.source.facts, self.source.path, None if cache is None else Path(cache))
        self._ensembles: dict[frozenset[str], Ensemble | None] = {}
        named = {"audio": audio_encoder, "text": text_encoder, "video": video_encoder, "prosody": prosody_encoder}
        old = None if cache is None else Path(cache)
        self.encoders: dict[str, StreamEncoder] = {}
        for stream in self._needed() if encoders else ():
            chosen, specs = named.get(stream), self.specs[stream]
            names = [chosen] if chosen else places(stream, specs[0], self.source.facts, old)
            self.encoders[stream] = open_stream_encoder(stream, specs, names, device=device, offline=offline)
        self._recogniser = Recogniser(asr, device=device, offline=offline) if asr else None
        self.windowing: Windowing = like_training(self.source.durations, window, hop)
        self._stride = int(self.source.facts.get("stride") or 1)

    def predict(
        self,
        files: Iterable[str | Path],
        texts: "Mapping[str, str] | Callable[[str], str | None] | None" = None,
        videos: "Mapping[str, str] | Callable[[str], str | None] | None" = None,
        *,
        progress: Callable[[str, int], None] = lambda file, windows: None,
        listened: Tell = lambda read, whole: None,
    ) -> Iterator[Prediction]:
        """Predictions of recordings, in their order; several per long recording.

        Args:
            files: Recordings: wav, flac, ogg, mp3, ...; from a corpus, whole utterances.
            texts: Transcripts by file as given, or a function from file to transcript or None.
            videos: Video files by recording, likewise; one without a video is predicted as such utterances were in training.
            progress: Called with a file and its number of pieces when it has been decoded.
            listened: Called with the seconds in which speech was looked for, and all of the recording.

        Yields:
            One line per piece. A broken recording is not raised: its ``error`` says what is wrong.
        """
        find = texts.get if isinstance(texts, Mapping) else texts
        see = videos.get if isinstance(videos, Mapping) else videos
        waiting: list[Piece] = []
        with IsolatedDecoder(limits=Limits(channel=self.channel)) as decoder, IsolatedVideoDecoder() as eyes:
            for file in files:
                count, pieces = self._pieces(decoder, str(file), find, listened)
                progress(str(file), count)
                for piece in pieces:
                    if "video" in self.encoders:
                        self._look(eyes, piece, see(str(file)) if see is not None else None)
                    waiting.append(piece)
                    if len(waiting) >= CHUNK:
                        yield from self.predict_pieces(waiting)
                        waiting = []
        yield from self.predict_pieces(waiting)

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> "Predictor":
        """The heads in a folder of ``ser export --hub``, or in a repository on the hub (untested); ``options`` as for the class."""
        from ser_predict.models.hub import fetch

        return cls(fetch(name, offline=bool(options.get("offline"))), **options)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Writes the heads to a folder in the layout of the hub: those of this row, fold and seed, and what they fall back to."""
        from ser_predict.models.hub import write_heads

        return write_heads(self.chosen, self.ensembles(), Path(folder))

    @property
    def chosen(self) -> Chosen:
        """The main heads, and what is known about them."""
        return Chosen(self.source, self.main, self.threshold)

    def ensembles(self) -> list[Ensemble]:
        """The main heads, and the heads for recordings without a transcript, if the run has them."""
        row = None if set(self.main.streams) <= {"audio"} else self.source.best(("audio",))
        return [self.main] if row is None else [self.main, self.source.open(row, **self._options)]

    def reliability(self) -> tuple[float, float]:
        """Of the main heads' development predictions: the share at or above the threshold, and how many of those are right."""
        return self.main.reliability(self.threshold)

    def _choose(self, slug: str | None, preferred: tuple[str, ...]) -> Ensemble:
        usable = [row for row in self.source.usable if set(self.source.streams(str(row["slug"]))) <= set(self._streams)]
        path, slugs = str(self.source.path), tuple(str(row["slug"]) for row in usable)
        if slug is None:
            row = self.source.best(self._streams, preferred)
            if row is None:
                problem = "it has no finished training"
                if self.source.usable:
                    problem = f"all of its heads read video, {NO_VIDEO}"
                elif self.source.rows:
                    problem = "its heads normalise with other speech of the same speaker, which a new recording lacks"
                raise NoModel(path, problem, slugs)
            if (left := len(self.source.usable) - len(usable)) > 0:
                self._note(f"rows left out because they read video, {NO_VIDEO}: {left}")
            self._explain(row, preferred)
        else:
            named = [row for row in self.source.rows if slug in (row["slug"], row["name"])]
            if not named:
                raise NoModel(path, f"it does not have a trained row '{slug}'", slugs)
            row = named[0]
            if not set(self.source.streams(str(row["slug"]))) <= set(self._streams):
                raise NoModel(path, f"the row '{slug}' reads video, {NO_VIDEO}", slugs)
            self.reason = "chosen with --row"
            self._unread(row, preferred)
        return self.source.open(row, **self._options)

    def _explain(self, row: Mapping[str, Any], preferred: tuple[str, ...]) -> None:
        """Says why this row answers, and what another would have scored or what this one leaves unread."""
        slug = str(row["slug"])
        read = self.source.streams(slug)
        self.reason = "best on development data"
        if set(preferred) & set(read):
            self.reason += f" among the rows that read the {' and '.join(stream for stream in preferred if stream in read)} you gave"
        best = self.source.best(self._streams)
        if best is not None and str(best["slug"]) != slug:
            other, score = str(best["slug"]), self.source.uwa(str(best["slug"]))
            self._note(
                f"the row '{other}' has a higher development UWA ({score:.3f}), but does not read everything you gave (--row {other})"
            )
        self._unread(row, preferred)

    def _unread(self, row: Mapping[str, Any], preferred: tuple[str, ...]) -> None:
        read = self.source.streams(str(row["slug"]))
        for stream in preferred:
            if stream not in read:
                self._note(f"the row '{row['slug']}' does not read {stream}, so your {stream} is ignored")

    def _needed(self) -> list[str]:
        """Streams of the main heads, and audio if there are heads for recordings without a transcript."""
        streams = list(self.main.streams)
        if "text" in streams and "audio" not in streams and self.source.best(("audio",)) is not None:
            streams.append("audio")
        return streams

    def _pieces(
        self, decoder: IsolatedDecoder, file: str, find: "Callable[[str], str | None] | None", listened: Tell
    ) -> tuple[int, Iterable[Piece]]:
        """The number of a recording's pieces, and the pieces; segments are decoded one by one as they are asked for."""
        text = find(file) if find is not None else None
        if not (self._recogniser or any(stream in self.encoders for stream in HEARD)):
            return 1, [Piece(file, text=text, text_source="given" if text else "none")]
        try:
            if self.detector is not None:
                count, pieces = cut_at_pauses(decoder, file, self.rate, self.windowing, self.detector, listened)
            else:
                pieces = self.pieces(file, decoder.load(file, self.rate))
                count = len(pieces)
        except AudioError as error:
            return 1, [broken(file, error)]
        if text and isinstance(pieces, list) and count == 1:
            pieces[0].text, pieces[0].text_source = text, "given"
        elif text:
            why = f"it is not aligned with the {count} windows"
            self._note(f"{file}: its transcript is ignored, because {why}; use --asr")
        return count, pieces

    def pieces(self, name: str, samples: "NDArray[np.float32]") -> list[Piece]:
        """The pieces of a recording in memory, (samples,) at ``rate``."""
        own = (name, samples, self.rate, self.windowing)
        return cut(*own) if self.detector is None else cut_samples(*own, self.detector)

    def _look(self, eyes: IsolatedVideoDecoder, piece: Piece, video: str | None) -> None:
        """Fills in the pictures of a piece."""
        piece.pictures = np.empty((0, 1, 1, 3), np.uint8)
        if video is None:
            self._note("recordings without a video are predicted without pictures, as in training")
        elif piece.error is None:
            start, end = (piece.start, piece.end) if piece.window else (None, None)
            try:
                piece.pictures = eyes.load(video, self.encoders["video"].fps, start, end, self._crop)
            except VideoError as error:
                piece.error = f"its video cannot be used ({error})"

    @property
    def rate(self) -> int:
        """Samples per second of what the heads hear, in Hz."""
        own = self._recogniser.rate if self._recogniser else 16_000
        return next((self.encoders[stream].rate for stream in HEARD if stream in self.encoders), own)

    @property
    def channel(self) -> str:
        """What the features took of several channels: ``mean``, ``left`` or ``right``."""
        return next((self.encoders[stream].job.channel for stream in HEARD if stream in self.encoders), "mean")

    @property
    def hears(self) -> bool:
        """Whether there is a speech recogniser."""
        return self._recogniser is not None

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def predict_pieces(self, pieces: Sequence[Piece]) -> list[Prediction]:
        """Encodes pieces in memory (``samples`` at ``rate``) and lets the heads vote; one prediction per piece, in order."""
        self._hear([piece for piece in pieces if piece.error is None and not piece.text and piece.samples is not None])
        encoded = {stream: self._encode(stream, pieces) for stream in self.encoders}
        groups: dict[str, tuple[Ensemble, list[int]]] = {}
        for number, piece in enumerate(pieces):
            if piece.error is not None:
                continue
            ensemble = self._ensemble(frozenset(stream for stream, done in encoded.items() if number in done))
            if ensemble is None:
                piece.error = f"its transcript is missing, and the row '{self.main.slug}' reads text (--text, --transcripts or --asr)"
            else:
                groups.setdefault(ensemble.slug, (ensemble, []))[1].append(number)
        lines = {
            number: line for group in groups.values() for number, line in self._vote(*group, pieces, encoded).items()
        }
        return [lines[number] if number in lines else line_of(piece) for number, piece in enumerate(pieces)]

    def _hear(self, pieces: Sequence[Piece]) -> None:
        """Fills in what the recogniser hears."""
        if self._recogniser is None or not pieces:
            return
        waves = [
            resample(piece.samples, self.rate, self._recogniser.rate) for piece in pieces if piece.samples is not None
        ]
        for piece, text in zip(pieces, self._recogniser.transcribe(waves), strict=True):
            piece.text, piece.text_source = text or None, "recognised" if text else "none"

    def _encode(self, stream: str, pieces: Sequence[Piece]) -> dict[int, Encoded]:
        """Hidden states of the pieces that have this stream."""
        inputs: dict[int, NDArray[Any] | str] = {}
        for number, piece in enumerate(pieces):
            if piece.error is None and stream in HEARD and piece.samples is not None:
                inputs[number] = resample(piece.samples, self.rate, self.encoders[stream].rate)
            elif piece.error is None and stream == "text" and (text := normalise(piece.text or "")):
                inputs[number] = text
            elif piece.error is None and stream == "video" and piece.pictures is not None:
                inputs[number] = piece.pictures
        if not inputs:
            return {}
        done = {}
        for number, result in zip(inputs, self.encoders[stream].encode(list(inputs.values())), strict=True):
            if isinstance(result, Refused):
                problem: str | None = result.detail
            else:
                problem = next((why for spec in self.specs[stream] if (why := unusable(spec, result))), None)
                done[number] = result
            if problem is not None:
                pieces[number].error = f"its {stream} cannot be encoded ({problem})"
        return done

    def _ensemble(self, streams: frozenset[str]) -> Ensemble | None:
        """The heads for what is there: the main ones, else the best on development data among those that need no more."""
        if set(self.main.streams) <= streams:
            return self.main
        if streams not in self._ensembles:
            row = self.source.best(tuple(streams))
            self._ensembles[streams] = None if row is None else self.source.open(row, **self._options)
            if row is not None:
                self._note(f"without a transcript, the heads of the row '{row['slug']}' predict")
        return self._ensembles[streams]

    def _vote(
        self,
        ensemble: Ensemble,
        numbers: list[int],
        pieces: Sequence[Piece],
        encoded: Mapping[str, Mapping[int, Encoded]],
    ) -> dict[int, Prediction]:
        ids = [str(number) for number in numbers]
        entries = {}
        for stream in ensemble.streams:
            own = {str(number): encoded[stream][number] for number in numbers}
            entries[stream] = [MemoryEntry(spec, own) for spec in self.specs[stream]]
        streams = {
            stream: read_stream(own, ids, stride=self._stride, first_only=stream == "text" and ensemble.text_first_only)
            for stream, own in entries.items()
        }
        pooled = None
        if ensemble.stacked:  # linear probes read mean and deviation over the frames of the deepest layer
            pooled = {stream: pool_entry(own[-1], ids, "stats") for stream, own in entries.items()}
        posteriors = ensemble.posteriors(streams, len(ids), pooled)
        return {
            number: answered(pieces[number], ensemble.slug, self.classes, row.tolist(), self.threshold)
            for number, row in zip(numbers, posteriors, strict=True)
        }
