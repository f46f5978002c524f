"""`ser predict`: a finished run and recordings in, labels with posteriors out. Nothing heavy is loaded before it runs."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ser_base.errors import SerError
from ser_base.settings import SettingsCommand
from ser_data.corpora.base import AUDIO_SUFFIXES, visible_files
from ser_predict.encoder_options import encoder_options, encoders

if TYPE_CHECKING:
    from ser_predict.recordings.pieces import Prediction
    from ser_predict.recordings.predictor import Predictor

VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".flv", ".wmv")
SHOWN = 20
"""Recordings that failed and are told on stderr one by one; all of them stand in the output."""


@click.command("predict", cls=SettingsCommand, section="predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--text", help="The transcript, for one FILE.")
@click.option("--transcripts", type=click.Path(path_type=Path), help="CSV with the columns path,text (or file,text).")
@click.option(
    "--asr", metavar="DIR|ID", help="Speech recogniser for recordings without a transcript; any of transformers."
)
@click.option("--row", help="Heads of this row of the run.  [default: best on development data]")
@click.option("--fold", help="Only the heads of this fold.  [default: all, averaged]")
@click.option("--seed", type=int, help="Only the heads of this seed.  [default: all, averaged]")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Below it: 'unsure'.")
@click.option("--raw", is_flag=True, help="Posteriors without temperature.")
@click.option(
    "--window", type=click.FloatRange(0.5), help="Seconds of a window of long recordings.  [default: as in training]"
)
@click.option("--hop", type=click.FloatRange(0.1), help="Seconds between windows.  [default: half a window]")
@click.option(
    "--timeline", type=click.Path(path_type=Path), metavar="DIR", help="Draw long recordings' timelines here."
)
@click.option("--format", "form", type=click.Choice(("table", "csv", "jsonl")), help="On stdout.  [default: table]")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write a .csv or .jsonl file too.")
@encoder_options
@click.option(
    "--video", type=click.Path(path_type=Path), metavar="FILE|DIR", help="Video of one FILE, or a folder of like names."
)
@click.option("--video-crop", type=click.Choice(["left", "right"]), help="Half of the pictures that shows the speaker.")
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Where the run's cache is now (only runs of old versions)."
)
@click.option("--device", help="auto, cpu or cuda.  [default: auto]")
@click.option("--offline", is_flag=True, help="Never open a connection.")
def command(run: Path, files: tuple[Path, ...], text: str | None, transcripts: Path | None, **options: Any) -> None:
    """Predicts the emotions of recordings with the heads that RUN trained, averaged over its folds and seeds.

    FILES are recordings, or folders of them. The run's own encoders and layers are used. Recordings much longer than the training's go in windows. Exit code 3 if
    some FILE could not be read.

    Example: ser predict runs/demo/results talk.wav --asr openai/whisper-tiny.en --timeline plots
    """
    recordings = _recordings(files)
    if text is not None and len(recordings) != 1:
        raise click.UsageError(
            f"--text is the transcript of one FILE; {len(recordings)} are given. Give --transcripts CSV."
        )
    video = options["video"]
    if video is not None and not video.is_dir() and len(recordings) != 1:
        raise click.UsageError(
            f"--video {video} is not a folder, and {len(recordings)} FILEs are given. Give a folder of videos."
        )
    save = options["save"]
    if save is not None and save.suffix not in (".csv", ".jsonl"):
        raise click.UsageError(f"--save writes .csv or .jsonl; '{save}' ends in neither.")
    try:
        sys.exit(_predict(run, recordings, text, transcripts, options))
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(130)


def _recordings(paths: tuple[Path, ...]) -> list[str]:
    """The recordings that are meant: files as given, and for a folder all recordings below it, sorted by name.

    A folder without recordings stays in the list, so that it is reported as skipped.
    """
    found: list[str] = []
    for path in paths:
        below = [str(file) for file in visible_files(path, AUDIO_SUFFIXES)] if path.is_dir() else []
        found += below or [str(path)]
    return found


def _predict(run: Path, files: list[str], text: str | None, transcripts: Path | None, options: dict[str, Any]) -> int:
    from ser_predict.recordings.predictor import Predictor
    from ser_predict.recordings.transcripts import read_transcripts

    try:
        texts = read_transcripts(transcripts).of if transcripts else {files[0]: text}.get if text else None
        predictor = Predictor(
            run,
            calibrate=not options["raw"],
            **{name: options[name] for name in ("row", "fold", "seed", "threshold", "asr", "window", "hop", "cache")},
            **encoders(options),
            **{name: options[name] for name in ("video_crop", "offline")},
            text=texts is not None,
            video=options["video"] is not None,
            device=options["device"] or "auto",
        )
        click.echo(_opening(predictor), err=True)
        videos = None if options["video"] is None else _videos(options["video"])
        done = _run(predictor, files, texts, videos, options["form"] or "table", options["save"])
    except SerError as error:
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", [])])) from error
    for note in predictor.notes:
        click.echo(f"Note: {note}.", err=True)
    if options["timeline"] is not None:
        _timelines(predictor, done, options["timeline"])
    return _closing(done)


def _videos(place: Path) -> "Callable[[str], str | None]":
    """Recording -> its video: the file that was given, or the one in the folder whose name has the same stem."""
    if not place.is_dir():
        return lambda file: str(place)
    found = {
        path.stem: str(path) for path in sorted(place.iterdir()) if path.is_file() and path.suffix.lower() in VIDEOS
    }
    return lambda file: found.get(Path(file).stem)


def _opening(predictor: "Predictor") -> str:
    main = predictor.main
    temperatures = sorted(member.temperature for member in main.members)
    share, right = predictor.reliability()
    told = f"Row {main.slug} answers ({predictor.reason}): it reads {' and '.join(main.streams)}, {len(main.members)} heads averaged"
    if isfinite(main.uwa):
        told += f", development UWA {main.uwa:.3f}"
    if temperatures[-1] != 1.0:
        told += f", temperatures {temperatures[0]:.2f} to {temperatures[-1]:.2f}"
    told += "."
    if predictor.threshold and isfinite(share):
        told += f" On development data {share:.0%} of predictions reach {predictor.threshold:g}"
        told += f", {right:.0%} of them are right." if isfinite(right) else "."
    return told


def _run(
    predictor: "Predictor", files: list[str], texts: Any, videos: Any, form: str, save: Path | None
) -> "list[Prediction]":
    """Predicts, shows and saves; lines of csv and jsonl come as soon as they are known."""
    from rich.console import Console

    from ser_predict.recordings import told as lines

    done: list[Prediction] = []
    with ExitStack() as stack:
        console = Console(stderr=True)
        advance: Callable[[str, int], None] = lambda file, pieces: None
        if console.is_terminal and len(files) > 1:
            from rich.progress import Progress

            bar = stack.enter_context(Progress(console=console))
            task = bar.add_task("recordings", total=len(files))

            def advance(file: str, pieces: int) -> None:
                bar.advance(task)

        def told() -> Any:
            for prediction in predictor.predict(files, texts, videos, progress=advance):
                done.append(prediction)
                yield prediction

        if form == "csv":
            lines.write_csv(told(), predictor.classes, sys.stdout)
        elif form == "jsonl":
            lines.write_jsonl(told(), sys.stdout)
        else:
            for _ in told():
                pass
    if form == "table" and any(one.error is None for one in done):
        from ser_base.command_line import console as results_console

        results_console().print(lines.table(done))
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        with save.open("w", encoding="utf-8", newline="") as out:
            if save.suffix == ".csv":
                lines.write_csv(done, predictor.classes, out)
            else:
                lines.write_jsonl(done, out)
    return done


def _timelines(predictor: "Predictor", done: "list[Prediction]", folder: Path) -> None:
    from ser_predict.recordings.told import draw_timeline

    windows: dict[str, list[Prediction]] = {}
    for prediction in done:
        if prediction.window:
            windows.setdefault(prediction.file, []).append(prediction)
    for number, (file, own) in enumerate(windows.items()):
        name = (
            Path(file).stem
            if sum(Path(other).stem == Path(file).stem for other in windows) == 1
            else f"{Path(file).stem}-{number}"
        )
        path = draw_timeline(own, predictor.classes, predictor.threshold, folder / f"{name}.png")
        click.echo(f"Timeline: {path}", err=True)
    if not windows:
        limit = max(predictor.windowing.longest, predictor.windowing.window)
        click.echo(
            f"No timeline: no recording is longer than {limit:.1f} s. Give --window SECONDS for shorter windows.",
            err=True,
        )


def _closing(done: "list[Prediction]") -> int:
    bad = [prediction for prediction in done if prediction.error is not None]
    for prediction in bad[:SHOWN]:
        where = f" at {prediction.start:.1f} s" if prediction.window else ""
        click.echo(f"Skipped {prediction.file}{where}: {prediction.error}", err=True)
    if len(bad) > SHOWN:
        click.echo(f"... and {len(bad) - SHOWN:,} more.", err=True)
    files = {prediction.file for prediction in done}
    lost = {file for file in files if all(one.error is not None for one in done if one.file == file)}
    click.echo(f"{len(files) - len(lost):,} of {len(files):,} recordings predicted, {len(lost):,} skipped.", err=True)
    return 3 if bad else 0
