"""The map of features: what is planted is read, what is not is at chance, and no utterance is lost or moved."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import CliRunner

from ser_fusion.cli.compare import report
from ser_fusion.cli.probe import command
from ser_fusion.evaluation.feature_map import better_read, feature_map, read, share
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.reporting.feature_map import map_of


def corpus(n: int = 160, strength: float = 3.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Frames that carry the speaker strongly, the gender through the speaker's side, and the class not at all."""
    draw = np.random.default_rng(3)
    speaker = np.arange(n) % 8
    table = pd.DataFrame(
        {
            "class": draw.permutation(np.array(["happy", "sad"] * (n // 2), dtype=object)),
            "speaker": [f"s{number}" for number in speaker],
            "gender": ["female" if number % 2 else "male" for number in speaker],
            "session": [None] * n,
        },
        index=[f"u{number:03d}" for number in range(n)],
    )
    values = draw.normal(size=(n, 12))
    values[:, :8] += strength * np.eye(8)[speaker]
    values[:, 8] += 3 * strength * (speaker % 2)
    return table, values.astype(np.float32)


def test_what_is_planted_is_read_and_what_is_not_is_at_chance() -> None:
    table, values = corpus()
    content = feature_map(table, {"audio": ("x", 2, values)}, ("pca",))
    lines = {line["column"]: line for line in content["streams"]["audio"]["read"]}
    assert set(lines) == {"class", "speaker", "gender"}  # a column without values is left out
    speaker = lines["speaker"]
    assert speaker["uwa"] > 0.9 and speaker["held_out"] == "nothing" and speaker["values"] == 8
    assert lines["gender"]["uwa"] > 0.9 and lines["gender"]["held_out"] == "speaker"
    assert abs(share(lines["class"])) < 0.3 and lines["class"]["chance"] == 0.5
    assert "speaker better than the class" in better_read(content)[0]


def test_gender_of_new_speakers_is_not_read_from_their_voices() -> None:
    table, values = corpus(strength=9.0)
    values[:, 8] = np.random.default_rng(0).normal(size=len(values))  # gender is now in the voices only
    new = read(values, list(table["gender"]), list(table["speaker"]))
    same = read(values, list(table["gender"]))
    assert new is not None and same is not None
    assert same["uwa"] > 0.9 and same["held_out"] == "nothing"
    assert new["uwa"] < 0.7 and new["held_out"] == "speaker"


def test_rare_values_and_gaps_are_left_out() -> None:
    table, values = corpus(40)
    few = [value if number > 3 else "rare" for number, value in enumerate(table["class"])]
    line = read(values, [None, *few[1:]])
    assert line is not None and line["values"] == 2 and line["n"] == 36
    assert read(values, ["one"] * 40) is None


def test_maps_keep_every_utterance_in_its_place() -> None:
    table, values = corpus(60)
    values[:, 11] = 0  # a channel without variance
    content = feature_map(table, {"audio": ("x", 2, values)}, ("pca", "tsne"), most=50)
    places = content["streams"]["audio"]["places"]
    assert content["n"] == 50 and content["of"] == 60 and len(content["ids"]) == 50
    assert all(len(points) == 50 and np.isfinite(points).all() for points in places.values())
    assert content["columns"]["class"] == list(table.loc[content["ids"], "class"])
    again = feature_map(table, {"audio": ("x", 2, values)}, ("pca", "tsne"), most=50)
    assert again == content


def test_utterances_that_are_all_alike_have_a_map() -> None:
    table, _ = corpus(12)
    content = feature_map(table, {"audio": ("x", 0, np.ones((12, 4), np.float32))}, ("pca", "tsne"))
    assert all(np.isfinite(places).all() for places in content["streams"]["audio"]["places"].values())


def test_a_method_is_known_and_installed(small_cache: Path, tmp_path: Path) -> None:
    asked = ["--cache", str(small_cache), "--out", str(tmp_path / "probe"), "--map"]
    unknown = CliRunner().invoke(command, [*asked, "tse"])
    assert unknown.exit_code == 2 and "Did you mean 'tsne'" in unknown.output
    if find_spec("umap") is None:
        missing = CliRunner().invoke(command, [*asked, "umap"])
        assert missing.exit_code == 1 and "umap-learn" in missing.output and not (tmp_path / "probe").exists()


def test_a_run_takes_its_own_map_only(run_copy: Path) -> None:
    gone = CliRunner().invoke(report, [str(run_copy), "--map", "pca"])
    assert gone.exit_code == 1 and "are not in the cache" in gone.output
    table, values = corpus(40)
    content = feature_map(table, {"audio": ("x", 2, values)}, ("pca",))
    run = RunDirectory.open(run_copy)
    content["data_fingerprint"] = run.run.get("data_fingerprint")
    (run_copy / "map.json").write_text(json.dumps(content))
    assert map_of(run) is not None
    content["ids"].pop()
    (run_copy / "map.json").write_text(json.dumps(content))
    assert map_of(run) is None
