"""The leak audit of a run: made once for a ground, kept with the cache, and read by every run on the same data and labels.

Its key holds all that it follows from: data, labels, the table's columns, the rules for folds and refitting, code and versions.
A cache that cannot be written to keeps nothing; then the run's own ``audit.json`` is read by the next command into the run.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash

from ser_cache import CacheError, MissingAttachment, open_cache
from ser_fusion.errors import RecordBroken, RecordMissing
from ser_fusion.evaluation.audit import PROTOCOLS, asked_rule, audit_study
from ser_fusion.evaluation.probe_rows import Pooled
from ser_fusion.evaluation.probes import Fits
from ser_fusion.evaluation.records import Audit, check, read_record
from ser_fusion.runs.environment import code, versions
from ser_fusion.study.open import Study


def ground_of(study: Study, *facts: object) -> str:
    """xxh3-128 of a study's data, labels and columns (not its folds), of further facts, and of the code and versions that judge."""
    import pandas as pd

    digest = xxhash.xxh3_128(pd.util.hash_pandas_object(study.table.astype(str)).to_numpy().tobytes())
    told: list[object] = [
        list(study.table),
        study.classes,
        facts,
        code("ser_fusion.evaluation", "ser_data"),
        versions(),
    ]
    for stream, entry in sorted(study.streams.items()):
        hashes = entry.input_hashes
        told.append((stream, entry.fingerprint, [hashes.get(name, "") for name in study.table.index]))
    digest.update(repr(told).encode())
    return digest.hexdigest()


def kept_audit(
    study: Study, out: Path, features: Callable[[], Pooled], fits: Fits, refit: bool, told: Callable[[str], None]
) -> dict[str, Any]:
    """The audit of a study, read where it is kept and made where it is not.

    Args:
        study: Utterances, classes, development rule.
        out: The run directory, whose own audit may be of the same ground.
        features: Gives ``stream_features(study)``; asked only if the audit has to be made.
        fits: Where probes are looked up.
        refit: Whether rows are fitted on the development part too.
        told: Called with what a kept audit is not used for, in words.
    """
    key = ground_of(study, "audit", PROTOCOLS, asked_rule(study.folds.dev), refit)
    name = f"audit-{key}.json"
    try:
        own = read_record(out / "audit.json", Audit)
        if own.get("ground") == key:
            return own
    except RecordMissing:
        pass
    except RecordBroken as error:
        told(f"audit.json: {error.problem}; made again")
    cache = open_cache(study.cache)
    try:
        kept = check(json.loads(cache.attachment(name)), Audit, Path(name))
        if kept.get("ground") == key:
            return kept
        told(f"{name} of the cache is of another ground; made again")
    except MissingAttachment:
        pass
    except (CacheError, RecordBroken, ValueError) as error:
        told(f"{name} of the cache cannot be used ({str(error).splitlines()[0]}); made again")
    made = {**audit_study(study, features=features(), refit=refit, fits=fits), "ground": key}
    with suppress(CacheError, OSError):  # a cache that cannot be written to
        cache.attach(name, json.dumps(made, indent=1, ensure_ascii=False).encode())
    return made
