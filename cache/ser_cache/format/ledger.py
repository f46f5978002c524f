"""The state of one entry: its plans and commits put together. Writers, readers and verify all resolve utterances here.

The rules are those of docs/reference/cache-format.md: the last plan that mentions an utterance names the input hash that is
wanted; its row is the committed one with this hash; among several, that of the latest generation. Costs one listing per
directory and one small read per record that was not seen before.
"""

import gc
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress
from operator import eq, itemgetter
from pathlib import Path
from typing import Self

from ser_cache.errors import Damaged
from ser_cache.format.commit import Commit, read_commit
from ser_cache.format.layout import COMMIT_NAME, GENERATION_NAME, commit_path, inside, names
from ser_cache.format.plan import Plan, plan_log
from ser_cache.items import Failure


@contextmanager
def uncollected() -> Iterator[None]:
    """Switches the cyclic garbage collector off for a block, or as a decorator for a function.

    Records hold no cycles, so it finds nothing, and among millions of small objects its looking took most of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


Key = tuple[int, int]  # generation, shard


@dataclass
class Ledger:
    """Plans and commits of the entry at ``path`` that belong to ``fingerprint``.

    Attributes:
        plans: every plan, of replaced specs as well, by generation.
        commits: by (generation, shard), the highest revision of each.
    """

    path: Path
    fingerprint: str
    plans: dict[int, Plan] = field(default_factory=dict)
    commits: dict[Key, Commit] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, fingerprint: str) -> Self:
        """The ledger as it is on disk; raises as `refresh`."""
        ledger = cls(path, fingerprint)
        ledger.refresh()
        return ledger

    @uncollected()
    def refresh(self) -> None:
        """Reads what is new on disk, forgets what is gone.

        Raises:
            Damaged: a record is bad, or the plans have a gap.
        """
        self.refresh_plans()
        there: dict[Key, int] = {}
        for name in names(self.path, "commits", like=GENERATION_NAME):
            generation = int(name)
            files = names(self.path, "commits", name, like=COMMIT_NAME)
            if files and generation not in self.plans:
                self.refresh_plans()  # made since
                if generation not in self.plans:
                    raise Damaged(
                        str(plan_log(self.path).record(generation)), "it is missing, and its commits are there"
                    )
            if not files or self.plans[generation].fingerprint != self.fingerprint:
                continue
            for file in files:  # sorted: the highest revision comes last
                there[generation, int(file[:8])] = int(file[9:13])
        for key in [key for key in self.commits if key not in there]:
            del self.commits[key]
        for key, revision in there.items():
            held = self.commits.get(key)
            if held is None or held.revision != revision:
                self._read(key, revision)

    def committed(self, key: Key) -> bool:
        """Whether the shard has a commit on disk, by its name alone: one that only writes need not read what others wrote.

        The folder is not listed, which would make each commit dearer than the one before. A shard that was rewritten more
        than once since it was listed is not seen; then its data are written once more, and its later revision counts.
        """
        held = self.commits.get(key)
        revisions = {0, 1} if held is None else {0, held.revision, held.revision + 1}
        paths = (commit_path(Path(), *key, revision).as_posix() for revision in revisions)
        return any(os.path.lexists(inside(self.path, path)) for path in paths)

    def refresh_plans(self) -> None:
        """Reads the plans that are new on disk; raises Damaged if a plan is bad, or one is missing."""
        log = plan_log(self.path)
        for number in range(1, log.length() + 1):
            if number not in self.plans:
                self.plans[number] = log.read(log.record(number), number)

    def _read(self, key: Key, revision: int) -> None:
        path = commit_path(self.path, *key, revision)
        try:
            self.commits[key] = self.checked(read_commit(path, *key, revision), str(path))
        except FileNotFoundError:  # quarantined or replaced by a higher revision since it was listed
            self.commits.pop(key, None)

    def checked(self, commit: Commit, where: str) -> Commit:
        """The commit; raises Damaged if it is not one of its planned shard."""
        plan = self.plans[commit.generation]
        if commit.fingerprint != plan.fingerprint:
            raise Damaged(where, "its fingerprint is not that of its plan")
        if commit.shard >= len(plan.shards):
            raise Damaged(where, f"its plan has {len(plan.shards):,} shards")
        shard = plan.shards[commit.shard]
        if commit.ids == shard.ids and commit.input_hashes == shard.input_hashes and not commit.failures:
            # the usual case; with the plan's own texts, a million of them are held once and compared by identity
            return commit.model_copy(update={"ids": shard.ids, "input_hashes": shard.input_hashes})
        planned = dict(zip(shard.ids, shard.input_hashes, strict=True))
        held = dict(zip(commit.ids, commit.input_hashes, strict=True))
        held |= {name: failure.input_hash for name, failure in commit.failures.items()}
        if any(planned.get(name) != input_hash for name, input_hash in held.items()):
            raise Damaged(where, "it holds utterances or input hashes that were not planned")
        return commit

    def own_plans(self) -> list[Plan]:
        """Plans of this fingerprint in their order."""
        return [plan for _, plan in sorted(self.plans.items()) if plan.fingerprint == self.fingerprint]

    def wanted(self, withdrawn: Collection[str] = ()) -> dict[str, str]:
        """id -> input hash, by the last plan that mentions it, without what is withdrawn."""
        wanted: dict[str, str] = {}
        for plan in self.own_plans():
            wanted.update(plan.mentions())
        for name in withdrawn:
            wanted.pop(name, None)
        return wanted

    def ordered(self) -> list[tuple[Key, Commit]]:
        """The commits by generation and shard."""
        return sorted(self.commits.items(), key=itemgetter(0))

    def rows(self, wanted: dict[str, str]) -> dict[str, int]:
        """id -> number of its row, of what is wanted and committed.

        The number counts the rows of all commits in their order: the rows of the first, then those of the second, and so on.
        Among several rows of an id the last one counts.
        """
        rows: dict[str, int] = {}
        begin = 0
        for _, commit in self.ordered():
            end = begin + len(commit.ids)
            right = map(eq, map(wanted.get, commit.ids), commit.input_hashes)
            rows.update(compress(zip(commit.ids, range(begin, end), strict=True), right))
            begin = end
        return rows

    def failures(self, wanted: dict[str, str]) -> dict[str, tuple[Failure, Key]]:
        """id -> latest recorded failure of what is wanted, also where a row exists by now."""
        failures: dict[str, tuple[Failure, Key]] = {}
        for key, commit in self.ordered():
            for name, failed in commit.failures.items():
                if wanted.get(name) == failed.input_hash:
                    failures[name] = (failed.failure, key)
        return failures

    def open_shards(self) -> list[Key]:
        """Planned shards without a commit, in order."""
        return [
            (plan.generation, number)
            for plan in self.own_plans()
            for number in range(len(plan.shards))
            if (plan.generation, number) not in self.commits
        ]


class Work:
    """What is left to do for a set of wanted utterances. Kept up to date at the cost of what is new, for many shards.

    Args:
        ledger: refreshed by its owner.
        wanted: id -> input hash.
    """

    def __init__(self, ledger: Ledger, wanted: dict[str, str]) -> None:
        self._ledger, self._wanted = ledger, wanted
        self._seen: dict[Key, Commit] = {}
        self._rows: set[str] = set()
        self._failures: dict[str, Key] = {}
        self.refresh()

    def refresh(self) -> None:
        """Takes in the commits that the ledger has read since; starts again if one is gone or replaced."""
        commits = self._ledger.commits
        if any(commits.get(key) is not commit for key, commit in self._seen.items()):
            self._seen, self._rows, self._failures = {}, set(), {}
        for key in commits.keys() - self._seen.keys():
            commit = self._seen[key] = commits[key]
            right = map(eq, map(self._wanted.get, commit.ids), commit.input_hashes)
            self._rows.update(compress(commit.ids, right))
            for name, failed in commit.failures.items():
                if self._wanted.get(name) == failed.input_hash:
                    self._failures[name] = max(key, self._failures.get(name, key))

    def pending(self, key: Key) -> list[str]:
        """Ids of an open shard that are wanted with the planned hash and have neither row nor failure.

        A failure of an earlier generation does not count: then the shard is the retry.
        """
        shard = self._ledger.plans[key[0]].shards[key[1]]
        return [
            name
            for name, input_hash in zip(shard.ids, shard.input_hashes, strict=True)
            if self._wanted.get(name) == input_hash
            and name not in self._rows
            and not (name in self._failures and self._failures[name][0] >= key[0])
        ]
