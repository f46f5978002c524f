"""Acted corpora whose file names say everything: one pattern and one function each, one reader for all.

Each pattern is the published grammar of the names. A file that does not match becomes a problem of the manifest.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ser_data.corpora.acted_reader import ActedCorpus, tab_table
from ser_data.corpora.base import AUDIO_SUFFIXES, visible_files
from ser_data.manifest.table import CorpusInfo, Problem
from ser_data.protocols.given import RAVDESS_FOLD

GENDER = {"f": "female", "m": "male"}


def _one_of(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=len, reverse=True))


_EMODB = {
    "W": "anger",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
_EMODB_AGES = {"03": 31, "08": 34, "09": 21, "10": 32, "11": 26, "12": 30, "13": 32, "14": 35, "15": 25, "16": 31}
_EMODB_TEXT = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
# 03a01Fa: speaker 03, sentence a01, emotion F, take a; one public label table has F = disgust, which is wrong
EMODB = ActedCorpus(
    info=CorpusInfo(
        name="emodb",
        title="EmoDB, Berlin Database of Emotional Speech",
        licence="CC0 1.0 as published in audeering/emodb",
        citation="Burkhardt et al. 2005, Interspeech, doi:10.21437/Interspeech.2005-446",
        url="https://github.com/audeering/emodb",
        transcripts="script (10 fixed sentences, German)",
        layout="wav/03a01Fa.wav",
        scheme="emodb-7",
    ),
    pattern=re.compile(rf"({_one_of(_EMODB_AGES)})({_one_of(_EMODB_TEXT)})([{''.join(_EMODB)}])([a-z])"),
    grammar="SPEAKER SENTENCE EMOTION TAKE, as 03a01Fa",
    row=lambda name: {
        "speaker": name[1],
        "gender": "male" if name[1] in ("03", "10", "11", "12", "15") else "female",
        "label": _EMODB[name[3]],
        "text": _EMODB_TEXT[name[2]],
        "age": _EMODB_AGES[name[1]],
    },
)

_RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_RAVDESS_TEXT = ("Kids are talking by the door.", "Dogs are sitting by the door.")
# The two sentences carry no emotion, so a text branch must be at chance: a negative control.
# The archive is often unpacked twice (a second folder inside the first): the copies are listed as duplicates.
RAVDESS = ActedCorpus(
    info=CorpusInfo(
        name="ravdess",
        title="RAVDESS, Ryerson Audio-Visual Database of Emotional Speech and Song (speech)",
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone & Russo 2018, PLoS ONE 13(5), doi:10.1371/journal.pone.0196391",
        url="https://zenodo.org/records/1188976",
        transcripts="script (two fixed sentences)",
        layout="Actor_{01..24}/03-01-EE-II-SS-RR-AA.wav (or .flac)",
        scheme="ravdess-8",
    ),
    pattern=re.compile(r"(\d\d)-(\d\d)-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])"),
    grammar="MODALITY-CHANNEL-EMOTION-INTENSITY-SENTENCE-REPETITION-ACTOR, as 03-01-01-01-01-01-01",
    row=lambda name: {
        "speaker": name[7],
        "gender": "male" if int(name[7]) % 2 else "female",
        "label": _RAVDESS[int(name[3]) - 1],
        "text": _RAVDESS_TEXT[int(name[5]) - 1],
        "fold": RAVDESS_FOLD[int(name[7])],  # EmoBox's six groups of actors
        "intensity": "normal" if name[4] == "01" else "strong",
        "repetition": name[6],
    },
    suffixes=AUDIO_SUFFIXES,
    other=lambda name: (
        "" if name[1] in ("01", "03") and name[2] == "01" else "modality or channel is not that of speech"
    ),
    twin=lambda name: f"03{name[0][2:]}" if name[1] == "01" else None,
)

_SAVEE = {
    "a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutral", "sa": "sadness", "su": "surprise",
}  # fmt: skip
SAVEE = ActedCorpus(
    info=CorpusInfo(
        name="savee",
        title="SAVEE, Surrey Audio-Visual Expressed Emotion",
        licence="free for research, on request",
        citation="Haq & Jackson 2009, AVSP; Haq & Jackson 2010, Machine Audition",
        url="http://kahlan.eps.surrey.ac.uk/savee/",
        transcripts="none (15 TIMIT sentences per emotion, of which 3 are shared)",
        layout="AudioData/{DC,JE,JK,KL}/sa01.wav, or DC_sa01.wav",
    ),
    pattern=re.compile(rf"(DC|JE|JK|KL)[/_]({_one_of(_SAVEE)})(\d\d)"),
    grammar="SPEAKER/EMOTION NUMBER, as DC/sa01 or DC_sa01",
    row=lambda name: {"speaker": name[1], "gender": "male", "label": _SAVEE[name[2]]},
    folders=1,
)

_TESS = {
    "angry": "anger", "disgust": "disgust", "fear": "fear", "happy": "happiness", "neutral": "neutral",
    "ps": "surprise", "sad": "sadness",
}  # fmt: skip
TESS = ActedCorpus(
    info=CorpusInfo(
        name="tess",
        title="TESS, Toronto Emotional Speech Set",
        licence="CC BY-NC-ND 4.0",
        citation="Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF",
        url="https://doi.org/10.5683/SP2/E8H2MF",
        transcripts="script ('Say the word ...', 200 words)",
        layout="OAF_back_angry.wav; 'ps' is pleasant surprise",
    ),
    pattern=re.compile(rf"(OAF?|YAF)_([a-z]+)_({_one_of(_TESS)})"),  # one file is named OA_bite_neutral
    grammar="SPEAKER_WORD_EMOTION, as OAF_back_angry",
    row=lambda name: {
        "speaker": "YAF" if name[1] == "YAF" else "OAF",
        "gender": "female",
        "label": _TESS[name[3]],
        "text": f"Say the word {name[2]}.",
    },
)

_EMOVO = {
    "dis": "disgust", "gio": "happiness", "neu": "neutral", "pau": "fear", "rab": "anger", "sor": "surprise",
    "tri": "sadness",
}  # fmt: skip
EMOVO = ActedCorpus(
    info=CorpusInfo(
        name="emovo",
        title="EMOVO, Italian Emotional Speech Database",
        licence="free for research",
        citation="Costantini et al. 2014, LREC",
        url="http://voice.fub.it/activities/corpora/emovo/index.html",
        transcripts="none (14 fixed Italian sentences)",
        layout="{f1,f2,f3,m1,m2,m3}/dis-f1-b1.wav",
    ),
    pattern=re.compile(rf"({_one_of(_EMOVO)})-([fm][1-3])-([a-z]\d)"),
    grammar="EMOTION-SPEAKER-SENTENCE, as dis-f1-b1",
    row=lambda name: {"speaker": name[2], "gender": GENDER[name[2][0]], "label": _EMOVO[name[1]]},
)

_CAFE = {
    "C": "anger", "D": "disgust", "J": "happiness", "N": "neutral", "P": "fear", "S": "surprise", "T": "sadness",
}  # fmt: skip
_CAFE_TEXT = (
    "Un cheval fou dans mon jardin",
    "Deux ânes aigris au pelage brun",
    "Trois cygnes aveugles au bord du lac",
    "Quatre vieilles truies éléphantesques",
    "Cinq pumas fiers et passionnés",
    "Six ours aimants domestiqués",
)
CAFE = ActedCorpus(
    info=CorpusInfo(
        name="cafe",
        title="CaFE, Canadian French Emotional speech dataset",
        licence="CC BY-NC-SA 4.0",
        citation="Gournay et al. 2018, ACM MMSys, doi:10.1145/3204949.3208121",
        url="https://zenodo.org/records/1478765",
        transcripts="script (six fixed French sentences)",
        layout="{Colère,...}/{Faible,Fort}/01-C-1-1.wav",
    ),
    pattern=re.compile(rf"(0[1-9]|1[0-2])-([{''.join(_CAFE)}])-([12])-([1-6])"),
    grammar="ACTOR-EMOTION-INTENSITY-SENTENCE, as 01-C-1-1",
    row=lambda name: {
        "speaker": name[1],
        "gender": "male" if int(name[1]) % 2 else "female",
        "label": _CAFE[name[2]],
        "text": _CAFE_TEXT[int(name[4]) - 1],
        "intensity": "normal" if name[3] == "1" else "strong",
    },
)

_SHEMO = {"A": "anger", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness", "W": "surprise"}
SHEMO = ActedCorpus(
    info=CorpusInfo(
        name="shemo",
        title="ShEMO, Sharif Emotional Speech Database (Persian radio plays)",
        licence="free for academic use",
        citation="Mohamad Nezami et al. 2019, Language Resources and Evaluation 53, doi:10.1007/s10579-018-9427-x",
        url="https://github.com/mansourehk/ShEMO",
        transcripts="none here (a JSON file of the authors has them)",
        layout="{female,male}/F01A01.wav",
    ),
    pattern=re.compile(rf"([FM]\d\d)([{''.join(_SHEMO)}])(\d\d)"),
    grammar="GENDER SPEAKER EMOTION NUMBER, as F01A01",
    row=lambda name: {"speaker": name[1], "gender": GENDER[name[1][0].lower()], "label": _SHEMO[name[2]]},
)

_AESDD = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"}
AESDD = ActedCorpus(
    info=CorpusInfo(
        name="aesdd",
        title="AESDD, Acted Emotional Speech Dynamic Database (Greek)",
        licence="free for research",
        citation="Vryzas et al. 2018, J. Audio Eng. Soc. 66(6), doi:10.17743/jaes.2018.0036",
        url="https://m3c.web.auth.gr/research/aesdd-speech-emotion-recognition/",
        transcripts="none",
        layout="{anger,disgust,fear,happiness,sadness}/a01 (1).wav",
    ),
    pattern=re.compile(rf"([{''.join(_AESDD)}])(\d\d) \((\d+)\)([a-z]?)"),
    grammar="EMOTION SENTENCE (SPEAKER), as a01 (1)",
    row=lambda name: {"speaker": name[3], "label": _AESDD[name[1]]},
)

_SUBESCO = {
    "ANGRY": "anger", "DISGUST": "disgust", "FEAR": "fear", "HAPPY": "happiness", "NEUTRAL": "neutral",
    "SAD": "sadness", "SURPRISE": "surprise",
}  # fmt: skip
SUBESCO = ActedCorpus(
    info=CorpusInfo(
        name="subesco",
        title="SUBESCO, SUST Bangla Emotional Speech Corpus",
        licence="CC BY 4.0",
        citation="Sultana et al. 2021, PLoS ONE 16(4), doi:10.1371/journal.pone.0250173",
        url="https://zenodo.org/records/4526477",
        transcripts="none (10 fixed Bangla sentences)",
        layout="F_01_OISHI_S_1_ANGRY_1.wav",
    ),
    pattern=re.compile(rf"([FM])_(\d\d)_([A-Z]+)_S_(\d+)_({_one_of(_SUBESCO)})_(\d)"),
    grammar="GENDER_NUMBER_NAME_S_SENTENCE_EMOTION_TAKE, as F_01_OISHI_S_1_ANGRY_1",
    row=lambda name: {
        "speaker": name[1] + name[2],
        "gender": GENDER[name[1].lower()],
        "label": _SUBESCO[name[5]],
        "repetition": name[6],
    },
)

JL_CORPUS = ActedCorpus(
    info=CorpusInfo(
        name="jl-corpus",
        title="JL-Corpus, New Zealand English, five primary and five secondary emotions",
        licence="CC0 1.0",
        citation="James et al. 2018, Interspeech, doi:10.21437/Interspeech.2018-1349",
        url="https://github.com/tli725/JL-Corpus",
        transcripts="none here (a text file lies beside each recording)",
        layout="female1_angry_10a_1.wav",
    ),
    pattern=re.compile(r"((?:fe)?male[12])_([a-z]+)_(\d+[ab])_(\d)"),
    grammar="SPEAKER_EMOTION_SENTENCE_TAKE, as female1_angry_10a_1",
    row=lambda name: {"speaker": name[1], "gender": name[1][:-1], "label": name[2], "repetition": name[4]},
)

_ESD = {"Angry": "anger", "Happy": "happiness", "Neutral": "neutral", "Sad": "sadness", "Surprise": "surprise"}
# The label is the folder's; one archive has train, evaluation and test in it, which share their speakers
ESD = ActedCorpus(
    info=CorpusInfo(
        name="esd",
        title="ESD, Emotional Speech Dataset (10 Mandarin and 10 English speakers)",
        licence="research only, by a signed form",
        citation="Zhou et al. 2022, Speech Communication 137",
        url="https://github.com/HLTSingapore/Emotional-Speech-Data",
        transcripts="script (350 sentences of each language), from 0011/0011.txt",
        layout="{0001..0020}/{Angry,Happy,Neutral,Sad,Surprise}/0011_000351.wav",
    ),
    pattern=re.compile(
        rf"({_one_of(_ESD)})/(?:(?:train|evaluation|test)/)?(?P<id>(?P<speaker>00(?:0[1-9]|1\d|20))_\d{{6}})"
    ),
    grammar="EMOTION/SPEAKER_NUMBER, as Angry/0011_000351",
    row=lambda name: {
        "speaker": name["speaker"],
        "label": _ESD[name[1]],
        "language": "Mandarin" if int(name["speaker"]) <= 10 else "English",
    },
    folders=2,
    beside=lambda root, problems: {
        cells[0]: {"text": cells[1]}
        for path in visible_files(root, (".txt",))
        if re.fullmatch(r"00\d\d", path.stem)
        for cells in tab_table(path, problems)
        if len(cells) > 1
    },
)


def _nemo(root: Path, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Words, gender and age of the corpus's own table."""
    header, *lines = (tab_table(root / "data.tsv", problems) if (root / "data.tsv").is_file() else []) or [[]]
    rows = [dict(zip(header, cells, strict=False)) for cells in lines]
    return {
        row["file_id"].removesuffix(".wav"): {
            "text": row.get("raw_text"),
            "gender": row.get("gender"),
            "age": row.get("age"),
        }
        for row in rows
        if row.get("file_id")
    }


_NEMO = {
    "anger": "anger", "fear": "fear", "happiness": "happiness", "neutral": "neutral", "sadness": "sadness",
    "surprised": "surprise",
}  # fmt: skip
NEMO = ActedCorpus(
    info=CorpusInfo(
        name="nemo",
        title="nEMO, emotional speech in Polish",
        licence="CC BY-NC-SA 4.0",
        citation="Christop 2024, arXiv:2404.06292",
        url="https://github.com/amu-cai/nEMO",
        transcripts="script (90 Polish sentences), from data.tsv",
        layout="samples/WR0_surprised_64.wav, data.tsv",
    ),
    pattern=re.compile(rf"([A-Z]{{2}}\d)_({_one_of(_NEMO)})_(\d{{1,2}})"),
    grammar="SPEAKER_EMOTION_SENTENCE, as WR0_surprised_64",
    row=lambda name: {"speaker": name[1], "label": _NEMO[name[2]]},
    beside=_nemo,
)

ACTED = {
    corpus.info.name: corpus
    for corpus in (EMODB, RAVDESS, SAVEE, TESS, EMOVO, CAFE, SHEMO, AESDD, SUBESCO, JL_CORPUS, ESD, NEMO)
}
