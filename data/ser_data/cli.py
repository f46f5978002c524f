"""`ser data`: list, validate, describe, split, convert, join, generate and perturb corpora. Heavy imports are inside commands."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import rich_click as click

from ser_base.command_line import console
from ser_base.errors import SerError
from ser_base.settings import SettingsGroup
from ser_data.corpora import CORPORA
from ser_data.protocols import PROTOCOLS

if TYPE_CHECKING:
    from ser_data.manifest.table import Manifest

P = ParamSpec("P")
R = TypeVar("R")


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Our own errors become one message and exit code 1; a bug keeps its traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (SerError, OSError) as error:
            raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", [])])) from error

    return run


def corpus_arguments(command: Callable[P, R]) -> Callable[P, R]:
    """NAME and ROOT, or --manifest, and --option."""
    for add in (
        click.option(
            "--option", "options", multiple=True, metavar="KEY=VALUE", help="For the reader; see ser data list NAME."
        ),
        click.option(
            "--manifest", type=click.Path(dir_okay=False), help="A manifest (.parquet, .csv) instead of NAME ROOT."
        ),
        click.argument("root", required=False, type=click.Path()),
        click.argument("corpus", metavar="NAME", required=False, type=click.Choice(list(CORPORA))),
    ):
        command = add(command)
    return command


@click.group(cls=SettingsGroup, section="data")
def main() -> None:
    """Corpora, label schemes and folds that do not leak."""


@main.command("list")
@click.argument("name", required=False, type=click.Choice(list(CORPORA)))
@click.option("--schemes", is_flag=True, help="List the label schemes instead.")
@click.option("--protocols", is_flag=True, help="List the protocols instead.")
@reports_errors
def list_(name: str | None, schemes: bool, protocols: bool) -> None:
    """Corpora with licence and citation; NAME tells its layout and options."""
    from ser_data import show
    from ser_data.manifest.labels import SCHEMES
    from ser_data.reading import options_of

    if schemes:
        rows = [[s.name, ", ".join(s.classes), ", ".join(sorted(s.ignored))] for s in SCHEMES.values()]
        console().print(show.grid("Label schemes", ["name", "classes", "left out"], rows))
    elif protocols:
        rows = [
            [p.name, p.title, ", ".join(p.held_out) if p.held_out is not None else "as measured"]
            for p in PROTOCOLS.values()
        ]
        console().print(show.grid("Protocols", ["name", "rule", "held out"], rows))
    elif name:
        console().print(show.corpus(CORPORA[name].info, options_of(name)))
    else:
        console().print(show.corpora([corpus.info for corpus in CORPORA.values()]))


@main.command()
@corpus_arguments
@click.option("--partial", is_flag=True, help="The copy is a part on purpose: do not compare published counts.")
@click.option("--decode", is_flag=True, help="Decode every recording, as extraction will; without it headers are read.")
@click.option("--all", "everything", is_flag=True, help="Show every finding and every cell.")
@reports_errors
def validate(
    corpus: str | None,
    root: str | None,
    manifest: str | None,
    options: tuple[str, ...],
    partial: bool,
    decode: bool,
    everything: bool,
) -> None:
    """Compare a copy with the published counts and look for what spoils results; exit code 1 on a violation.

    Every recording's header is read, so that what extraction will refuse is known before: missing, empty, cut off, too short.
    Give --decode to find silence and damage inside of recordings as well.
    """
    from ser_base.progress import counting
    from ser_data import show
    from ser_data.reading import parse_options
    from ser_data.validate import validate as run

    if manifest or not corpus or not root:
        raise click.UsageError("validate needs NAME and ROOT, as in: ser data validate iemocap IEMOCAP_full_release")
    with counting("Decoding" if decode else "Reading headers", "recordings") as tell:
        report = run(corpus, root, partial=partial, decode=decode, tell=tell, **parse_options(corpus, options))
    for table in show.report(report, everything):
        console().print(table)
    errors, notes = len(report.errors), len(report.findings) - len(report.errors)
    synthetic = " (synthetic)" if report.manifest.info.synthetic else ""
    verdict = "valid" if not errors else f"{errors:,} violations"
    click.echo(
        f"{report.manifest.info.title}{synthetic}: {len(report.manifest):,} utterances, {verdict}, {notes:,} notes."
    )
    sys.exit(1 if errors else 0)


@main.command()
@corpus_arguments
@click.option("--labels", help="Label scheme; without it the corpus's own labels are shown.")
@click.option("--protocol", type=click.Choice(list(PROTOCOLS)), help="Show classes per test part of this protocol.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw it, too: a name in .png, .svg or .pdf.")
@reports_errors
def describe(
    corpus: str | None, root: str | None, manifest: str | None, options: tuple[str, ...], labels: str | None,
    protocol: str | None, plot: str | None,
) -> None:  # fmt: skip
    """Hours, lengths, classes per session, fold and speaker."""
    from ser_data import describe as numbers
    from ser_data import show
    from ser_data.protocols import make_folds
    from ser_data.reading import read_any, with_labels

    found = with_labels(read_any(corpus, root, manifest, options), labels)
    description = numbers.describe(found, make_folds(found, protocol) if protocol else None)
    for table in show.description(description):
        console().print(table)
    if plot:
        numbers.plot(found, description, plot)
        click.echo(f"Plot: {plot}")
    _say_dropped(found)


@main.command()
@corpus_arguments
@click.option("--protocol", required=True, type=click.Choice(list(PROTOCOLS)), help="Rule that makes the folds.")
@click.option("--dev", default="next", show_default=True, help="next, partner, speaker, random:SHARE or none.")
@click.option("--labels", help="Label scheme; utterances that it leaves out are not split.")
@click.option("--seed", default=0, show_default=True, help="For what is drawn at random.")
@click.option("--allow-overlap", multiple=True, metavar="KEY", help="Held-out key that may be broken; repeatable.")
@click.option(
    "--drop-seen-text", is_flag=True, help="Leave training and development utterances out whose text is tested."
)
@click.option("--out", type=click.Path(dir_okay=False), help="Write id,fold,part as CSV.")
@reports_errors
def folds(
    corpus: str | None, root: str | None, manifest: str | None, options: tuple[str, ...], protocol: str, dev: str,
    labels: str | None, seed: int, allow_overlap: tuple[str, ...], drop_seen_text: bool, out: str | None,
) -> None:  # fmt: skip
    """Make the folds of a protocol, show what they hold out, and save them."""
    from ser_data import protocols, show
    from ser_data.reading import read_any, with_labels

    found = with_labels(read_any(corpus, root, manifest, options), labels)
    made = protocols.make_folds(found, protocol, dev=dev, seed=seed, allow_overlap=allow_overlap)
    if drop_seen_text:
        made = protocols.drop_seen_text(found.table, made)
    console().print(show.folds(made, protocols.text_overlap(found.table, made)))
    for note in made.notes:
        click.echo(f"Note: {note}.")
    if out:
        made.to_csv(out)
        click.echo(f"Folds: {out} (fingerprint {made.fingerprint})")
    _say_dropped(found)


@main.command()
@corpus_arguments
@click.option("--labels", help="Label scheme to apply; utterances that it leaves out are not written.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="A name in .parquet or .csv.")
@reports_errors
def convert(
    corpus: str | None, root: str | None, manifest: str | None, options: tuple[str, ...], labels: str | None, out: str
) -> None:
    """Write a corpus's manifest, complete with votes, texts and everything that was left out."""
    from ser_data.reading import read_any, with_labels

    found = with_labels(read_any(corpus, root, manifest, options), labels)
    found.write(out)
    click.echo(f"{len(found):,} utterances: {out}")
    _say_dropped(found)


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="NAME=MANIFEST...")
@click.option("--labels", metavar="MAP.toml", help="What each corpus's labels become; or a label scheme for all.")
@click.option("--split-by", metavar="COLUMN", help="Every value of this column becomes a corpus, as MELD's season.")
@click.option("--drop-leaks", is_flag=True, help="Leave out audio files that an earlier corpus has too.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="A name in .csv or .parquet.")
@reports_errors
def join(sources: tuple[str, ...], labels: str | None, split_by: str | None, drop_leaks: bool, out: str) -> None:
    """Make one manifest out of several corpora, with harmonised labels, and tell what that lost.

    Example: ser data join ravdess=ravdess.parquet demo=demo.parquet --labels map.toml --out joint.csv
    """
    from ser_base.progress import counting
    from ser_data import show
    from ser_data.join import join as run
    from ser_data.reading import read_named

    with counting("Hashing audio", "recordings") as tell:
        joined = run(read_named(sources), labels=labels, split_by=split_by, drop_leaks=drop_leaks, progress=tell)
    for line in show.joined(joined, drop_leaks):
        console().print(line)
    click.echo(f"Labels: {joined.write(out)}")
    click.echo(f"{len(joined.manifest):,} utterances of {len(joined.corpora)} corpora: {out}")
    if out.endswith(".csv"):
        click.echo(f"Next: ser-extract --corpus csv --root {out}")


@main.command()
@click.argument("shape", type=click.Choice(["iemocap-shaped"]))
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--full", is_flag=True, help="All 10,039 turns, 12.4 h, about 1.4 GB.")
@click.option("--turns", default=450, show_default=True, help="Size without --full (two per dialogue at least).")
@click.option("--seed", default=0, show_default=True, help="The same seed writes the same bytes.")
@click.option(
    "--plant", default="emotion", show_default=True, type=click.Choice(["emotion", "scenario", "none"]),
    help="What words and voices tell about the label; scenario: words tell the scene only.",
)  # fmt: skip
@click.option("--video", is_flag=True, help="Also small avi files of both actors, which show the label (extra video).")
@click.option(
    "--shorten", type=click.FloatRange(0.01, 1), default=1.0, show_default=True, help="Factor on all lengths."
)
@reports_errors
def generate(
    shape: str, folder: str, full: bool, turns: int, seed: int, plant: str, video: bool, shorten: float
) -> None:
    """Write a synthetic corpus in IEMOCAP's folders and line grammar, with every known trap, for tests."""
    from ser_base.progress import counting
    from ser_data.synthetic.iemocap_shaped import generate_iemocap_shaped

    with counting("Writing turns", "turns") as tell:
        count = generate_iemocap_shaped(
            folder, full=full, turns=turns, seed=seed, plant=plant, video=video, shorten=shorten, progress=tell
        )
    click.echo(f"{count:,} turns (synthetic): {folder}")
    click.echo(f"Check it: ser data validate iemocap {folder}{'' if full else ' --partial'}")


@main.command()
@corpus_arguments
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--snr", type=click.FloatRange(-30, 100), metavar="DB", help="Add noise at this signal-to-noise ratio.")
@click.option("--noise", type=click.Choice(["white", "pink"]), default="white", show_default=True, help="Which noise.")
@click.option(
    "--reverb", type=click.FloatRange(0.05, 10), metavar="SECONDS", help="A made-up room of this decay (60 dB)."
)
@click.option("--codec", type=click.Choice(["mp3", "ogg", "opus", "gsm", "ulaw", "alaw"]), help="Through this codec.")
@click.option(
    "--quality", type=click.FloatRange(0, 1), help="Of mp3, ogg, opus: 0 is best, 1 smallest.  [default: libsndfile's]"
)
@click.option("--seed", default=0, show_default=True, help="Of noise and rooms.")
@click.option("--with-clean", is_flag=True, help="Clean utterances in the same table; copies' ids get a suffix.")
@click.option(
    "--protocol", type=click.Choice(list(PROTOCOLS)), help="With --with-clean: folds to augment and to test by."
)
@click.option("--dev", default="next", show_default=True, help="Development part of those folds.")
@reports_errors
def perturb(
    corpus: str | None, root: str | None, manifest: str | None, options: tuple[str, ...], out: str, snr: float | None,
    noise: str, reverb: float | None, codec: str | None, quality: float | None, seed: int, with_clean: bool,
    protocol: str | None, dev: str,
) -> None:  # fmt: skip
    """Write a copy of a corpus with noise, reverberation or a codec; read it with --corpus csv --root OUT/manifest.csv."""
    from pathlib import Path

    if snr is None and reverb is None and codec is None:
        raise click.UsageError("Say what to do to the speech: --snr DB, --reverb SECONDS, --codec NAME, or several.")
    if protocol and not with_clean:
        raise click.UsageError("--protocol makes folds over clean utterances and copies: give --with-clean, too.")
    from ser_base.progress import counting
    from ser_data.perturb.effects import Effects
    from ser_data.perturb.write import write_copy
    from ser_data.reading import read_any

    found = read_any(corpus, root, manifest, options)
    effects = Effects(snr=snr, noise=noise, reverb=reverb, codec=codec, quality=quality, seed=seed)
    with counting("Perturbing", "utterances") as tell:
        try:
            done = write_copy(
                found, Path(out), effects, with_clean=with_clean, protocol=protocol, dev=dev, progress=tell
            )
        except ValueError as error:
            if isinstance(error, SerError):
                raise
            raise click.ClickException(str(error)) from error
    click.echo(f"{done.utterances:,} utterances with {effects.name}: {done.manifest}")
    for purpose, path in done.folds:
        click.echo(f"Folds ({purpose}): {path}")
    if done.skipped:
        click.echo(f"{len(done.skipped):,} utterances left out: {Path(out) / 'skipped.csv'}", err=True)
        sys.exit(3)


def _say_dropped(manifest: "Manifest") -> None:
    """Tells what was left out, and ends with 3 if anything was."""
    from ser_data import show

    lines = show.dropped(manifest)
    for line in lines:
        click.echo(line, err=True)
    if lines:
        sys.exit(3)
