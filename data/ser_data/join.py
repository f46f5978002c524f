"""One manifest out of several corpora: names that cannot collide, labels by a declared map, and a list of what it lost.

The map is a TOML file with one table for each corpus. Every label of a corpus is mapped or ignored, or it is an error:

```toml
name = "four"
classes = ["anger", "happiness", "neutral", "sadness"]  # the order of all tables; may be left out

[ravdess]
ignore = ["calm", "disgust", "fearful", "surprised"]
anger = ["angry"]
happiness = ["happy"]
neutral = ["neutral"]
sadness = ["sad"]

[iemocap]
...
```

A plain label scheme (a name, or a file with the table `[classes]`) applies to all corpora alike.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_base.errors import BadSettings, listing, suggestion
from ser_data.errors import BadManifest
from ser_data.manifest.labels import LabelScheme, clean_map, resolve_scheme
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.manifest.text import clean_name
from ser_data.media.audio import AudioError, audio_hash

if TYPE_CHECKING:
    import pandas as pd

PREFIXED = ("id", "speaker", "session", "dialogue", "scenario")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Joined:
    """Several corpora as one.

    Attributes:
        manifest: Their utterances; `label` is the class, `label_given` the corpus's own label.
        labels: What became of every label: columns `corpus`, `label`, `class` (empty: left out), `utterances`.
        leaks: Utterances whose audio file is in another corpus too, byte by byte: columns `audio_hash`, `id`, `corpus`.
        shared: Speakers that occur in several corpora (only corpora that `split_by` made can share any).
    """

    manifest: Manifest
    labels: "pd.DataFrame"
    leaks: "pd.DataFrame"
    shared: tuple[str, ...]

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of the corpora that have utterances left, sorted."""
        return tuple(sorted(self.manifest.table["corpus"].unique()))

    @property
    def lost(self) -> "pd.DataFrame":
        """The lines of `labels` that are left out."""
        return self.labels[self.labels["class"].isna()]

    @property
    def lonely(self) -> dict[str, tuple[str, ...]]:
        """Classes that some corpora lack, with the corpora that have them."""
        kept = self.labels[self.labels["class"].notna() & (self.labels["utterances"] > 0)]
        having = {str(name): tuple(sorted(part["corpus"].unique())) for name, part in kept.groupby("class", sort=False)}
        return {name: corpora for name, corpora in having.items() if len(corpora) < len(self.corpora)}

    def write(self, path: str | Path) -> Path:
        """Writes the manifest, and `labels` as `<stem>.labels.csv` beside it; returns the latter's path."""
        self.manifest.write(path)
        beside = Path(path).with_suffix(".labels.csv")
        self.labels.to_csv(beside, index=False)
        return beside


def join(
    sources: Mapping[str, Manifest],
    *,
    labels: str | Path | None = None,
    split_by: str | None = None,
    drop_leaks: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Joined:
    """Joins manifests.

    Args:
        sources: Name of each corpus and its manifest. Names become prefixes of ids, speakers, sessions, dialogues and
            scenarios, so that equal names in two corpora stay apart.
        labels: Map of the labels (see the module's text), or a label scheme for all; `None` keeps labels as they are.
        split_by: Column whose every value becomes a corpus of its own, as `season` for MELD (`meld-1`, `meld-2`, ...).
            Speakers keep their corpus's prefix: a speaker of two seasons counts as one person.
        drop_leaks: Leave an utterance out if an earlier corpus has the same audio file.
        progress: Called with the number of hashed audio files and of all.

    Raises:
        BadManifest: Fewer than two corpora, a name that is not valid, or a column that is not there.
        BadSettings: A map that cannot be read, or that says nothing about a corpus.
        UnknownLabel: A label that is neither mapped nor ignored.
    """
    import pandas as pd

    schemes = read_map(labels, sources)
    tables, counted, problems = [], [], []
    for name, manifest in sources.items():
        if not _NAME.fullmatch(name):
            raise BadManifest(
                name, "is not a valid name for a corpus", "Use letters, digits, dot, dash and underscore."
            )
        table = manifest.table.copy()
        table["corpus"] = _corpora(name, table, split_by)
        for column in PREFIXED:
            filled = table[column].notna()
            table.loc[filled, column] = f"{name}/" + table.loc[filled, column].astype(str)
        table["label_given"] = table["label"]
        table["label"] = schemes[name].apply(table["label"])
        counted.append(_counted(table))
        problems += [replace(problem, id=f"{name}/{problem.id}") for problem in manifest.problems]
        tables.append(table[table["label"].notna()])
    if split_by and not any(split_by in manifest.table for manifest in sources.values()):
        columns = sorted({str(column) for manifest in sources.values() for column in manifest.table})
        raise BadManifest("join", f"no corpus has the column '{split_by}'", f"Known are {listing(columns, 40)}.")
    whole = pd.concat(tables, ignore_index=True)
    names = whole["corpus"].unique()
    if len(names) < 2:
        problem = f"only {len(names)} corpus with a usable label ({listing(names)})"
        raise BadManifest("join", problem, "Give two NAME=MANIFEST or more, or --split-by COLUMN.")
    whole["audio_hash"] = _hashes(whole, problems, progress)
    leaks = _leaks(whole)
    if drop_leaks and len(leaks):
        first = dict(leaks.drop_duplicates("audio_hash")[["audio_hash", "corpus"]].to_numpy())
        later = leaks[leaks["corpus"] != leaks["audio_hash"].map(first)]
        problems += [Problem(row, "audio of another corpus", "the same file, byte by byte") for row in later["id"]]
        whole = whole[~whole["id"].isin(later["id"])]
    manifest = Manifest(whole, _card([manifest.info for manifest in sources.values()]), problems)
    return Joined(manifest, pd.concat(counted, ignore_index=True), leaks, _shared(whole))


def _corpora(name: str, table: "pd.DataFrame", split_by: str | None) -> "pd.Series[Any]":
    """The corpus of every row: the name, or name and value of the splitting column where the table has it."""
    import pandas as pd

    if split_by is None or split_by not in table:
        return pd.Series(name, index=table.index, dtype=object)
    values = table[split_by]
    if values.isna().any():
        what = f"{int(values.isna().sum()):,} of {len(table):,} utterances have no '{split_by}' to split by"
        raise BadManifest(name, what, "Fill the column, or leave these utterances out.")
    return name + "-" + values.astype(str)


def _counted(table: "pd.DataFrame") -> "pd.DataFrame":
    named = table.assign(label_given=table["label_given"].fillna("(none)"))
    groups = named.groupby(["corpus", "label_given", "label"], dropna=False, sort=True).size()
    counts = groups.rename("utterances").reset_index()
    return counts.set_axis(["corpus", "label", "class", "utterances"], axis=1).astype({"class": object})


def _hashes(table: "pd.DataFrame", problems: list[Problem], progress: Callable[[int, int], None]) -> "list[str | None]":
    """Hash of every row's audio; `None` without audio, and a problem where the audio cannot be read."""
    hashes: list[str | None] = []
    rows = zip(table["id"], table["path"], table["start"], table["end"], strict=True)
    for number, (name, path, start, end) in enumerate(rows, 1):
        try:
            hashes.append(None if path is None else audio_hash(path, start, end))
        except AudioError as error:
            hashes.append(None)
            problems.append(Problem(name, "audio not hashed", str(error), path, dropped=False))
        progress(number, len(table))
    return hashes


def _leaks(table: "pd.DataFrame") -> "pd.DataFrame":
    """Rows whose audio is in two corpora or more, in the table's order within each hash."""
    hashed = table.loc[table["audio_hash"].notna(), ["audio_hash", "id", "corpus"]]
    spread = hashed.groupby("audio_hash")["corpus"].transform("nunique") > 1
    return hashed[spread].sort_values("audio_hash", kind="stable", ignore_index=True)


def _shared(table: "pd.DataFrame") -> tuple[str, ...]:
    spread = table.dropna(subset=["speaker"]).groupby("speaker")["corpus"].nunique()
    return tuple(str(name) for name in spread.index[spread > 1])


def _card(cards: list[CorpusInfo]) -> CorpusInfo:
    """One card for all: results on it are synthetic as soon as one corpus is."""

    def together(texts: list[str], by: str = "; ") -> str:
        return by.join(dict.fromkeys(text for text in texts if text))

    return CorpusInfo(
        name=together([card.name for card in cards], "+"),
        title=together([card.title for card in cards], " + "),
        licence=together([card.licence for card in cards]),
        citation=together([card.citation for card in cards]),
        url=together([card.url for card in cards], " "),
        synthetic=any(card.synthetic for card in cards),
        transcripts=together([card.transcripts for card in cards]),
        layout="several corpora, joined by ser data join",
    )


def read_map(labels: str | Path | None, sources: Mapping[str, Manifest]) -> dict[str, LabelScheme]:
    """The label scheme of each corpus.

    Args:
        labels: As for `join`.
        sources: The corpora.

    Raises:
        BadSettings: The file is not a label map, or has no table for a corpus.
        UnknownName: No such scheme.
    """
    if labels is None:
        return {name: resolve_scheme("own", manifest) for name, manifest in sources.items()}
    if not str(labels).endswith(".toml"):
        return {name: resolve_scheme(labels, manifest) for name, manifest in sources.items()}
    remedy = 'Write a table for each corpus, as: [ravdess], then anger = ["angry"] and ignore = ["calm"].'
    try:
        content = tomllib.loads(Path(labels).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(str(labels), f"cannot be read as a label map ({error})", remedy) from error
    if "classes" in content and isinstance(content["classes"], dict):
        return {name: resolve_scheme(labels, manifest) for name, manifest in sources.items()}
    maps = {name: table for name, table in content.items() if isinstance(table, dict)}
    strange = sorted(set(content) - set(maps) - {"name", "classes"})
    if strange:
        raise BadSettings(str(labels), f"unknown key {strange[0]}", remedy)
    for name in sources:
        if name not in maps:
            what = f"has no table for the corpus '{name}'; it has {listing(maps)}"
            raise BadSettings(str(labels), what, f"{suggestion(name, maps)}{remedy}")
    order = _order(content.get("classes"), maps, str(labels), remedy)
    title = str(content.get("name", Path(labels).stem))
    return {name: _scheme(f"{title}, {name}", maps[name], order, str(labels), remedy) for name in sources}


def _order(declared: Any, maps: Mapping[str, Mapping[str, Any]], where: str, remedy: str) -> tuple[str, ...]:
    """The classes in order: as declared, else as they first occur."""
    used = tuple(dict.fromkeys(clean_name(kind) for table in maps.values() for kind in table if kind != "ignore"))
    if declared is None:
        return used
    declared = (
        [clean_name(kind) for kind in declared]
        if isinstance(declared, list) and set(map(type, declared)) == {str}
        else declared
    )
    if not isinstance(declared, list) or set(declared) != set(used) or len(declared) != len(used):
        raise BadSettings(where, f"'classes' is {declared}, but the tables map to {listing(used)}", remedy)
    return tuple(declared)


def _scheme(title: str, table: Mapping[str, Any], order: tuple[str, ...], where: str, remedy: str) -> LabelScheme:
    for key, labels in table.items():
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise BadSettings(where, f"{title}: '{key}' is not a list of labels", remedy)
    own = clean_map(table, f"{where}: {title}")
    mapping = {label: kind for kind, labels in own.items() if kind != "ignore" for label in labels}
    return LabelScheme(title, order, mapping, frozenset(own.get("ignore", ())))
