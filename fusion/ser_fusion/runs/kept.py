"""What judging made and keeps: the leak audit with the cache, the reference rows and probes with the run.

Each is kept under a key of all that it follows from: data, labels, the table's columns, the rules for folds and refitting, code
and versions. ``references/`` holds ``rows.json`` (the rows, their key, the hash of each file), ``test.parquet`` and
``dev.parquet``. A cache that cannot be written to keeps no audit; then the run's own ``audit.json`` is read by the next command.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash

from ser_base.files import replacing, write_json
from ser_cache import CacheError, MissingAttachment, open_cache
from ser_fusion.errors import RecordBroken, RecordMissing
from ser_fusion.evaluation.audit import PROTOCOLS, asked_rule, audit_study
from ser_fusion.evaluation.probes import Fits, read_probe
from ser_fusion.evaluation.records import Audit, Record, Row, check, read_record
from ser_fusion.evaluation.references import Reference, reference_rows
from ser_fusion.runs.environment import JUDGING, makers
from ser_fusion.study.data import Pooled
from ser_fusion.study.open import Study

FOLDER = "references"


def ground_of(study: Study, *facts: object, made_by: object = None) -> str:
    """xxh3-128 of a study's data, labels and columns (not its folds), of further facts, and of the code and versions that judge."""
    import pandas as pd

    digest = xxhash.xxh3_128(pd.util.hash_pandas_object(study.table.astype(str)).to_numpy().tobytes())
    ground: list[object] = [
        list(study.table),
        study.classes,
        facts,
        made_by or makers(*JUDGING),
    ]
    for stream, entry in sorted(study.streams.items()):
        hashes = entry.input_hashes
        ground.append((stream, entry.fingerprint, [hashes.get(name, "") for name in study.table.index]))
    digest.update(repr(ground).encode())
    return digest.hexdigest()


class Kept(Record):
    """``rows.json``."""

    ground: str
    rows: list[Row]
    files: dict[str, str]


def kept_references(
    study: Study,
    out: Path,
    seeds: Sequence[int],
    features: Callable[[], Pooled],
    fits: Fits,
    refit: bool,
    say: Callable[[str], None],
) -> list[Reference]:
    """The reference rows of a study on its folds, read where they are kept and computed where they are not.

    Args:
        study: Utterances, classes, folds and streams.
        out: The run directory.
        seeds: The heads' seeds; only the random rows use them.
        features: Gives ``stream_features(study)``; asked only if the rows have to be computed.
        fits: Where probes are looked up and kept.
        refit: Whether the tested heads were fitted on the development part too.
        say: Called with the reason why the kept rows cannot be used.
    """
    key = ground_of(study, FOLDER, study.folds.fingerprint, list(seeds), refit)
    folder = out / FOLDER
    try:
        kept = read_record(folder / "rows.json", Kept)
        if kept["ground"] == key:
            return _read(folder, kept, fits)
    except RecordMissing:
        pass
    except (RecordBroken, OSError, ValueError, KeyError) as error:
        said = error.problem if isinstance(error, RecordBroken) else str(error).splitlines()[0]
        say(f"kept reference rows cannot be used ({said}); computed again")
    references = reference_rows(study, seeds, refit=refit, features=features(), fits=fits)
    _write(folder, key, references)
    return references


def _read(folder: Path, kept: dict[str, Any], fits: Fits) -> list[Reference]:
    import pandas as pd

    frames = {}
    for part in ("test", "dev"):
        path = folder / f"{part}.parquet"
        if xxhash.xxh3_128_hexdigest(path.read_bytes()) != kept["files"][part]:
            raise ValueError(f"{path.name} is not as it was written")
        frames[part] = dict(list(pd.read_parquet(path).groupby("row", sort=False)))
    for info in kept["rows"]:
        for fit in (info.get("fits") or {}).values():
            if fits.folder is not None and read_probe(fits.folder / f"{fit}.safetensors") is None:
                raise ValueError(f"the probe {fit} cannot be read")
    return [Reference(info, frames["test"][info["slug"]], frames["dev"].get(info["slug"])) for info in kept["rows"]]


def _write(folder: Path, key: str, references: Sequence[Reference]) -> None:
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    tests = [reference.test for reference in references]
    devs = [reference.dev for reference in references if reference.dev is not None] or [tests[0].iloc[:0]]
    for part, frames in (("test", tests), ("dev", devs)):
        with replacing(folder / f"{part}.parquet") as scratch:
            pd.concat(frames, ignore_index=True).to_parquet(scratch, index=False)
            files[part] = xxhash.xxh3_128_hexdigest(scratch.read_bytes())
    content = {"ground": key, "rows": [reference.info for reference in references], "files": files}
    write_json(folder / "rows.json", content)


def kept_audit(
    study: Study,
    out: Path,
    features: Callable[[], Pooled],
    fits: Fits,
    refit: bool,
    say: Callable[[str], None],
    *,
    audit: Callable[..., dict[str, Any]] = audit_study,
    made_by: object = None,
) -> dict[str, Any]:
    """The audit of a study, read where it is kept and made where it is not.

    Args:
        study: Utterances, classes, development rule.
        out: The run directory, whose own audit may be of the same ground.
        features: Gives ``stream_features(study)``; asked only if the audit has to be made.
        fits: Where probes are looked up.
        refit: Whether rows are fitted on the development part too.
        say: Called with the reason why the kept audit cannot be used.
        audit: Makes an audit; options as for ``audit_study``.
        made_by: Code and versions that would make it now; None for those of this process.
    """
    key = ground_of(study, "audit", PROTOCOLS, asked_rule(study.folds.dev), refit, made_by=made_by)
    name = f"audit-{key}.json"
    try:
        own = read_record(out / "audit.json", Audit)
        if own.get("ground") == key:
            return own
    except RecordMissing:
        pass
    except RecordBroken as error:
        say(f"audit.json: {error.problem}; made again")
    cache = open_cache(study.cache)
    try:
        kept = check(json.loads(cache.attachment(name)), Audit, Path(name))
        if kept.get("ground") == key:
            return kept
        say(f"{name} of the cache is of another ground; made again")
    except MissingAttachment:
        pass
    except (CacheError, RecordBroken, ValueError) as error:
        say(f"{name} of the cache cannot be used ({str(error).splitlines()[0]}); made again")
    made = {**audit(study, features=features(), refit=refit, fits=fits), "ground": key}
    with suppress(CacheError, OSError):  # a cache that cannot be written to
        cache.attach(name, json.dumps(made, indent=1, ensure_ascii=False).encode())
    return made
