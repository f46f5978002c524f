"""One utterance of a manifest, and fixed types for its columns."""

import json
from collections import Counter
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ser_data.errors import BadManifest
from ser_data.manifest.text import NAMES, clean_name, normalise, normalised_hash, plain_text

if TYPE_CHECKING:
    import pandas as pd


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
        overlap: Share of the turn's time in which another speaker talks, 0 to 1.
        fold: Fold as the corpus gives it.
        part: Official part: `train`, `dev` or `test`.
        video_path: Absolute path of the video file; `None`: without video.
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
    "start", "end", "valence", "arousal", "dominance", "duration", "overlap", "video_start", "video_end",
)  # fmt: skip
PARTS: tuple[str, ...] = ("train", "dev", "test")


_TRUE = {"true", "1", "1.0", "yes", "scripted"}
_FALSE = {"false", "0", "0.0", "no", "improvised"}


def as_text(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Text as `object` with `None` for missing and empty; whole numbers lose the `.0` that CSV readers give them."""
    import pandas as pd

    def plain(value: Any) -> str | None:
        return None if value is pd.NA else plain_text(value)

    return pd.Series([plain(value) for value in values.tolist()], index=values.index, dtype=object)


def as_truth(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """`True`, `False` or `None` as `object`, also from the words a CSV holds."""
    import pandas as pd

    def plain(value: str | None) -> bool | None:
        word = (value or "").strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None

    return pd.Series([plain(value) for value in as_text(values)], index=values.index, dtype=object)


def as_names(values: "pd.Series[Any]") -> tuple["pd.Series[Any]", list[str]]:
    """Text as names (`ser_data.manifest.text.clean_name`), blank ones as `None`; and what changed, as it was."""
    import pandas as pd

    texts = as_text(values).tolist()
    names = [None if text is None else clean_name(text) or None for text in texts]
    changed = [text for text, name in zip(texts, names, strict=True) if text != name]
    return pd.Series(names, index=values.index, dtype=object), changed


@lru_cache(maxsize=1 << 12)
def clean_votes(votes: str) -> str:
    """The JSON object of votes with clean labels, counts of labels that become equal added up; other text stays as it is."""
    try:
        counts = json.loads(votes)
    except ValueError:
        return votes
    if not isinstance(counts, dict) or all(clean_name(label) == label for label in counts):
        return votes
    total: Counter[str] = Counter()
    for label, count in counts.items():
        total[clean_name(label)] += count
    return json.dumps(total)


def conform(
    table: "pd.DataFrame", corpus: str, *, ids_as_stored: bool = False
) -> tuple["pd.DataFrame", dict[str, list[str]]]:
    """A copy with all manifest columns first, in fixed types and order, then the table's further columns as text.

    Args:
        table: Columns in any order, at least `id`.
        corpus: For rows without a corpus, and for errors.
        ids_as_stored: Leave ids as they are: rows of a cache are found under them.

    Returns:
        The copy, and by column the names that were not clean, as they were.

    Raises:
        BadManifest: No column `id`, or rows without an id.
    """
    import pandas as pd

    if "id" not in table.columns:
        raise BadManifest(corpus, "the table has no column 'id'", "Add one; ids must be unique.")
    done: dict[str, pd.Series[Any]] = {}
    unclean: dict[str, list[str]] = {}
    for name in (*COLUMNS, *(column for column in table.columns if column not in COLUMNS)):
        if name not in table.columns:
            done[name] = pd.Series([None] * len(table), index=table.index, dtype=object)
        else:
            done[name] = table[name]
        if name in NUMBERS:
            done[name] = pd.to_numeric(done[name], errors="coerce").astype("float64")
        elif name == "turn":
            done[name] = pd.to_numeric(done[name], errors="coerce").astype("Int64")
        elif name == "scripted":
            done[name] = as_truth(done[name])
        elif name in NAMES and not (name == "id" and ids_as_stored):
            done[name], changed = as_names(done[name])
            unclean |= {name: changed} if changed else {}
        else:
            done[name] = as_text(done[name])
    if done["id"].isna().any():
        raise BadManifest(corpus, f"{int(done['id'].isna().sum()):,} rows have no id", "Give every row an id.")
    done["corpus"] = done["corpus"].fillna(corpus).astype(object)
    done["votes"] = pd.Series(
        [None if votes is None else clean_votes(votes) for votes in done["votes"]], index=table.index, dtype=object
    )
    # Always computed, never believed: a hash that does not fit its text would name the wrong cache row.
    texts = [None if text is None else normalise(text) for text in done["text"].tolist()]
    hashes = [None if text is None else normalised_hash(text) for text in texts]
    done["text_normalised"] = pd.Series(texts, index=table.index, dtype=object)
    done["text_hash"] = pd.Series(hashes, index=table.index, dtype=object)
    done["duration"] = done["duration"].fillna(done["end"] - done["start"].fillna(0.0))
    return pd.DataFrame(done).reset_index(drop=True), unclean
