"""``ser export``: the heads of a run as ONNX, or as a folder in the layout of the Hugging Face hub."""

from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.command_line import sentences
from ser_base.settings import SettingsCommand
from ser_predict.errors import NotExported
from ser_predict.ser import PLACE, opens_run, predictor_arguments

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("export", cls=SettingsCommand, section="export")
@click.argument("run", type=PLACE)
@click.option("--onnx", type=FOLDER, metavar="DIR", help="Write one ONNX graph here. Use it to predict without torch.")
@click.option("--hub", type=FOLDER, metavar="DIR", help="Write a hub folder here. Use it to share the heads.")
@click.option("--push", metavar="OWNER/NAME", help="Upload the hub folder to this repository.  [default: no upload]")
@click.option(
    "--waveform", is_flag=True,
    help="Put the wav2vec 2.0 encoder into the graph too. Use it to predict from samples, with heads on audio.",
)  # fmt: skip
@click.option("--raw", is_flag=True, help="Do not calibrate: leave the temperatures out.")
@opens_run(predicts=False)
def command(run: Path, onnx: Path | None, hub: Path | None, push: str | None, **options: Any) -> None:
    """Write the trained heads of RUN for use elsewhere.

    The graph of --onnx holds all heads. It is compared with torch, and kept only if the two agree. --hub writes
    config.json, model.safetensors and a model card. `ser predict` and `ser live` accept that folder as RUN. Encoders are
    not part of an export, but for --waveform.

    Example: ser export runs/demo/results --row cross --onnx exported/onnx --hub exported/hub
    """
    if onnx is None and hub is None:
        raise click.UsageError("Nothing to write. Give --onnx DIR, --hub DIR, or both.")
    if options["waveform"] and onnx is None:
        raise click.UsageError("--waveform is about the graph of --onnx, which is missing. Give --onnx DIR as well.")
    if push is not None and hub is None:
        raise click.UsageError("--push uploads the folder of --hub, which is missing. Give --hub DIR as well.")
    with sentences():
        try:
            _export(run, onnx, hub, push, options)
        except OSError as error:
            raise click.ClickException(str(error)) from error


def _export(run: Path, onnx: Path | None, hub: Path | None, push: str | None, options: dict[str, Any]) -> None:
    from ser_predict.recordings.predictor import Predictor

    opening: dict[str, Any] = {"calibrate": not options["raw"], "encoders": False, "threshold": 0.5}
    predictor = Predictor(run, **opening, **predictor_arguments(options))
    main = predictor.main
    click.echo(f"Row {main.slug}: {len(main.members)} heads on {' and '.join(main.streams)}.", err=True)
    if onnx is not None and options["waveform"]:
        _export_chain(run, onnx, opening, options)
    elif onnx is not None:
        from ser_predict.export.onnx import MODEL, export_onnx

        alone, row = predictor, next(row for row in predictor.source.rows if row["slug"] == main.slug)
        if main.stacked and options["row"] is None and row.get("of"):
            click.echo(f"A graph cannot hold the probes of {main.slug}. It gets its head, {row['of']}.", err=True)
            alone = Predictor(run, **opening, **predictor_arguments(options | {"row": row["of"]}))
        checked = export_onnx(alone, onnx)["checked"]
        click.echo(
            f"{onnx / MODEL}: onnxruntime and torch differ by at most {checked['largest_difference']:.1e} "
            f"in any posterior of {checked['frames_of']}."
        )
    if hub is not None:
        folder = predictor.save_pretrained(hub)
        click.echo(f"{folder}: config.json, model.safetensors, README.md. Use it: ser predict {folder} FILE")
        if push is not None:
            click.echo(f"Uploaded: {upload(hub, push)}")


def _export_chain(run: Path, folder: Path, opening: dict[str, Any], options: dict[str, Any]) -> None:
    """The graph from samples to posteriors: of the row that was named, else of the best one on audio alone."""
    from ser_predict.export.chain import export_chain
    from ser_predict.export.onnx import MODEL
    from ser_predict.models.hub import open_heads
    from ser_predict.recordings.predictor import Predictor

    best = open_heads(run).best(("audio",)) if options["row"] is None else None
    named = options if best is None else options | {"row": best["of"] if best.get("stack") else best["slug"]}
    own = {"encoders": True, "device": "cpu"}
    checked = export_chain(Predictor(run, **{**opening, **predictor_arguments(named), **own}), folder)["checked"]
    click.echo(
        f"{folder / MODEL}: onnxruntime and ser predict differ by at most {checked['largest_difference']:.1e} "
        f"in any posterior of {checked['of']}."
    )


def upload(folder: Path, repository: str) -> str:
    """Uploads an exported folder to a private repository; returns its address. Tested with a stand-in of the hub.

    Raises:
        NotExported: The hub did not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    from ser_predict.models.hub import CARD, CONFIG, WEIGHTS

    hub = HfApi()
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=[CONFIG, WEIGHTS, CARD], commit_message="ser export"
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotExported(
            f"the hub did not take {repository}: {first}", f"{folder} is complete. Log in (hf auth login) and try again"
        ) from error
    return str(done)
