"""Pictures of pages as a desktop and a phone show them: ``make docs``, then ``python docs/screenshots.py FOLDER [FILE.html ...]``.

Without files: four pages of the site. Needs Chromium (``apt-get install chromium``). Ends with 1 where a page is wider than
its window.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "site" / f"{name}.html" for name in ("index", "start/first-result", "guides/predict", "results")]
WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}


def main(folder: Path, pages: list[Path]) -> int:
    """Writes ``PAGE-WINDOW.png`` for each page and window.

    Returns:
        The exit code.
    """
    sys.path.insert(0, str(ROOT / "tests/predict/live"))
    from devtools import CHROMIUM, browser

    lacking = [str(page) for page in pages if not page.is_file()]
    if CHROMIUM is None or lacking:
        print(
            f"{lacking[0]} is missing. Run: make docs" if lacking else "Chromium is missing: apt-get install chromium"
        )
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    wide = []
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile), Path("/dev/null")) as tab:
        for page in pages:
            for window, (width, height) in WINDOWS.items():
                tab.size(width, height, phone=window == "phone")
                tab.send("Page.navigate", url=page.resolve().as_uri())
                tab.until("document.readyState === 'complete'")
                picture = folder / f"{page.stem}-{window}.png"
                tab.picture(picture)
                print(picture)
                if (needed := tab.run("document.documentElement.scrollWidth")) > width:
                    wide.append(f"{page.name} needs {needed} pixels; the {window} has {width}.")
    print(*wide, sep="\n", end="\n" if wide else "")
    return int(bool(wide))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/pictures"), [*map(Path, sys.argv[2:])] or PAGES))
