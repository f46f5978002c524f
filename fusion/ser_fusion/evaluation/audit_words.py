"""The leak audit in sentences."""

from typing import Any

TRIVIAL = ("majority", "speaker-prior", "scenario-prior", "dialogue-prior")  # rows that neither hear nor read
STRICT = "session+scenario"
CONTROL = "session, as small"  # as few training utterances of each class as STRICT has, but the scenarios stay
_PRIORS = ("scenario-prior", "dialogue-prior")
_NOTABLE = 0.02  # smaller differences are not put into words


def _score(value: float) -> str:
    return f"{value:.3f}".lstrip("0") if value < 1 else "1.000"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _telling(audit: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in audit["rows"] if row["slug"] not in TRIVIAL]


def audit_words(audit: dict[str, Any]) -> list[str]:
    """Sentences about drops between protocols, about priors, and about what is left under the strictest protocol.

    Args:
        audit: What ``audit_table`` has gathered so far (without ``words``).
    """
    chance = 1 / len(audit["classes"])
    lines = _scenario(audit, chance) + _left(audit) + _priors(audit, chance) + _random(audit)
    share = audit["overlap"].get("session", 0.0)
    if share >= _NOTABLE:
        lines.append(
            f"Under session, {100 * share:.0f} % of the test transcripts occur word for word in their training part."
        )
    if audit["skipped"]:
        reasons = (f"{protocol} ({reason.rstrip('.')})" for protocol, reason in audit["skipped"].items())
        lines.append(f"Not audited: {'; '.join(reasons)}.")
    if STRICT not in audit["protocols"]:
        lines.append("Scenario leaks cannot be excluded: the corpus does not allow session+scenario folds.")
    return lines


def _scenario(audit: dict[str, Any], chance: float) -> list[str]:
    """What happens to every row that hears or reads once the scenario is held out too, beside the control for size."""
    lines = []
    for row in _telling(audit):
        loose, strict = row["scores"].get("session"), row["scores"].get(STRICT)
        if loose is None or strict is None:
            continue
        if loose["UWA"] <= loose["high"] and strict["UWA"] <= strict["high"]:
            lines.append(f"{row['name']} is at chance under session and {STRICT}.")
            continue
        control = row["scores"].get(CONTROL)
        fair = (control or loose)["UWA"]
        drop = fair - strict["UWA"]
        said = f"{row['name']}: {_score(loose['UWA'])} UWA under session, "
        if control is not None:
            said += f"{_score(control['UWA'])} with as little training data as under {STRICT}, "
        said += f"{_score(strict['UWA'])} once the scenario is held out too ({-100 * drop:+.1f} points)"
        if drop > max(_NOTABLE, 0.5 * (fair - chance)):
            said += ": most of what it scores above chance under session is the scenario, not emotion"
        elif drop > _NOTABLE:
            said += ": a part of what it scores under session is the scenario"
        lines.append(said + ".")
    return lines


def _random(audit: dict[str, Any]) -> list[str]:
    """What random folds add, by sharing speakers and dialogues."""
    if not {"random", "session"} <= set(audit["protocols"]):
        return []
    lines, kept = [], []
    for row in _telling(audit):
        gain = row["scores"]["random"]["UWA"] - row["scores"]["session"]["UWA"]
        if gain >= _NOTABLE:
            lines.append(
                f"Random folds, which share speakers and dialogues, lift {row['name']} by {100 * gain:.1f} points."
            )
        else:
            kept.append(row["name"])
    if kept:
        lines.append(f"Random folds lift {_listed(kept)} by less than {100 * _NOTABLE:.0f} points over session.")
    return lines


def _priors(audit: dict[str, Any], chance: float) -> list[str]:
    recalls = {
        row["name"]: row["scores"]["session"]["UWA"]
        for row in audit["rows"]
        if row["slug"] in _PRIORS and "session" in row["scores"]
    }
    high = [f"{name} ({_score(value)})" for name, value in recalls.items() if value > chance + 0.05]
    if not high:
        return []
    who, row = ("scores", "this row") if len(high) == 1 else ("score", "these rows")
    line = (
        f"{_listed(high)}, without audio or text, {who} far above chance under session. Session-independent is not "
        f"scenario-independent: compare a score under session with {row}."
    )
    return [line]


def _left(audit: dict[str, Any]) -> list[str]:
    """What is left under session+scenario, against the majority and prior rows and the band of shuffled labels."""
    verdicts: dict[tuple[bool, str], list[str]] = {}
    for row in _telling(audit):
        scores = row["scores"].get(STRICT)
        if scores is None or "against" not in scores:
            continue
        against = scores["against"]
        better = against["difference"] > 0 and against["p"] < 0.05
        where = "above" if scores["UWA"] > scores["high"] else "below" if scores["UWA"] < scores["low"] else "inside"
        p = "p < 0.01" if against["p"] < 0.005 else f"p = {against['p']:.2f}"
        said = (
            f"{row['name']} ({_score(scores['UWA'])}; {100 * against['difference']:+.1f} points from {against['name']}, {p}; "
            f"band [{_score(scores['low'])}, {_score(scores['high'])}])"
        )
        verdicts.setdefault((better, where), []).append(said)
    lines = []
    for (better, where), names in verdicts.items():
        verb = "is" if len(names) == 1 else "are"
        line = (
            f"Under {STRICT}, {_listed(names)} {verb} {'better' if better else 'not better'} than the majority and prior rows and "
            f"{where} the 95 % band of {audit['permutations']} label permutations within folds"
        )
        if better and where == "above":
            line += ": this part is not the scenario's doing"
        elif not better and where != "above":
            line += ": no sign of emotion is left"
        lines.append(line + ".")
    return lines
