"""Processes killed at random, disks that are full, and several processes at work at once.

`VMTUI_CHAOS_S` makes the last test run longer [s].
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path

import lmdb
import pytest

from tests.support.machines import Writer
from tests.support.repositories import BLOCK, backup, noise, read_disk
from tests.support.small import fill, small_file_system
from vmtui.model.errors import FailedError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository.collect import collect
from vmtui.repository.mirror import mirror, open_copy
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import GARBAGE, PACKS, SESSIONS, ObjectStore

pytestmark = [pytest.mark.alone]

FORK = multiprocessing.get_context("fork")
WATCH = SilentWatch()
ROUNDS = 100
CHAOS_S = float(os.environ.get("VMTUI_CHAOS_S", "20"))
Contents = dict[PointName, bytes]


@pytest.fixture(autouse=True)
def lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that the kernel has; what a power cut loses is not tested here."""
    real = lmdb.open
    monkeypatch.setattr(lmdb, "open", partial(real, sync=False))
    monkeypatch.setattr(os, "fsync", lambda _: None)


def now() -> datetime:
    return datetime.now(UTC)


def tomorrow() -> datetime:
    return now() + timedelta(hours=27)


def run_id() -> JobId:
    return JobId(new_id(now()))


def url_of(folder: Path, name: str = "repository") -> str:
    return f"file://{folder / name}"


def child(work: Callable[[], object]) -> ForkProcess:
    """A process that does something; it opens its own repositories, as a local index is not shared by a fork."""

    def run() -> None:
        work()
        os._exit(0)  # no cleaning up after pytest

    process = FORK.Process(target=run)
    process.start()
    return process


def inside(work: Callable[[], object]) -> None:
    """Do something in a process of its own, and see it succeed."""
    process = child(work)
    process.join(60)
    assert process.exitcode == 0


def measured(work: Callable[[], object]) -> float:
    """Do something in a process of its own; how long that took [s]."""
    began = time.monotonic()
    inside(work)
    return time.monotonic() - began


def kill_within(process: ForkProcess, longest_s: float, chance: random.Random) -> bool:
    """Kill it at some instant; whether it still ran."""
    process.join(chance.uniform(0, longest_s))
    if process.exitcode is None and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    return process.exitcode == -signal.SIGKILL


def check(url: str, cache: Path, points: Contents, *, exactly: bool = True) -> None:
    repository = Repository(url, cache)
    repository.sync()
    there = set(repository.points.names())
    assert there == set(points) if exactly else there <= set(points)
    for name in there:
        assert read_disk(repository, repository.points.load(name).disks[0].root, len(points[name])) == points[name]


def checked(folder: Path, points: Contents) -> None:
    """From the cache of those that were killed, and from a new one."""
    for cache in ("cache", "fresh"):
        inside(partial(check, url_of(folder), folder / cache, points))
    shutil.rmtree(folder / "fresh")


def clean(url: str, cache: Path) -> None:
    """A collection that nothing hinders, a day later; then only what is needed is left."""
    repository = Repository(url, cache)
    collect(repository, run_id(), WATCH, tomorrow)
    result = collect(repository, run_id(), WATCH, tomorrow)
    assert result.named == result.rewritten == 0
    assert result.waiting_for == []
    assert repository.store.list(GARBAGE) == repository.store.list(SESSIONS) == []
    assert {pack.name for pack in repository.index.all_packs()} == {item.name for item in repository.store.list(PACKS)}
    assert verify_all(repository, WATCH, tomorrow()).damage == []


def disk(number: int) -> bytes:
    """Most of it as in the disks before and after, so that packs become mostly garbage, not garbage."""
    return b"".join(noise(1000 * place + (number + place) // 6, 1) for place in range(12))


def some_work(folder: Path, points: Contents, number: int) -> None:
    """A new point, and away with the oldest; in this process, whose local indexes are closed afterwards."""
    repository = Repository(url_of(folder), folder / "parent cache")
    points[backup(repository, disk(number), number)] = disk(number)
    while len(points) > 3:
        oldest = min(points)
        repository.points.delete(oldest, now())
        del points[oldest]


def test_a_killed_collection_costs_no_point(tmp_path: Path) -> None:
    chance = random.Random(1)
    Repository.create(url_of(tmp_path), tmp_path / "parent cache", block_size=BLOCK)
    points: Contents = {}
    killed = 0

    def work() -> None:
        collect(Repository(url_of(tmp_path), tmp_path / "cache"), run_id(), WATCH, tomorrow)

    some_work(tmp_path, points, 0)
    longest = measured(work)
    for number in range(1, ROUNDS):
        some_work(tmp_path, points, number)
        forget_sessions(tmp_path / "repository")
        killed += kill_within(child(work), longest, chance)
        checked(tmp_path, points)
    assert killed > ROUNDS // 4
    forget_sessions(tmp_path / "repository")
    inside(partial(clean, url_of(tmp_path), tmp_path / "cache"))
    checked(tmp_path, points)


def forget_sessions(folder: Path) -> None:
    """As if more than a day had passed: those who were killed hinder nobody."""
    for path in (folder / SESSIONS).iterdir():
        path.unlink()


def test_a_killed_copy_holds_only_whole_points_and_goes_on(tmp_path: Path) -> None:
    chance = random.Random(2)
    Repository.create(url_of(tmp_path), tmp_path / "parent cache", block_size=BLOCK)
    points: Contents = {}
    ever: Contents = {}
    killed = 0

    def work() -> None:
        source = Repository(url_of(tmp_path), tmp_path / "cache")
        store = ObjectStore(url_of(tmp_path, "copy"))
        copy = open_copy(source, store, lambda: Repository(store.url, tmp_path / "copy cache"))
        mirror(source, copy, run_id(), WATCH, now)

    some_work(tmp_path, points, 0)
    inside(work)
    some_work(tmp_path, points, 1)
    longest = measured(work)
    for number in range(2, ROUNDS):
        some_work(tmp_path, points, number)
        ever |= points
        if number % 10 == 0:
            inside(lambda: collect(Repository(url_of(tmp_path), tmp_path / "cache"), run_id(), WATCH, now))
        killed += kill_within(child(work), longest, chance)
        inside(partial(check, url_of(tmp_path, "copy"), tmp_path / "fresh", ever | points, exactly=False))
        shutil.rmtree(tmp_path / "fresh")
    assert killed > ROUNDS // 4
    inside(work)
    copied = {
        name: data for name, data in (ever | points).items() if (tmp_path / "copy" / "points" / name.key).exists()
    }
    assert copied.items() >= points.items()
    forget_sessions(tmp_path / "copy")
    inside(partial(clean, url_of(tmp_path, "copy"), tmp_path / "copy cache"))
    inside(partial(check, url_of(tmp_path, "copy"), tmp_path / "fresh", copied))


# -- a full disk -----------------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    with small_file_system(tmp_path / "small", 3 << 20) as folder:
        yield folder


def test_a_full_disk_is_told_and_can_be_freed(full: Path, tmp_path: Path) -> None:
    url = f"file://{full / 'repository'}"
    repository = Repository.create(url, tmp_path / "cache", block_size=BLOCK)
    points: Contents = {}
    numbers = itertools.count()
    for _ in range(10):
        with pytest.raises(FailedError, match="REPO-FULL"):
            back_up_for_ever(repository, points, numbers)
        check(url, tmp_path / "cache", points)
        while len(points) > 2:
            oldest = min(points)
            repository.points.delete(oldest, now())
            del points[oldest]
        before = repository.store.free_bytes() or 0
        collect(repository, run_id(), WATCH, tomorrow)  # what failed left a session
        assert (repository.store.free_bytes() or 0) > before + (1 << 20)
        check(url, tmp_path / "cache", points)
        assert verify_all(repository, WATCH, now()).damage == []


def back_up_for_ever(repository: Repository, points: Contents, numbers: Iterator[int]) -> None:
    for number in numbers:
        data = noise(number, 60) + noise(9999, 20)
        points[backup(repository, data, number)] = data


def test_a_disk_without_room_for_a_byte_is_told_and_costs_no_point(full: Path, tmp_path: Path) -> None:
    """Whatever is full, points are whole; what was set aside serves to free space."""
    url = f"file://{full / 'repository'}"
    repository = Repository.create(url, tmp_path / "cache", block_size=BLOCK)
    points = {backup(repository, noise(number, 100), number): noise(number, 100) for number in range(4)}
    fill(full / "ballast")
    oldest = min(points)
    with pytest.raises(FailedError, match="REPO-FULL"):
        repository.points.delete(oldest, now())
    assert collect(repository, run_id(), WATCH, now).deleted == 0  # by what was set aside for it
    check(url, tmp_path / "cache", points)
    (full / "ballast").unlink()
    repository.points.delete(oldest, now())
    del points[oldest]
    assert collect(repository, run_id(), WATCH, tomorrow).deleted_bytes > 100 * BLOCK
    check(url, tmp_path / "cache", points)
    assert verify_all(repository, WATCH, now()).damage == []


# -- at once ---------------------------------------------------------------------------------------


def write(folder: Path, who: int, until: float) -> None:
    """Backups on a machine of its own, with a look at what was written, and prunes of its own points."""
    repository = Repository(url_of(folder), folder / f"cache {who}")
    mine: list[tuple[PointName, bytes]] = []
    rounds = 0
    while time.monotonic() < until:
        number = 2 * rounds + who
        data = disk(rounds)  # the other writes the same blocks
        parent = mine[-1][0] if mine and rounds % 3 else None
        writer = Writer(repository, number, parent, now()).store(data)
        mine.append((writer.commit(now()), data))
        if len(mine) > 3:
            repository.points.delete(mine.pop(0)[0], now())
        for name, wanted in mine:
            repository.sync()
            assert read_disk(repository, repository.points.load(name).disks[0].root, len(wanted)) == wanted
        rounds += 1
    check_mine = Repository(url_of(folder), folder / f"fresh {who}")
    check_mine.sync()
    for name, wanted in mine:
        assert read_disk(check_mine, check_mine.points.load(name).disks[0].root, len(wanted)) == wanted
    (folder / f"rounds {who}").write_text(str(rounds))


def sweep(folder: Path, until: float) -> None:
    """Collections, one after the other; and a verification now and then."""
    repository = Repository(url_of(folder), folder / "cache gc")
    deleted = 0
    for rounds in itertools.count():
        if time.monotonic() > until:
            break
        deleted += collect(repository, run_id(), WATCH, now).deleted
        if rounds % 10 == 0:
            assert verify_all(repository, WATCH, now()).damage == []
    (folder / "deleted").write_text(str(deleted))


def test_two_writers_and_a_collection_at_once_lose_nothing(tmp_path: Path) -> None:
    repository = Repository.create(url_of(tmp_path), tmp_path / "parent cache", block_size=BLOCK)
    until = time.monotonic() + CHAOS_S
    processes = [
        child(partial(write, tmp_path, 0, until)),
        child(partial(write, tmp_path, 1, until)),
        child(partial(sweep, tmp_path, until)),
    ]
    for process in processes:
        process.join(CHAOS_S + 60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert int((tmp_path / "deleted").read_text()) > CHAOS_S
    assert min(int((tmp_path / f"rounds {who}").read_text()) for who in (0, 1)) > CHAOS_S
    assert len(repository.points.names()) >= 6
    clean(url_of(tmp_path), tmp_path / "parent cache")
