"""The font of plots: DejaVu Sans, cut to the letters of Latin and Greek.

A PDF holds the letters that it shows. To cut them out of the whole of DejaVu Sans takes longer than all else in a plot.
Letters that are not in the small font come from DejaVu Sans itself. The files in ``typefaces`` are what
``cut`` makes of matplotlib's; a test compares them. Their licence lies beside them.
"""

from collections.abc import Sequence
from pathlib import Path

TYPEFACES = Path(__file__).parent / "typefaces"
FILES = sorted(TYPEFACES.glob("*.ttf"))
WHOLE, NAME = "DejaVu Sans", "SER Plots Sans"
FAMILY: Sequence[str] = (NAME, "sans-serif")  # of which matplotlib's first is the whole font
LETTERS = (
    (0x20, 0x7E), (0xA0, 0x17F),  # Latin
    (0x391, 0x3C9),  # Greek
    (0x2010, 0x2027), (0x2030, 0x2030), (0x2032, 0x2033), (0x2039, 0x203A),  # dashes, quotation marks, per mille, primes
    (0x20AC, 0x20AC), (0x2122, 0x2122), (0x2190, 0x2193),  # euro, trade mark, arrows
    (0x2202, 0x2202), (0x2206, 0x2206), (0x2211, 0x2212), (0x221A, 0x221A), (0x221E, 0x221E),  # mathematics
    (0x2248, 0x2248), (0x2260, 0x2260), (0x2264, 0x2265),
)  # fmt: skip
"""First and last code point of each range."""


def cut(source: Path, target: Path) -> None:
    """Writes the small font.

    Args:
        source: A file of DejaVu Sans.
        target: Where to; the name of the font becomes ``NAME``.
    """
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    options = Options(
        layout_features=[], hinting=False, legacy_kern=True, notdef_outline=True, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14]
    )
    options.drop_tables = [*(set(options.drop_tables) - {"kern"}), "GPOS", "GSUB", "GDEF", "MATH", "FFTM"]
    with TTFont(source, recalcTimestamp=False) as font:
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=[code for first, last in LETTERS for code in range(first, last + 1)])
        subsetter.subset(font)
        for record in font["name"].names:
            if record.nameID in (1, 3, 4, 6):
                words = str(record.toUnicode()).replace(WHOLE, NAME)
                record.string = words.replace(WHOLE.replace(" ", ""), NAME.replace(" ", ""))
        font.save(target)
