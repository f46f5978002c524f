"""The leak audit in sentences."""

from typing import Any

_HOLDS = {
    "session": ("random", "speakers, sessions and repeated dialogues"),
    "session+scenario": ("session", "the scenario"),
}
TRIVIAL = ("majority", "speaker-prior", "scenario-prior", "dialogue-prior")  # rows that neither hear nor read
_PRIORS = ("scenario-prior", "dialogue-prior")
_NOTABLE = 0.02  # smaller differences are not put into words


def _of(audit: dict[str, Any], slug: str, protocol: str) -> dict[str, float] | None:
    row = next((row for row in audit["rows"] if row["slug"] == slug), None)
    return None if row is None else row["scores"].get(protocol)


def _score(value: float) -> str:
    return f"{value:.3f}".lstrip("0") if value < 1 else "1.000"


def audit_words(audit: dict[str, Any]) -> list[str]:
    """Sentences about drops between protocols, about priors, and about what is left under the strictest protocol.

    Args:
        audit: what `audit_table` has gathered so far (without `words`).
    """
    chance = 1 / len(audit["classes"])
    lines = _drops(audit, chance) + _priors(audit, chance) + _left(audit)
    for protocol, share in audit["overlap"].items():
        if protocol == "session" and share >= _NOTABLE:
            lines.append(
                f"Under session, {100 * share:.0f} % of the test transcripts occur word for word in their training part."
            )
    for protocol, reason in audit["skipped"].items():
        lines.append(f"{protocol} was not audited: {reason}")
    if not any(name in audit["protocols"] for name in ("session+scenario",)):
        lines.append("Scenario leaks cannot be excluded: the corpus does not allow session+scenario folds.")
    return lines


def _drops(audit: dict[str, Any], chance: float) -> list[str]:
    lines = []
    for strict, (loose, key) in _HOLDS.items():
        if strict not in audit["protocols"] or loose not in audit["protocols"]:
            continue
        for row in audit["rows"]:
            before, after = row["scores"].get(loose), row["scores"].get(strict)
            if row["slug"] in TRIVIAL or before is None or after is None:
                continue
            if before["UWA"] <= before["high"] and after["UWA"] <= after["high"]:
                lines.append(f"{row['name']} is at chance under {loose} and {strict}.")
                continue
            drop = before["UWA"] - after["UWA"]
            above = before["UWA"] - chance
            if abs(drop) < _NOTABLE:
                lines.append(
                    f"{row['name']} keeps its UWA from {loose} to {strict} ({_score(before['UWA'])} and {_score(after['UWA'])})."
                )
                continue
            said = (
                f"{row['name']} {'falls' if drop > 0 else 'rises'} from {_score(before['UWA'])} UWA under {loose} to "
            )
            said += f"{_score(after['UWA'])} under {strict} ({-100 * drop:+.1f} points)"
            if drop > 0 and above > _NOTABLE and drop > 0.5 * above:
                said += f": most of what it scores above chance under {loose} is {key}, not emotion"
            lines.append(said + ".")
    return lines


def _priors(audit: dict[str, Any], chance: float) -> list[str]:
    lines = []
    for slug in _PRIORS:
        found = _of(audit, slug, "session")
        if found and found["UWA"] > chance + 0.05:
            name = next(row["name"] for row in audit["rows"] if row["slug"] == slug)
            lines.append(
                f"{name}, which neither hears nor reads, reaches {_score(found['UWA'])} UWA under session: "
                "session-independent is not scenario-independent, and a score under session must be read against this row."
            )
    return lines


def _left(audit: dict[str, Any]) -> list[str]:
    """What is left under session+scenario, against the majority and prior rows and the band of shuffled labels."""
    strict = "session+scenario"
    lines = []
    for row in audit["rows"]:
        found = row["scores"].get(strict)
        if found is None or row["slug"] in TRIVIAL or "against" not in found:
            continue
        against = found["against"]
        gap = f"{_score(found['UWA'])}, {100 * against['difference']:+.1f} points from {against['name']}, p = {against['p']:.2f}"
        better = against["difference"] > 0 and against["p"] < 0.05
        band = (
            f"the 95 % band of {audit['permutations']} label permutations within folds "
            f"[{_score(found['low'])}, {_score(found['high'])}]"
        )
        where = "above" if found["UWA"] > found["high"] else "below" if found["UWA"] < found["low"] else "inside"
        than = "better than" if better else "no better than"
        line = f"Under {strict}, {row['name']} is {than} the majority and prior rows ({gap}) and {where} {band}"
        if better and where == "above":
            line += ": this part is not the scenario's doing"
        elif not better and where != "above":
            line += ": no sign of emotion is left in it"
        lines.append(line + ".")
    return lines
