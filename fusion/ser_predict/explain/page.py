"""Shows an explanation as a page: shares of streams, the waveform with its moments, coloured words; the control beside each."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.reporting.drawing import PALETTE, draw, svg_text
from ser_predict.explain.explanation import IS_NOT, Explanation
from ser_predict.explain.profiles import TENTHS, Mean, Profile
from ser_predict.explain.tracks import Track

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2433;background:#fefefd}
.words span{padding:.1em .25em;border-radius:.2em;margin:.05em}svg{max-width:100%;height:auto}td,th{padding:.1rem .8rem .1rem 0;text-align:left}"""
FOR, AGAINST = "47,95,208", "194,87,26"
WORDS = 12
"""Words of a class in its profile."""
FLAT = (
    "Likeness is the rank correlation of the sizes with the control's; near 1, the picture says nothing of the label. Strength "
    "is the mean size of the control's contributions beside these; near 0, the control is flat."
)


def page(explanation: Explanation, waveform: NDArray[np.float32] | None, rate: int) -> str:
    """Makes a page that needs no other file.

    Args:
        explanation: The explanation to show.
        waveform: Waveform of the utterance, (samples,), or None where its recording is not at hand.
        rate: Its samples per second.
    """
    e = explanation
    parts = [f"<p>{escape(summary(e))}</p>", "<h2>Streams</h2>", _shares(e)]
    largest = max((abs(v) for track in e.tracks if not track.of_words for v in track.values), default=0.0)
    for track in e.tracks:
        parts.append(f"<h2>{escape(track.stream)}</h2>")
        if track.strength is not None:
            likeness = "" if track.likeness is None else f"Likeness to the control: {track.likeness:+.2f}. "
            parts.append(f"<p>{likeness}Strength of the control: {track.strength:.2f}. {FLAT}</p>")
        if not track.of_words:
            parts.append(_svg(draw(_along_time, track, waveform, rate, largest or 1.0), track.stream))
            continue
        scale = max((abs(value) for value in track.values), default=0.0) or 1.0
        parts.append(_words(track.names, track.values, scale))
        if track.control:
            parts += ["<p>Control, labels shuffled, on the same scale:</p>", _words(track.names, track.control, scale)]
    parts += [f"<p>{escape(note)}</p>" for note in e.notes]
    return _html(f"{e.id}: {e.target}", parts)


def summary(explanation: Explanation) -> str:
    """Says the explanation in one paragraph of plain text."""
    e = explanation
    shares = ", ".join(f"{stream} {value:+.3f}" for stream, value in e.shares.streams.items())
    return (
        f"Row {e.row}, heads of fold {e.fold}, which have not learned from it. Label {e.label}, predicted {e.predicted}. "
        f"Score of {e.target}: {e.scores[e.target]:+.3f} = {e.shares.baseline:+.3f} (without any stream) and {shares}. "
        f"Beyond the sum of the streams alone: {e.shares.interaction:+.3f}. "
        f"Moments and words leave {100 * e.gap:.1f} % of the change unexplained."
    )


def profile_page(row: str, class_profiles: Sequence[Profile]) -> str:
    """Makes a page of the class-wise means of a row."""
    about = (
        "<p>Means over tested utterances of a class, towards that class, with standard errors, and beside them those of "
        "heads that learned shuffled labels. The interaction lies within the shares.</p>"
    )
    parts = [about]
    largest = max((abs(m.value) for p in class_profiles for track in p.moments.values() for m in track), default=0.0)
    for profile in class_profiles:
        parts += [f"<h2>{escape(profile.label)}</h2>", _means(profile.shares.items())]
        if profile.words:
            parts += ["<h3>Words</h3>", _means(list(profile.words.items())[:WORDS])]
        for stream, means in profile.moments.items():
            control = [mean.control for mean in means if mean.control is not None]
            along = Track(stream, [100.0 / TENTHS * n for n in range(TENTHS)], [m.value for m in means], control)
            figure = draw(_along_time, along, None, 1, largest or 1.0, "per cent of the utterance")
            parts += [f"<h3>{escape(stream)}</h3>", _svg(figure, f"{profile.label} {stream}")]
    return _html(f"{row}: what speaks for each class", parts)


def _html(title: str, parts: Iterable[str]) -> str:
    title, body = escape(title), "".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style><body><h1>{title}</h1>'
        f"{body}<p><strong>What this is not.</strong> {escape(IS_NOT)}</p></body></html>\n"
    )


def _shares(e: Explanation) -> str:
    control = {} if e.control is None else {**e.control.streams, "interaction": e.control.interaction}
    rows = [
        f"<tr><th>{escape(name)}</th><td>{value:+.3f}</td>" + (f"<td>{control[name]:+.3f}</td>" if control else "")
        for name, value in {**e.shares.streams, "interaction": e.shares.interaction}.items()
    ]
    return (
        "<table><tr><th></th><th>share</th>"
        + ("<th>labels shuffled</th>" if control else "")
        + f"</tr>{''.join(rows)}</table><p>The interaction lies within the shares.</p>"
    )


def _means(means: Iterable[tuple[str, Mean]]) -> str:
    rows = [
        f"<tr><th>{escape(name)}</th><td>{m.value:+.3f}</td><td>{'' if m.error is None else f'± {m.error:.3f}'}</td>"
        f"<td>{'' if m.control is None else f'{m.control:+.3f}'}</td><td>{m.count}</td></tr>"
        for name, m in means
    ]
    return f"<table><tr><th></th><th>mean</th><th></th><th>labels shuffled</th><th>utterances</th></tr>{''.join(rows)}</table>"


def _words(names: Sequence[Any], values: Sequence[float], scale: float) -> str:
    spans = [
        f'<span title="{value:+.4f}" style="background:rgba({FOR if value > 0 else AGAINST},{min(abs(value) / scale, 1) * 0.7:.2f})">'
        f"{escape(str(name))}</span>"
        for name, value in zip(names, values, strict=True)
    ]
    return f'<p class="words">{" ".join(spans)}</p>'


def _along_time(
    track: Track, waveform: NDArray[np.float32] | None, rate: int, largest: float, unit: str = "seconds"
) -> Any:
    from matplotlib.figure import Figure

    shown = [("contribution", track.values)] + ([("labels shuffled", track.control)] if track.control else [])
    figure = Figure(figsize=(8, 1.4 * (len(shown) + (waveform is not None))), layout="constrained")
    axes = figure.subplots(len(shown) + (waveform is not None), 1, sharex=True, squeeze=False)[:, 0]
    times = np.asarray(track.names, dtype=float)
    times = np.append(times, times[-1] + (times[-1] - times[0]) / max(len(times) - 1, 1))  # the end of the last one
    if waveform is not None and len(waveform):
        edges = np.linspace(0, len(waveform), min(len(waveform), 1200) + 1).astype(int)[:-1]
        top, low = np.maximum.reduceat(waveform, edges), np.minimum.reduceat(waveform, edges)
        axes[0].fill_between(edges / rate, low, top, color=PALETTE["quiet"], linewidth=0)
        axes[0].set_ylabel("waveform")
    for axis, (title, contributions) in zip(axes[-len(shown) :], shown, strict=True):
        values = np.append(contributions, contributions[-1])
        axis.fill_between(times, np.maximum(values, 0), step="post", color=PALETTE["accent"], linewidth=0)
        axis.fill_between(times, np.minimum(values, 0), step="post", color=PALETTE["second"], linewidth=0)
        axis.set_ylim(-largest, largest)
        axis.set_ylabel(title)
    axes[-1].set_xlabel(unit)
    return figure


def _svg(figure: Any, name: str) -> str:
    svg = svg_text(figure, name)
    return svg[svg.index("<svg") :]
