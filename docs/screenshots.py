"""Pictures of four pages of the site, as a desktop and a phone show them: ``make docs``, then ``python docs/screenshots.py FOLDER``.

Needs Chromium (``apt-get install chromium``). Ends with 1 where a page is wider than its window.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "site"
PAGES = ("index", "start/first-result", "guides/predict", "results")
WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}


def main(folder: Path) -> int:
    """Writes ``PAGE-WINDOW.png`` for each page and window.

    Returns:
        The exit code.
    """
    sys.path.insert(0, str(ROOT / "tests/predict/live"))
    from devtools import CHROMIUM, browser

    if CHROMIUM is None or not (SITE / "index.html").is_file():
        print("Chromium is missing: apt-get install chromium" if CHROMIUM is None else "No site/ yet: run make docs")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    wide = []
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile), Path("/dev/null")) as tab:
        for page in PAGES:
            for window, (width, height) in WINDOWS.items():
                tab.size(width, height, phone=window == "phone")
                tab.send("Page.navigate", url=(SITE / f"{page}.html").as_uri())
                tab.until("document.readyState === 'complete'")
                picture = folder / f"{page.replace('/', '-')}-{window}.png"
                tab.picture(picture)
                if (needed := tab.run("document.documentElement.scrollWidth")) > width:
                    wide.append(f"{picture.name}: the page needs {needed} pixels, the window has {width}")
                print(picture)
    print(*wide, sep="\n", end="\n" if wide else "")
    return int(bool(wide))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/pictures")))
