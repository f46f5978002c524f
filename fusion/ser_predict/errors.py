"""What can go wrong in prediction. A broken recording raises nothing: the error stands in its line of output."""

from ser_base.errors import SerError


class PredictError(SerError):
    """A finished run cannot predict, serve or export as asked."""


class NoModel(PredictError, ValueError):
    """The run does not have a trained head of this row, fold, seed or stream."""

    run: str
    problem: str
    heads: tuple[str, ...]
    got = "{run}: {problem}."
    known = "Trained heads there: {heads}."
    next = "Choose one of them with --row, or train another: ser fuse --fusion cross --cache CACHE --out RUN"


class FeaturesUnknown(PredictError, FileNotFoundError):
    """The run of an early version does not say how its features were made, and its cache is gone."""

    run: str
    stream: str
    cache: str
    got = "{run} does not say how its {stream} features were made, and its cache {cache} is not there."
    next = "Put the cache back, or say where it is now: --cache DIR"


class EncoderDiffers(PredictError, ValueError):
    """The encoder has other weights or settings than that of the run, so its features differ."""

    stream: str
    name: str
    differences: tuple[tuple[str, str, str], ...]
    got = "{name} is not the {stream} encoder of this run:"
    known = "{compared:lines}"
    next = "Give the encoder of the run, as a folder or hub id: --encoder {stream}=DIR"

    @property
    def compared(self) -> list[str]:
        return [f"{field}: trained with {trained}, here {here}" for field, trained, here in self.differences]


class BadTranscripts(PredictError, ValueError):
    """A table of transcripts cannot be read."""

    path: str
    problem: str
    got = "{path}: {problem}."
    next = "Give a UTF-8 CSV with the columns path,text (or file,text)."


class RecogniserBroken(PredictError, ValueError):
    """The model of ``--asr`` cannot transcribe."""

    name: str
    problem: str
    got = "{name} cannot be used for speech recognition: {problem}."
    next = "Give a speech recogniser of transformers, as a folder or hub id: --asr openai/whisper-tiny.en"


class NotServed(PredictError, OSError):
    """``ser live`` cannot serve its page."""

    problem: str
    remedy: str
    got = "The page cannot be served: {problem}."
    next = "{remedy}"


class NotExported(PredictError, ValueError):
    """Heads cannot be exported as asked."""

    problem: str
    remedy: str
    got = "These heads cannot be exported: {problem}."
    next = "{remedy}"


class NotExplained(PredictError, ValueError):
    """A run's heads cannot be explained as asked."""

    run: str
    problem: str
    remedy: str
    got = "{run}: {problem}."
    next = "{remedy}"


class BadExport(PredictError, ValueError):
    """A folder of ``ser export`` cannot be read."""

    path: str
    problem: str
    got = "{path} is not a readable export: {problem}."
    next = "Write it again: ser export RUN --hub DIR"
