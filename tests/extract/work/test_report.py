"""What a run leaves to read: `failures.csv`, and the line `Next: ser-fuse ...`, which runs as it is printed."""

import csv
import shlex
from pathlib import Path
from typing import Any

import pytest
import soundfile

from ser_extract.job import ExtractJob
from ser_extract.run import run
from ser_extract.work.report import Skipped, write_failures
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.planning import plan

COLUMNS = ("id", "path", "label", "text", "speaker", "session", "fold", "part")


@pytest.fixture
def made(tmp_path: Path, speech: Any, tiny: Any) -> Any:
    """(columns to fill, options of the job) -> the line that an extraction of 12 utterances ends with."""

    def make(*filled: str, labels: str = "ab", text: bool = True, times: int = 1, **options: Any) -> str:
        folder = tmp_path / "corpus"
        folder.mkdir(exist_ok=True)
        with (folder / "corpus.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for k in range(12):
                soundfile.write(folder / f"u{k:02d}.wav", speech(0.3, k), 16_000)
                row = {"id": f"u{k:02d}", "path": f"u{k:02d}.wav", "label": labels[k % len(labels)] if labels else ""}
                row |= {"text": "the sad"} if text else {}
                every = {
                    "speaker": f"s{k // 3}",
                    "session": f"{k // 6}{k % 6 // 3}",
                    "part": ("train", "dev", "test")[k // 4],
                }
                writer.writerow(row | {name: every[name] for name in filled})
        given: dict[str, Any] = {
            "corpus": "csv", "root": folder / "corpus.csv", "cache": tmp_path / "my cache", "workers": 0, "device": "cpu",
            "audio_encoder": str(tiny("wav2vec2")), "text_encoder": str(tiny("bert")),
        }  # fmt: skip
        for layer in range(times):
            result = run(ExtractJob(**given, **({"audio_layer": str(layer), **options} if times > 1 else options)))
        return result.next

    return make


def planned(line: str) -> FuseJob:
    """What `ser-fuse` makes of the line, once it has planned every training of it."""
    from ser_fusion.cli.fuse import asked_of, command

    words = shlex.split(line.removeprefix("Next: "))
    assert words[0] == "ser-fuse"
    job = FuseJob(**asked_of(command.make_context("ser-fuse", words[1:])), out=Path("unused"))
    plan(job)
    return job


@pytest.mark.parametrize(
    ("filled", "protocol"),
    [(("session", "speaker"), "session"), (("speaker",), "speaker"), (("part",), "official"), ((), "random")],
)
def test_the_protocol_fits_the_columns(made, filled, protocol):
    job = planned(made(*filled))
    assert job.protocol == protocol and job.fusion == ("cross",)


def test_one_stream_with_two_layers(made):
    """What failed three times: a head of two streams, two layers, a protocol without its column."""
    line = made("speaker", modalities=("audio",), audio_layer="2,3")
    job = planned(line)
    assert (job.fusion, job.audio_layer, job.protocol) == (("audio",), 3, "speaker")


def test_a_cache_that_holds_more_than_this_run_wrote(made):
    line = made("speaker", times=2, modalities=("audio",))
    assert planned(line).audio_layer == 1
    text = made("speaker", modalities=("text",))
    assert planned(text).modalities == ("text",) and planned(text).fusion == ("text",)


@pytest.mark.parametrize(("labels", "said"), [("", "two classes or more. 0 utterances"), ("a", "of 1 class")])
def test_without_labels_it_says_what_is_missing(made, labels, said):
    assert said in made("speaker", labels=labels)


def test_while_another_part_has_work_there_is_no_next_step(made):
    assert made("speaker", part=(2, 2)) == ""


def test_records_refuse_before_torch_is_loaded(made, tmp_path):
    """Two entries fit, a protocol lacks its column, a head lacks a stream: no torch for any of them."""
    import subprocess
    import sys

    made("speaker", modalities=("audio",), audio_layer="2,3")
    for options, said in (
        ([], "entries of"),
        (["--layer", "3", "--fusion", "audio"], "needs the column 'session'"),
        (["--layer", "3", "--protocol", "speaker", "--fusion", "cross"], "two streams or more"),
    ):
        program = (
            f"import sys\nsys.argv = ['ser-fuse', '--cache', {str(tmp_path / 'my cache')!r}, *{options!r}]\n"
            "from ser_fusion.cli.fuse import command as main\ntry:\n    main.main()\nexcept SystemExit as stop:\n    code = stop.code\n"
            "assert 'torch' not in sys.modules, 'torch'\nsys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 1 and said in " ".join(done.stderr.replace("│", " ").split()), done.stderr


def test_the_quick_check_of_streams_agrees_with_every_head():
    from ser_fusion.errors import StreamMissing
    from ser_fusion.heads import HEADS, check_streams

    for name in HEADS:
        for available in (("audio",), ("text",), ("audio", "text"), ("audio", "text", "video")):
            answers = []
            for ask in (lambda n, a: check_streams([n], a), lambda n, a: HEADS[n].reads(n, a)):
                try:
                    ask(name, available)
                    answers.append(None)
                except StreamMissing as error:
                    answers.append(str(error))
            assert answers[0] == answers[1], (name, available)


def test_failures_are_harmless_to_a_spreadsheet(tmp_path):
    write_failures(tmp_path, [Skipped("=cmd()", "audio", "nan", "-1\n+2"), Skipped("a", "text", "x", "fine")])
    assert (tmp_path / "failures.csv").read_text().splitlines() == [
        "id,modality,reason,detail",
        "'=cmd(),audio,nan,'-1 +2",
        "a,text,x,fine",
    ]
    assert str(Skipped("\x1b[2J", "audio", "empty", "")) == r"Skipped \x1b[2J (audio): empty"
    write_failures(tmp_path, [Skipped("\ud800", "audio", "empty", "")])
    assert (tmp_path / "failures.csv").read_text().splitlines()[1] == r"\ud800,audio,empty,"
    write_failures(tmp_path, [])
    assert (tmp_path / "failures.csv").read_text().splitlines() == ["id,modality,reason,detail"]
    assert [path.name for path in tmp_path.iterdir()] == ["failures.csv"]
