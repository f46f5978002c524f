"""What can go wrong in prediction. A broken recording raises nothing: the error stands in its line of output."""

from ser_base.errors import SerError


class PredictError(SerError):
    """What was asked of a finished run cannot be done."""


class NoModel(PredictError, ValueError):
    """The run holds no trained head that fits what was asked for."""

    run: str
    problem: str
    heads: tuple[str, ...]
    got = "{run}: {problem}."
    known = "Trained heads there: {heads}."
    next = "Give one of them with --row, or train one: ser-fuse --fusion cross --cache CACHE --out RUN"


class FeaturesUnknown(PredictError, FileNotFoundError):
    """Nothing says how the features of a stream were made."""

    run: str
    stream: str
    cache: str
    got = "{run} does not say how its {stream} features were made, and its cache {cache} is not there."
    next = "Put the cache back, or name its place: --cache DIR"


class EncoderDiffers(PredictError, ValueError):
    """Another encoder than the run's: its features would mean something else."""

    stream: str
    name: str
    differences: tuple[tuple[str, str, str], ...]
    got = "{name} is not the {stream} encoder this run was trained with:"
    known = "{compared:lines}"
    next = "Give the folder or hub id of the run's own encoder: --encoder {stream}=DIR"

    @property
    def compared(self) -> list[str]:
        return [f"{field}: trained with {trained}, here {here}" for field, trained, here in self.differences]


class BadTranscripts(PredictError, ValueError):
    """A table of transcripts cannot be used."""

    path: str
    problem: str
    got = "{path}: {problem}."
    next = "A table of transcripts is UTF-8 CSV with the columns path,text (or file,text)."


class RecogniserBroken(PredictError, ValueError):
    """The model given with `--asr` cannot transcribe."""

    name: str
    problem: str
    got = "{name} cannot be used for speech recognition: {problem}."
    next = "Give a transformers folder or hub id with tokenizer and weights: --asr openai/whisper-tiny.en"


class NotServed(PredictError, OSError):
    """`ser live` cannot serve its page."""

    problem: str
    remedy: str
    got = "The page cannot be served: {problem}."
    next = "{remedy}"


class NotExported(PredictError, ValueError):
    """Heads cannot be exported as asked."""

    problem: str
    remedy: str
    got = "Not exported: {problem}."
    next = "{remedy}"


class BadExport(PredictError, ValueError):
    """A folder looks like an export and cannot be read as one."""

    path: str
    problem: str
    got = "{path} is not a readable export: {problem}."
    next = "Write it again: ser export RUN --hub DIR"
