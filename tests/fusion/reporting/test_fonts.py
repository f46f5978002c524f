"""The small font of plots is DejaVu Sans: the same letters, as wide; others come from DejaVu Sans itself."""

import re
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib import font_manager

from ser_fusion.reporting.drawing import draw, save, svg_text
from ser_fusion.reporting.figures import confusion_plot
from ser_fusion.reporting.fonts import FAMILY, LETTERS, NAME, TYPEFACES, cut

WHOLE = Path(mpl.get_data_path()) / "fonts/ttf"
PAIRS = {"SERPlotsSans.ttf": "DejaVuSans.ttf", "SERPlotsSans-Bold.ttf": "DejaVuSans-Bold.ttf"}


@pytest.mark.parametrize("name", PAIRS)
def test_the_files_are_what_the_function_makes(tmp_path: Path, name: str) -> None:
    cut(WHOLE / PAIRS[name], tmp_path / name)
    shipped, made, whole = (TTFont(path) for path in (TYPEFACES / name, tmp_path / name, WHOLE / PAIRS[name]))
    letters = shipped.getBestCmap()
    assert letters == made.getBestCmap() and sorted(shipped.keys()) == sorted(made.keys())
    assert set(letters) <= {code for first, last in LETTERS for code in range(first, last + 1)}
    assert set(range(0x20, 0x7F)) <= set(letters) and 0x2212 in letters
    for code, glyph in letters.items():
        assert shipped["hmtx"][glyph] == whole["hmtx"][whole.getBestCmap()[code]]
        assert shipped["glyf"][glyph].getCoordinates(shipped["glyf"]) == made["glyf"][glyph].getCoordinates(
            made["glyf"]
        )
    assert shipped["name"].getDebugName(1) == NAME


def test_both_weights_are_found() -> None:
    draw(confusion_plot, np.eye(2), ("a", "b"))
    for weight, name in (("normal", "SERPlotsSans.ttf"), ("bold", "SERPlotsSans-Bold.ttf")):
        asked = font_manager.FontProperties(family=list(FAMILY), weight=weight)
        assert Path(font_manager.findfont(asked)).name == name


@pytest.mark.parametrize(("classes", "others"), [(("ang", "été"), False), (("ang", "гнев"), True)])
def test_letters_of_other_scripts_come_from_the_whole_font(tmp_path: Path, classes: Any, others: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a letter that it does not have
        figure = draw(confusion_plot, np.array([[3, 1], [0, 2]]), classes)
        svg = svg_text(figure, "plot")
        save(figure, svg, tmp_path, "plot")
    pdf = (tmp_path / "plot.pdf").read_bytes()
    assert b"+SERPlotsSans " in pdf and (b"+DejaVuSans " in pdf) == others
    lists = set(re.findall(r"font(?:-family)?:[^;]*'SER Plots Sans', ([^;\"]+)", svg))
    assert lists and all(names.startswith("'DejaVu Sans'") and names.endswith("sans-serif") for names in lists)
