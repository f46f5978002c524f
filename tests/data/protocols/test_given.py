"""EmoBox's folds, read from files of the published grammar."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from ser_data.cli import main
from ser_data.errors import BadFolds
from ser_data.protocols import make_folds


def write(folder: Path, name: str, folds: dict[int, dict[str, list[tuple[str, str]]]]) -> None:
    """Folds as EmoBox publishes them: fold -> part -> (key, recording)."""
    for number, parts in folds.items():
        (folder / f"fold_{number}").mkdir(parents=True)
        for part, rows in parts.items():
            lines = [
                {"key": f"{name}-{key}", "dataset": name, "wav": f"downloads/{name}/{wav}", "type": "raw", "sample_rate": 48000,
                 "num_frame": 3.0, "task": "category", "length": 3.5, "emo": "p", "channel": 1}
                for key, wav in rows
            ]  # fmt: skip
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / f"fold_{number}" / f"{name}_{part}_fold_{number}.jsonl").write_text(text)


CAFE = {actor: [(f"{actor}-P-2-{n}", f"CaFE_48k/Peur/Fort/{actor}-P-2-{n}.wav") for n in (1, 2, 3)] for actor in "012"}


def cafe() -> pd.DataFrame:
    rows = [
        {"id": key, "corpus": "cafe", "path": f"/here/{key}.wav", "speaker": actor}
        for actor, own in CAFE.items()
        for key, _ in own
    ]
    return pd.DataFrame([*rows, {"id": "3-N-1-1", "corpus": "cafe", "path": "/here/3-N-1-1.wav", "speaker": "3"}])


def test_folds_are_those_of_the_files(tmp_path: Path):
    others = {one: [row for actor in "012" if actor != one for row in CAFE[actor]] for one in "012"}
    tested = {**CAFE, "1": [*CAFE["1"], ("1-P-2-4", "CaFE_48k/Peur/Fort/1-P-2-4.wav")]}
    write(tmp_path / "cafe", "cafe", {int(one) + 1: {"train": others[one], "test": tested[one]} for one in "012"})
    folds = make_folds(cafe(), "emobox", folds_root=tmp_path)
    assert [fold.test for fold in folds.folds] == [tuple(key for key, _ in CAFE[actor]) for actor in "012"]
    assert [len(fold.train) + len(fold.dev) for fold in folds.folds] == [6] * 3 and folds.dev == "random:0.2"
    assert folds.held_out == ("speaker",)
    assert folds.notes[:3] == (
        f"folds of EmoBox, {tmp_path / 'cafe'}",
        "1 tested utterances of EmoBox are not here",
        "1 utterances that EmoBox does not list are in no part",
    )
    assert make_folds(cafe(), "emobox", dev="none", folds_root=tmp_path / "cafe").folds[0].dev == ()
    table = cafe().assign(id=[f"my/{id}" for id in cafe()["id"]], corpus="csv")
    own = make_folds(table, "emobox", folds_root=tmp_path / "cafe")  # by the recordings' names
    assert own.folds[2].test == tuple(f"my/{key}" for key, _ in CAFE["2"])


def test_a_validation_file_is_the_development_part_and_names_of_meld_are_told_apart(tmp_path: Path):
    parts = {
        "train": ("train", "train/train_splits"),
        "valid": ("dev", "dev_splits_complete"),
        "test": ("test", "output"),
    }
    rows = {
        part: [(f"dia0_utt{n}-{name}", f"{folder}/dia0_utt{n}.mp4") for n in (0, 1)]
        for part, (name, folder) in parts.items()
    }
    write(tmp_path, "meld", {1: rows})
    ids = [f"{name}_dia0_utt{n}" for name, _ in parts.values() for n in (0, 1)]
    table = pd.DataFrame({"id": ids, "corpus": "meld", "path": None, "dialogue": [name[:-5] for name in ids]})
    (fold,) = (folds := make_folds(table, "emobox", folds_root=tmp_path)).folds
    assert (fold.train, fold.dev, fold.test) == tuple(tuple(ids[n : n + 2]) for n in (0, 2, 4))
    assert folds.dev == "official" and folds.held_out == ("dialogue",)


def test_what_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(BadFolds, match="no folds of cafe"):
        make_folds(cafe(), "emobox", folds_root=tmp_path)
    with pytest.raises(BadFolds, match="for the protocol emobox"):
        make_folds(cafe(), "speaker", folds_root=tmp_path)
    write(tmp_path / "cafe", "cafe", {1: {"train": CAFE["0"]}})
    with pytest.raises(BadFolds, match=r"no file \*_test_fold_1"):
        make_folds(cafe(), "emobox", folds_root=tmp_path)
    (tmp_path / "cafe/fold_1/cafe_test_fold_1.jsonl").write_text('{"key": "cafe-1"}\n')
    with pytest.raises(BadFolds, match="line 1: KeyError"):
        make_folds(cafe(), "emobox", folds_root=tmp_path)
    write(tmp_path / "other", "cafe", {1: {"train": [("x", "x.wav")], "test": [("y", "y.wav")]}})
    with pytest.raises(BadFolds, match="none of the utterances"):
        make_folds(cafe(), "emobox", folds_root=tmp_path / "other")


def test_from_the_command_line(tmp_path: Path):
    others = [row for actor in "12" for row in CAFE[actor]]
    write(tmp_path / "EmoBox", "cafe", {1: {"train": others, "test": CAFE["0"]}})
    for path in cafe()["id"]:
        (tmp_path / f"{path}.wav").write_bytes(b"RIFF")
    table = cafe().assign(path=[f"{id}.wav" for id in cafe()["id"]])
    table.drop(columns="corpus").to_csv(tmp_path / "corpus.csv", index=False)
    words = ["folds", "csv", str(tmp_path / "corpus.csv"), "--protocol", "emobox", "--out", str(tmp_path / "folds.csv")]
    done = CliRunner().invoke(main, [*words, "--folds-root", str(tmp_path / "EmoBox")])
    assert done.exit_code == 0, done.output
    folds = pd.read_csv(tmp_path / "folds.csv", dtype=str)
    assert sorted(folds["id"][folds["part"] == "test"]) == [key for key, _ in CAFE["0"]]
