"""Label schemes: which of a corpus's own labels count, and as which class.

`iemocap-7` is the seed study's (7,487 turns), `iemocap-4` the literature's default with excited merged into happy (5,531).
An own scheme is a TOML file:

```toml
name = "valence"
ignore = ["xxx", "oth"]

[classes]
negative = ["ang", "sad", "fru"]
positive = ["hap", "exc"]
```
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_base.errors import BadSettings, UnknownName, listing
from ser_data.errors import UnknownLabel
from ser_data.manifest.text import clean_name

if TYPE_CHECKING:
    import pandas as pd

    from ser_data.manifest.table import Manifest


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """A map from a corpus's labels to classes.

    Attributes:
        name: Name, printed with every result.
        classes: The classes in the order of all tables and of the model's outputs.
        mapping: Label -> class.
        ignored: Labels that are known and left out.
    """

    name: str
    classes: tuple[str, ...]
    mapping: Mapping[str, str]
    ignored: frozenset[str] = frozenset()

    def apply(self, labels: "pd.Series[Any]") -> "pd.Series[Any]":
        """Class of each label, `None` for ignored and for missing labels; the index is kept.

        Raises:
            UnknownLabel: Labels that are neither mapped nor ignored.
        """
        import pandas as pd

        present = {label for label in labels.dropna().unique().tolist()}
        unknown = sorted(str(label) for label in present - set(self.mapping) - self.ignored)
        if unknown:
            raise UnknownLabel(self.name, tuple(unknown), (*self.mapping, *sorted(self.ignored)))
        return pd.Series([self.mapping.get(label) for label in labels.tolist()], index=labels.index, dtype=object)


def _scheme(name: str, classes: Mapping[str, tuple[str, ...]], ignored: tuple[str, ...] = ()) -> LabelScheme:
    mapping = {label: kind for kind, labels in classes.items() for label in labels}
    return LabelScheme(name, tuple(classes), mapping, frozenset(ignored))


def _same(name: str, classes: str, ignored: str = "") -> LabelScheme:
    return _scheme(name, {kind: (kind,) for kind in classes.split()}, tuple(ignored.split()))


_RARE = ("fea", "dis", "oth", "xxx")
_FOUR = {"ang": ("ang",), "hap": ("hap", "exc"), "neu": ("neu",), "sad": ("sad",)}

SCHEMES: dict[str, LabelScheme] = {
    scheme.name: scheme
    for scheme in (
        _scheme("iemocap-4", _FOUR, ("fru", "sur", *_RARE)),
        _same("iemocap-4-noexc", "ang hap neu sad", "exc fru sur fea dis oth xxx"),
        _scheme("iemocap-5", {**_FOUR, "fru": ("fru",)}, ("sur", *_RARE)),
        _same("iemocap-6", "ang exc fru hap neu sad", "sur fea dis oth xxx"),
        _same("iemocap-7", "ang exc fru hap neu sad sur", "fea dis oth xxx"),
        _same("meld-7", "anger disgust fear joy neutral sadness surprise"),
        _same("ravdess-8", "angry calm disgust fearful happy neutral sad surprised"),
        _same("ravdess-7", "angry disgust fearful happy neutral sad surprised", "calm"),
        _same("cremad-6", "anger disgust fear happy neutral sad"),
        _same("emodb-7", "anger boredom disgust fear happiness neutral sadness"),
        _same(
            "msp-podcast-8",
            "anger contempt disgust fear happiness neutral sadness surprise",
            "other no-agreement",
        ),
    )
}


def resolve_scheme(name: str | Path | None, manifest: "Manifest") -> LabelScheme:
    """The scheme meant by `--labels`.

    Args:
        name: A name of `SCHEMES`, a path in `.toml`, or `own` for the manifest's own labels in sorted order. `None` and
            `auto` take the scheme of the corpus's card, or else the manifest's own labels.
        manifest: Whose labels are meant.

    Raises:
        UnknownName: No such scheme and no such file.
        BadSettings: A file that is not a scheme.

    Examples:
        >>> from pathlib import Path
        >>> from ser_data import CORPORA, resolve_scheme
        >>> manifest = CORPORA["csv"].read(Path("corpus.csv"))
        >>> resolve_scheme("own", manifest).classes
        ('happy', 'neutral', 'sad')
    """
    text = "auto" if name is None else str(name)
    if text == "auto":
        text = manifest.info.scheme or "own"
    if text == "own":
        return _own(manifest.table["label"])
    if text.endswith(".toml"):
        return read_scheme(Path(text))
    if text not in SCHEMES:
        raise UnknownName("label scheme", text, (*SCHEMES, "auto", "own", "FILE.toml"))
    return SCHEMES[text]


def _own(labels: "pd.Series[Any]") -> LabelScheme:
    classes = tuple(sorted(str(label) for label in labels.dropna().unique()))
    return LabelScheme("own", classes, {label: label for label in classes})


def read_scheme(path: Path) -> LabelScheme:
    """A scheme from a TOML file (see the module's text).

    Raises:
        BadSettings: No such file, not TOML, or a label in two places.
    """
    remedy = 'Write: name = "x", ignore = ["a"], and a table [classes] with lines such as positive = ["b", "c"].'
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(str(path), f"cannot be read as a label scheme ({error})", remedy) from error
    unknown = sorted(set(content) - {"name", "ignore", "classes"})
    classes, ignore = content.get("classes"), content.get("ignore", [])
    lists = [ignore, *classes.values()] if isinstance(classes, dict) else []
    if (
        unknown
        or not lists[1:]
        or not all(isinstance(some, list) and all(isinstance(x, str) for x in some) for some in lists)
    ):
        raise BadSettings(
            str(path), f"is not a label scheme{f' (unknown key {unknown[0]})' if unknown else ''}", remedy
        )
    mapped = clean_map({**(classes or {}), "": ignore}, str(path))
    return _scheme(str(content.get("name", path.stem)), mapped, mapped.pop(""))


def clean_map(classes: Mapping[str, Sequence[str]], where: str) -> dict[str, tuple[str, ...]]:
    """Class -> labels as clean names (`ser_data.manifest.text`), as a manifest has them.

    Raises:
        BadSettings: A label in two places, or two classes of one name.
    """
    done = {clean_name(kind): tuple(map(clean_name, labels)) for kind, labels in classes.items()}
    everything = [label for labels in done.values() for label in labels]
    twice = sorted({label for label in everything if everything.count(label) > 1})
    if twice:
        raise BadSettings(where, f"the label '{twice[0]}' occurs in two places", "Keep it in one of them.")
    if len(done) != len(classes):
        raise BadSettings(
            where,
            f"two of the classes {listing(map(repr, classes))} have the same name",
            "Merge the two classes into one.",
        )
    return done
