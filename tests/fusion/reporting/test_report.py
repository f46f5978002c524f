"""The report: complete, self-contained, escaped; the tables in every form; what a browser makes of it."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import HOSTILE, write_run

from ser_base.files import safe_name
from ser_fusion.reporting.formats import ResultTable, latex_text, markdown_text, safe_cell
from ser_fusion.reporting.plots import FEW, drawn_before
from ser_fusion.reporting.report import write_report
from ser_fusion.reporting.tables import Cell, Row, Table
from ser_fusion.reporting.words import headline, summary, warnings


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with hostile transcripts, with its report and files."""
    skill = {"audio": 0.9, "self": 1.6, "cross": 1.7}
    path = write_run(
        tmp_path_factory.mktemp("reports") / "demo", per_speaker=12, seeds=(0, 1), hostile=True, skill=skill
    )
    classes = dict.fromkeys(("label", "predicted", "target"), "sad")
    shares = {"streams": {"audio": 0.25, "text": -1.5}, "interaction": 0.125}
    explained = {"id": "<i>u</i>", "row": "cross", **classes, "shares": shares}
    (path / "explain").mkdir()
    (path / "explain" / "u.json").write_text(json.dumps(explained))
    (path / "explain" / "profiles.json").write_text('{"row": "cross"}')
    write_report(path)
    return path


@pytest.fixture(scope="module")
def page(reported: Path) -> str:
    return (reported / "report.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Checks nesting and collects what matters."""

    VOID = ("meta", "link", "br", "img", "hr", "input", "source", "use", "path", "rect", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"


def test_page_is_well_formed_and_needs_nothing_else(page: str):
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    tags = {tag for tag, _ in outline.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "img", "base", "form"}
    for tag, attributes in outline.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            if name in ("src", "href", "xlink:href"):
                assert value is not None and value.startswith(("#", "data:")), f"{tag} {name}={value}"
    assert "url(http" not in page and "@import" not in page
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "ids of the plots collide"


def test_content_security_policy_forbids_scripts_and_network(page: str):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy and policy[1].startswith("default-src 'none'") and "script-src" not in policy[1]
    assert page.index("Content-Security-Policy") < page.index("<style>"), "the policy comes before what it governs"


def test_every_part_is_there(page: str):
    for words in (
        "In words", "Results", "Comparisons", "Confusable pairs merged", "Calibration", "Leak audit", "Learned layer weights",
        "Hardest utterances", "How to repeat this", "folds", "ser-fuse --from-run demo", "5f0c1d2e3b4a59687786a5b4c3d2e1f0",
        "UWA: mean of the recalls of the classes present", "Improvised and scripted apart", "SYNTHETIC CORPUS",
    ):  # fmt: skip
        assert words in page, words
    assert page.count("<svg") >= 2 + 3 * 2 + 2 + 3 + 3


def test_hostile_transcripts_are_text(page: str):
    assert HOSTILE not in page and "<img" not in page
    assert "&lt;/script&gt;&lt;img src=x onerror=" in page or "hacked" not in page


def test_explained_utterances_are_listed(page: str):
    section = page[page.index('<section id="explained">') :]
    assert "&lt;i&gt;u&lt;/i&gt;" in section and "audio +0.25, text -1.50" in section and "+0.12" in section
    assert section[: section.index("</table>")].count("<tr>") == 2, "a file of something else is left out"


def test_colours_follow_the_theme(page: str):
    svg = page[page.index("<svg") : page.rindex("</svg>")]
    assert "var(--accent)" in svg and "#2f5fd0" not in svg
    assert "prefers-color-scheme: dark" in page


def test_report_is_deterministic(reported: Path, page: str):
    assert write_report(reported, files=False).read_text(encoding="utf-8") == page


def test_plots_are_the_same_bytes_on_several_processes(reported: Path, page: str, tmp_path: Path):
    again = shutil.copytree(reported, tmp_path / reported.name)
    shutil.rmtree(again / "plots")
    assert write_report(again, workers=2).read_text(encoding="utf-8") == page
    one, several = ({p.name: p.read_bytes() for p in (run / "plots").iterdir()} for run in (reported, again))
    assert several == one and len(one) > 3 * 2 * FEW, "too few for two processes"


def test_plots_that_show_the_same_are_left_alone(reported: Path, page: str, tmp_path: Path):
    again = shutil.copytree(reported, tmp_path / reported.name)
    plots = again / "plots"
    write_report(again, reuse=True)
    mine = (plots / "overview.svg").read_bytes()
    (plots / "overview.svg").write_bytes(mine.replace(b"<svg", b"<svg onload='alert(1)'", 1))
    (plots / "pairs.pdf").unlink()
    before = {path.stem: path.stat().st_mtime_ns for path in plots.glob("*.png")}
    assert write_report(again, reuse=True).read_text(encoding="utf-8") == page
    after = {path.stem: path.stat().st_mtime_ns for path in plots.glob("*.png")}
    assert {name for name, time in after.items() if time != before[name]} == {"overview", "pairs"}
    assert (plots / "overview.svg").read_bytes() == mine and (plots / "pairs.pdf").is_file()
    metrics = json.loads((again / "metrics.json").read_text())
    metrics["rows"][1]["confusion"][0][0] += 1
    slug = metrics["rows"][1]["slug"]
    (again / "metrics.json").write_text(json.dumps(metrics))
    write_report(again, reuse=True)
    last = {path.stem: path.stat().st_mtime_ns for path in plots.glob("*.png")}
    changed = {name for name, time in last.items() if time != after[name]}
    assert changed == {f"confusion-{slug}", "difference-self-cross", "overview"}
    write_report(again)
    assert all(path.stat().st_mtime_ns != last[path.stem] for path in plots.glob("*.png")), "ser report writes all"


@pytest.mark.parametrize("noted", ["{", "[]", '{"overview": 1}', '{"../x": {"shows": "", "files": {}}}'])
def test_a_broken_note_of_plots_is_made_again(reported: Path, tmp_path: Path, noted: str):
    again = shutil.copytree(reported, tmp_path / reported.name)
    (again / "plots" / "drawn.json").write_text(noted)
    write_report(again, reuse=True)
    assert drawn_before(again / "plots").keys() == {path.stem for path in (again / "plots").glob("*.svg")}


def test_files_lie_beside_the_page(reported: Path):
    names = {path.name for path in (reported / "tables").iterdir()}
    assert {
        "results.md",
        "results.tex",
        "results.csv",
        "comparisons.csv",
        "calibration.tex",
        "classes-cross.md",
    } <= names
    plots = {path.name for path in (reported / "plots").iterdir()}
    for stem in (
        "overview",
        "pairs",
        "confusion-cross",
        "difference-self-cross",
        "recall-audio",
        "curves-self",
        "layers-cross-audio",
    ):
        assert {f"{stem}.svg", f"{stem}.png", f"{stem}.pdf"} <= plots
    assert (reported / "plots" / "overview.pdf").read_bytes().startswith(b"%PDF")
    assert "var(--" not in (reported / "plots" / "overview.svg").read_text()


def test_tables_agree_with_metrics(reported: Path):
    metrics = json.loads((reported / "metrics.json").read_text())
    with open(reported / "tables" / "results.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0][:5] == ["Model", "WA", "UWA", "WF1", "UWF1"] and len(lines) == 1 + len(metrics["rows"])
    cross = next(line for line in lines if line[0] == "Cross-MHA")
    uwa = next(row for row in metrics["rows"] if row["slug"] == "cross")["metrics"]["UWA"]
    assert cross[2] == f"{uwa['mean']:.3f} ± {uwa['std_folds']:.3f}".replace("0.", ".")


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("@SUM(1+1)", "'@SUM(1+1)"),
        ("+1-2", "'+1-2"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("+0.4", "+0.4"),
        ("-.012", "-.012"),
        ("Self - Cross", "Self - Cross"),
    ],
)
def test_csv_cells_that_a_spreadsheet_would_run_are_quoted(cell: str, written: str):
    assert safe_cell(cell) == written


HARD = Table(
    "hard",
    "100 % & more_",
    ("Model", "A|B", "p < .05"),
    (Row((Cell("=1+1"), Cell("a_b^c", best=True), Cell("{x}"))), Row((Cell("<b>"), Cell("50 %"), Cell("~"))),),
    ("note with $ and #",),
)  # fmt: skip


def test_markdown_escapes_what_its_readers_interpret():
    text = markdown_text(HARD)
    assert r"A\|B" in text and "&lt;b&gt;" in text and r"**a\_b^c**" in text
    assert text.count("\n| ") == 4


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles(tmp_path: Path):
    body = latex_text(HARD)
    document = (
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage[utf8]{inputenc}\\begin{document}%s\\end{document}"
    )
    (tmp_path / "t.tex").write_text(document % body)
    done = subprocess.run(
        ["pdflatex", "-interaction=batchmode", "-no-shell-escape", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0


def test_latex_escapes_and_uses_booktabs():
    text = latex_text(HARD)
    assert r"100 \% \& more\_" in text and r"\textbf{a\_b\textasciicircum{}c}" in text and r"p $<$ .05" in text
    assert text.count(r"\\") == 3 and text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")


def test_file_names_stay_inside_the_folder():
    assert (
        safe_name("../../etc/passwd") == "etc-passwd"
        and safe_name("...") == "table"
        and safe_name("self+cross") == "self+cross"
    )


def test_words_say_what_the_numbers_say(reported: Path):
    metrics = json.loads((reported / "metrics.json").read_text())
    said = " ".join(summary(metrics))
    assert "10 speakers" in said and "Best baseline without audio or text" in said and "The hardest class" in said
    assert any("synthetic" in line for line in warnings(metrics))
    winner = dict(metrics, best={"UWA": max(metrics["rows"], key=lambda r: r["metrics"]["UWA"]["pooled"])["slug"]})
    assert "significantly better than every other trained row" in headline(winner)
    nobody = dict(metrics, best={"UWA": None})
    assert "not significantly better" in headline(nobody)
    assert any("do not quote" in line for line in warnings(dict(metrics, protocol="random")))


@pytest.mark.parametrize("width", [80, 100, 140])
def test_terminal_table_fits_its_console(reported: Path, width: int):
    import io

    from rich.console import Console

    out = io.StringIO()
    console = Console(width=width, file=out, color_system=None)
    console.print(ResultTable(json.loads((reported / "metrics.json").read_text())))
    text = out.getvalue()
    assert "Cross-MHA" in text and "SYNTHETIC" in text and "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width


CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
class TestInABrowser:
    def run(self, tmp_path: Path, *flags: str) -> str:
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def test_hostile_transcripts_do_not_run(self, reported: Path, tmp_path: Path):
        dom = self.run(tmp_path, "--dump-dom", (reported / "report.html").as_uri())
        title = re.search(r"<title>(.*?)</title>", dom)
        assert title and "hacked" not in title[1] and "SER Fusion" in title[1]
        assert "<img" not in dom and "<script" not in dom

    def test_the_policy_stops_what_escaping_would_miss(self, reported: Path, tmp_path: Path):
        broken = (
            (reported / "report.html")
            .read_text()
            .replace("<main>", "<main><script>document.title='hacked'</script>" + HOSTILE, 1)
        )
        (tmp_path / "broken.html").write_text(broken)
        dom = self.run(tmp_path, "--dump-dom", (tmp_path / "broken.html").as_uri())
        title = re.search(r"<title>(.*?)</title>", dom)
        assert title and "hacked" not in title[1]

    @pytest.mark.parametrize("width", [1280, 390])
    def test_nothing_sticks_out_sideways(self, reported: Path, tmp_path: Path, width: int):
        # the page may not run scripts, so a frame of the wanted width around it measures it from outside
        page = (reported / "report.html").read_text().replace("default-src 'none'; ", "", 1)
        (tmp_path / "page.html").write_text(page)
        frame = (
            f"<iframe id=f src=page.html style='width:{width}px;height:900px;border:0'></iframe><p id=o></p><script>"
            "f.onload=()=>{let r=f.contentDocument.documentElement;o.textContent='width '+r.scrollWidth+' of '+r.clientWidth}</script>"
        )
        (tmp_path / "frame.html").write_text(frame)
        uri = (tmp_path / "frame.html").as_uri()
        dom = self.run(tmp_path, "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom", uri)
        found = re.search(r"width (\d+) of (\d+)", dom)
        assert found and int(found[1]) <= int(found[2]) == width

    def test_screenshots_show_something(self, reported: Path, tmp_path: Path):
        from matplotlib.image import imread

        target = tmp_path / "page.png"
        self.run(tmp_path, "--window-size=1280,1600", f"--screenshot={target}", (reported / "report.html").as_uri())
        picture = imread(target)
        assert picture.shape[:2] == (1600, 1280) and picture[:, :, :3].std() > 0.05


def test_audio_is_embedded_only_on_request(run_copy: Path, tmp_path: Path):
    import numpy as np
    import pandas as pd
    import soundfile

    tone = 0.2 * np.sin(np.arange(32_000) / 8)
    soundfile.write(tmp_path / "dialogue.wav", tone, 16_000)
    hardest = [entry["id"] for entry in json.loads((run_copy / "metrics.json").read_text())["hardest"][:2]]
    table = pd.read_parquet(run_copy / "utterances.parquet")
    mine, gone = table["id"] == hardest[0], table["id"] == hardest[1]
    table.loc[mine, "path"], table.loc[gone, "path"] = str(tmp_path / "dialogue.wav"), str(tmp_path / "gone.wav")
    table.loc[mine, "start"], table.loc[mine, "end"] = 0.5, 1.5
    table.to_parquet(run_copy / "utterances.parquet")
    plain = write_report(run_copy, files=False).read_text()
    asked = write_report(run_copy, files=False, embed_audio=True).read_text()
    assert "data:audio" not in plain and asked.count('src="data:audio/flac;base64,') == 1
    outline = Outline()
    outline.feed(asked)
    assert [tag for tag, _ in outline.tags].count("audio") == 1


def test_odd_class_names_two_classes_and_one_fold(tmp_path: Path):
    import pandas as pd

    classes = ("a<b&c", "$x$ %")
    skill = {"audio": 0.6, "cross<i>": 0.9}
    path = write_run(tmp_path / "odd", classes=classes, speakers=8, per_speaker=12, seeds=(0,), skill=skill)
    folds = pd.read_csv(path / "folds.csv", dtype=str)
    first = min(folds["fold"].unique())
    ids = set(folds[(folds["fold"] == first)]["id"])
    folds[folds["fold"] == first].to_csv(path / "folds.csv", index=False)
    for name in ("predictions", "development"):
        frame = pd.read_parquet(path / f"{name}.parquet")
        frame[(frame["fold"] == first) & frame["id"].isin(ids)].to_parquet(path / f"{name}.parquet")
    run = json.loads((path / "run.json").read_text())
    run["corpus"]["title"] = "<script>alert(1)</script>"
    (path / "run.json").write_text(json.dumps(run))
    table = pd.read_parquet(path / "utterances.parquet").assign(text=None)
    table.to_parquet(path / "utterances.parquet")
    page = write_report(path, files=False).read_text()
    outline = Outline()
    outline.feed(page)
    assert (
        outline.open == []
        and "script" not in {tag for tag, _ in outline.tags}
        and "i" not in {tag for tag, _ in outline.tags}
    )
    assert "a&lt;b&amp;c" in page and "$x$ %" in page and "no transcripts" in page
