"""Encoders that have seen emotion labels, by what their authors say: on those corpora their features leak the answers.

A name is enough for a warning; weights under another name are not recognised. Add a line with its source to extend it.
"""

import re

# pattern of the encoder's name -> corpora it was tuned on, source
TUNED: dict[str, tuple[tuple[str, ...], str]] = {
    r"emotion2vec[_-]?plus": (
        ("iemocap", "ravdess", "meld", "crema-d", "esd", "msp-podcast"),
        "emotion2vec issues #46 and #77: EmoBox data",
    ),
    r"superb/.*-er$": (("iemocap",), "SUPERB's ER task is IEMOCAP, 4 classes"),
    r"speechbrain/emotion-recognition-.*iemocap": (("iemocap",), "model card"),
    r"speechbrain/emotion-diarization": (("zaion", "iemocap", "ravdess", "jl-corpus", "esd", "emov-db"), "model card"),
    r"ehcalabres/wav2vec2-lg-xlsr": (("ravdess",), "model card"),
    r"audeering/wav2vec2-large-robust-.*msp-dim": (("msp-podcast",), "model card"),
    r"j-hartmann/emotion-english": (("meld",), "model card: MELD is one of its training sets"),
    r"emoberta": (("meld", "iemocap"), "EmoBERTa, arXiv 2108.12009"),
}


def tuned_on(encoder: str, corpus: str) -> str | None:
    """A warning where the encoder is known to have been trained with the emotion labels of this corpus, else None."""
    for pattern, (corpora, source) in TUNED.items():
        if re.search(pattern, encoder, re.IGNORECASE):
            hit = [name for name in corpora if re.search(rf"(^|[^a-z]){re.escape(name)}([^a-z]|$)", corpus.lower())]
            if hit:
                return f"{encoder} was trained with emotion labels of {hit[0].upper()} ({source}): its test scores here are inflated."
    return None
