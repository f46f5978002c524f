"""The corpus of a job as a manifest: read, labels judged if a scheme is named, cut to the limit."""

from platformdirs import user_cache_path

from ser_data.corpora import CORPORA
from ser_data.manifest.labels import resolve_scheme
from ser_data.manifest.table import Manifest, Problem
from ser_extract.errors import SettingMissing
from ser_extract.job import ExtractJob

SELF_MADE = "demo"
"""The corpus that makes itself; without a root in the user's cache directory."""


def read_corpus(job: ExtractJob) -> Manifest:
    """Reads the corpus.

    Raises:
        SettingMissing: The corpus needs a root and none is given.
        CorpusError: What `ser_data` finds wrong.
    """
    reader = CORPORA[job.corpus]
    root = job.root
    if root is None and job.corpus == SELF_MADE:
        root = user_cache_path("ser-fusion") / "demo-corpus"
    if root is None:
        raise SettingMissing("where the corpus is", "--root", "SER_ROOT")
    manifest = reader.read(root)
    if job.labels is not None:
        manifest = judge_labels(manifest, job.labels)
    if job.limit is not None and job.limit < len(manifest):
        manifest = Manifest(manifest.table.head(job.limit), manifest.info, manifest.problems)
    return manifest


def judge_labels(manifest: Manifest, scheme: str) -> Manifest:
    """Drops rows whose label the scheme does not know; each becomes a problem that lists the known ones."""
    known = resolve_scheme(scheme, manifest)
    names = set(known.mapping) | set(known.ignored)
    labels = manifest.table["label"]
    unknown = labels.notna() & ~labels.isin(names)
    problems = tuple(
        Problem(str(row.id), "unknown label", f"'{row.label}'; {known.name} knows {', '.join(sorted(names))}")
        for row in manifest.table[unknown].itertuples()
    )
    return Manifest(manifest.table[~unknown], manifest.info, (*manifest.problems, *problems))
