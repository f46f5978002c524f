"""`ser export`: the heads of a run as ONNX, or as a folder in the layout of the Hugging Face hub."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.errors import SerError
from ser_base.settings import SettingsCommand
from ser_predict.errors import NotExported


@click.command("export", cls=SettingsCommand, section="export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--onnx", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write model.onnx here.")
@click.option("--hub", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write a hub folder here.")
@click.option("--push", metavar="OWNER/NAME", help="Upload the hub folder too; nothing is uploaded without this.")
@click.option("--row", help="Heads of this row of the run.  [default: best on development data]")
@click.option("--fold", help="Only the heads of this fold.  [default: all]")
@click.option("--seed", type=int, help="Only the heads of this seed.  [default: all]")
@click.option("--raw", is_flag=True, help="Without temperatures.")
@click.option("--cache", type=click.Path(path_type=Path), help="Where the run's cache is (only runs of old versions).")
def command(run: Path, onnx: Path | None, hub: Path | None, push: str | None, **options: Any) -> None:
    """Writes the trained heads of RUN for use elsewhere. No encoder is needed, and none is written.

    --onnx: one graph of all heads, compared with torch before it is kept. --hub: config.json, model.safetensors and a model
    card; ser predict and ser live take that folder as a run.

    Example: ser export runs/demo/results --row cross --onnx exported/onnx --hub exported/hub
    """
    if onnx is None and hub is None:
        raise click.UsageError("Nothing to write: give --onnx DIR, --hub DIR, or both.")
    if push is not None and hub is None:
        raise click.UsageError("--push uploads what --hub DIR writes: give both.")
    try:
        _export(run, onnx, hub, push, options)
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(130)


def _export(run: Path, onnx: Path | None, hub: Path | None, push: str | None, options: dict[str, Any]) -> None:
    from ser_predict.recordings.predictor import Predictor

    try:
        heads = {name: options[name] for name in ("row", "fold", "seed", "cache")}
        predictor = Predictor(run, calibrate=not options["raw"], encoders=False, threshold=0.5, **heads)
        main = predictor.main
        click.echo(f"Row {main.slug}: {len(main.members)} heads on {' and '.join(main.streams)}.", err=True)
        if onnx is not None:
            from ser_predict.export.onnx import MODEL, export_onnx

            alone, row = predictor, next(one for one in predictor.source.rows if one["slug"] == main.slug)
            if main.stacked and heads["row"] is None and row.get("of"):
                click.echo(f"A graph cannot hold the probes of {main.slug}: it gets its head, {row['of']}.", err=True)
                heads["row"] = row["of"]
                alone = Predictor(run, calibrate=not options["raw"], encoders=False, threshold=0.5, **heads)
            checked = export_onnx(alone, onnx)["checked"]
            click.echo(
                f"{onnx / MODEL}: onnxruntime and torch differ by at most {checked['largest_difference']:.1e} "
                f"in any posterior of {checked['frames_of']}."
            )
        if hub is not None:
            folder = predictor.save_pretrained(hub)
            click.echo(f"{folder}: config.json, model.safetensors, README.md. Use it: ser predict {folder} FILE")
        if hub is not None and push is not None:
            click.echo(f"Uploaded: {_push(hub, push)}")
    except (SerError, OSError) as error:
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", [])])) from error


def push(folder: Path, repository: str) -> str:
    """Uploads an exported folder; only ever called where ``--push`` was given. Untested: no hub could be reached.

    Args:
        folder: Written by ``Predictor.save_pretrained``.
        repository: ``owner/name`` on the hub; made if it is not there, private.

    Returns:
        Its address.
    """
    from huggingface_hub import HfApi

    from ser_predict.models.hub import CARD, CONFIG, WEIGHTS

    hub = HfApi()
    hub.create_repo(repository, private=True, exist_ok=True)
    done = hub.upload_folder(
        repo_id=repository, folder_path=folder, allow_patterns=[CONFIG, WEIGHTS, CARD], commit_message="ser export"
    )
    return str(done)


def _push(folder: Path, repository: str) -> str:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return push(folder, repository)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotExported(
            f"the hub did not take {repository}: {first}", f"{folder} is complete. Log in (hf auth login) and try again"
        ) from error
