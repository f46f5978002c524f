"""The folder of one finished training: curve, weights, head, posteriors, and ``done.json`` last.

Everything is written to a hidden folder beside it and renamed, so that a folder with ``done.json`` is complete.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ser_base.files import replacing
from ser_fusion.frames.batches import Frames
from ser_fusion.frames.features import StreamFrames
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.base import Attention
from ser_fusion.heads.model import Model
from ser_fusion.runs.task import Task
from ser_fusion.training.plan import TrainingData

if TYPE_CHECKING:
    import pandas as pd

    from ser_fusion.training.plan import Trained


def do_task(task: Task, data: TrainingData, out: Path, attention: int, on_epoch: Callable[[], None]) -> float:
    """Trains one job and writes its folder; returns seconds."""
    from ser_fusion.training.train import train

    began = time.perf_counter()
    settings = None
    if task.search is not None:
        from ser_fusion.runs.tuning.search import settle

        task, settings = settle(task, data, out, on_epoch)
    trained = train(task.plan, data, task.parts, on_epoch=lambda _: on_epoch())
    if settings is not None:
        trained.notes.append(f"tuned: {json.dumps(settings)}")
    seconds = time.perf_counter() - began
    final = out / task.folder
    final.parent.mkdir(parents=True, exist_ok=True)
    with replacing(final) as scratch:
        scratch.mkdir()
        _write(task, trained, data, scratch, attention, seconds)
    return seconds


def _write(task: Task, trained: "Trained", data: TrainingData, folder: Path, attention: int, seconds: float) -> None:
    from safetensors.torch import save_file

    state = {name: value.contiguous().cpu() for name, value in trained.model.state_dict().items()}
    save_file(state, folder / "weights.safetensors", metadata={"format": "pt"})
    frames = {name: data.streams[name].frame_rate for name in task.plan.streams}
    card = {
        **trained.model.card,
        "class_names": list(data.classes),
        "parameters": trained.model.parameters_trained,
        "frame_rates": frames,
        "pad_to": dict(task.plan.pad_to),
        "layer_weights": trained.model.layer_weights(),
    }
    _json(folder / "head.json", card)
    _json(folder / "curve.json", trained.curve)
    for part, values in (("test", trained.test), ("dev", trained.dev)):
        if task.plan.levers.task == "vad":
            frame = rating_frame(task, task.parts[part], values, data)
        else:
            frame = predictions(task, task.parts[part], values, data)
        frame.to_parquet(folder / f"{part}.parquet", index=False)
    if trained.ratings is not None:
        frame = rating_frame(task, task.parts["test"], trained.ratings, data)
        frame.to_parquet(folder / "ratings.parquet", index=False)
    if attention:
        save_attention(trained.model, task, data.streams, data.ids, folder / "attention.safetensors", attention)
    done = {
        "fingerprint": task.fingerprint,
        "ground": task.ground,
        "row": task.row.slug,
        "fold": task.fold_name,
        "seed": task.seed,
        "epochs": len(trained.curve),
        "best_epoch": trained.best_epoch,
        "best_epochs": {stream: epoch for stream, epoch in trained.best_epochs.items() if stream},
        "seconds": round(seconds, 3),
        "notes": trained.notes,
        "parameters": trained.model.parameters_trained,
    }
    _json(folder / "done.json", done)


def predictions(
    task: Task, rows: NDArray[np.int64], posteriors: NDArray[np.float32], data: TrainingData
) -> "pd.DataFrame":
    """Posteriors as the run directory holds them: row, id, fold, seed, label, predicted, p_<class> ..."""
    import pandas as pd

    names = np.array(data.classes, dtype=object)
    guesses = posteriors.argmax(1) if len(posteriors) else np.zeros(0, dtype=np.int64)
    columns: dict[str, Any] = {
        "row": task.row.slug,
        "id": np.array([data.ids[row] for row in rows], dtype=object),
        "fold": task.fold_name,
        "seed": np.int64(task.seed),
        "label": names[data.targets[rows]],
        "predicted": names[guesses],
    }
    columns |= {f"p_{name}": posteriors[:, number] for number, name in enumerate(data.classes)}
    return pd.DataFrame(columns, index=range(len(rows)))


def rating_frame(
    task: Task, rows: NDArray[np.int64], predicted: NDArray[np.float32], data: TrainingData
) -> "pd.DataFrame":
    """Ratings given and predicted, in long form; see ``long_frame``."""
    assert data.ratings is not None
    from ser_fusion.evaluation.rating_metrics import long_frame

    names = np.array([data.ids[row] for row in rows], dtype=object)
    return long_frame(task.row.slug, names, task.fold_name, task.seed, predicted, data.ratings[rows])


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


@torch.inference_mode()
def save_attention(
    model: Model, task: Task, streams: Mapping[str, StreamFrames], ids: Sequence[str], path: Path, count: int
) -> None:
    """Writes the weights of every attention for the first ``count`` test utterances."""
    from safetensors.torch import save_file

    rows = task.parts["test"][:count]
    feed = Feed(streams, task.plan.streams, pad_to=task.plan.pad_to)
    model = model.cpu().eval()
    seen: dict[str, Tensor] = {}
    attention: dict[str, list[Tensor]] = {}

    def look(name: str, module: nn.Module, inputs: tuple[Any, ...], _: Any) -> None:
        frames, source = inputs
        if isinstance(module, Attention) and isinstance(frames, Frames):
            attention[name] = module.weights(frames, source)

    hooks = [
        module.register_forward_hook(partial(look, name))
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    try:
        model(feed.batch(rows))
    finally:
        for hook in hooks:
            hook.remove()
    for name, maps in attention.items():
        for number, weights in enumerate(maps):
            seen[f"{number}/{name}"] = weights.half().contiguous()
    save_file(seen, path, metadata={str(number): ids[row] for number, row in enumerate(rows)})
