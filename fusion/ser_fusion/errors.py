"""What can go wrong in stage two, one class per kind.

FusionError
 ├─ MissingRows        an utterance of the manifest is neither done nor failed in the cache
 ├─ NothingToTrain     no utterance has a label and every stream
 ├─ ClassMissing       a training part lacks a class
 ├─ OneClass           all utterances are of one class
 ├─ StreamMissing      a head asks for a stream that the cache does not hold
 ├─ ManifestMissing    the cache carries no manifest and none was given
 ├─ RunExists          the run directory holds another job
 ├─ RunChanged         --from-run finds another cache or other folds
 ├─ RunUnreadable      a folder is not a run directory
 ├─ RecordBroken       a file of a run directory is not there, cut, or holds something else
 ├─ ClassifierUnusable --classifier pkg.mod:Class is not a classifier
 ├─ ExtraTextUnusable  the file of --extra-text does not fit the cache
 ├─ FramesTooLarge     the frames fit neither in memory nor on the disk of the run directory
 └─ ContextImpossible  --context without dialogues, without their order, or with dialogues on two sides of a fold
"""

from collections.abc import Mapping
from pathlib import Path

from ser_base.errors import SerError, suggestion


class FusionError(SerError):
    """Stage two cannot do what was asked."""


class MissingRows(FusionError, KeyError):
    """Utterances of the manifest have no row in an entry of the cache and are not recorded as failed either."""

    cache: str
    stream: str
    ids: tuple[str, ...]
    asked: int
    got = "{ids:n} of {asked:,} utterances have no {stream} row in {cache}: {ids:3}."
    known = "They did not fail either: the extraction is not finished, or the manifest is a different one."
    next = "Run ser-extract again with the same options; it computes only what is missing."


class NothingToTrain(FusionError, ValueError):
    """No utterance is left that has a label and a row in every stream."""

    cache: str
    rows: int
    labelled: int
    scheme: str
    got = "No utterance of {cache} can be used: {rows:,} rows, {labelled:,} with a label under the label scheme {scheme!r}."
    next = "Look at excluded.csv or failures.csv, or give another --labels."


class FramesTooLarge(FusionError, OSError):
    """The frames of a run do not fit in memory, and not on the disk of its directory either."""

    out: str
    needed: int
    left: int
    free: int
    got = "The frames take {needed:gb}; {left:gb} of memory and {free:gb} of the disk of {out} are free."
    next = "Give a --stride, fewer layers, or --out on a larger disk."


class ClassMissing(FusionError, ValueError):
    """The training part of a fold holds no example of a class, so no head could ever predict it."""

    fold: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    protocol: str
    got = "Fold {fold} of protocol {protocol} has no training example of {classes}."
    known = "Its training part holds: {counts}."
    next = "Give another --protocol or --dev, merge or drop the class with --labels, or raise --train-fraction."


class OneClass(FusionError, ValueError):
    """All usable utterances are of one class: there is nothing to tell apart."""

    classes: tuple[str, ...]
    utterances: int
    scheme: str
    got = (
        "All {utterances:,} utterances are of the class {classes} under the label scheme {scheme!r}, so "
        "there is nothing to learn."
    )
    next = "Give a manifest with two classes or more (--manifest), or another --labels."


class StreamMissing(FusionError, KeyError):
    """A head asks for a stream that the study does not hold."""

    head: str
    needed: str
    streams: tuple[str, ...]
    got = "The head {head!r} needs {needed}."
    known = "The streams of this study are {streams}."
    next = "Extract the missing one into the same cache with ser-extract --modalities, or choose another --fusion."


class ManifestMissing(FusionError, FileNotFoundError):
    """The cache carries no manifest and none was given."""

    cache: str
    got = "The cache {cache} carries no manifest (attachments/manifest.parquet), so labels and speakers are unknown."
    next = "Give one with --manifest FILE (.parquet or .csv), or write the cache with ser-extract."


class RunExists(FusionError, FileExistsError):
    """The run directory holds another job; its results would be mixed with ours."""

    out: str
    differences: tuple[str, ...]
    got = "{out} holds a different run, so nothing was written. The differences are:"
    known = "{differences:lines}"
    next = "Give another --out, use the options of that run to continue it, or delete the folder."


class RunChanged(FusionError, ValueError):
    """A run is to be repeated exactly, but what it was made from has changed."""

    run: str
    differences: tuple[str, ...]
    got = "{run} cannot be repeated exactly. These have changed since then:"
    known = "{differences:lines}"
    next = "Restore them, or start a new run with the options of its run.json."


class RunUnreadable(FusionError, FileNotFoundError):
    """A folder that should be a run directory is not one."""

    run: str
    reason: str
    got = "{run} is not a run directory: {reason}."
    next = "Give the folder that ser-fuse wrote with --out."


class RecordBroken(FusionError, ValueError):
    """A file of a run directory cannot be used as it is."""

    file: str
    problem: str
    got = "{file} cannot be used: {problem}."
    next = "Copy the run again. {otherwise}"

    @property
    def otherwise(self) -> str:
        """What to do without a copy. Only a training's own folder may go; that of another file holds the whole run."""
        path = Path(self.file)
        if path.name == "run.json":
            return "Without a copy the run cannot go on: begin another one with another --out."
        if path.parts[-4:-3] == ("jobs",):
            return "If it is your own, delete this file's folder and run the same ser-fuse again: only what is missing is trained."
        return "If it is your own, delete what is there of it and run the command that wrote it again."


class RecordMissing(RecordBroken):
    """A file of a run directory is not there."""

    problem: str = "it is not there"


class ClassifierUnusable(FusionError, ValueError):
    """``--classifier pkg.mod:Class`` names something that cannot be used as a classifier."""

    path: str
    problem: str
    got = "The classifier {path} cannot be used: {problem}."
    next = (
        "Give a class with fit and predict as scikit-learn has them, for example "
        "--classifier sklearn.naive_bayes:GaussianNB, or a name of the table: svm, logreg, knn, lda, hist-gb, mlp."
    )


class ContextImpossible(FusionError, ValueError):
    """Previous turns of the dialogue cannot be read, or would carry speech from one part of a fold to another."""

    problem: str
    remedy: str
    got = "--context is not possible: {problem}."
    next = "{remedy} Or leave --context out."


class ExtraTextUnusable(FusionError, ValueError):
    """The file given as --extra-text cannot be used."""

    path: str
    problem: str
    got = "{path} cannot be used as extra text: {problem}."
    next = (
        "Give a CSV with the columns id, text and label, and fold where lines belong to folds. Extract its text first, into the same "
        "cache, with the same text encoder and layer: `ser extract --corpus csv --modalities text`."
    )


class EvaluationError(FusionError, ValueError):
    """Base of the errors of this package."""


class NotARun(EvaluationError):
    """A folder that is not a run directory, or a broken one."""

    folder: str
    reason: str
    got = "{folder} is not a run directory: {reason}."
    known = (
        "A run directory is what `ser-fuse --out DIR` leaves behind: run.json, predictions.parquet, utterances.parquet."
    )
    next = "Name such a folder, or list those below a folder with `ser runs FOLDER`."


class CacheGone(EvaluationError, FileNotFoundError):
    """A run whose feature cache is missing, or holds other features now."""

    folder: str
    cache: str
    got = "The features of {folder} are not in the cache {cache} any more."
    next = "Look at the features that are there: ser probe --cache DIR --map tsne. Or train again: ser fuse."


class UnknownRow(EvaluationError):
    """A row that a run does not have."""

    row: str
    folder: str
    rows: tuple[str, ...]
    got = "{folder} has no row {row!r}."
    known = "{near}Its rows are: {rows}."
    next = "Name one of them as RUN:ROW."

    @property
    def near(self) -> str:
        return suggestion(self.row, self.rows)


class NotComparable(EvaluationError):
    """Two runs whose numbers do not belong side by side."""

    a: str
    b: str
    differences: tuple[str, ...]
    got = "{a} and {b} cannot be compared:"
    known = "{listed}"
    next = (
        "A paired test needs the same utterances, labels and folds. Repeat one of the runs with the other's settings: "
        "`ser-fuse --from-run DIR`."
    )

    @property
    def listed(self) -> str:
        return "\n".join(f"  - {difference}" for difference in self.differences)


class RowsNotNamed(EvaluationError):
    """Two runs without a row in common and with many pairs of rows."""

    a: str
    b: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    got = "{a} and {b} have no row in common, and {pairs} pairs of rows."
    known = "{a} has {ours}; {b} has {theirs}."
    next = "Name the rows: `ser compare {a}:{ours[0]} {b}:{theirs[0]}`."

    @property
    def pairs(self) -> int:
        return len(self.ours) * len(self.theirs)


class NoEnsemble(EvaluationError):
    """An ensemble that would have one member, or whose members have trained on what they are tested on."""

    kind: str
    problem: str
    remedy: str
    got = "--ensemble {kind} is not possible: {problem}."
    next = "{remedy}"
