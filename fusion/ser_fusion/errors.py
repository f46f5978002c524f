"""What can go wrong in stage two, as facts; each class builds its own sentence, so that errors travel between processes.

FusionError
 ├─ MissingRows        an utterance of the manifest is neither done nor failed in the cache
 ├─ NothingToTrain     no utterance has a label and every stream
 ├─ ClassMissing       a training part lacks a class
 ├─ OneClass           all utterances are of one class
 ├─ StreamMissing      a head asks for a stream that the cache does not hold
 ├─ ManifestMissing    the cache carries no manifest and none was given
 ├─ RunExists          the run directory holds another job
 ├─ RunChanged         --from-run finds another cache or other folds
 ├─ RunUnreadable      a folder is no run directory
 ├─ RecordBroken       a file of a run directory is not there, cut, or holds something else
 ├─ ClassifierUnusable --classifier pkg.mod:Class names no classifier
 ├─ ExtraMissing       an option needs a package that is not installed
 ├─ ExtraTextUnusable  the file of --extra-text does not fit the cache
 └─ ContextImpossible  --context without dialogues, without their order, or with dialogues on two sides of a fold
"""

from collections.abc import Mapping, Sequence

from ser_base.errors import SerError


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 3:,} more" if len(ids) > 3 else ""
    return f"{', '.join(ids[:3])}{more}"


class FusionError(SerError):
    """Stage two cannot do what was asked."""


class MissingRows(FusionError, KeyError):
    """Utterances of the manifest have no row in an entry of the cache and are not recorded as failed either."""

    def __init__(self, cache: str, stream: str, ids: tuple[str, ...], asked: int) -> None:
        super().__init__(cache, stream, ids, asked)
        self.cache, self.stream, self.ids, self.asked = cache, stream, ids, asked

    def __str__(self) -> str:
        return (
            f"{len(self.ids):,} of {self.asked:,} utterances have no {self.stream} row in {self.cache}: {_some(self.ids)}.\n"
            "They are not recorded as failed either: the extraction is not finished, or the manifest is another one.\n"
            "Run ser-extract again with the same options; it computes only what is missing."
        )


class NothingToTrain(FusionError, ValueError):
    """No utterance is left that has a label and a row in every stream."""

    def __init__(self, cache: str, rows: int, labelled: int, scheme: str) -> None:
        super().__init__(cache, rows, labelled, scheme)
        self.cache, self.rows, self.labelled, self.scheme = cache, rows, labelled, scheme

    def __str__(self) -> str:
        return (
            f"No utterance of {self.cache} can be used: {self.rows:,} rows, {self.labelled:,} with a label under "
            f"the label scheme {self.scheme!r}.\n"
            "Look at excluded.csv or failures.csv, or give another --labels."
        )


class ClassMissing(FusionError, ValueError):
    """The training part of a fold holds no example of a class, so no head could ever predict it."""

    def __init__(self, fold: str, classes: tuple[str, ...], counts: Mapping[str, int], protocol: str) -> None:
        super().__init__(fold, classes, dict(counts), protocol)
        self.fold, self.classes, self.counts, self.protocol = fold, classes, dict(counts), protocol

    def __str__(self) -> str:
        known = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
        return (
            f"Fold {self.fold} of protocol {self.protocol} has no training example of {', '.join(self.classes)}.\n"
            f"Its training part holds: {known}.\n"
            "Give another --protocol or --dev, merge or drop the class with --labels, or raise --train-fraction."
        )


class OneClass(FusionError, ValueError):
    """All usable utterances are of one class: there is nothing to tell apart."""

    def __init__(self, classes: tuple[str, ...], utterances: int, scheme: str) -> None:
        super().__init__(classes, utterances, scheme)
        self.classes, self.utterances, self.scheme = classes, utterances, scheme

    def __str__(self) -> str:
        return (
            f"All {self.utterances:,} utterances are of the class {', '.join(self.classes)} under the label scheme {self.scheme!r}, so "
            "there is nothing to learn.\n"
            "Give a manifest with two classes or more (--manifest), or another --labels."
        )


class StreamMissing(FusionError, KeyError):
    """A head asks for a stream that the study does not hold."""

    def __init__(self, head: str, needed: str, known: tuple[str, ...]) -> None:
        super().__init__(head, needed, known)
        self.head, self.needed, self.known = head, needed, known

    def __str__(self) -> str:
        return (
            f"The head {self.head!r} needs {self.needed}; this study holds {', '.join(self.known) or 'none'}.\n"
            "Extract the missing one into the same cache with ser-extract --modalities, or choose another --fusion."
        )


class ManifestMissing(FusionError, FileNotFoundError):
    """The cache carries no manifest and none was given."""

    def __init__(self, cache: str) -> None:
        super().__init__(cache)
        self.cache = cache

    def __str__(self) -> str:
        return (
            f"The cache {self.cache} carries no manifest (attachments/manifest.parquet), so labels and speakers are unknown.\n"
            "Give one with --manifest FILE (.parquet or .csv), or write the cache with ser-extract."
        )


class RunExists(FusionError, FileExistsError):
    """The run directory holds another job; its results would be mixed with ours."""

    def __init__(self, out: str, differences: tuple[str, ...]) -> None:
        super().__init__(out, differences)
        self.out, self.differences = out, differences

    def __str__(self) -> str:
        listed = "\n".join(f"  {line}" for line in self.differences[:8])
        return (
            f"{self.out} holds another run, so nothing was written. It differs in:\n{listed}\n"
            "Give another --out, repeat the run's own options to go on with it, or delete the folder."
        )


class RunChanged(FusionError, ValueError):
    """A run is to be repeated exactly, but what it was made from has changed."""

    def __init__(self, run: str, differences: tuple[str, ...]) -> None:
        super().__init__(run, differences)
        self.run, self.differences = run, differences

    def __str__(self) -> str:
        listed = "\n".join(f"  {line}" for line in self.differences[:8])
        return (
            f"{self.run} cannot be repeated exactly; since then these have changed:\n{listed}\n"
            "Restore them, or start a new run with the options of its run.json."
        )


class RunUnreadable(FusionError, FileNotFoundError):
    """A folder that should be a run directory is none."""

    def __init__(self, run: str, reason: str) -> None:
        super().__init__(run, reason)
        self.run, self.reason = run, reason

    def __str__(self) -> str:
        return f"{self.run} is not a run directory: {self.reason}.\nGive the folder that ser-fuse wrote with --out."


class RecordBroken(FusionError, ValueError):
    """A file of a run directory cannot be used as it is."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(file, problem)
        self.file, self.problem = file, problem

    def __str__(self) -> str:
        return (
            f"{self.file} cannot be used: {self.problem}.\n"
            "Copy the run again. If it is your own, delete this file's folder and run the same ser-fuse again: only what is "
            "missing is trained."
        )


class RecordMissing(RecordBroken):
    """A file of a run directory is not there."""

    def __init__(self, file: str, problem: str = "it is not there") -> None:
        super().__init__(file, problem)


class ClassifierUnusable(FusionError, ValueError):
    """``--classifier pkg.mod:Class`` names something that cannot be used as a classifier."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"The classifier {self.path} cannot be used: {self.problem}.\n"
            "Give a class with fit and predict as scikit-learn has them, for example "
            "--classifier sklearn.naive_bayes:GaussianNB, or a name of the table: svm, logreg, knn, lda, hist-gb, mlp."
        )


class ContextImpossible(FusionError, ValueError):
    """Previous turns of the dialogue cannot be read, or would carry speech from one part of a fold to another."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"--context is not possible: {self.problem}.\n{self.remedy} Or leave --context out."


class ExtraMissing(FusionError, ImportError):
    """An option needs a package that only an extra installs."""

    def __init__(self, option: str, package: str, extra: str) -> None:
        super().__init__(option, package, extra)
        self.option, self.package, self.extra = option, package, extra

    def __str__(self) -> str:
        return f"{self.option} needs {self.package}, which is not installed.\nInstall it: pip install 'ser-fusion[{self.extra}]'"


class ExtraTextUnusable(FusionError, ValueError):
    """The file given as --extra-text cannot be used."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be used as extra text: {self.problem}.\n"
            "It is a CSV with id, text, label and perhaps fold, of lines that ser-extract put into the same cache with the same text\n"
            "encoder and layer (ser-extract --corpus csv --modalities text, before the corpus itself)."
        )
