"""``ser predict`` and ``ser transcribe``. Nothing heavy is loaded before they run."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ser_base.command_line import sentences
from ser_base.settings import SettingsCommand
from ser_data.corpora.base import AUDIO_SUFFIXES, visible_files
from ser_predict.ser import PLACE, opens_run, predictor_arguments, segments

if TYPE_CHECKING:
    from ser_predict.recordings.pieces import Prediction
    from ser_predict.recordings.predictor import Predictor

VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".flv", ".wmv")
PAGE = ".html"
SHOWN = 20
"""Skipped recordings that stderr names; all of them stand in the output."""

Find = Callable[[str], str | None]


@click.command("predict", cls=SettingsCommand, section="predict")
@click.argument("run", type=PLACE)
@click.argument("files", nargs=-1, required=True, type=PLACE)
@click.option("--text", help="Transcript of the recording. Use it with one FILE.")
@click.option("--transcripts", type=PLACE, help="Read transcripts from this CSV: columns path,text or file,text.")
@click.option("--raw", is_flag=True, help="Do not calibrate the posteriors. Use it to repeat those of the run.")
@click.option(
    "--window",
    type=click.FloatRange(0.5),
    help="Cut long recordings into windows of this length, in seconds.  [default: as in training]",
)
@click.option(
    "--hop",
    type=click.FloatRange(0.1),
    help="Seconds from the start of one window to the next.  [default: half a window]",
)
@click.option("--timeline", type=PLACE, metavar="DIR", help="Draw the posteriors of long recordings over time here.")
@click.option(
    "--format", "form", type=click.Choice(("table", "csv", "jsonl")), default="table", show_default=True,
    help="Print results in this form.",
)  # fmt: skip
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write results here: .csv, .jsonl, .json, .html, .txt (Audacity), .TextGrid (Praat) or .eaf (ELAN).",
)
@segments("Cut recordings at pauses. Use it for talks and conversations.")
@click.option(
    "--video", type=PLACE, metavar="FILE|DIR", help="Video of the recording, or a folder of videos with the same names."
)
@click.option(
    "--video-crop", type=click.Choice(["left", "right"]), help="Use the half of the picture with the speaker."
)
@opens_run(predicts=True)
def predict(run: Path, files: tuple[Path, ...], **options: Any) -> None:
    """Predict the emotions of recordings with the heads of RUN.

    FILES are recordings or folders of recordings. The posteriors of all folds and seeds are averaged. A recording much
    longer than the training's utterances is cut into windows, or at its pauses with --segment.

    The exit code is 3 if a recording was skipped.

    Example: ser predict runs/demo/results talk.wav --asr openai/whisper-tiny.en --timeline plots
    """
    recordings = _recordings(files)
    video, save = options["video"], options["save"]
    if options["text"] is not None and len(recordings) != 1:
        raise click.UsageError(
            f"--text is the transcript of one FILE, not of {len(recordings)}. Use --transcripts CSV."
        )
    if video is not None and not video.is_dir() and len(recordings) != 1:
        raise click.UsageError(f"--video {video} is one file for {len(recordings)} FILEs. Give a folder of videos.")
    if save is not None:
        from ser_predict.recordings.segments import TIMELINES

        endings = (".csv", ".json", ".jsonl", PAGE, *TIMELINES)
        if save.suffix not in endings:
            raise click.UsageError(f"--save {save} has an unknown ending. Known are {', '.join(endings)}.")
        if save.suffix in (PAGE, *TIMELINES) and len(recordings) != 1:
            raise click.UsageError(
                f"--save {save} is a timeline of one FILE, not of {len(recordings)}. Use .csv or .jsonl."
            )
    with sentences():
        sys.exit(_predict(run, recordings, options))


def _recordings(paths: tuple[Path, ...]) -> list[str]:
    """The recordings that are meant: files as named, and for a folder all recordings below it, sorted by name.

    A folder without recordings stays in the list, so that it is reported as skipped.
    """
    recordings: list[str] = []
    for path in paths:
        below = [str(file) for file in visible_files(path, AUDIO_SUFFIXES)] if path.is_dir() else []
        recordings += below or [str(path)]
    return recordings


def _predict(run: Path, files: list[str], options: dict[str, Any]) -> int:
    from ser_predict.recordings.predictor import Predictor
    from ser_predict.recordings.transcripts import read_transcripts

    table, text, place = options["transcripts"], options["text"], options["video"]
    texts = read_transcripts(table).of if table else {files[0]: text}.get if text else None
    predictor = Predictor(
        run,
        **predictor_arguments(options),
        calibrate=not options["raw"],
        window=options["window"],
        hop=options["hop"],
        segment=options["segment"],
        vad=options["vad"],
        text=texts is not None,
        video=place is not None,
        video_crop=options["video_crop"],
    )
    click.echo(_opening(predictor), err=True)
    videos = None if place is None else _videos(place)
    done = _run(predictor, files, texts, videos, options["form"], options["save"])
    for note in predictor.notes:
        click.echo(f"Note: {note}.", err=True)
    if options["timeline"] is not None:
        _timelines(predictor, done, options["timeline"])
    return _closing(done)


def _videos(place: Path) -> Find:
    """Recording -> its video: the file itself, or the one in the folder whose name has the same stem."""
    if not place.is_dir():
        return lambda file: str(place)
    videos = [path for path in sorted(place.iterdir()) if path.is_file() and path.suffix.lower() in VIDEOS]
    stems = {path.stem: str(path) for path in videos}
    return lambda file: stems.get(Path(file).stem)


def _opening(predictor: "Predictor") -> str:
    main = predictor.main
    degrees = sorted(member.temperature for member in main.members)
    share, right = predictor.reliability()
    line = (
        f"Row {main.slug} ({predictor.reason}) reads {' and '.join(main.streams)}; {len(main.members)} heads averaged"
    )
    if isfinite(main.uwa):
        line += f", development UWA {main.uwa:.3f}"
    if degrees[-1] != 1.0:
        line += f", temperatures {degrees[0]:.2f} to {degrees[-1]:.2f}"
    line += "."
    if predictor.threshold and isfinite(share):
        line += f" On development data {share:.0%} of the predictions reach {predictor.threshold:g}"
        line += f"; {right:.0%} of those are right." if isfinite(right) else "."
    return line


def _run(
    predictor: "Predictor",
    files: list[str],
    texts: Find | None,
    videos: Find | None,
    form: str,
    save: Path | None,
) -> "list[Prediction]":
    """Predicts, shows and saves; lines of csv and jsonl come as soon as they are known."""
    from rich.console import Console

    from ser_predict.recordings import output

    done: list[Prediction] = []
    with ExitStack() as stack:
        console = Console(stderr=True)
        tell: dict[str, Any] = {}
        step: Callable[[], None] = lambda: None
        if console.is_terminal:
            tell, step = _bars(console, stack, predictor.detector is not None, len(files))

        def lines() -> Any:
            for prediction in predictor.predict(files, texts, videos, **tell):
                done.append(prediction)
                step()
                yield prediction

        if form == "csv":
            output.write_csv(lines(), predictor.classes, sys.stdout)
        elif form == "jsonl":
            output.write_jsonl(lines(), sys.stdout)
        else:
            list(lines())
    if form == "table" and any(prediction.error is None for prediction in done):
        from ser_base.command_line import console as results_console

        results_console().print(output.table(done))
    if save is not None and save.suffix == PAGE:
        from ser_predict.recordings.page import write_page

        write_page(predictor, done, save)
    elif save is not None:
        output.save(done, predictor.classes, save)
    return done


def _bars(console: Any, stack: ExitStack, by_segment: bool, files: int) -> tuple[dict[str, Any], Callable[[], None]]:
    """Bars of the pieces of one recording or of all segments, else of the recordings, and of the search for speech.

    Returns:
        Arguments of ``Predictor.predict``, and what is to be called after each prediction.
    """
    from rich.progress import Progress

    bar = stack.enter_context(Progress(console=console, redirect_stdout=False))  # results go to stdout meanwhile
    by_piece = by_segment or files == 1
    search = bar.add_task("looking for speech", total=None, visible=False)
    task = bar.add_task(
        "segments" if by_segment else "windows" if by_piece else "recordings", total=None if by_piece else files
    )

    def progress(file: str, pieces: int) -> None:
        if by_piece:
            bar.update(task, total=(bar.tasks[task].total or 0) + pieces)
        else:
            bar.advance(task)

    def listened(read: float, whole: float) -> None:
        bar.update(search, total=whole, completed=read, visible=read < whole)

    return {"progress": progress, "listened": listened}, lambda: bar.advance(task, int(by_piece))


def _timelines(predictor: "Predictor", done: "Sequence[Prediction]", folder: Path) -> None:
    from ser_predict.recordings.output import draw_timeline

    windows: dict[str, list[Prediction]] = {}
    for prediction in done:
        if prediction.window:
            windows.setdefault(prediction.file, []).append(prediction)
    stems = [Path(file).stem for file in windows]
    for number, (stem, own) in enumerate(zip(stems, windows.values(), strict=True)):
        name = stem if stems.count(stem) == 1 else f"{stem}-{number}"
        path = draw_timeline(own, predictor.classes, predictor.threshold, folder / f"{name}.png")
        click.echo(f"Timeline: {path}", err=True)
    if not windows:
        limit = max(predictor.windowing.longest, predictor.windowing.window)
        click.echo(f"No timeline: every recording is shorter than {limit:.1f} s. Use --window SECONDS.", err=True)


def _closing(done: "Sequence[Prediction]") -> int:
    bad = [prediction for prediction in done if prediction.error is not None]
    for prediction in bad[:SHOWN]:
        where = f" at {prediction.start:.1f} s" if prediction.window else ""
        click.echo(f"Skipped {prediction.file}{where}: {prediction.error}", err=True)
    if len(bad) > SHOWN:
        click.echo(f"... and {len(bad) - SHOWN:,} more.", err=True)
    files = {prediction.file for prediction in done}
    predicted = {prediction.file for prediction in done if prediction.error is None}
    lost = len(files) - len(predicted)
    click.echo(f"{len(predicted):,} of {len(files):,} recordings predicted, {lost:,} skipped.", err=True)
    return 3 if bad else 0


COLUMNS = (
    "id", "path", "start", "end", "text", "text_given", "label", "speaker", "session", "gender", "scenario", "fold",
)  # fmt: skip


@click.command("transcribe", cls=SettingsCommand, section="transcribe")
@click.argument("corpus", type=PLACE)
@click.option("--asr", required=True, metavar="DIR|ID", help="Transcribe with this speech recogniser of transformers.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Write the new CSV corpus here."
)
@click.option("--device", default="auto", show_default=True, help="Compute on cpu or cuda; auto prefers cuda.")
@click.option("--offline", is_flag=True, help="Never open a connection. Use only files of this machine.")
def transcribe(corpus: Path, asr: str, out: Path, device: str, offline: bool) -> None:
    """Write CORPUS again with recognised transcripts, to compare text features of gold and of recognised words.

    CORPUS is a CSV corpus or a manifest. Utterances keep their ids, so the folds stay the same. The column `text_given`
    keeps the text of CORPUS, and the word error rate is printed.

    The exit code is 3 if an utterance was skipped.

    Example: ser transcribe corpus.csv --asr openai/whisper-tiny.en --out recognised.csv
    """
    with sentences():
        sys.exit(_transcribe(corpus, asr, out, device, offline))


def _transcribe(corpus: Path, asr: str, out: Path, device: str, offline: bool) -> int:
    import pandas as pd
    from rich.console import Console
    from rich.progress import track

    from ser_data.corpora import CORPORA
    from ser_data.manifest.table import Manifest
    from ser_data.media.audio import AudioError
    from ser_data.media.isolated import IsolatedDecoder
    from ser_predict.recordings.transcripts import Recogniser, word_errors

    manifest = CORPORA["csv"].read(corpus) if corpus.suffix == ".csv" else Manifest.read(corpus)
    recogniser = Recogniser(asr, device=device, offline=offline)
    rows: list[dict[str, Any]] = []
    wrong = words = lost = 0
    console = Console(stderr=True)
    utterances = list(manifest.utterances())
    with IsolatedDecoder() as decoder:
        for utterance in track(utterances, "recognising", console=console, disable=not console.is_terminal):
            text: str | None = None
            try:
                if utterance.path is None:
                    raise AudioError("", "missing")
                span = (utterance.start, utterance.end)
                (text,) = recogniser.transcribe([decoder.load(utterance.path, recogniser.rate, *span)])
            except AudioError as error:
                lost += 1
                click.echo(f"Skipped {utterance.id}: {error}", err=True)
            if utterance.text and text is not None:
                errors, count = word_errors(utterance.text, text)
                wrong, words = wrong + errors, words + count
            if not console.is_terminal and len(rows) % 50 == 49:
                click.echo(f"{len(rows) + 1:,} of {len(utterances):,} utterances", err=True)
            own = {name: getattr(utterance, name, None) for name in COLUMNS}
            rows.append(own | {"text": text, "text_given": utterance.text})
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).dropna(axis="columns", how="all")
    out.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(out, index=False)
    rate = f", word error rate {wrong / words:.1%} of {words:,} words" if words else ""
    click.echo(f"{len(rows) - lost:,} utterances recognised, {lost:,} skipped{rate}: {out}")
    return 3 if lost else 0
