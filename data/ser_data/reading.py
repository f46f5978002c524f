"""From what stands on a command line to a manifest: NAME and ROOT, or a manifest file, with reader options as text."""

import inspect
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ser_base.errors import BadSettings, UnknownName, listing
from ser_base.progress import waiting
from ser_data.corpora import CORPORA
from ser_data.manifest.labels import resolve_scheme
from ser_data.manifest.table import Manifest


def options_of(corpus: str) -> dict[str, str]:
    """What the corpus's reader takes: option -> its default as text."""
    parameters = list(inspect.signature(CORPORA[corpus].read).parameters.values())[1:]
    return {p.name: str(p.default) for p in parameters if p.kind is not p.VAR_KEYWORD}


def parse_options(corpus: str, given: Iterable[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts as reader options: true and false, numbers, folders (`..._dir`, `..._root`), else text.

    Raises:
        BadSettings: No `=`.
        UnknownName: The reader has no such option.
    """
    known = options_of(corpus)
    options: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadSettings(f"--option {text}", "is not KEY=VALUE", f"{corpus} takes {listing(known)}.")
        name = key.strip().replace("-", "_")
        if name not in known:
            raise UnknownName(f"option of the corpus '{corpus}'", key, tuple(known))
        if name.endswith(("_dir", "_root")):
            options[name] = Path(value)
            continue
        try:
            options[name] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            options[name] = value
    return options


def read_any(corpus: str | None, root: str | None, manifest: str | None, options: Iterable[str] = ()) -> Manifest:
    """The manifest of a corpus, or the one in a file.

    Raises:
        BadSettings: Neither or both are given.
    """
    if manifest and not corpus:
        return Manifest.read(manifest)
    if corpus and root and not manifest:
        with waiting(f"Reading {corpus}"):
            return CORPORA[corpus].read(Path(root), **parse_options(corpus, options))
    given = f"NAME {corpus or '(none)'}, ROOT {root or '(none)'}, --manifest {manifest or '(none)'}"
    raise BadSettings(given, "it takes a corpus or a manifest", "Give NAME and ROOT, or --manifest FILE and no NAME.")


def read_named(sources: Iterable[str]) -> dict[str, Manifest]:
    """`NAME=MANIFEST` texts as name -> manifest.

    Raises:
        BadSettings: No `=`, or a name twice.
        BadManifest: A file that is no manifest.
    """
    found: dict[str, Manifest] = {}
    for text in sources:
        name, equals, path = text.partition("=")
        if not equals or name in found:
            what = "is not NAME=MANIFEST" if not equals else f"the corpus '{name}' is given twice"
            raise BadSettings(text, what, "Give each corpus a name, as: ravdess=ravdess.parquet demo=demo.parquet.")
        found[name] = Manifest.read(path)
    return found


def with_labels(manifest: Manifest, scheme: str | None) -> Manifest:
    """The manifest with the scheme's classes as labels and without what it leaves out; unchanged without a scheme."""
    if scheme is None:
        return manifest
    classes = resolve_scheme(scheme, manifest).apply(manifest.table["label"])
    table = manifest.table.assign(label=classes)
    return Manifest(table[classes.notna()], manifest.info, manifest.problems)
