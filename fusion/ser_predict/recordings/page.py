"""Makes the page of one recording: its waveform, the emotions along it, and the words of each segment, in one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ser_data.media.audio import AudioError, Limits
from ser_data.media.isolated import IsolatedDecoder
from ser_data.show import amount
from ser_predict.models.card import corpus_title, notice
from ser_predict.recordings.output import OUTLINE, clock, timeline
from ser_predict.recordings.pieces import Prediction
from ser_predict.recordings.segments import blocks_of

if TYPE_CHECKING:
    from ser_predict.recordings.predictor import Predictor


def write_page(predictor: "Predictor", predictions: Sequence[Prediction], path: Path) -> None:
    """Writes the page of one recording.

    Args:
        predictor: The predictor whose heads answered.
        predictions: The pieces of the recording, in order.
        path: File to write.
    """
    from ser_base.files import write_whole
    from ser_fusion.reporting.drawing import draw, inline, svg_text
    from ser_fusion.reporting.plots import Plot
    from ser_fusion.reporting.report import render
    from ser_fusion.reporting.tables import Cell, Row, Table

    segments = [line for line in predictions if line.error is None and line.end is not None]
    name, plots = Path(predictions[0].file).name, list[Plot]()
    if segments:
        peaks = outline(predictions[0].file, predictor.rate, predictor.channel)
        figure = draw(timeline, segments, predictor.classes, predictor.threshold, peaks)
        plots.append(Plot(inline(svg_text(figure, "talk"), "talk", f"Voice and posteriors of {name}"), name, "talk"))
    rows = []
    for line in predictions:
        guess = f" ({line.best}?)" if line.label != line.best else ""
        answer = [f"{line.label}{guess}", f"{line.confidence:.2f}"] if line.error is None else ["-", ""]
        cells = [clock(line.start), clock(line.end), *answer, line.text or line.error or "-"]
        rows.append(Row(tuple(Cell(cell) for cell in cells), quiet=line.error is not None))
    columns = ("From", "To", "Emotion", "Confidence", "Words")
    page = render(
        "talk.html.j2",
        Path(__file__).parent,
        name=name,
        facts=predictor.source.facts,
        corpus=corpus_title(predictor.source.facts),
        row=predictor.main.name,
        classes=predictor.classes,
        threshold=predictor.threshold,
        segments=amount(len(rows), "segment"),
        plots=plots,
        answers=Table("segments", amount(len(rows), "segment"), columns, tuple(rows), left=frozenset({2, 4})),
        notes=predictor.notes,
        notice=notice(predictor.chosen),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.encode("utf-8"))


def outline(file: str, rate: int, channel: str) -> NDArray[np.float32] | None:
    """Returns the largest absolute value of each ``OUTLINE`` seconds, 0 to 1, read in blocks; None if it cannot be read now."""
    step, rest, peaks = round(OUTLINE * rate), np.zeros(0, np.float32), list[NDArray[np.float32]]()
    try:
        with IsolatedDecoder(limits=Limits(channel=channel)) as decoder:
            for block in blocks_of(decoder, file, rate):
                samples = np.concatenate([rest, np.abs(block)])
                end = len(samples) // step * step
                peaks.append(samples[:end].reshape(-1, step).max(axis=1))
                rest = samples[end:]
    except AudioError:
        return None
    values = np.concatenate([*peaks, rest.max(keepdims=True)] if len(rest) else peaks)
    return (values / max(float(values.max(initial=0.0)), 1e-6)).astype(np.float32)
