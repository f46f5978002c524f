"""What can go wrong in stage one, one class per kind; facts are the arguments, the sentence is made when it is shown.

```
ExtractError            ser-extract cannot do what was asked
├── EncoderNotFound     (also OSError)     no local folder, no copy of the hub's, or the hub cannot be reached
├── EncoderNotSupported (also ValueError)  the config's model_type has no file in ser_extract.encoders
├── EncoderBroken       (also ValueError)  the folder lacks its config, weights or tokenizer, or they do not fit each other
├── LayerOutOfRange     (also ValueError)  the encoder has no such hidden state
├── SettingMissing      (also ValueError)  nothing says where the corpus or the cache is (exit code 2)
├── NoVideo             (also ValueError)  video is asked for, and no utterance of the corpus has one
├── DiskTooSmall        (also OSError)     the planned features do not fit on the disk
└── UtteranceFailed     (also ValueError)  --on-error fail: one utterance could not be encoded
```
"""

from ser_base.errors import SerError


class ExtractError(SerError):
    """`ser-extract` cannot do what was asked."""


class EncoderNotFound(ExtractError, OSError):
    """An encoder is neither a local folder nor on this machine, and the hub is forbidden or does not answer.

    Args:
        name: The folder or hub id as the user typed it.
        modality: `audio`, `text` or `video`: names the option that helps.
        tried: What was tried, as a clause.
    """

    def __init__(self, name: str, modality: str, tried: str) -> None:
        super().__init__(name, modality, tried)
        self.name, self.modality, self.tried = name, modality, tried

    def __str__(self) -> str:
        return (
            f"{self.name} could not be loaded: {self.tried}.\n"
            f"Give a local folder with its files: --{self.modality}-encoder DIR (a transformers folder), or another hub id.\n"
            "To see the whole pipeline without any hub: make demo"
        )


class EncoderNotSupported(ExtractError, ValueError):
    """The `model_type` in an encoder's config has no file in `ser_extract.encoders`, or is of the other modality."""

    def __init__(self, name: str, model_type: str, modality: str, known: tuple[str, ...]) -> None:
        super().__init__(name, model_type, modality, known)
        self.name, self.model_type, self.modality, self.known = name, model_type, modality, known

    def __str__(self) -> str:
        return (
            f"{self.name} is of model type '{self.model_type}', which is no {self.modality} encoder known here.\n"
            f"Known for {self.modality}: {', '.join(self.known)}.\n"
            f"Give another --{self.modality}-encoder, or add the family: docs/add-an-encoder.md"
        )


class EncoderBroken(ExtractError, ValueError):
    """An encoder's folder cannot be used as it is."""

    def __init__(self, name: str, what: str, remedy: str) -> None:
        super().__init__(name, what, remedy)
        self.name, self.what, self.remedy = name, what, remedy

    def __str__(self) -> str:
        return f"{self.name} cannot be used: {self.what}.\n{self.remedy}"


class LayerOutOfRange(ExtractError, ValueError):
    """A hidden state is asked for that the encoder does not have."""

    def __init__(self, name: str, modality: str, asked: str, depth: int) -> None:
        super().__init__(name, modality, asked, depth)
        self.name, self.modality, self.asked, self.depth = name, modality, asked, depth

    def __str__(self) -> str:
        return (
            f"{self.name} has no hidden state {self.asked}; it has 0 (the input of the first block) to {self.depth}.\n"
            f"Give --{self.modality}-layer {self.depth} (or --layer), a list such as 0,{self.depth}, all, or last."
        )


class SettingMissing(ExtractError, ValueError):
    """Neither the command line, the environment nor ser.toml says something that is needed."""

    def __init__(self, what: str, option: str, variable: str) -> None:
        super().__init__(what, option, variable)
        self.what, self.option, self.variable = what, option, variable

    def __str__(self) -> str:
        return (
            f"Nothing says {self.what}: no {self.option}, no {self.variable} in the environment, "
            f"no ser.toml with '{self.option.lstrip('-')}' in this folder.\n"
            f"Give {self.option}, for example: ser-extract --corpus csv --root corpus.csv --cache runs/cache --layer 12"
        )


class NoVideo(ExtractError, ValueError):
    """Video is asked for, and no utterance of the corpus has one: the features would all be empty."""

    def __init__(self, corpus: str, utterances: int) -> None:
        super().__init__(corpus, utterances)
        self.corpus, self.utterances = corpus, utterances

    def __str__(self) -> str:
        return (
            f"{self.corpus}: none of the {self.utterances:,} utterances has a video.\n"
            "A table of your own names it in the column video_path; what the readers of corpora expect: ser data list NAME. "
            "Or leave video out of --modalities."
        )


class DiskTooSmall(ExtractError, OSError):
    """The features of the plan do not fit on the disk of the cache."""

    def __init__(self, cache: str, needed: int, free: int) -> None:
        super().__init__(cache, needed, free)
        self.cache, self.needed, self.free = cache, needed, free

    def __str__(self) -> str:
        return (
            f"{self.cache}: the features still to be written take about {self.needed / 1e9:.2f} GB; "
            f"{self.free / 1e9:.2f} GB are free.\n"
            "Give --cache on a larger disk, fewer layers, or --dtype float16."
        )


class UtteranceFailed(ExtractError, ValueError):
    """With `--on-error fail`: an utterance that cannot be encoded ends the run."""

    def __init__(self, id: str, modality: str, reason: str, detail: str) -> None:
        super().__init__(id, modality, reason, detail)
        self.id, self.modality, self.reason, self.detail = id, modality, reason, detail

    def __str__(self) -> str:
        return (
            f"{self.id} ({self.modality}) failed: {self.reason}: {self.detail}.\n"
            "Everything committed so far is kept. Mend the utterance, or go on without such ones: --on-error skip"
        )
