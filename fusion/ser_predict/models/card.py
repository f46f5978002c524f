"""What the numbers of some heads are worth, in sentences: the notice of the live page, and the model card of an export."""

import re
from math import isfinite
from pathlib import Path
from typing import Any

from ser_predict.models.ensemble import Chosen

FOLDER = Path(__file__).parent
INTENDED = (
    "Research and teaching on speech emotion recognition: comparing features and fusion heads, and trying "
    "them on new recordings."
)
LIMITS = (
    "A label is what the raters of the training corpus would have called such speech. It is not what a person feels.",
    "Other languages, rooms, microphones, ages and ways of speaking were not tested. They get a label too, and so do music "
    + "and noise.",
)
NOT_FOR = (
    "Do not judge persons with it: not for hiring, education, policing, health, credit, surveillance or lie detection. In the European "
    "Union, emotion recognition at work and in schools is forbidden, except for medical or safety reasons (Regulation 2024/1689, Article 5)."
)


def features(facts: Any) -> list[tuple[str, str]]:
    """Stream and what its frames come from, of ``run.json``'s content."""
    entries = facts.get("cache", {}).get("entries", {})
    sources = []
    for stream, entry in entries.items():
        layers = entry.get("layers") or [entry["layer"]]
        which = (
            f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))} with learned weights"
        )
        sources.append((stream, f"{entry['encoder']}, {which}"))
    return sources


def corpus_title(facts: Any) -> str:
    """The corpus's name for readers."""
    corpus = facts["corpus"]
    return str(corpus.get("title") or corpus.get("name") or "an unnamed corpus")


def held_out(facts: Any) -> str:
    """What the test part of a fold did not share with its training part, in words."""
    names = facts.get("held_out") or []
    units = ", ".join([names] if isinstance(names, str) else names)
    return (
        f"tested on a {units.replace(', ', ' and ')} not trained on"
        if units
        else "without held-out speakers or sessions"
    )


def limits(chosen: Chosen) -> list[str]:
    """What the heads were not tested for, and what their confidence is worth."""
    why = chosen.main.uncalibrated
    calibrated = (
        f"The posteriors are not calibrated: {why}."
        if why
        else "The posteriors are calibrated on the development speakers of the corpus. Calibration on your recordings was not tested."
    )
    return [*LIMITS, calibrated]


def test_scores(chosen: Chosen) -> list[tuple[str, float, float | None, float | None]]:
    """Pooled test scores of the row with their intervals over speakers: (metric, score, low, high), 0 to 1."""
    scores = chosen.source.scores(chosen.main.slug) or {}
    return [(name, entry["pooled"], entry.get("low"), entry.get("high")) for name, entry in scores.items()]


def reliability(chosen: Chosen) -> str | None:
    """What the threshold is worth on development data, in a sentence; None without development parts."""
    share, right = chosen.main.reliability(chosen.threshold)
    if not chosen.threshold or not isfinite(share):
        return None
    share_kept = f"On the development speakers of the corpus, {share:.0%} of the answers reach {chosen.threshold:g}"
    return f"{share_kept}, and {right:.0%} of those are right." if isfinite(right) else f"{share_kept}."


def notice(chosen: Chosen) -> list[tuple[str, str]]:
    """Term and sentence for each thing that a reader of the numbers must know, the most important first."""
    from ser_fusion.reporting.words import bounds, score

    facts, main = chosen.source.facts, chosen.main
    corpus = facts["corpus"]
    synthetic = (
        " Its speech is synthetic: the numbers say nothing about human emotion." if corpus.get("synthetic") else ""
    )
    lines = [
        ("Corpus", f"{corpus_title(facts)}: {', '.join(chosen.source.classes)}.{synthetic}"),
        ("Protocol", f"{facts['protocol']}; {len(main.members)} heads of the row {main.name} are averaged."),
    ]
    uwa = next((entry for entry in test_scores(chosen) if entry[0] == "UWA"), None)
    if uwa is not None:
        interval = bounds(uwa[2], uwa[3])
        within = f", 95 % interval {interval}" if interval else ""
        chance = score(1 / len(chosen.source.classes))
        lines.append(("Score", f"UWA {score(uwa[1])}{within}; {held_out(facts)}; chance is {chance}."))
    if (worth := reliability(chosen)) is not None:
        lines.append(("Unsure", f"{worth} Below the threshold, the answer is 'unsure'."))
    lines.append(("Meant for", INTENDED))
    lines += [("Limits", line) for line in limits(chosen)]
    lines.append(("Never for", NOT_FOR))
    return lines


def plain(text: Any) -> str:
    """One line of Markdown that shows what a string holds: names of corpora and classes are other people's text."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(str(text).split()))


def model_card(chosen: Chosen) -> str:
    """The card of the heads that answer, as Markdown with the hub's YAML head."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from ser_fusion.evaluation.corpora import tuned_on
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
        title=corpus_title(facts),
        synthetic=bool(corpus.get("synthetic")),
        licence=corpus.get("licence") or "not known",
        citation=corpus.get("citation"),
        count=len(main.members),
        row=main.name,
        streams=main.streams,
        classes=chosen.source.classes,
        features=features(facts),
        protocol=facts["protocol"],
        held_out=held_out(facts),
        folds=len({member.fold for member in main.members}),
        seeds=sorted({member.seed for member in main.members}),
        fingerprint=facts.get("folds_fingerprint", ""),
        leaks=chosen.source.leaks,
        scores=test_scores(chosen),
        uwa=main.uwa if isfinite(main.uwa) else None,
        chance=1 / len(chosen.source.classes),
        temperatures=f"{temperatures[0]:.2f} to {temperatures[-1]:.2f}",
        reliability=reliability(chosen),
        tuned=[w for e in entries.values() if (w := tuned_on(str(e.get("encoder")), str(corpus.get("name"))))],
        intended=INTENDED,
        never=NOT_FOR,
        limits=limits(chosen),
    )
