"""`ser init`: looks at a folder or a table and writes a commented `ser.toml`, so that `ser extract` and `ser fuse` run bare."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from ser_base.command_line import console, sentences
from ser_base.settings import FILE
from ser_data.corpora import CORPORA
from ser_data.protocols import PROTOCOLS

if TYPE_CHECKING:
    from ser_data.first_look import FirstLook

SHOWN = 12
"""Odd things that are printed; the others are counted."""
DERIVED = ("text_normalised", "text_hash")
"""Columns that the manifest adds."""


@click.command("init", no_args_is_help=True)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--corpus", metavar="NAME", type=click.Choice(list(CORPORA)),
    help="Read PATH as this corpus. Use it where the guess is wrong.",
)  # fmt: skip
@click.option("--labels", help="Map labels to classes with this label scheme.  [default: the corpus's own]")
@click.option(
    "--protocol", metavar="NAME", type=click.Choice(list(PROTOCOLS)),
    help="Make folds by this protocol.  [default: the first that fits]",
)  # fmt: skip
@click.option(
    "--encoder", metavar="audio=ID,text=ID",
    help="Write these encoders into the file, as for ser extract. Use demo for those of the package registry.",
)  # fmt: skip
@click.option("--cache", default="cache", show_default=True, help="Folder that ser extract writes features to.")
@click.option("--replace", is_flag=True, help=f"Write over a {FILE} that is there.")
def command(
    path: Path, corpus: str | None, labels: str | None, protocol: str | None, encoder: str | None, cache: str, replace: bool
) -> None:  # fmt: skip
    """Look at PATH (a folder or a table), say what it is, and write a commented ser.toml to this folder.

    It says which corpus it is, what columns and classes it has, what is odd, and which protocol fits. Then `ser extract`
    and `ser fuse` run without options, and `ser status` says what is done.

    Example: ser init recordings/corpus.csv
    """
    target = Path(FILE)
    if target.exists() and not replace:
        raise click.ClickException(f"{FILE} is here already. Use --replace to write over it, or another folder.")
    try:
        with sentences():
            first_look = _look_at(path, corpus, labels, protocol)
        show(first_look)
        from ser_base.files import write_whole

        write_whole(target, settings(first_look, labels=labels, encoder=encoder, cache=cache).encode())
    except OSError as error:
        remedy = f"Check that you may read {path} and write {target.absolute()}."
        raise click.ClickException(f"{error.strerror or error}. {remedy}") from error
    click.echo(f"Settings: {target}")
    click.echo(f"Next: {_steps(encoder)}")
    sys.exit(3 if first_look.manifest.dropped else 0)


def _look_at(path: Path, corpus: str | None, labels: str | None, protocol: str | None) -> "FirstLook":
    from ser_base.progress import counting
    from ser_data.first_look import look
    from ser_data.recognise import Recognised, recognise

    guesses = (Recognised(corpus, path, "--corpus"),) if corpus else recognise(path)
    with counting("Reading headers") as tell:
        return look(guesses, labels=labels, protocol=protocol, tell=tell)


def show(first_look: "FirstLook") -> None:
    """Prints a first look: facts, columns, classes, oddities."""
    from ser_data import show as tables
    from ser_data.describe import describe

    guess, manifest = first_look.recognised, first_look.manifest
    others = ", ".join(dict.fromkeys(other.corpus for other in first_look.others))
    click.echo(f"{tables.title(manifest)}: --corpus {guess.corpus} --root {guess.root} ({guess.why}).")
    if others:
        click.echo(f"It may also be read as: {others} (--corpus NAME).")
    facts = describe(manifest).facts
    rows = [[name, value] for name, value in facts.items() if name not in ("corpus", "with votes", "dropped")]
    columns = ", ".join(
        name if count == len(manifest) else f"{name} ({count:,})"
        for name, count in first_look.columns.items()
        if name not in DERIVED
    )
    rows += [["columns", columns], ["classes", _classes(first_look)], ["protocol", _protocol(first_look)]]
    console().print(tables.grid("", ["", ""], rows))
    for line in first_look.odd[:SHOWN]:
        click.echo(f"Odd: {line}")
    if len(first_look.odd) > SHOWN:
        click.echo(f"Odd: and {len(first_look.odd) - SHOWN:,} more.")
    if first_look.report.findings:
        click.echo(f"Every finding: ser data validate {guess.corpus} {guess.root}")


def settings(first_look: "FirstLook", *, labels: str | None, encoder: str | None, cache: str) -> str:
    """Writes the text of `ser.toml`."""
    from ser_data.recognise import same_place

    guess, folds, streams = first_look.recognised, first_look.folds, first_look.streams
    size = f"{len(first_look.manifest):,} utterances, {len(first_look.classes)} classes"
    heads = "audio,text,cross" if len(streams) > 1 else "".join(streams)
    fits = _protocol(first_look) if folds else "none fits yet: add speakers or utterances"
    blocks = [
        f"# Written by `ser init`. Every key is an option; a flag or SER_<NAME> in the environment goes before {FILE}.",
        f"# Run: {_steps(encoder)}",
        _key("corpus", guess.corpus, f"{first_look.manifest.info.title}: {size}. Recognised by: {guess.why}"),
        _key("root", same_place(guess.root), ""),
        _key("cache", cache, "Features, written once. Leave the folder out of version control"),
        _key("protocol", folds.protocol if folds else "random", fits),
        "\n[extract]",
        _key(
            "encoder",
            encoder or "audio=demo,text=demo",
            "Hub ids, folders, or demo; ser extract --help names the defaults",
            off=encoder is None,
        ),
        _key("layer", 12, "A number, a list such as 4,8,12 (ser probe then finds the best one), or last", off=True),
        "\n[fuse]",
        _key(
            "labels",
            labels or first_look.scheme.name,
            _classes(first_look),
            off=labels is None and first_look.scheme.name == "own",
        ),
        _key("fusion", heads or "audio", "Heads to train; ser fuse --help lists them", off=not heads),
        _key("seeds", "0-2", "Use several seeds for a result that you publish", off=True),
    ]
    return "\n".join(blocks) + "\n"


def _steps(encoder: str | None) -> str:
    """Says what to run next; layer 12 is the last one of the default encoders, and others may have fewer."""
    return f"ser extract{'' if encoder else ' --layer 12'}, then ser fuse. What is done: ser status."


def _key(name: str, value: str | int, comment: str, *, off: bool = False) -> str:
    """Writes a comment and below it `name = value`, which is a comment too where it is switched off."""
    line = f"{'# ' if off else ''}{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
    return f"# {' '.join(comment.split())}.\n{line}" if comment else line


def _classes(first_look: "FirstLook") -> str:
    return f"{first_look.scheme.name}: " + ", ".join(f"{name} {count:,}" for name, count in first_look.classes.items())


def _protocol(first_look: "FirstLook") -> str:
    if first_look.folds is None:
        return "none"
    from ser_data.show import amount

    held = ", ".join(first_look.folds.held_out) or "nothing"
    return f"{first_look.folds.protocol}: {amount(len(first_look.folds.folds), 'fold')}; held out: {held}"
