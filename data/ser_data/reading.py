"""From the command line to a manifest: NAME and ROOT, or a manifest file, with options of the reader as text."""

import inspect
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
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


def parse_options(corpus: str, texts: Iterable[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts as reader options: true and false, numbers, folders (`..._dir`, `..._root`), else text.

    Raises:
        BadSettings: No `=`.
        UnknownName: The reader has no such option.
    """
    defaults = options_of(corpus)
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadSettings(f"--option {text}", "is not KEY=VALUE", f"{corpus} takes {listing(defaults)}.")
        name = key.strip().replace("-", "_")
        if name not in defaults:
            raise UnknownName(f"option of the corpus '{corpus}'", key, tuple(defaults))
        if name.endswith(("_dir", "_root")):
            options[name] = Path(value)
            continue
        try:
            options[name] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            options[name] = value
    return options


@dataclass(frozen=True, slots=True)
class Source:
    """What a command reads: the corpus NAME at ROOT, or a manifest file; and options of the corpus's reader as typed."""

    corpus: str | None
    root: str | None
    manifest: str | None = None
    options: tuple[str, ...] = ()

    def read(self, labels: str | None = None) -> Manifest:
        """The manifest; with a label scheme, its classes as labels and without the utterances that it leaves out.

        Raises:
            BadSettings: Neither or both are given.
        """
        if self.manifest and not self.corpus:
            manifest = Manifest.read(self.manifest)
        elif self.corpus and self.root and not self.manifest:
            with waiting(f"Reading {self.corpus}"):
                manifest = CORPORA[self.corpus].read(Path(self.root), **parse_options(self.corpus, self.options))
        else:
            typed = ", ".join(
                f"{name} {value or '(none)'}"
                for name, value in (("NAME", self.corpus), ("ROOT", self.root), ("--manifest", self.manifest))
            )
            what = "the command reads one corpus or one manifest"
            raise BadSettings(typed, what, "Give NAME and ROOT, or --manifest FILE without NAME.")
        if labels is None:
            return manifest
        classes = resolve_scheme(labels, manifest).apply(manifest.table["label"])
        table = manifest.table.assign(label=classes)
        return Manifest(table[classes.notna()], manifest.info, manifest.problems)


def read_named(sources: Iterable[str]) -> dict[str, Manifest]:
    """`NAME=MANIFEST` texts as name -> manifest.

    Raises:
        BadSettings: No `=`, or a name twice.
        BadManifest: A file that is not a manifest.
    """
    manifests: dict[str, Manifest] = {}
    for text in sources:
        name, equals, path = text.partition("=")
        if not equals or name in manifests:
            what = "is not NAME=MANIFEST" if not equals else f"the corpus '{name}' is given twice"
            raise BadSettings(text, what, "Give each corpus a name, as: ravdess=ravdess.parquet demo=demo.parquet.")
        manifests[name] = Manifest.read(path)
    return manifests
