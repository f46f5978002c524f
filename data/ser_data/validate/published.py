"""Published counts, one table of cells per corpus; the generator of test corpora has its own, typed independently.

A cell is a name such as `session 1, neu` with the number of utterances that it must have. Sources: IEMOCAP: counted over
all 10,039 evaluation lines, totals also in the literature; MELD: its CSV files; all others: their papers.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ser_data.manifest.labels import SCHEMES

if TYPE_CHECKING:
    import pandas as pd

Cells = dict[str, int]

# One line per session, as published: neu fru ang sad exc hap sur fea oth dis xxx, then all, dialogues
_LABELS = ("neu", "fru", "ang", "sad", "exc", "hap", "sur", "fea", "oth", "dis", "xxx")
_SESSIONS = {
    "1": (384, 280, 229, 194, 143, 135, 25, 12, 1, 1, 415, 1819, 28),
    "2": (362, 325, 137, 197, 210, 117, 17, 9, 1, 0, 436, 1811, 30),
    "3": (320, 382, 240, 305, 151, 135, 28, 2, 0, 1, 572, 2136, 32),
    "4": (258, 481, 327, 143, 238, 65, 19, 7, 1, 0, 564, 2103, 30),
    "5": (384, 381, 170, 245, 299, 143, 18, 10, 0, 0, 520, 2170, 31),
}
# Per speaker: all turns, seven classes, four classes
_SPEAKERS = {
    "1F": (873, 650, 528), "1M": (946, 740, 557), "2F": (859, 654, 481), "2M": (952, 711, 542), "3F": (1048, 736, 522),
    "3M": (1088, 825, 629), "4F": (987, 727, 528), "4M": (1116, 804, 503), "5F": (1033, 758, 590), "5M": (1137, 882, 651),
}  # fmt: skip
SCHEME_SIZES = {"iemocap-4": 5531, "iemocap-4-noexc": 4490, "iemocap-5": 7380, "iemocap-6": 7380, "iemocap-7": 7487}
_KINDS = {"improvised": (4784, 3974, 2943), "scripted": (5255, 3513, 2588)}


def _iemocap_expected() -> Cells:
    cells: Cells = {"all turns": 10039, "dialogues": 151, "speakers": 10, "scenarios": 15}
    for session, (*counts, everything, dialogues) in _SESSIONS.items():
        cells |= {f"session {session}, {label}": count for label, count in zip(_LABELS, counts, strict=True)}
        cells |= {f"session {session}, all": everything, f"session {session}, dialogues": dialogues}
    for speaker, own in _SPEAKERS.items():
        cells |= {
            f"speaker {speaker}, {name}": n for name, n in zip(("all", "iemocap-7", "iemocap-4"), own, strict=True)
        }
    cells |= {f"scheme {name}": count for name, count in SCHEME_SIZES.items()}
    for kind, own in _KINDS.items():
        cells |= {f"{kind}, {name}": n for name, n in zip(("all", "iemocap-7", "iemocap-4"), own, strict=True)}
    return cells


def _iemocap_found(table: "pd.DataFrame") -> Cells:
    cells: Cells = {
        "all turns": len(table),
        "dialogues": table["dialogue"].nunique(),
        "speakers": table["speaker"].nunique(),
        "scenarios": table["scenario"].nunique(),
    }
    kind = table["scripted"].map({True: "scripted", False: "improvised"})
    kept = {name: SCHEMES[name].apply(table["label"]).notna() for name in SCHEME_SIZES}
    for session in _SESSIONS:
        own = table[table["session"] == session]
        cells |= {f"session {session}, {label}": int((own["label"] == label).sum()) for label in _LABELS}
        cells |= {f"session {session}, all": len(own), f"session {session}, dialogues": own["dialogue"].nunique()}
    for prefix, column, values in (("speaker ", table["speaker"], _SPEAKERS), ("", kind, _KINDS)):
        for value in values:
            mask = column == value
            cells[f"{prefix}{value}, all"] = int(mask.sum())
            for name in ("iemocap-7", "iemocap-4"):
                cells[f"{prefix}{value}, {name}"] = int((mask & kept[name]).sum())
    cells |= {f"scheme {name}": int(mask.sum()) for name, mask in kept.items()}
    return cells


_MELD = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
_MELD_PARTS = {
    "train": (9989, 1038, (4710, 1743, 1205, 1109, 683, 271, 268)),
    "dev": (1109, 114, None),
    "test": (2610, 280, (1256, 402, 281, 345, 208, 68, 50)),
}


def _meld_expected() -> Cells:
    cells: Cells = {}
    for part, (everything, dialogues, counts) in _MELD_PARTS.items():
        cells |= {f"{part}, all": everything, f"{part}, dialogues": dialogues}
        cells |= {f"{part}, {label}": count for label, count in zip(_MELD, counts or (), strict=False)}
    return cells


def _meld_found(table: "pd.DataFrame") -> Cells:
    cells: Cells = {}
    for part in _MELD_PARTS:
        own = table[table["part"] == part]
        cells |= {f"{part}, all": len(own), f"{part}, dialogues": own["dialogue"].nunique()}
        cells |= {f"{part}, {label}": int((own["label"] == label).sum()) for label in _MELD}
    return cells


def _by_label(table: "pd.DataFrame") -> Cells:
    counts = {str(label): int(count) for label, count in table["label"].value_counts().items()}
    return {"all utterances": len(table), "speakers": table["speaker"].nunique(), **counts}


_RAVDESS = {label: 192 for label in ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")}


def _ravdess_found(table: "pd.DataFrame") -> Cells:
    folds = {f"EmoBox fold {fold}": int(count) for fold, count in table["fold"].value_counts().items()}
    actors = table["speaker"].value_counts()
    return {**_by_label(table), **folds, "actors with 60 files": int((actors == 60).sum())}


_SAVEE = {label: 60 for label in ("anger", "disgust", "fear", "happiness", "sadness", "surprise")}
_TESS = {label: 400 for label in ("anger", "disgust", "fear", "happiness", "neutral", "surprise", "sadness")}
_EMOVO = {label: 84 for label in ("disgust", "happiness", "neutral", "fear", "anger", "surprise", "sadness")}
_CAFE = {label: 144 for label in ("anger", "disgust", "happiness", "fear", "surprise", "sadness")}
_SHEMO = {"anger": 1059, "fear": 38, "happiness": 201, "neutral": 1028, "sadness": 449, "surprise": 225}
_SUBESCO = {label: 1000 for label in ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")}
_EMODB = {"anger": 127, "boredom": 81, "neutral": 79, "happiness": 71, "fear": 69, "sadness": 62, "disgust": 46}

_ESD = {label: 7000 for label in ("anger", "happiness", "neutral", "sadness", "surprise")}
# s3prl's CSV, downstream/mosei; its largest of six intensities is happiness where all are 0
_MOSEI = {"sadness": 3782, "anger": 2730, "surprise": 437, "disgust": 1291, "fear": 452, "happiness or neutral": 14567}
_EMORYNLP = {
    "neutral": 3776,
    "joyful": 2755,
    "peaceful": 1191,
    "powerful": 1063,
    "scared": 1645,
    "mad": 1332,
    "sad": 844,
}


def _mosei_found(table: "pd.DataFrame") -> Cells:
    counts = _by_label(table)
    return {**counts, **_by_part(table), "happiness or neutral": counts.get("happiness", 0) + counts.get("neutral", 0)}


def _by_part(table: "pd.DataFrame") -> Cells:
    return {f"{part}, all": int(count) for part, count in table["part"].value_counts().items()}


# Corpus -> what it must have, and the function that counts it
PUBLISHED: dict[str, tuple[Cells, "Callable[[pd.DataFrame], Cells]"]] = {
    "iemocap": (_iemocap_expected(), _iemocap_found),
    "meld": (_meld_expected(), _meld_found),
    "ravdess": (
        {"all utterances": 1440, "speakers": 24, "neutral": 96, "actors with 60 files": 24, **_RAVDESS}
        | {f"EmoBox fold {fold}": 240 for fold in range(1, 7)},
        _ravdess_found,
    ),
    "cremad": ({"all utterances": 7442, "speakers": 91}, _by_label),
    "emodb": ({"all utterances": 535, "speakers": 10, **_EMODB}, _by_label),
    "savee": ({"all utterances": 480, "speakers": 4, "neutral": 120, **_SAVEE}, _by_label),
    "tess": ({"all utterances": 2800, "speakers": 2, **_TESS}, _by_label),
    "emovo": ({"all utterances": 588, "speakers": 6, **_EMOVO}, _by_label),
    "cafe": ({"all utterances": 936, "speakers": 12, "neutral": 72, **_CAFE}, _by_label),
    "shemo": ({"all utterances": 3000, "speakers": 87, **_SHEMO}, _by_label),
    "subesco": ({"all utterances": 7000, "speakers": 20, **_SUBESCO}, _by_label),
    "jl-corpus": ({"all utterances": 2400, "speakers": 4}, _by_label),
    "esd": ({"all utterances": 35000, "speakers": 20, **_ESD}, _by_label),
    "nemo": ({"all utterances": 4481, "speakers": 9}, _by_label),
    "cmu-mosei": (
        {"all utterances": 23259, "train, all": 16327, "dev, all": 1871, "test, all": 4662, **_MOSEI},
        _mosei_found,
    ),
    "emorynlp": (
        {"all utterances": 12606, "train, all": 9934, "dev, all": 1344, "test, all": 1328, **_EMORYNLP},
        lambda table: {**_by_label(table), **_by_part(table)},
    ),
}
