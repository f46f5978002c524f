"""The model card of exported heads: protocol, scores with intervals, licence of the data, intended use, limits."""

import re
from math import isfinite
from pathlib import Path
from typing import Any

from ser_predict.models import facts as told
from ser_predict.models.base import Chosen

FOLDER = Path(__file__).parent


def plain(text: Any) -> str:
    """One line of Markdown that shows what a string holds: names of corpora and classes are other people's text."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(str(text).split()))


def model_card(chosen: Chosen) -> str:
    """The card of the heads that answer, as Markdown with the hub's YAML head."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from ser_fusion.evaluation.audit_words import tuned_on
    from ser_fusion.reporting.words import bounds, score

    facts, main = chosen.source.facts, chosen.main
    corpus, entries = facts["corpus"], facts.get("cache", {}).get("entries", {})
    temperatures = sorted(member.temperature for member in main.members)
    cards = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    cards.filters.update(plain=plain, score=score, bounds=bounds)
    return cards.get_template("card.md.j2").render(
        title=told.corpus_title(facts),
        synthetic=bool(corpus.get("synthetic")),
        licence=corpus.get("licence") or "not known",
        citation=corpus.get("citation"),
        count=len(main.members),
        row=main.name,
        streams=main.streams,
        classes=chosen.source.classes,
        features=told.features(facts),
        protocol=facts["protocol"],
        held_out=told.held_out(facts),
        folds=len({member.fold for member in main.members}),
        seeds=sorted({member.seed for member in main.members}),
        fingerprint=facts.get("folds_fingerprint", ""),
        scores=told.test_scores(chosen),
        uwa=main.uwa if isfinite(main.uwa) else None,
        chance=1 / len(chosen.source.classes),
        temperatures=f"{temperatures[0]:.2f} to {temperatures[-1]:.2f}",
        reliability=told.reliability(chosen),
        tuned=[w for e in entries.values() if (w := tuned_on(str(e.get("encoder")), str(corpus.get("name"))))],
        intended=told.INTENDED,
        never=told.NOT_FOR,
        limits=told.limits(chosen),
    )
