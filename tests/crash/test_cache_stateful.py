"""Write, kill, corrupt, delete, gc, verify, replace, second writer, new generation, withdraw, in any order.

The end is that of one run.
"""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

sys.path.insert(0, str(Path(__file__).parents[1] / "cache"))

from made_cache import CONTAINERS, data_files, in_child, items, spec, state, write

from ser_cache import CacheError, Item, create_cache, open_cache
from ser_cache.format import durable
from ser_cache.format.log import withdrawal_log
from ser_cache.format.plan import plan_log
from ser_cache.maintenance.gc import sweep
from ser_cache.maintenance.remove import remove_utterances
from ser_cache.maintenance.repair import repair
from ser_cache.maintenance.verify import verify

FULL = bool(os.environ.get("SER_CRASH_FULL"))
SPECS = (spec(), spec(declared={"weights": "xxh3:ff"}))


class CacheMachine(RuleBasedStateMachine):
    """One cache that all of this happens to."""

    @initialize(container=st.sampled_from(CONTAINERS))
    def begin(self, container: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ser-stateful-"))
        self.root = self.folder / "c"
        self.container = container
        self.wanted = items(6, per_shard=2)
        self.spec = SPECS[0]
        self.withdrawn: set[str] = set()
        self.damaged = False
        create_cache(self.root)

    def _write(self, shards: int | None = None, replace: bool = True) -> None:
        write(self.root, self.wanted, self.container, shards=shards, entry=self.spec, replace=replace)

    def _repair(self) -> None:
        problems = repair(self.root, verify(self.root))
        assert not problems
        self.damaged = False

    @rule(shards=st.integers(1, 3))
    @precondition(lambda self: not self.damaged)
    def write_some(self, shards: int) -> None:
        self._write(shards)

    @rule(place=st.integers(1, 70))
    @precondition(lambda self: not self.damaged)
    def killed_while_writing(self, place: int) -> None:
        def run() -> None:
            durable.arm(str(place))
            self._write()

        assert in_child(run) in (0, -signal.SIGKILL)

    @rule(place=st.integers(1, 30))
    @precondition(lambda self: not self.damaged)
    def killed_while_sweeping(self, place: int) -> None:
        def run() -> None:
            durable.arm(str(place))
            sweep(open_cache(self.root), older_hours=0)

        assert in_child(run) in (0, -signal.SIGKILL)

    @rule(number=st.integers(0, 5))
    def corrected_input(self, number: int) -> None:
        old = self.wanted[number]
        version = "b" if old.input_hash.startswith("a") else "a"
        self.wanted[number] = Item(old.id, f"{version}-{number}", old.cost, old.frames)

    @rule()
    def new_utterances(self) -> None:
        count = len(self.wanted)
        if count < 12:
            self.wanted += items(count + 2, per_shard=2)[count:]

    @rule(seed=st.integers(0, 10_000), kind=st.sampled_from(["flip", "truncate", "delete"]))
    @precondition(lambda self: not self.damaged)
    def damage(self, seed: int, kind: str) -> None:
        files = [path for path in data_files(self.root) if "/quarantine/" not in str(path) and ".bad-" not in str(path)]
        files = [path for path in files if path.stat().st_size and path.suffix != ".tmp"]
        if not files:
            return
        path = files[seed % len(files)]
        old = path.read_bytes()
        if kind == "delete":
            path.unlink()
        elif kind == "truncate":
            path.write_bytes(old[: seed % len(old)])
        else:
            path.write_bytes(old[: seed % len(old)] + bytes([old[seed % len(old)] ^ 4]) + old[seed % len(old) + 1 :])
        self.damaged = True

    @rule(
        kind=st.sampled_from(["plan", "withdrawal", "entry", "plans", "withdrawn", "witnesses"]),
        copies=st.integers(0, 1),
    )
    @precondition(lambda self: not self.damaged)
    def lose_a_tail(self, kind: str, copies: int) -> None:
        """The last record of a log, alone or with its copy; a whole entry; a whole folder of records or witnesses."""
        self._repair()  # what a killed writer did not acknowledge may be lost
        entries = [path.parent for path in self.root.glob("entries/*/entry.json")]
        log = withdrawal_log(self.root) if kind == "withdrawal" else plan_log(entries[0]) if entries else None
        folder = self.root / kind if kind == "withdrawn" or not entries else entries[0] / kind
        if kind in ("plan", "withdrawal") and log and log.length():
            for path in log.places(log.length())[: copies + 1]:
                path.unlink()
        elif kind == "entry" and entries:
            shutil.rmtree(entries[0])
        elif folder.is_dir() and any(folder.iterdir()):
            shutil.rmtree(folder)
        else:
            return
        self.damaged = True
        report = verify(self.root)
        assert report.findings or report.unfinished or report.lacking, (kind, copies)

    @rule()
    def verify_and_repair(self) -> None:
        self._repair()

    @rule()
    @precondition(lambda self: not self.damaged)
    def collect_garbage(self) -> None:
        sweep(open_cache(self.root), older_hours=0)

    @rule()
    def other_declared_inputs(self) -> None:
        self.spec = SPECS[1] if self.spec == SPECS[0] else SPECS[0]

    @rule(number=st.integers(0, 5))
    @precondition(lambda self: not self.damaged and len(self.withdrawn) < 2)
    def withdraw(self, number: int) -> None:
        name = f"u{number:03d}"
        try:
            remove_utterances(create_cache(self.root), [name])
        except CacheError:  # in no plan yet
            return
        self.withdrawn.add(name)

    @rule()
    @precondition(lambda self: not self.damaged and self.withdrawn)
    def admit(self) -> None:
        create_cache(self.root).admit(self.withdrawn)
        self.withdrawn.clear()

    @rule()
    @precondition(lambda self: not self.damaged)
    def second_writer_meanwhile(self) -> None:
        cache = create_cache(self.root)
        writer = cache.writer(self.spec, container="hdf5", replace=True)
        writer.plan(self.wanted)
        runs = writer.pending()
        next(runs, None)  # has a shard in hand
        self._write(2)

    @invariant()
    def nothing_wrong_is_visible(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            cache = open_cache(self.root)
            infos = cache.entries()
            if not infos:
                return
            entry = cache.open(infos[0])
            for name in entry.ids:
                assert name not in self.withdrawn
                assert_right_row(entry, name)
        except CacheError:
            assert self.damaged

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        self._repair()
        self._write()
        sweep(open_cache(self.root), older_hours=0)
        self._write()
        report = verify(self.root)
        assert report.findings == [] and not report.unfinished and not report.lacking
        one = self.folder / "one"
        create_cache(one).withdraw(self.withdrawn)
        write(one, self.wanted, self.container, entry=self.spec)
        assert state(self.root) == state(one)
        shutil.rmtree(self.folder)


def assert_right_row(entry, name: str) -> None:
    """A visible row has the numbers of its id and input hash."""
    assert_right_of = [Item(name, entry.input_hashes[name])]
    values_of = entry[name].tobytes()
    from made_cache import values

    assert values_of == values(assert_right_of[0]).tobytes()


CacheMachine.TestCase.settings = settings(
    max_examples=150 if FULL else 8,
    stateful_step_count=20 if FULL else 12,
    deadline=None,
    derandomize=not FULL,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestCacheInAnyOrder = CacheMachine.TestCase
