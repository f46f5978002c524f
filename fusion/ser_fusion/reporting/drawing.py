"""How a plot is drawn: its theme, its files and its form in a page; and the processes that draw.

Those load this module and neither pandas nor what judges a run: each would cost them more time than matplotlib does.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ser_base.workers import Jobs, Server
from ser_fusion.reporting import fonts

Asked = tuple[str, str, Callable[..., Any], tuple[Any, ...]]
"""A plot: its file's name, its caption, a function of ``figures`` and that function's data."""

# One drawing for light pages, dark pages and files.
#
# Figures use the colours of `PALETTE`. In files they stay as they are; in the page every one of them is replaced by a CSS
# variable, so that the same lines turn light in dark mode. Text stays text (`svg.fonttype none`): it can be searched, read
# aloud, and takes the page's font.
# colour in files -> CSS variable in the page (values for light and dark in templates/report.css)
PALETTE = {
    "ink": "#1d2433",
    "soft": "#5d6678",
    "line": "#d5d9e2",
    "accent": "#2f5fd0",
    "second": "#c2571a",
    "third": "#1f8a70",
    "fourth": "#8a4fbf",
    "quiet": "#9aa3b5",
    "paper": "#fefefd",
    "bright": "#fdfeff",
}
_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": list(fonts.FAMILY),
    "font.size": 9.5,
    "axes.edgecolor": PALETTE["line"],
    "axes.labelcolor": PALETTE["soft"],
    "axes.titlecolor": PALETTE["ink"],
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": PALETTE["line"],
    "grid.linewidth": 0.6,
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["soft"],
    "ytick.color": PALETTE["soft"],
    "xtick.labelcolor": PALETTE["soft"],
    "ytick.labelcolor": PALETTE["ink"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "pdf.fonttype": 42,
}


def draw(make: Callable[..., Any], *data: Any, **options: Any) -> Any:
    """Calls a plot function under the theme and returns its figure, which knows its tight frame."""
    from matplotlib import font_manager, rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for path in () if fonts.NAME in font_manager.get_font_names() else fonts.FILES:  # once a process
        font_manager.fontManager.addfont(path)
    with rc_context(_RC):
        figure = make(*data, **options)
        # found once and handed to every savefig: `bbox_inches="tight"` would draw everything twice for each format
        figure.tight_frame = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).padded(0.05)
        return figure


def svg_text(figure: Any, name: str) -> str:
    """The figure as SVG source; the same bytes for the same drawing."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({**_RC, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches=figure.tight_frame)
    return buffer.getvalue()


def inline(svg: str, name: str, label: str) -> str:
    """SVG source to put into a page: no prologue, own ids, colours as CSS variables, a label for screen readers."""
    from markupsafe import escape

    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    safe = re.sub(r"[^a-z0-9]+", "-", name.lower())
    body = re.sub(r'\bid="', f'id="{safe}-', body)
    body = re.sub(r"url\(#", f"url(#{safe}-", body)
    body = re.sub(r'xlink:href="#', f'xlink:href="#{safe}-', body)
    for variable, colour in PALETTE.items():
        body = body.replace(colour, f"var(--{variable})")
    head, rest = body.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(label)}">{rest}'


def save(figure: Any, svg: str, folder: Path, name: str) -> None:
    """Writes the figure as SVG, PNG (160 dpi, on paper) and PDF."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    with mpl.rc_context(_RC):
        frame = figure.tight_frame
        png = folder / f"{name}.png"
        figure.savefig(png, dpi=160, facecolor=PALETTE["paper"], metadata={"Software": None}, bbox_inches=frame)
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None}, bbox_inches=frame)


def drawn(asked: Asked, folder: Path | None) -> str:
    """Draws one figure, writes its files into the folder, if there is one, and returns its inline form."""
    file, caption, make, data = asked
    figure = draw(make, *data)
    svg = svg_text(figure, file)
    if folder is not None:
        save(figure, svg, folder, file)
    return inline(svg, file, caption)


def work(jobs: Jobs, asked: list[Asked], folders: list[Path | None]) -> None:
    """A worker process: draws the plots whose numbers it is given."""
    for number in jobs:
        jobs.done(drawn(asked[number], folders[number]))


def server() -> Server:
    """Starts the processes that draw."""
    backends = [f"matplotlib.backends.backend_{name}" for name in ("agg", "svg", "pdf")]
    return Server(["matplotlib.figure", *backends, "fontTools.subset", "ser_fusion.reporting.figures"], forks=True)
