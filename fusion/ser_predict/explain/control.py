"""Trains the control of an explanation, on shuffled labels. What it shows as well says nothing of the label.

Like every head it has a temperature from its own development part. A head without a clue gets a high one, and a flat picture.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018 (data randomisation test).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ser_base.files import replacing, write_json
from ser_fusion.evaluation.parts import speakers_of
from ser_fusion.evaluation.temperatures import fit_temperature, units_of
from ser_fusion.frames.features import StreamFrames
from ser_fusion.heads.model import load_model
from ser_fusion.runs.job_data import JobData
from ser_fusion.runs.task import Task
from ser_predict.explain.shares import Member

FOLDER = "explain/shuffled"


def refusal(task: Task) -> str:
    """Says why this training cannot be repeated with shuffled labels; empty if it can."""
    if task.search is not None:
        return "its settings were searched (--tune)"
    if task.plan.levers.rates or task.plan.levers.votes:
        return "it learns more than class labels (--targets votes, --vad-weight)"
    return "it draws texts by their class (--extra-text)" if "extra" in task.parts else ""


def shuffled_head(task: Task, job_data: JobData, streams: Mapping[str, StreamFrames], run: Path) -> Member:
    """Trains a head on shuffled labels once, and keeps it in the run's folder.

    Args:
        task: The training.
        job_data: The study that it learns from.
        streams: Frames of all utterances.
        run: Run directory.
    """
    folder = run / FOLDER / task.fingerprint
    if not (folder / "temperature.json").is_file():
        from safetensors.torch import save_file

        from ser_fusion.training.plan import TrainingData
        from ser_fusion.training.train import train

        study, dev = job_data.study, task.parts["dev"]
        shuffled_rows = np.concatenate([task.parts["train"], dev])
        targets = study.targets
        targets[shuffled_rows] = np.random.default_rng(task.plan.seed).permutation(targets[shuffled_rows])
        trained = train(task.plan, TrainingData(streams, targets), {**task.parts, "test": shuffled_rows[:0]})
        value = 1.0
        if len(dev):
            units = units_of(study.table.index[dev], speakers_of(study.table))
            value = fit_temperature(trained.dev.astype(np.float64), targets[dev], units).value
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as scratch:
            scratch.mkdir()
            model = trained.model.cpu()
            write_json(scratch / "head.json", model.card)
            weights = {name: value.contiguous() for name, value in model.state_dict().items()}
            save_file(weights, scratch / "weights.safetensors")
            write_json(scratch / "temperature.json", value)
    temperature = float(json.loads((folder / "temperature.json").read_text()))
    return Member(load_model(folder).double(), temperature, task.plan.pad_to or {})
