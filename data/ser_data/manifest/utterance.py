"""One utterance: what was said, by whom, where it lies and which label it has. The fields are the manifest's columns."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One row of a manifest. `None` means: the corpus does not say.

    Attributes:
        id: Unique within the manifest.
        corpus: Name of the corpus.
        path: Absolute path of the audio file; `None` in a text-only corpus.
        start: Start in seconds, inside the file if `end` is given as a span of it.
        end: End in seconds.
        speaker: The one who speaks (in IEMOCAP: not the wearer of the motion-capture markers).
        session: Recording session.
        dialogue: Conversation that the turn belongs to.
        turn: Position in the dialogue by start time, from 0.
        scenario: Script or improvisation, without session and take.
        scripted: Whether the words were given.
        gender: `female`, `male` or what the corpus says.
        label: The corpus's own majority label, before any scheme.
        votes: JSON object of label -> number of annotators, such as `{"ang": 2, "fru": 1}`.
        valence: Mean rating on the corpus's scale (IEMOCAP: 1 to 5).
        arousal: The same.
        dominance: The same.
        text: Transcript as given.
        text_normalised: `ser_data.manifest.text.normalise(text)`.
        text_hash: `ser_data.manifest.text.text_hash(text)`.
        audio_hash: `ser_data.media.audio.audio_hash`, filled only on request, since it reads the file.
        duration: Seconds.
        overlap: Share of the turn's time in which somebody else speaks, 0 to 1.
        fold: Fold as the corpus gives it.
        part: Official part: `train`, `dev` or `test`.
        video_path: Absolute path of the video file; `None`: there is no video of it.
        video_start: Start in the video in seconds; without `video_start` and `video_end`, `start` and `end` count.
        video_end: End in the video in seconds.
        video_crop: `left` or `right`: the half of the picture that shows the speaker; `None`: all of it.
    """

    id: str
    corpus: str
    path: str | None = None
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    session: str | None = None
    dialogue: str | None = None
    turn: int | None = None
    scenario: str | None = None
    scripted: bool | None = None
    gender: str | None = None
    label: str | None = None
    votes: str | None = None
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    text: str | None = None
    text_normalised: str | None = None
    text_hash: str | None = None
    audio_hash: str | None = None
    duration: float | None = None
    overlap: float | None = None
    fold: str | None = None
    part: str | None = None
    video_path: str | None = None
    video_start: float | None = None
    video_end: float | None = None
    video_crop: str | None = None

    @property
    def video_span(self) -> tuple[float | None, float | None]:
        """Start and end in the video file, in seconds."""
        own = (self.video_start, self.video_end)
        return (self.start, self.end) if own == (None, None) else own


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Utterance))
NUMBERS: tuple[str, ...] = (
    "start",
    "end",
    "valence",
    "arousal",
    "dominance",
    "duration",
    "overlap",
    "video_start",
    "video_end",
)
PARTS: tuple[str, ...] = ("train", "dev", "test")
