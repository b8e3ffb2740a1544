"""No order of runs, prunes, collections, crashes, sleeps and damage loses a committed point or gives wrong bytes.

`VMTUI_STATE_MACHINE=examples,steps` makes it search longer, each time elsewhere.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.flaky import DeathError, Script, Way, flaky, leave, store_of
from tests.support.machines import Writer
from tests.support.repositories import BLOCK, START, noise, read_disk
from vmtui import config
from vmtui.model.errors import DamageError, FailedError, RefusedError, VmtuiError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository.blocks import ZERO_ID
from vmtui.repository.collect import collect
from vmtui.repository.keys import SALT_SIZE
from vmtui.repository.mirror import mirror, open_copy
from vmtui.repository.repair import repair
from vmtui.repository.scrub import Scope, verify_all
from vmtui.repository.segments import read as read_segment
from vmtui.repository.store import INDEX, PACKS
from vmtui.repository.verify import locations
from vmtui.retention import make_plan
from vmtui.retention.run import prune

WATCH = SilentWatch()
BLOCKS = 10
POOL = [bytes(BLOCK), *(noise(seed, 1) for seed in range(14))]
"""Few different blocks, so that points share many, in many packs."""
MOST = 6
"""Points at a time."""
CACHES = ("cache 0", "cache 1")
RULES = {
    last: config.parse(
        f'repository = "file:///none"\n[tiers.standard]\nrpo = "1d"\nkeep = {{last = {last}}}\n',
        Path("/none/config.toml"),
    )
    for last in (1, 2, 3)
}

disks = st.lists(st.integers(0, len(POOL) - 1), min_size=BLOCKS, max_size=BLOCKS).map(
    lambda places: b"".join(POOL[place] for place in places)
)
machines = st.integers(0, len(CACHES) - 1)
calls = st.integers(0, 70)
ways = st.sampled_from([Way.ERROR, Way.FULL, Way.BEFORE, Way.AFTER])


@dataclass
class Meeting(Script):
    """At the n-th storage call, something else happens first."""

    action: Callable[[], None] | None = None

    def step(self, call: str) -> Way | None:
        with self.lock:
            self.calls.append(call)
            action = self.action if len(self.calls) - 1 == self.at else None
            if action is not None:
                self.action = None
        if action is not None:
            action()
        return None


class Life(RuleBasedStateMachine):
    """A repository on which two machines work, with a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="vmtui-life-"))
        self.stack = ExitStack()
        chance = random.Random(1)  # what a search finds must happen again
        for module in ("packs", "segments"):
            salt = f"vmtui.repository.{module}.new_salt"
            self.stack.enter_context(mock.patch(salt, partial(chance.randbytes, SALT_SIZE)))
        self.stack.enter_context(mock.patch("vmtui.model.ids.secrets", chance))
        self.stack.enter_context(flaky(Script()))
        self.url = f"file://{self.folder / 'repository'}"
        self.copy_url = f"file://{self.folder / 'copy'}"
        Repository.create(self.url, self.folder / CACHES[0], block_size=BLOCK)
        self.points: dict[PointName, bytes] = {}
        """What each point must give back."""
        self.needs: dict[PointName, frozenset[bytes]] = {}
        self.limbo: dict[PointName, bytes] = {}
        """Points that are marked and not erased."""
        self.broken: set[PointName] = set()
        """Points that may have lost something by damage that was done."""
        self.held: set[PointName] = set()
        self.bad: set[str] = set()
        """Objects that were damaged."""
        self.writers: list[tuple[Writer, int, datetime]] = []
        self.now = START
        self.shift = [timedelta(), timedelta()]
        self.number = 0
        self.faulty = False

    def teardown(self) -> None:
        self.stack.close()
        leave(self.folder)

    # -- the world -------------------------------------------------------------------------------

    def open(self, machine: int) -> Repository:
        """As a process that was just started."""
        return Repository(self.url, self.folder / CACHES[machine])

    @contextmanager
    def fresh(self, url: str) -> Iterator[Repository]:
        """As a machine that was never there."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        repository = Repository(url, folder)
        repository.sync()
        yield repository
        leave(folder)

    def clock(self, machine: int) -> datetime:
        return self.now + self.shift[machine]

    def run_id(self) -> JobId:
        return JobId(new_id(self.now))

    def next(self) -> int:
        self.number += 1
        return self.number

    def committed(self, repository: Repository, name: PointName, data: bytes) -> None:
        """A point came to be; whether it is whole depends on what it could rely on."""
        self.points[name] = data
        self.limbo.pop(name, None)
        try:
            repository.sync()
            places = locations(repository, repository.points.load(name))
            self.needs[name] = frozenset(place.entry.id for place in places) - {ZERO_ID}
        except DamageError:
            assert self.bad
            self.needs[name] = frozenset()
            self.broken.add(name)
            return
        if self.bad and not self.found(name):
            self.broken.add(name)

    def findable(self) -> set[bytes]:
        """Blobs in packs that are whole and named by segments that are whole."""
        repository = self.open(0)
        present = {item.name for item in repository.store.list(PACKS)} - self.bad
        blobs: set[bytes] = set()
        for item in repository.store.list(INDEX):
            with suppress(DamageError):
                for pack in read_segment(repository.store, item.name, repository.keys):
                    if pack.name in present:
                        blobs |= {entry.id for entry in pack.entries}
        return blobs

    def found(self, name: PointName) -> bool:
        return bool(self.needs[name]) and self.needs[name] <= self.findable()

    def mend(self) -> None:
        """Points whose blobs are all there again are whole again."""
        if self.broken:
            blobs = self.findable()
            self.broken = {name for name in self.broken if not self.needs[name] or not self.needs[name] <= blobs}

    # -- what can be done ------------------------------------------------------------------------

    def do_backup(self, machine: int, data: bytes, parent: PointName | None = None) -> PointName | None:
        if len(self.points) >= MOST:
            return None
        repository = self.open(machine)
        writer = None
        try:
            writer = Writer(repository, self.next(), parent, self.clock(machine))
            writer.store(data).commit(self.clock(machine))
        finally:
            if writer is not None and writer.point is not None:
                with flaky(Script()):
                    if self.open(machine).points.exists(writer.name):
                        self.committed(self.open(machine), writer.name, data)
        return writer.name

    def do_prune(self, machine: int, name: PointName) -> None:
        repository = self.open(machine)
        data = self.points.pop(name, None)
        if data is None:
            return
        try:
            repository.points.delete(name, self.clock(machine))
        finally:
            store = self.folder / "repository" / "points"
            if (store / name.key).exists():
                (self.limbo if (store / name.mark).exists() else self.points)[name] = data

    def do_collect(self, machine: int) -> None:
        try:
            collect(self.open(machine), self.run_id(), WATCH, lambda: self.clock(machine))
        except DamageError:
            if not self.bad:
                raise
        self.mend()

    def do_verify(self, machine: int, *, quick: bool = False) -> set[str]:
        repository = self.open(machine)
        repository.sync()
        verdict = verify_all(repository, WATCH, self.clock(machine), Scope(quick=quick))
        assert self.bad or not verdict.damage, verdict.damage
        return {point for item in verdict.damage for point in item.points}

    def do_repair(self, machine: int) -> None:
        result = repair(self.open(machine), self.run_id(), WATCH, lambda: self.clock(machine))
        assert self.bad or not result.damage, result.damage
        self.mend()
        named = {point for item in result.damage for point in item.points}
        assert not self.bad or named <= {name.id for name in self.broken}

    def do_mirror(self, machine: int) -> None:
        source = self.open(machine)
        copy = self.copy(source)
        wanted = {name for name in source.points.names() if name not in self.broken}
        try:
            result = mirror(source, copy, self.run_id(), WATCH, lambda: self.clock(machine))
        except DamageError:
            if not self.bad:
                raise
            return
        assert self.bad or not result.damage, result.damage
        assert wanted & self.points.keys() <= set(copy.points.names())

    def copy(self, source: Repository) -> Repository:
        return open_copy(source, store_of(self.copy_url), lambda: Repository(self.copy_url, self.folder / "copy cache"))

    def do(self, what: str, machine: int, data: bytes) -> None:
        """One of them by name."""
        names = sorted(self.points)
        name = names[data[0] % len(names)] if names else None
        if what == "backup":
            self.do_backup(machine, data)
        elif what == "increment":
            good = [item for item in names if item not in self.broken]
            self.do_backup(machine, data, good[-1] if good else None)
        elif what == "prune" and name is not None:
            self.do_prune(machine, name)
        elif what == "collect":
            self.do_collect(machine)
        elif what == "verify":
            self.do_verify(machine)
        elif what == "repair":
            self.do_repair(machine)
        elif what == "mirror":
            self.do_mirror(machine)
        elif what == "begin":
            self.begin(machine, increment=bool(data[1] & 1))
        elif what == "commit":
            self.commit()

    def begin(self, machine: int, *, increment: bool) -> None:
        good = [name for name in sorted(self.points) if name not in self.broken]
        parent = good[-1] if good and increment else None
        folder = Path(tempfile.mkdtemp(dir=self.folder))  # a cache of its own
        writer = Writer(Repository(self.url, folder), self.next(), parent, self.clock(machine))
        self.writers.append((writer, machine, self.clock(machine)))

    def commit(self) -> None:
        ready = [item for item in self.writers if item[0].point is not None]
        if not ready or len(self.points) >= MOST:
            return
        writer, machine, began = ready[0]
        self.writers.remove(ready[0])
        age = self.clock(machine) - began
        if age > timedelta(hours=24):
            with pytest.raises(FailedError, match="JOB-INTERRUPTED"):
                writer.commit(self.clock(machine))
            return
        name = writer.commit(self.clock(machine))
        self.committed(self.open(machine), name, writer.data)

    # -- rules -----------------------------------------------------------------------------------

    @initialize(first=disks, second=disks)
    def two_points(self, first: bytes, second: bytes) -> None:
        self.do_backup(0, first)
        self.do_backup(1, second)

    @rule(
        what=st.sampled_from(["backup", "increment", "prune", "collect", "mirror", "repair"]),
        machine=machines,
        data=disks,
    )
    def work(self, what: str, machine: int, data: bytes) -> None:
        self.do(what, machine, data)

    @rule(machine=machines, quick=st.booleans())
    def verify(self, machine: int, quick: bool) -> None:
        named = self.do_verify(machine, quick=quick)
        assert named <= {name.id for name in self.broken}
        if not quick:
            assert {name.id for name in self.unreadable(self.open(machine))} <= named

    @rule(
        what=st.sampled_from(["backup", "increment", "prune", "collect", "mirror", "repair", "verify"]),
        machine=machines,
        data=disks,
        call=calls,
        way=ways,
    )
    def fail(self, what: str, machine: int, data: bytes, call: int, way: Way) -> None:
        with flaky(Script(at=call, way=way)), suppress(VmtuiError, DeathError):
            self.do(what, machine, data)

    @rule(
        what=st.sampled_from(["backup", "increment", "collect", "mirror", "verify"]),
        other=st.sampled_from(["backup", "increment", "prune", "collect", "begin", "commit"]),
        machine=machines,
        data=disks,
        call=calls,
    )
    def meet(self, what: str, other: str, machine: int, data: bytes, call: int) -> None:
        def action() -> None:
            with suppress(*([DamageError] if self.bad else [])):
                self.do(other, 1 - machine, data[::-1])

        with flaky(Meeting(at=call, action=action)):
            # A parent may be pruned, and a copy busy; nothing else may be wrong.
            expected: dict[str, list[type[VmtuiError]]] = {"increment": [DamageError], "mirror": [RefusedError]}
            with suppress(*([DamageError, RefusedError] if self.bad else expected.get(what, []))):
                self.do(what, machine, data)

    @precondition(lambda self: len(self.writers) < 3)
    @rule(machine=machines, increment=st.booleans())
    def begin_a_backup(self, machine: int, increment: bool) -> None:
        self.begin(machine, increment=increment)

    @precondition(lambda self: self.writers)
    @rule(data=disks)
    def store_a_part(self, data: bytes) -> None:
        waiting = [item[0] for item in self.writers if item[0].point is None]
        if waiting:
            with suppress(*([DamageError] if self.bad or waiting[0]._parent else [])):
                waiting[0].store(data)

    @precondition(lambda self: self.writers)
    @rule()
    def commit_a_backup(self) -> None:
        self.commit()

    @precondition(lambda self: self.points and len(self.writers) < 3)
    @rule(machine=machines, which=st.integers(0, MOST), early=st.booleans(), at_once=st.booleans())
    def overtake(self, machine: int, which: int, early: bool, at_once: bool) -> None:
        """A backup of what only a point has that is pruned, and collected, before the backup is committed."""
        name = sorted(self.points)[which % len(self.points)]
        data = self.points[name]
        self.begin(machine, increment=False)
        writer = self.writers[-1][0]
        self.do_prune(1 - machine, name)
        if early:
            self.do_collect(1 - machine)
        writer.store(data)
        self.do_collect(1 - machine)
        if at_once:
            self.commit()

    @precondition(lambda self: self.writers)
    @rule()
    def a_writer_dies(self) -> None:
        self.writers.pop(0)

    @precondition(lambda self: self.points)
    @rule(machine=machines, which=st.integers(0, MOST))
    def mark(self, machine: int, which: int) -> None:
        name = sorted(self.points)[which % len(self.points)]
        self.open(machine).points.mark(name, self.clock(machine))
        self.limbo[name] = self.points.pop(name)

    @precondition(lambda self: self.limbo)
    @rule(machine=machines, back=st.booleans())
    def unmark_or_erase(self, machine: int, back: bool) -> None:
        name, data = self.limbo.popitem()
        points = self.open(machine).points
        if back and points.unmark(name):
            self.points[name] = data
        elif not back:
            points.erase(name)

    @precondition(lambda self: self.points)
    @rule(machine=machines)
    def hold(self, machine: int) -> None:
        name = max(self.points)
        self.open(machine).points.hold(name, "wanted", self.clock(machine))
        self.held.add(name)
        assert self.open(1 - machine).points.status(name).held == "wanted"

    @rule(machine=machines, last=st.integers(1, 3))
    def prune_by_rule(self, machine: int, last: int) -> None:
        """What a rule lets go goes, as do deletions that were begun; but nothing that is held, nor the newest good point."""
        repository = self.open(machine)
        keep = RULES[last]
        plan = make_plan(repository, keep, self.clock(machine), UTC, {})
        gone = {PointName(point.vm, point.id) for point in plan.go}
        good = [name for name in self.points if not repository.points.status(name).damaged]
        prune(repository, keep, plan.request, UTC, dict, WATCH, self.clock(machine))
        assert not gone & self.held
        assert not good or max(good) not in gone
        self.points |= {name: data for name, data in self.limbo.items() if name in self.held}
        self.limbo.clear()
        for name in gone:
            del self.points[name]

    @rule(hours=st.sampled_from([1, 12, 27, 27]))
    def sleep(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(machine=machines, minutes=st.integers(-30, 30))
    def set_a_clock(self, machine: int, minutes: int) -> None:
        self.shift[machine] = timedelta(minutes=minutes)

    @precondition(lambda self: len(self.bad) < 2)
    @rule(
        namespace=st.sampled_from([PACKS, PACKS, INDEX]),
        way=st.sampled_from(["flip", "cut", "delete"]),
        which=st.integers(0, 20),
        where=st.integers(0, 1 << 20),
    )
    def damage(self, namespace: str, way: str, which: int, where: int) -> None:
        store = self.open(0).store
        files = sorted(
            (self.folder / "repository" / namespace).rglob("?" * 64), key=lambda file: file.stat().st_mtime_ns
        )
        names = [file.name for file in files if file.name not in self.bad]
        if not names:
            return
        name = names[which % len(names)]
        data = bytearray(store.get(namespace, name))
        place = where % len(data)
        self.bad.add(name)
        if way == "delete":
            store.delete(namespace, name)
        elif way == "cut":
            store.put(namespace, name, bytes(data[:place]))
        else:
            data[place] ^= 1 << (where >> 17)
            store.put(namespace, name, bytes(data))
        blobs = self.findable()
        self.broken |= {item for item in (*self.points, *self.limbo) if not self.needs[item] <= blobs}

    @precondition(lambda self: self.bad)
    @rule(machine=machines)
    def heal(self, machine: int) -> None:
        """A verification, a repair, and a backup of the same data."""
        self.now += timedelta(hours=27)
        self.writers.clear()
        self.do_verify(machine)
        self.do_repair(machine)
        for name in [item for item in self.limbo if item in self.broken]:
            self.open(machine).points.erase(name)
            del self.limbo[name]
        for name, data in sorted(self.points.items()):
            if name in self.broken:
                self.check_all()
                writer = Writer(self.open(machine), self.next(), None, self.clock(machine)).store(data)
                self.committed(self.open(machine), writer.commit(self.clock(machine)), data)
        self.broken.clear()
        with self.fresh(self.url) as repository:
            assert self.unreadable(repository) == set()
        self.do_verify(machine)
        for name in sorted(self.points)[:-MOST]:
            self.do_prune(machine, name)
        left = verify_all(self.open(machine), WATCH, self.clock(machine)).damage
        assert not {point for item in left for point in item.points}

    @precondition(lambda self: (self.folder / "copy" / "config" / "main").exists())
    @rule(machine=machines)
    def collect_at_the_copy(self, machine: int) -> None:
        copy = Repository(self.copy_url, self.folder / "another copy cache")
        names = copy.points.names()
        if names:
            copy.points.delete(names[0], self.clock(machine))
        collect(copy, self.run_id(), WATCH, lambda: self.clock(machine))

    # -- what always holds -----------------------------------------------------------------------

    def unreadable(self, repository: Repository) -> set[PointName]:
        """Points that cannot be read as they were; all others gave exactly their bytes."""
        repository.sync()
        lost = set()
        for name, data in self.points.items():
            try:
                assert read_disk(repository, repository.points.load(name).disks[0].root, len(data)) == data
            except DamageError:
                lost.add(name)
        return lost

    @invariant()
    def check_all(self) -> None:
        for machine in range(len(CACHES)):
            assert self.unreadable(self.open(machine)) <= self.broken
        with self.fresh(self.url) as repository:
            assert self.unreadable(repository) <= self.broken
            assert set(repository.points.names()) == set(self.points)

    @invariant()
    def check_copy(self) -> None:
        if not (self.folder / "copy" / "config" / "main").exists():
            return
        with self.fresh(self.copy_url) as copy:
            for name in copy.points.names():
                data = read_disk(copy, copy.points.load(name).disks[0].root, BLOCKS * BLOCK)
                assert name not in self.points or data == self.points[name]


_LONG = os.environ.get("VMTUI_STATE_MACHINE", "")
_EXAMPLES, _STEPS = (int(part) for part in (_LONG or "50,30").split(","))

TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    deadline=None,
    derandomize=not _LONG,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
