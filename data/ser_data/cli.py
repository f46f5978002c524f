"""`ser data`: list, validate, describe, split, convert, join, generate and perturb corpora.

Heavy imports stand inside the commands, so that `--help` is fast.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import rich_click as click

from ser_base.command_line import console
from ser_base.errors import SerError
from ser_base.option_values import Choice
from ser_base.settings import SettingsGroup
from ser_data.corpora import CORPORA
from ser_data.protocols import PROTOCOLS

if TYPE_CHECKING:
    from ser_data.manifest.table import Manifest
    from ser_data.reading import Source

P = ParamSpec("P")
R = TypeVar("R")


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turns our own errors into one message and exit code 1; a bug keeps its traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (SerError, OSError) as error:
            raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", [])])) from error

    return run


def corpus_arguments(command: Callable[..., R]) -> Callable[..., R]:
    """NAME and ROOT, or --manifest, and --option; the command gets them as `source`."""

    @wraps(command)
    def run(
        corpus: str | None, root: str | None, manifest: str | None, options: tuple[str, ...], **others: object
    ) -> R:
        from ser_data.reading import Source

        return command(source=Source(corpus, root, manifest, options), **others)

    for add in (
        click.option(
            "--option", "options", multiple=True, metavar="KEY=VALUE",
            help="Set an option of the corpus's reader; `ser data list NAME` shows them. Repeatable.",
        ),
        click.option(
            "--manifest", type=click.Path(dir_okay=False), help="Read this manifest (.parquet, .csv) instead of NAME and ROOT.",
        ),
        click.argument("root", required=False, type=click.Path()),
        click.argument("corpus", metavar="NAME", required=False, type=Choice(list(CORPORA))),
    ):  # fmt: skip
        run = add(run)
    return run


@click.group(cls=SettingsGroup, section="data")
def main() -> None:
    """Corpora, label schemes and folds that do not leak."""


@main.command("list")
@click.argument("name", required=False, type=Choice(list(CORPORA)))
@click.option("--schemes", is_flag=True, help="List the label schemes instead.")
@click.option("--protocols", is_flag=True, help="List the protocols instead.")
@reports_errors
def list_(name: str | None, schemes: bool, protocols: bool) -> None:
    """List the corpora with licence and citation; with NAME, show its layout and options."""
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
@click.option(
    "--partial", is_flag=True, help="Do not compare published counts. Use it for a copy that is a part on purpose."
)
@click.option(
    "--decode", is_flag=True, help="Decode every recording as extraction will, instead of reading its header only."
)
@click.option("--all", "everything", is_flag=True, help="Show every finding and every count.")
@reports_errors
def validate(source: "Source", partial: bool, decode: bool, everything: bool) -> None:
    """Compare a copy with the published counts, and look for what spoils results.

    Exit code 1 means at least one violation. Every recording's header is read, so that you know before extraction which files
    are missing, empty, cut off or too short. Use --decode to find silence and damage inside recordings as well.
    """
    from ser_base.progress import counting
    from ser_data import show
    from ser_data.reading import parse_options
    from ser_data.validate import validate as run

    if source.manifest or not source.corpus or not source.root:
        raise click.UsageError("validate needs NAME and ROOT, as in: ser data validate iemocap IEMOCAP_full_release")
    options = parse_options(source.corpus, source.options)
    with counting("Decoding recordings" if decode else "Reading headers") as tell:
        report = run(source.corpus, source.root, partial=partial, decode=decode, tell=tell, **options)
    for table in show.report(report, everything):
        console().print(table)
    errors, notes = len(report.errors), len(report.findings) - len(report.errors)
    verdict = "valid" if not errors else show.amount(errors, "violation")
    size = show.amount(len(report.manifest), "utterance")
    click.echo(f"{show.title(report.manifest)}: {size}, {verdict}, {show.amount(notes, 'note')}.")
    sys.exit(1 if errors else 0)


@main.command()
@corpus_arguments
@click.option("--labels", help="Map the labels by this scheme; without it, the corpus's own labels are shown.")
@click.option("--protocol", type=Choice(list(PROTOCOLS)), help="Show the classes of each test part of this protocol.")
@click.option(
    "--plot", type=click.Path(dir_okay=False), help="Also draw the numbers into this file (.png, .svg or .pdf)."
)
@reports_errors
def describe(source: "Source", labels: str | None, protocol: str | None, plot: str | None) -> None:
    """Show hours, lengths, and the classes of each session, fold and speaker. For maps of the features, extract them
    first, then run `ser probe --map tsne`.
    """
    from ser_data import describe as numbers
    from ser_data import show
    from ser_data.protocols import make_folds

    manifest = source.read(labels)
    description = numbers.describe(manifest, make_folds(manifest, protocol) if protocol else None)
    for table in show.description(description):
        console().print(table)
    if plot:
        numbers.plot(manifest, description, plot)
        click.echo(f"Plot: {plot}")
    _end_with_dropped(manifest)


@main.command()
@corpus_arguments
@click.option("--protocol", required=True, type=Choice(list(PROTOCOLS)), help="Make the folds by this protocol.")
@click.option(
    "--folds-root", type=click.Path(exists=True, file_okay=False), metavar="DIR",
    help="Read EmoBox's published folds from this folder (data of its repository). Use it with --protocol emobox.",
)  # fmt: skip
@click.option(
    "--dev", default="next", show_default=True,
    help="Choose the development part: next, partner, speaker, random:SHARE or none.",
)  # fmt: skip
@click.option("--labels", help="Map the labels by this scheme; utterances that it leaves out are in no fold.")
@click.option("--seed", default=0, show_default=True, help="Seed of what is drawn at random.")
@click.option(
    "--allow-overlap", multiple=True, metavar="KEY", help="Allow this held-out key on both sides. Repeatable."
)
@click.option(
    "--drop-seen-text", is_flag=True,
    help="Leave out training and development utterances whose text is in the test part.",
)  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False), help="Write the folds to this CSV (`id,fold,part`).")
@reports_errors
def folds(
    source: "Source", protocol: str, folds_root: str | None, dev: str, labels: str | None, seed: int,
    allow_overlap: tuple[str, ...], drop_seen_text: bool, out: str | None,
) -> None:  # fmt: skip
    """Make the folds of a protocol, show what they hold out, and save them."""
    from ser_data import protocols, show

    manifest = source.read(labels)
    made = protocols.make_folds(
        manifest, protocol, dev=dev, seed=seed, allow_overlap=allow_overlap, folds_root=folds_root
    )
    if drop_seen_text:
        made = protocols.drop_seen_text(manifest.table, made)
    console().print(show.folds(made, protocols.text_overlap(manifest.table, made)))
    for note in made.notes:
        click.echo(f"Note: {note}.")
    if out:
        made.to_csv(out)
        click.echo(f"Folds: {out} (fingerprint {made.fingerprint})")
    _end_with_dropped(manifest)


@main.command()
@corpus_arguments
@click.option("--labels", help="Map the labels by this scheme; utterances that it leaves out are not written.")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False), help="Write the manifest to this file (.parquet or .csv)."
)
@reports_errors
def convert(source: "Source", labels: str | None, out: str) -> None:
    """Write a corpus's manifest, with votes, texts and a list of everything that was left out."""
    manifest = source.read(labels)
    manifest.write(out)
    click.echo(f"{len(manifest):,} utterances: {out}")
    _end_with_dropped(manifest)


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="NAME=MANIFEST...")
@click.option(
    "--labels", metavar="MAP.toml", help="Map each corpus's labels by this file, or all labels by one label scheme."
)
@click.option("--split-by", metavar="COLUMN", help="Make a corpus of every value of this column, as MELD's season.")
@click.option("--drop-leaks", is_flag=True, help="Leave out audio files that an earlier corpus has as well.")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False), help="Write the manifest to this file (.csv or .parquet)."
)
@reports_errors
def join(sources: tuple[str, ...], labels: str | None, split_by: str | None, drop_leaks: bool, out: str) -> None:
    """Join several corpora into one manifest with harmonised labels, and show what that lost.

    Example: ser data join ravdess=ravdess.parquet demo=demo.parquet --labels map.toml --out joint.csv
    """
    from ser_base.progress import counting
    from ser_data import show
    from ser_data.join import join as run
    from ser_data.reading import read_named

    with counting("Hashing audio") as tell:
        joined = run(read_named(sources), labels=labels, split_by=split_by, drop_leaks=drop_leaks, progress=tell)
    for line in show.joined(joined, drop_leaks):
        console().print(line)
    click.echo(f"Labels: {joined.write(out)}")
    click.echo(f"{len(joined.manifest):,} utterances of {len(joined.corpora)} corpora: {out}")
    if out.endswith(".csv"):
        click.echo(f"Next: ser extract --corpus csv --root {out}")


@main.command()
@click.argument("shape", type=click.Choice(["iemocap-shaped"]))
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--full", is_flag=True, help="Write all 10,039 turns (12.4 h, about 1.4 GB).")
@click.option("--turns", default=450, show_default=True, help="Number of turns without --full, at least 302.")
@click.option("--seed", default=0, show_default=True, help="Seed; the same seed writes the same bytes.")
@click.option(
    "--plant", default="emotion", show_default=True, type=click.Choice(["emotion", "scenario", "none"]),
    help="Choose what words and voices tell about the label. With scenario, words tell the scene only.",
)  # fmt: skip
@click.option(
    "--video", is_flag=True, help="Also write small videos of both actors that show the label (needs the extra video)."
)
@click.option(
    "--shorten", type=click.FloatRange(0.01, 1), default=1.0, show_default=True,
    help="Multiply all lengths by this factor. Use a small one for quick trials.",
)  # fmt: skip
@reports_errors
def generate(
    shape: str, folder: str, full: bool, turns: int, seed: int, plant: str, video: bool, shorten: float
) -> None:
    """Write a synthetic corpus for tests: IEMOCAP's folders and line grammar, with every known trap."""
    from ser_base.progress import counting
    from ser_data.synthetic.iemocap_shaped import generate_iemocap_shaped

    with counting("Writing turns") as tell:
        count = generate_iemocap_shaped(
            folder, full=full, turns=turns, seed=seed, plant=plant, video=video, shorten=shorten, progress=tell
        )
    click.echo(f"{count:,} turns (synthetic): {folder}")
    click.echo(f"Check it: ser data validate iemocap {folder}{'' if full else ' --partial'}")


@main.command()
@corpus_arguments
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--snr", type=click.FloatRange(-30, 100), metavar="DB", help="Add noise at this signal-to-noise ratio.")
@click.option(
    "--noise", type=click.Choice(["white", "pink"]), default="white", show_default=True, help="Kind of noise."
)
@click.option(
    "--reverb", type=click.FloatRange(0.05, 10), metavar="SECONDS",
    help="Add the reverberation of a simulated room with this decay time (60 dB).",
)  # fmt: skip
@click.option(
    "--codec",
    type=click.Choice(["mp3", "ogg", "opus", "gsm", "ulaw", "alaw"]),
    help="Encode and decode with this codec.",
)
@click.option(
    "--quality", type=click.FloatRange(0, 1),
    help="Compression of mp3, ogg and opus, from 0 (best) to 1 (smallest).  [default: libsndfile's]",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of noise and rooms.")
@click.option(
    "--with-clean", is_flag=True, help="Put the clean utterances into the same table; ids of the copies get a suffix."
)
@click.option(
    "--protocol", type=Choice(list(PROTOCOLS)),
    help="With --with-clean: also write folds for augmentation and for robustness tests, by this protocol.",
)  # fmt: skip
@click.option("--dev", default="next", show_default=True, help="Choose the development part of those folds.")
@reports_errors
def perturb(
    source: "Source", out: str, snr: float | None, noise: str, reverb: float | None, codec: str | None,
    quality: float | None, seed: int, with_clean: bool, protocol: str | None, dev: str,
) -> None:  # fmt: skip
    """Write a copy of a corpus with noise, reverberation or a codec.

    Read the copy with --corpus csv --root OUT/manifest.csv.
    """
    from pathlib import Path

    if snr is None and reverb is None and codec is None:
        raise click.UsageError(
            "No perturbation given. Use --snr DB, --reverb SECONDS, --codec NAME, or several of them."
        )
    if protocol and not with_clean:
        raise click.UsageError("--protocol makes folds of clean utterances and copies. Add --with-clean.")
    from ser_base.progress import counting
    from ser_data.perturb.effects import Effects
    from ser_data.perturb.write import write_copy

    manifest = source.read()
    effects = Effects(snr=snr, noise=noise, reverb=reverb, codec=codec, quality=quality, seed=seed)
    with counting("Perturbing") as tell:
        try:
            copied = write_copy(
                manifest, Path(out), effects, with_clean=with_clean, protocol=protocol, dev=dev, progress=tell
            )
        except ValueError as error:
            if isinstance(error, SerError):
                raise
            raise click.ClickException(str(error)) from error
    click.echo(f"{copied.utterances:,} utterances with {effects.name}: {copied.manifest}")
    for purpose, path in copied.folds:
        click.echo(f"Folds ({purpose}): {path}")
    if copied.skipped:
        click.echo(f"{len(copied.skipped):,} utterances left out: {Path(out) / 'skipped.csv'}", err=True)
        sys.exit(3)


def _end_with_dropped(manifest: "Manifest") -> None:
    """Prints what was left out, and ends with exit code 3 if anything was."""
    from ser_data import show

    lines = show.dropped(manifest)
    for line in lines:
        click.echo(line, err=True)
    if lines:
        sys.exit(3)
