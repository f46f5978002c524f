"""What can go wrong in prediction, as facts; each class makes its own sentence.

```
PredictError
├── NoModel          (ValueError)        the run holds no trained head that can be used as asked
├── FeaturesUnknown  (FileNotFoundError) the run does not say how its features were made, and its cache is gone
├── EncoderDiffers   (ValueError)        the encoder at hand is not the one the run was trained with
├── BadTranscripts   (ValueError)        a table of transcripts cannot be read
├── RecogniserBroken (ValueError)        --asr cannot be used
├── ExtraMissing     (ImportError)       a package of an optional extra is not installed
├── NotServed        (OSError)           the live page cannot be served
├── NotExported      (ValueError)        heads cannot be exported as asked
└── BadExport        (ValueError)        a folder of ser export cannot be read
```

What is wrong with one recording is no exception: it becomes that recording's line.
"""

from ser_base.errors import SerError


class PredictError(SerError):
    """What was asked of a finished run cannot be done."""


class NoModel(PredictError, ValueError):
    """The run holds no trained head that fits what was asked for."""

    def __init__(self, run: str, problem: str, known: tuple[str, ...]) -> None:
        super().__init__(run, problem, known)
        self.run, self.problem, self.known = run, problem, known

    def __str__(self) -> str:
        return (
            f"{self.run}: {self.problem}.\nTrained heads there: {', '.join(self.known) or 'none'}.\n"
            "Give one of them with --row, or train one: ser-fuse --fusion cross --cache CACHE --out RUN"
        )


class FeaturesUnknown(PredictError, FileNotFoundError):
    """Nothing says how the features of a stream were made."""

    def __init__(self, run: str, stream: str, cache: str) -> None:
        super().__init__(run, stream, cache)
        self.run, self.stream, self.cache = run, stream, cache

    def __str__(self) -> str:
        return (
            f"{self.run} does not say how its {self.stream} features were made, and its cache {self.cache} is not there.\n"
            "Put the cache back, or name its place: --cache DIR"
        )


class EncoderDiffers(PredictError, ValueError):
    """Another encoder than the run's: its features would mean something else."""

    def __init__(self, stream: str, name: str, differences: tuple[tuple[str, str, str], ...]) -> None:
        super().__init__(stream, name, differences)
        self.stream, self.name, self.differences = stream, name, differences

    def __str__(self) -> str:
        listed = "\n".join(
            f"  {field}: trained with {trained}, here {here}" for field, trained, here in self.differences[:6]
        )
        return (
            f"{self.name} is not the {self.stream} encoder this run was trained with:\n{listed}\n"
            f"Give the folder or hub id of the run's own encoder: --{self.stream}-encoder DIR"
        )


class BadTranscripts(PredictError, ValueError):
    """A table of transcripts cannot be used."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}.\nA table of transcripts is UTF-8 CSV with the columns path,text (or file,text)."


class RecogniserBroken(PredictError, ValueError):
    """The model given with `--asr` cannot transcribe."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name, self.problem = name, problem

    def __str__(self) -> str:
        return (
            f"{self.name} cannot be used for speech recognition: {self.problem}.\n"
            "Give a transformers folder or hub id with tokenizer and weights: --asr openai/whisper-tiny.en"
        )


class ExtraMissing(PredictError, ImportError):
    """A package of an optional extra is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(what, package, extra)
        self.what, self.package, self.extra = what, package, extra

    def __str__(self) -> str:
        return (
            f"{self.what} needs the package {self.package}.\nInstall its extra: pip install 'ser-fusion[{self.extra}]'"
        )


class NotServed(PredictError, OSError):
    """`ser live` cannot serve its page."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"The page cannot be served: {self.problem}.\n{self.remedy}"


class NotExported(PredictError, ValueError):
    """Heads cannot be exported as asked."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"Not exported: {self.problem}.\n{self.remedy}"


class BadExport(PredictError, ValueError):
    """A folder looks like an export and cannot be read as one."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path} is no readable export: {self.problem}.\nWrite it anew: ser export RUN --hub DIR"
