"""What can go wrong in stage one, one class per kind.

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

    Attributes:
        name: The folder or hub id as the user typed it.
        modality: `audio`, `text` or `video`: names the option that helps.
        tried: What was tried, as a clause.
    """

    name: str
    modality: str
    tried: str
    got = "{name} could not be loaded: {tried}."
    known = "Give a local folder with its files: --encoder {modality}=DIR (a transformers folder), or another hub id."
    next = "To see the whole pipeline without any hub: make demo"


class EncoderNotSupported(ExtractError, ValueError):
    """The `model_type` in an encoder's config has no file in `ser_extract.encoders`, or is of the other modality."""

    name: str
    model_type: str
    modality: str
    families: tuple[str, ...]
    got = "{name} is of model type '{model_type}', which is not a known {modality} encoder."
    known = "Known for {modality}: {families}."
    next = "Give another --encoder {modality}=ID, or add the family: docs/guides/add-a-part.md"


class EncoderBroken(ExtractError, ValueError):
    """An encoder's folder cannot be used as it is."""

    name: str
    what: str
    remedy: str
    got = "{name} cannot be used: {what}."
    next = "{remedy}"


class LayerOutOfRange(ExtractError, ValueError):
    """A hidden state is asked for that the encoder does not have."""

    name: str
    modality: str
    asked: str
    depth: int
    got = "{name} has no hidden state {asked}; it has 0 (the input of the first block) to {depth}."
    next = "Give --layer {modality}={depth}, a list such as 0,{depth}, all, or last."


class SettingMissing(ExtractError, ValueError):
    """Neither the command line, the environment nor ser.toml says something that is needed."""

    what: str
    option: str
    variable: str
    got = "{what} is missing: neither {option}, nor {variable} in the environment, nor '{key}' in ser.toml gives it."
    next = "Give {option}, for example: ser-extract --corpus csv --root corpus.csv --cache runs/cache --layer 12"

    @property
    def key(self) -> str:
        return self.option.lstrip("-")


class NoVideo(ExtractError, ValueError):
    """Video is asked for, and no utterance of the corpus has one: the features would all be empty."""

    corpus: str
    utterances: int
    got = "{corpus}: none of the {utterances:,} utterances has a video."
    next = (
        "Name the videos of a table of your own in its column video_path, or leave video out of --modalities. "
        "What the reader of a corpus expects says: ser data list NAME"
    )


class DiskTooSmall(ExtractError, OSError):
    """The features of the plan do not fit on the disk of the cache."""

    cache: str
    needed: int
    free: int
    got = "{cache}: the features still to be written take about {needed:gb}; {free:gb} are free."
    next = "Give --cache on a larger disk, fewer layers, or --dtype float16."


class UtteranceFailed(ExtractError, ValueError):
    """With `--on-error fail`: an utterance that cannot be encoded ends the run."""

    id: str
    modality: str
    reason: str
    detail: str
    got = "{id} ({modality}) failed: {reason}: {detail}."
    next = "Everything committed so far is kept. Correct the utterance, or skip such utterances: --on-error skip"
