"""`ser explain` on the small run, whose label is in one word: the word is found; heads of shuffled labels do not find it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import gather
from ser_predict.explain.cli import command
from ser_predict.explain.tracks import SPECIAL, by_word

PLANTED = {"good", "bad", "calm"}


@pytest.fixture(scope="module")
def learned(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the words of the small corpus that has learned them."""
    job = FuseJob(
        cache=small.folder / "cache", out=tmp_path_factory.mktemp("learned") / "run", fusion=("text",), epochs=40, batch=8,
        modalities=("text",), workers=0, device="cpu",
    )  # fmt: skip
    prepared = prepare(job)
    train_all(prepared)
    gather(job.out, prepared.tasks, [])
    return job.out


@pytest.fixture(scope="module")
def folder(small: Any, learned: Path) -> Path:
    """What `ser explain` writes of a run where no utterance is named."""
    done = CliRunner().invoke(command, [str(learned), "--most=6", "--steps=16", f"--encoder=text={small.text_encoder}"])
    assert done.exit_code == 0, done.output
    assert "not a cause of the emotion" in done.output
    return learned / "explain"


@pytest.fixture(scope="module")
def explained(folder: Path) -> list[dict[str, Any]]:
    """The hardest utterances and the most typical of each class."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("u*.json"))]


def planted(one: dict[str, Any], key: str) -> tuple[float, bool]:
    """Contribution of the word that carries the label, and whether it is the largest of all words."""
    (track,) = one["tracks"]
    words = {name: value for name, value in zip(track["names"], track[key], strict=True) if name != SPECIAL}
    (word,) = PLANTED & set(words)
    return words[word], max(words, key=lambda name: abs(words[name])) == word


def test_the_hardest_and_the_most_typical_are_explained(learned: Path, explained: list[dict[str, Any]]) -> None:
    tested = pd.read_parquet(learned / "predictions.parquet").to_dict("records")
    belief = {str(row["id"]): row[f"p_{row['label']}"] for row in tested}
    order, found = sorted(belief.values()), [belief[one["id"]] for one in explained]
    assert 5 < len(found) <= 8
    assert sum(value <= order[4] for value in found) >= 5 and max(found) == order[-1], "equal texts are equally hard"
    assert {one["label"] for one in explained} == {"happy", "sad", "neutral"}


def test_the_word_that_carries_the_label_is_found(explained: list[dict[str, Any]]) -> None:
    assert all(one["tracks"][0]["names"][:2] == ["so", "very"] for one in explained)
    assert np.mean([planted(one, "values")[1] for one in explained]) >= 0.9
    assert min(planted(one, "values")[0] for one in explained) > 0


def test_the_mean_of_a_class_holds_its_word_and_the_control_is_flat(folder: Path) -> None:
    """Heads of shuffled labels learn the few texts by heart, so a single picture is not flat; over a class it is."""
    classes = json.loads((folder / "profiles.json").read_text())["classes"]
    words = {"happy": "good", "sad": "bad", "neutral": "calm"}
    assert {one["label"] for one in classes} == set(words)
    for one in classes:
        assert next(iter(one["words"])) == words[one["label"]]
        mean = one["words"][words[one["label"]]]
        assert mean["count"] == 6 and mean["value"] > 3 * mean["error"] and mean["value"] > 3 * abs(mean["control"])
        assert abs(one["shares"]["interaction"]["value"]) < 1e-9, "one stream has nobody to interact with"
    page = (folder / "profiles.html").read_text()
    assert page.count("<h2>") == 3 and "labels shuffled" in page


def test_shares_and_words_explain_the_score(explained: list[dict[str, Any]]) -> None:
    for one in explained:
        total = one["shares"]["baseline"] + sum(one["shares"]["streams"].values())
        assert total == pytest.approx(one["scores"][one["target"]], abs=1e-6)
        assert one["gap"] < 0.05 and one["predicted"] == one["target"]
        (track,) = one["tracks"]
        assert -1 <= track["likeness"] <= 1 and track["strength"] >= 0 and set(one["control"]["streams"]) == {"text"}


def test_the_page_is_whole_and_says_what_it_is_not(folder: Path) -> None:
    page = next(folder.glob("u*.html")).read_text()
    assert "What this is not." in page and "labels shuffled" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_two_streams_on_the_waveform(small: Any, tmp_path: Path) -> None:
    name = small.rows[0]["id"]
    asked = [str(small.run), f"--id={name}", "--row=cross", "--no-control", f"--out={tmp_path}", "--class=sad"]
    done = CliRunner().invoke(command, [*asked, "--steps=16", f"--encoder=text={small.text_encoder}"])
    assert done.exit_code == 0, done.output
    one = json.loads((tmp_path / f"{name}.json").read_text())
    audio = next(track for track in one["tracks"] if track["stream"] == "audio")
    assert one["target"] == "sad" and set(one["shares"]["streams"]) == {"audio", "text"}
    assert one["control"] is None and audio["strength"] is None and not audio["control"]
    assert audio["names"][1] == pytest.approx(0.04, abs=0.001), "stride 2 at 50 frames a second"
    assert "waveform" in (tmp_path / f"{name}.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--id=u99"], "unknown utterance 'u99'"),
        (["--id=u00", "--class=hapy"], "Did you mean 'happy'"),
        (["--id=u00", "--row=nothing"], "unknown row of heads 'nothing'"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(small: Any, options: list[str], said: str) -> None:
    done = CliRunner(env={"COLUMNS": "300"}).invoke(command, [str(small.run), "--no-control", *options])
    assert done.exit_code == 1 and said in done.output


def test_pieces_of_a_word_are_added() -> None:
    spans = [(0, 0), (0, 2), (2, 4), (4, 9), (0, 0)]  # the last piece begins with the blank before its word
    assert by_word("soon gone", spans, np.arange(5.0)) == [("soon", 3.0), ("gone", 3.0), (SPECIAL, 4.0)]
