"""Checks what every reader promises, the public contract of corpora, with functions that raise AssertionError.

`check_corpus(CORPUS, root)` asks a reader of your own everything, on an archive or a small one in its layout
(docs/guides/add-a-part.md). The repository's own tests ask the same of every row of the table.
"""

import tempfile
from pathlib import Path
from typing import Any

from ser_data.corpora.base import AUDIO_SUFFIXES, Corpus, length, visible_files
from ser_data.errors import BadManifest, BadRoot
from ser_data.manifest.labels import SCHEMES, resolve_scheme
from ser_data.manifest.table import Manifest

CLOSE = 0.05
"""Seconds by which a span or a duration may pass the end of its file."""


def check_card(corpus: Corpus) -> None:
    """Checks that the card says what the corpus is, under which licence, and how its files lie."""
    info = corpus.info
    lacking = [key for key in ("name", "title", "licence", "layout", "transcripts") if not getattr(info, key)]
    assert not lacking, f"the card has no {', '.join(lacking)}"
    assert not info.scheme or info.scheme in SCHEMES, (
        f"the card's scheme {info.scheme} is not one of {', '.join(SCHEMES)}"
    )


def check_wrong_root(corpus: Corpus, folder: Path) -> None:
    """Checks that the reader refuses a folder of something else in two lines: what is there, and what to do.

    Args:
        corpus: The reader.
        folder: An empty folder; a file is written into it.
    """
    (folder / "something.else").write_text("x")
    try:
        manifest = corpus.read(folder)
    except (BadRoot, BadManifest) as error:
        assert str(folder) in str(error), f"the message does not name the folder: {error}"
        assert len(str(error).splitlines()) == 2, f"the message has not two lines: {error}"
    else:
        raise AssertionError(f"a folder of something else is read as {manifest!r}; raise BadRoot")


def check_rows(manifest: Manifest) -> None:
    """Checks that every row names a file and a span inside it, that labels are known, and that problems have reasons."""
    scheme = resolve_scheme(None, manifest)
    labels = set(manifest.table["label"].dropna()) - set(scheme.mapping) - set(scheme.ignored)
    assert not labels, f"the label scheme {scheme.name} does not know {sorted(labels)}"
    for row in manifest.utterances():
        assert row.path is None or Path(row.path).is_absolute(), f"{row.id}: the path {row.path} is not absolute"
        file_length = length(Path(row.path)) if row.path is not None else None
        start = row.start or 0.0
        assert start >= 0 and (row.end is None or row.end >= start), f"{row.id}: the span is {row.start} to {row.end}"
        if file_length is not None:
            end = start + (row.duration or 0.0) if row.end is None else row.end
            assert end <= file_length + CLOSE, f"{row.id}: it ends at {end:.3f} s in a file of {file_length:.3f} s"
    for problem in manifest.problems:
        assert problem.reason, f"a problem without a reason: {problem!r}"
        assert problem.id or problem.where or problem.detail, f"a problem without a place: {problem!r}"


def check_nothing_lost(manifest: Manifest, root: Path) -> None:
    """Checks that every audio file under the root belongs to a row, or that a problem names it."""
    row_files = {str(Path(path).resolve()) for path in manifest.table["path"].dropna()}
    named = " ".join(f"{problem.id} {problem.where} {problem.detail}" for problem in manifest.problems)
    lost = [
        path
        for path in visible_files(root, AUDIO_SUFFIXES)
        if str(path.resolve()) not in row_files and path.stem not in named
    ]
    assert not lost, f"{len(lost)} files are left out in silence, such as {lost[0]}"


def check_corpus(corpus: Corpus, root: Path, *, lossless: bool = True, **options: Any) -> Manifest:
    """Checks everything that a reader promises.

    Args:
        corpus: The reader.
        root: An archive that it reads, real or small.
        lossless: Whether every audio file below the root must be a row or a problem. False for archives that keep other
            recordings beside those of the utterances.
        options: Options of `read`.

    Returns:
        The manifest that was read.

    Raises:
        AssertionError: A promise is not kept; the message says which.

    Examples:
        >>> from pathlib import Path
        >>> from ser_data import CORPORA
        >>> from ser_data.testing import check_corpus
        >>> len(check_corpus(CORPORA["csv"], Path("corpus.csv")))
        36
    """
    check_card(corpus)
    with tempfile.TemporaryDirectory() as empty:
        check_wrong_root(corpus, Path(empty).resolve())
    manifest, again = corpus.read(root, **options), corpus.read(root, **options)
    assert len(manifest), "no utterance was read"
    assert manifest.table.equals(again.table) and manifest.problems == again.problems, (
        "a second reading gives other rows"
    )
    assert set(manifest.table["corpus"]) == {manifest.info.name}, "rows carry another corpus's name"
    check_rows(manifest)
    if lossless:
        check_nothing_lost(manifest, root)
    return manifest
