"""Jobs in ``run.json`` of earlier versions, in the words of this one: the same trainings, now asked for by options.

Until dropout was split, a job had one ``dropout``, and the preset ``corrected`` meant: dropout .5 of everything, whole streams
dropped with .3, no norm of pooled vectors, stopped early, not refitted. Until ``norm_first`` was a field, attention normalised
what it gives.
"""

from collections.abc import Mapping
from typing import Any

from ser_fusion.heads import HEADS

_CORRECTED = {"frame_dropout": (0.5,), "pool_dropout": (0.5,), "pool_norm": "none", "early_stopping": True}
_STREAM_DROPOUT = 0.3
_GONE = ("trace_test",)  # looked at the test part every epoch and changed no result


def in_todays_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is given to ``FuseJob``, with the options that stand for what an earlier version did.

    Jobs of this version are returned as they are. An earlier job that has ``corrected`` beside other presets keeps its rows, but
    no options stand for all of its presets at once.
    """
    job = {name: value for name, value in values.items() if name not in _GONE}
    if {*_GONE, "refit"} <= set(values) or {"dropout", "refit"} <= set(values):
        job.setdefault("norm_first", False)
    if not {"dropout", "refit"} <= set(job):  # a job read from a file has every field
        return job
    dropout = tuple(job.pop("dropout"))
    if tuple(job.get("preset", ())) == ("corrected",):
        job |= _CORRECTED
        fusion = ("self",) if job.get("table") else job.get("fusion", ())
        if job.get("stream_dropout") is None and any(HEADS[name].drops_streams for name in fusion if name in HEADS):
            job["stream_dropout"] = _STREAM_DROPOUT
    if dropout:
        job |= {"frame_dropout": dropout, "pool_dropout": dropout, "pool_norm": "none"}
    return job
