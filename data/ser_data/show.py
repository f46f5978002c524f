"""Tables for the terminal: corpora, findings, folds, descriptions. Results go to stdout."""

from collections import Counter
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from ser_data.describe import Description
    from ser_data.join import Joined
    from ser_data.manifest.table import CorpusInfo, Manifest
    from ser_data.protocols import Folds
    from ser_data.validate import Report


def grid(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    """A plain table; cells are shown as they are, without markup."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in columns:
        table.add_column(escape(column), overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def amount(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def title(manifest: "Manifest") -> str:
    """The corpus's title; marked where the speech is synthetic."""
    return manifest.info.title + (" (synthetic)" if manifest.info.synthetic else "")


def corpora(infos: "list[CorpusInfo]") -> Table:
    """Name, title and licence of each corpus."""
    rows = [[info.name, info.title, info.licence, "yes" if info.synthetic else ""] for info in infos]
    return grid("Corpora (details: ser data list NAME)", ["name", "title", "licence", "synthetic"], rows)


def corpus(info: "CorpusInfo", options: dict[str, str]) -> Table:
    """Everything on one corpus's card, and what its reader takes."""
    rows = [["title", info.title], ["licence", info.licence], ["citation", info.citation], ["from", info.url]]
    rows += [["layout", info.layout], ["transcripts", info.transcripts], ["label scheme", info.scheme or "own labels"]]
    rows += [[f"--option {name}", default] for name, default in options.items()]
    return grid(f"Corpus {info.name}", ["", ""], [row for row in rows if row[1]])


def report(checked: "Report", everything: bool, limit: int = 5) -> list[Table]:
    """Counts that differ or agree, and the findings, at most `limit` of each check unless `everything`."""
    tables = []
    if checked.cells:
        wrong = sum(got != number for got, number in checked.cells.values())
        rows = [
            [cell, f"{got:,}", f"{number:,}", "" if got == number else f"{got - number:+,}"]
            for cell, (got, number) in checked.cells.items()
            if everything or got != number or not cell.startswith(("session", "speaker", "test,", "train,"))
        ]
        title = f"Counts: {len(checked.cells) - wrong} of {len(checked.cells)} as published"
        tables.append(grid(title, ["cell", "found", "published", "difference"], rows))
    counts = Counter((finding.severity, finding.check) for finding in checked.findings)
    shown: Counter[tuple[str, str]] = Counter()
    rows = []
    for finding in checked.findings:
        kind = (finding.severity, finding.check)
        shown[kind] += 1
        if everything or shown[kind] <= limit:
            rows.append([*kind, finding.where, " ".join(filter(None, (finding.id, finding.what))), finding.fix])
        elif shown[kind] == limit + 1:
            rows.append([*kind, "", f"and {counts[kind] - limit:,} more (--all shows them)", ""])
    if rows:
        tables.append(grid("Findings", ["", "check", "where", "what", "fix"], rows))
    return tables


def folds(made: "Folds", overlap: "pd.DataFrame") -> Table:
    """Sizes of each fold and the share of test texts that training has."""
    rows = [
        [fold.name, f"{len(fold.train):,}", f"{len(fold.dev):,}", f"{len(fold.test):,}", f"{share:.1%}"]
        for fold, share in zip(made.folds, overlap["share"], strict=True)
    ]
    total = sum(len(fold.test) for fold in made.folds)
    rows.append(["all", "", "", f"{total:,}", f"{overlap['seen'].sum() / max(1, overlap['test'].sum()):.1%}"])
    held = ", ".join(made.held_out) or "nothing"
    title = f"Protocol {made.protocol}, development {made.dev}, held out: {held}"
    return grid(title, ["fold", "train", "dev", "test", "test text seen in training"], rows)


def description(numbers: "Description") -> list[Table]:
    """Facts, classes by group, and (up to 30) speakers."""
    tables = [grid("", ["", ""], [[name, value] for name, value in numbers.facts.items()])]
    tables.append(frame(f"Classes by {numbers.grouped_by}", numbers.classes))
    if 0 < len(numbers.speakers) <= 30:
        tables.append(frame("Speakers", numbers.speakers))
    return tables


def frame(title: str, table: "pd.DataFrame") -> Table:
    """A data frame with its index as first column."""
    rows = [
        [str(name), *(f"{value:,}" for value in row)]
        for name, row in zip(table.index, table.to_numpy(dtype=object), strict=True)
    ]
    return grid(title, ["", *(str(column) for column in table.columns)], rows)


def dropped(manifest: "Manifest", limit: int = 5) -> list[str]:
    """Lines on what was left out: a count by reason, and the first few."""
    if not manifest.dropped:
        return []
    reasons = Counter(problem.reason for problem in manifest.dropped)
    reasons_in_words = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
    count = len(manifest.dropped)
    lines = [f"{amount(count, 'row')} {'was' if count == 1 else 'were'} left out: {reasons_in_words}."]
    return lines + [f"  {problem}" for problem in manifest.dropped[:limit]]


def joined(whole: "Joined", dropped_leaks: bool, limit: int = 5) -> "list[Table | str]":
    """What became of every label, and what to beware of."""
    wide = whole.labels.assign(cell=whole.labels["label"] + " " + whole.labels["utterances"].map("{:,}".format))
    corpora = list(dict.fromkeys(wide["corpus"]))
    rows = []
    for name in [*dict.fromkeys(wide["class"].dropna()), None]:
        part = wide[wide["class"].isna() if name is None else wide["class"] == name]
        cells = [", ".join(part.loc[part["corpus"] == corpus, "cell"]) for corpus in corpora]
        if any(cells):
            rows.append(["(left out)" if name is None else str(name), *cells])
    lines: list[Table | str] = [grid("Labels: class by corpus, with utterances", ["class", *corpora], rows)]
    total, lost = int(whole.labels["utterances"].sum()), int(whole.lost["utterances"].sum())
    lines.append(f"The label map loses {lost:,} of {total:,} utterances ({lost / max(total, 1):.1%}).")
    for name, having in whole.lonely.items():
        lines.append(f"Only {', '.join(having)} {'has' if len(having) == 1 else 'have'} the class {name}.")
    if len(whole.leaks):
        names = whole.leaks["id"].tolist()
        more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
        done = "the later corpus's are left out" if dropped_leaks else "--drop-leaks leaves the later corpus's out"
        lines.append(f"LEAK: {len(names):,} utterances are the same audio file in two corpora ({done}):")
        lines.append("  " + escape(", ".join(names[:limit])) + more)
    if whole.shared:
        some = ", ".join(whole.shared[:limit]) + (" ..." if len(whole.shared) > limit else "")
        lines.append(f"{len(whole.shared):,} speakers are in several of these corpora: {escape(some)}.")
        lines.append(
            "Protocols between corpora refuse shared speakers. Use --allow-overlap speaker to allow them; every result then says so."
        )
    return lines
