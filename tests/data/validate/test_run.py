"""Fifty seeded mutations of a valid tree, each named by `validate` with file and line; and every reader's guard switched off."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ser_data.corpora import CORPORA
from ser_data.manifest.table import Manifest
from ser_data.media.sound_file import write_wav
from ser_data.validate import Finding, validate
from ser_data.validate.run import check

SUMMARY = re.compile(rb"^\[([\d.]+) - ([\d.]+)\]\t(\S+)\t(\w{3})\t\[(.*)\]\r?$", re.MULTILINE)
Expected = tuple[str, str]  # the check, and what `where` must hold


class Tree:
    """A tree in hard links, and how to damage it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.rng = root, np.random.default_rng(seed)

    def replace(self, path: Path, data: bytes) -> None:
        path.unlink(missing_ok=True)  # the pristine tree has the same inode
        path.write_bytes(data)

    def pick(self, pattern: str) -> Path:
        paths = sorted(path for path in self.root.glob(pattern) if not path.name.startswith("."))
        return paths[int(self.rng.integers(len(paths)))]

    def evaluation(self) -> tuple[Path, list[bytes], int]:
        """A file, its lines, and the index of one summary line."""
        path = self.pick("Session*/dialog/EmoEvaluation/*.txt")
        lines = path.read_bytes().split(b"\n")
        numbers = [i for i, line in enumerate(lines) if SUMMARY.match(line)]
        return path, lines, numbers[int(self.rng.integers(len(numbers)))]

    def edit(self, change: Callable[[bytes], bytes]) -> str:
        """Changes one summary line; gives `file, line n`."""
        path, lines, i = self.evaluation()
        lines[i] = change(lines[i])
        self.replace(path, b"\n".join(lines))
        return f"{path.name}, line {i + 1}"

    def transcript(self, change: Callable[[bytes], bytes | None]) -> str:
        """Changes (or with `None` removes) one turn's line; gives `file, line n`."""
        path = self.pick("Session*/dialog/transcriptions/*.txt")
        lines = path.read_bytes().split(b"\n")
        numbers = [i for i, line in enumerate(lines) if line.startswith(b"Ses") and b"XX" not in line]
        i = numbers[int(self.rng.integers(len(numbers)))]
        new = change(lines[i])
        self.replace(path, b"\n".join(lines[:i] + ([] if new is None else new.split(b"\n")) + lines[i + 1 :]))
        return f"{path.name}, line {i + 1}"

    def wav(self) -> tuple[Path, np.ndarray]:
        path = self.pick("Session*/sentences/wav/*/*.wav")
        return path, np.frombuffer(path.read_bytes()[44:], dtype=np.int16)


def swapped_labels(tree: Tree) -> Expected:
    path, lines, _ = tree.evaluation()
    rows = [i for i, line in enumerate(lines) if SUMMARY.match(line)]
    labels = [SUMMARY.match(lines[i])[4] for i in rows]
    pairs = [
        (a, b)
        for a in range(len(rows))
        for b in range(a)
        if labels[a] != labels[b] and b"xxx" not in (labels[a], labels[b])
    ]
    if not pairs:
        return swapped_labels(tree)
    a, b = pairs[0]
    for i, label in ((a, labels[b]), (b, labels[a])):
        lines[rows[i]] = lines[rows[i]].replace(b"\t" + labels[i] + b"\t", b"\t" + label + b"\t")
    tree.replace(path, b"\n".join(lines))
    return "label contradicts votes", f"{path.name}, line {rows[a] + 1}"


def other_label(tree: Tree) -> Expected:
    return "label contradicts votes", tree.edit(lambda line: re.sub(rb"\t\w{3}\t", b"\tdis\t", line))


def unknown_label(tree: Tree) -> Expected:
    return "unknown label", tree.edit(lambda line: re.sub(rb"\t\w{3}\t", b"\tjoy\t", line))


def shifted_times(tree: Tree) -> Expected:
    def shift(line: bytes) -> bytes:
        start, end = (float(x) + 0.25 for x in SUMMARY.match(line).group(1, 2))
        return re.sub(rb"^\[.*?\]", f"[{start:.4f} - {end:.4f}]".encode(), line)

    return "times differ", tree.edit(shift)


def longer_label(tree: Tree) -> Expected:
    def stretch(line: bytes) -> bytes:
        start, end = (float(x) for x in SUMMARY.match(line).group(1, 2))
        return re.sub(rb"^\[.*?\]", f"[{start:.4f} - {end + 0.001:.4f}]".encode(), line)

    return "wav length is not the label's", tree.edit(stretch)


def turned_times(tree: Tree) -> Expected:
    return "bad span", tree.edit(lambda line: re.sub(rb"^\[([\d.]+) - ([\d.]+)\]", rb"[\2 - \1]", line))


def broken_line(tree: Tree) -> Expected:
    return "bad line", tree.edit(lambda line: line.replace(b"\t", b" ", 1))


def broken_number(tree: Tree) -> Expected:
    return "bad line", tree.edit(lambda line: re.sub(rb"^\[([\d.]+)", rb"[\1.5", line))


def bad_scenario(tree: Tree) -> Expected:
    return "bad id", tree.edit(lambda line: re.sub(rb"_(impro|script)0\d", rb"_\g<1>09", line))


def other_session(tree: Tree) -> Expected:
    return "wrong file", tree.edit(lambda line: re.sub(rb"Ses0(\d)", lambda m: b"Ses0%d" % (int(m[1]) % 5 + 1), line))


def other_speaker(tree: Tree) -> Expected:
    return "missing file", tree.edit(lambda line: re.sub(rb"_([FM])\d{3}\t", lambda m: b"_%s777\t" % m[1], line))


def rating_out_of_scale(tree: Tree) -> Expected:
    return "rating out of range", tree.edit(lambda line: re.sub(rb"\[[\d.]+, ", b"[7.0000, ", line))


def doubled_block(tree: Tree) -> Expected:
    path, lines, i = tree.evaluation()
    tree.replace(path, b"\n".join([*lines, lines[i], b"C-E1:\tNeutral;\t()", b""]))
    return "duplicate id", f"{path.name}, line {len(lines) + 1}"


def lost_block(tree: Tree) -> Expected:
    path, lines, i = tree.evaluation()
    name = SUMMARY.match(lines[i])[3].decode()
    end = next(j for j in range(i, len(lines)) if not lines[j].strip())
    tree.replace(path, b"\n".join(lines[:i] + lines[end:]))
    return "audio without label", f"{name}.wav"


def lost_votes(tree: Tree) -> Expected:
    path, lines, i = tree.evaluation()
    end = next(j for j in range(i, len(lines)) if not lines[j].strip())
    tree.replace(path, b"\n".join(lines[: i + 1] + lines[end:]))
    return "no votes", f"{path.name}, line {i + 1}"


def unknown_vote(tree: Tree) -> Expected:
    path, lines, i = tree.evaluation()
    lines[i + 1] = re.sub(rb":\t[^;]*;", b":\tBored;", lines[i + 1])
    tree.replace(path, b"\n".join(lines))
    return "unknown vote", f"{path.name}, line {i + 2}"


def renamed_evaluation(tree: Tree) -> Expected:
    path = tree.pick("Session*/dialog/EmoEvaluation/*.txt")
    path.rename(path.with_name(path.stem + "x.txt"))
    return "wrong file", f"{path.stem}x.txt, line 3"


def lost_transcript(tree: Tree) -> Expected:
    where = tree.transcript(lambda line: None)
    return "missing text", where.split(",")[0]


def lost_transcripts(tree: Tree) -> Expected:
    path = tree.pick("Session*/dialog/transcriptions/*.txt")
    path.unlink()
    return "missing text", path.name


def doubled_transcript(tree: Tree) -> Expected:
    where = tree.transcript(lambda line: line + b"\n" + line)
    name, line = where.rsplit(" ", 1)
    return "duplicate transcript", f"{name} {int(line) + 1}"


def broken_transcript(tree: Tree) -> Expected:
    return "bad line", tree.transcript(lambda line: line.replace(b"]: ", b"] ", 1))


def shifted_transcript(tree: Tree) -> Expected:
    return "times differ", tree.transcript(lambda line: re.sub(rb"\[\d\d", b"[09", line))


def latin_transcript(tree: Tree) -> Expected:
    return "not UTF-8", tree.transcript(lambda line: line.rstrip(b"\r") + b" caf\xe9")


def lost_wav(tree: Tree) -> Expected:
    path, _ = tree.wav()
    path.unlink()
    return "missing file", f"{path.stem[:-5]}.txt, line "


def renamed_wav(tree: Tree) -> Expected:
    path, _ = tree.wav()
    path.rename(path.with_name(f"{path.stem}0.wav"))
    return "audio without label", f"{path.stem}0.wav"


def moved_wav(tree: Tree) -> Expected:
    path, _ = tree.wav()
    other = next(p for p in sorted(path.parent.parent.iterdir()) if p != path.parent)
    path.rename(other / path.name)
    return "audio without label", f"{other.name}/{path.name}"


def swapped_wavs(tree: Tree) -> Expected:
    (one, _), (two, _) = tree.wav(), tree.wav()
    if one.stat().st_size == two.stat().st_size:
        return swapped_wavs(tree)
    spare = one.with_suffix(".tmp")
    os.rename(one, spare)
    os.rename(two, one)
    os.rename(spare, two)
    return "wav length is not the label's", f"; {one.name}"


def doubled_wav(tree: Tree) -> Expected:
    one = tree.pick("Session1/sentences/wav/*/*.wav")
    two = tree.pick("Session4/sentences/wav/*/*.wav")
    tree.replace(two, one.read_bytes())
    return "duplicate audio", f"{two.stem[:-5]}.txt, line "


def wrong_rate(tree: Tree) -> Expected:
    path, samples = tree.wav()
    path.unlink()
    write_wav(path, samples, rate=22_050)
    return "wrong wav format", f"; {path.name}"


def one_millisecond_too_long(tree: Tree) -> Expected:
    path, samples = tree.wav()
    path.unlink()
    write_wav(path, np.append(samples, np.ones(16, dtype=np.int16)), 16_000)
    return "wav length is not the label's", f"; {path.name}"


def cut_off(tree: Tree) -> Expected:
    path, samples = tree.wav()
    path.unlink()
    write_wav(path, samples[: len(samples) // 2], 16_000)
    return "wav length is not the label's", f"; {path.name}"


def stereo(tree: Tree) -> Expected:
    import soundfile

    path, samples = tree.wav()
    path.unlink()
    soundfile.write(path, np.stack([samples, samples], axis=1), 16_000, subtype="PCM_16")
    return "wrong wav format", f"; {path.name}"


def empty_wav(tree: Tree) -> Expected:
    path, _ = tree.wav()
    tree.replace(path, b"")
    return "unreadable wav", f"; {path.name}"


MUTATIONS = [
    swapped_labels, other_label, unknown_label, shifted_times, longer_label, turned_times, broken_line, broken_number,
    bad_scenario, other_session, other_speaker, rating_out_of_scale, doubled_block, lost_block, lost_votes, unknown_vote,
    renamed_evaluation, lost_transcript, lost_transcripts, doubled_transcript, broken_transcript, shifted_transcript,
    latin_transcript, lost_wav, renamed_wav, moved_wav, swapped_wavs, doubled_wav, wrong_rate, one_millisecond_too_long,
    cut_off, stereo, empty_wav,
]  # fmt: skip
CASES = [(MUTATIONS[i % len(MUTATIONS)], i) for i in range(50)]
NOTES_ONLY = {
    "times differ",
    "rating out of range",
    "no votes",
    "unknown vote",
}  # harmless to results, told all the same


@pytest.fixture(scope="session")
def baseline(pristine: Path) -> set[Finding]:
    return set(validate("iemocap", pristine, partial=True).findings)


@pytest.mark.parametrize(("mutate", "seed"), CASES, ids=[f"{m.__name__}-{i}" for m, i in CASES])
def test_a_mutation_is_named_with_file_and_line(tree: Path, baseline: set[Finding], mutate, seed: int):
    check, where = mutate(Tree(tree, seed))
    report = validate("iemocap", tree, partial=True)
    found = [finding for finding in report.findings if finding not in baseline]
    assert any(f.check == check and where in f.where for f in found), (check, where, found)
    assert all(finding.fix for finding in found)
    assert bool(report.errors) == (check not in NOTES_ONLY), report.errors


class TestGuardSwitchedOff:
    """What a reader without one of its guards against a known trap would give: `validate` must complain."""

    @pytest.fixture
    def manifest(self, pristine: Path) -> Manifest:
        return CORPORA["iemocap"].read(pristine)

    def errors(self, manifest: Manifest, root: Path) -> set[str]:
        return {finding.check for finding in check(manifest, "iemocap", root, partial=True).errors}

    def test_the_manifest_as_read_is_fine(self, manifest: Manifest, pristine: Path):
        assert self.errors(manifest, pristine) == set()

    def test_wearer_for_speaker(self, manifest: Manifest, pristine: Path):
        manifest.table["speaker"] = manifest.table["session"] + manifest.table["wearer"]
        assert self.errors(manifest, pristine) == {"wearer taken for speaker"}

    def test_takes(self, manifest: Manifest, pristine: Path):
        manifest.table["scenario"] += manifest.table["take"].fillna("")
        assert check(manifest, "iemocap", pristine).cells["scenarios"] == (20, 15)

    def test_turns_swallowed_for_their_length(self, manifest: Manifest, pristine: Path):
        table = manifest.table
        kept = manifest.select(table["id"][table["duration"] < 1])
        assert "audio without label" in self.errors(kept, pristine)

    def test_empty_texts(self, manifest: Manifest, pristine: Path):
        others = [problem for problem in manifest.problems if problem.reason != "empty text"]
        unlisted = Manifest(manifest.table, manifest.info, others)
        assert self.errors(unlisted, pristine) == {"empty text not listed"}

    def test_order_of_files_instead_of_ids(self, manifest: Manifest, pristine: Path):
        manifest.table["path"] = manifest.table["path"].sample(frac=1, random_state=0).to_numpy()
        assert "wav length is not the label's" in self.errors(manifest, pristine)

    @pytest.mark.parametrize("pattern", ["._*.txt", "Categorical/*.txt"])
    def test_files_that_are_passed_over(self, tree: Path, pattern: str):
        """Hidden files and those of sub-folders, where a reader without the guard would find them."""
        for stray in sorted((tree / "Session1" / "dialog" / "EmoEvaluation").glob(pattern)):
            shutil.copy(stray, stray.parents[pattern.count("/")] / f"x{stray.name}")
        assert {"not UTF-8", "bad line"} & {finding.check for finding in validate("iemocap", tree, partial=True).errors}

    def test_lines_with_other_ids(self, tree: Path):
        """Transcript lines with XX ids belong to no turn and are notes; without the guard they would read as these do."""
        change(tree, "transcriptions", lambda text: re.sub(r"_([FM])XX(\d)", r"_\1YY\2", text))
        assert {finding.check for finding in validate("iemocap", tree, partial=True).errors} == {"bad line"}

    def test_another_space_after_dom(self, tree: Path):
        """The two spaces after `dom` are read; a line that is written in another way is named."""
        change(tree, "EmoEvaluation", lambda text: text.replace("dom  ", "dom: "))
        report = validate("iemocap", tree, partial=True)
        odd = [finding for finding in report.findings if finding.check == "odd line"]
        assert len(odd) == 3 * len(report.manifest) and "dom: " in odd[0].what


def change(root: Path, kind: str, edit: Callable[[str], str]) -> None:
    """Rewrites every file of a kind."""
    for path in root.glob(f"Session*/dialog/{kind}/*.txt"):
        if not path.name.startswith("."):
            text = edit(path.read_bytes().decode())
            path.unlink()  # a hard link
            path.write_bytes(text.encode())


def test_a_corpus_behind_links_validates(pristine: Path, tmp_path: Path):
    (tmp_path / "ein Ordner ü").mkdir()
    for session in pristine.glob("Session*"):
        (tmp_path / "ein Ordner ü" / session.name).symlink_to(session)
    (tmp_path / "link").symlink_to(tmp_path / "ein Ordner ü")
    report = validate("iemocap", tmp_path / "link", partial=True)
    assert not report.errors and len(report.manifest) == 304


def test_shared_speakers_and_reuse_in_an_own_table(tmp_path: Path, tone):
    tone(tmp_path / "a.wav", seed=1)
    tone(tmp_path / "b.wav", seed=2)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    rows = ["path,id,label,speaker,fold", "a.wav,1,x,p,1", "b.wav,2,x,p,2", "copy.wav,3,y,q,1", "a.wav,4,x,p,1"]
    (tmp_path / "own.csv").write_text("\n".join(rows))
    report = validate("csv", tmp_path / "own.csv")
    assert {(f.severity, f.check) for f in report.findings} == {
        ("error", "duplicate audio"), ("error", "speakers shared between folds"), ("note", "audio used twice"),
    }  # fmt: skip
    assert "label x there, y here; speaker p there, q here" in next(f.what for f in report.findings if f.id == "3")


def test_every_corpus_with_published_counts_exists():
    from ser_data.validate.published import PUBLISHED

    assert set(PUBLISHED) <= set(CORPORA)
