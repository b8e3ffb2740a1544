"""Processes that die at any instant, and processes that work at once: no committed point is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.flaky import leave
from tests.support.repositories import BLOCK, backup, create, noise, read_disk
from vmtui.model.ids import JobId, PointId, VmId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository, index
from vmtui.repository.collect import Collected, collect
from vmtui.repository.mirror import mirror, open_copy
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import PACKS, ObjectStore

ROUNDS = 100
SECONDS = float(os.environ.get("VMTUI_CHAOS_SECONDS", "20"))
"""How long writers and collector work at once."""

FIRST = noise(1, 30)
THIRD = noise(3, 10) + FIRST[10 * BLOCK : 25 * BLOCK] + noise(4, 5)


def clock() -> datetime:
    return datetime.now(UTC)


def opened(folder: Path, cache: str) -> Repository:
    return Repository(f"file://{folder / 'repository'}", folder / cache)


def in_child(work: Callable[[], object]) -> int:
    """Run something in a process of its own; gives its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        index._OPEN.clear()  # what the parent has open is not the child's
        work()
        code = 0
    except BaseException:  # noqa: BLE001  # the end of a process
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def gc(folder: Path, cache: str = "cache") -> Collected:
    repository = opened(folder, cache)
    return collect(repository, JobId(new_id(clock())), SilentWatch(), clock)


def copy_to(folder: Path, cache: str = "cache") -> Repository:
    source = opened(folder, cache)
    url = f"file://{folder / 'copy'}"
    copy = open_copy(source, ObjectStore(url), lambda: Repository(url, folder / f"copy {cache}"))
    assert mirror(source, copy, JobId(new_id(clock())), SilentWatch(), clock).damage == []
    return copy


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[PointName, bytes]]:
    """Two points, and the garbage of a third: a whole pack, and most of another."""
    folder = tmp_path_factory.mktemp("built")
    repository = create(folder)
    first = backup(repository, FIRST, 0)
    second = backup(repository, noise(4, 20) + noise(5, 20), 1)
    third = backup(repository, THIRD, 2)
    repository.points.delete(second, clock())
    return folder, {first: FIRST, third: THIRD}


def check(repository: Repository, points: dict[PointName, bytes]) -> None:
    repository.sync()
    for name, data in points.items():
        assert read_disk(repository, repository.points.load(name).disks[0].root, len(data)) == data


@pytest.mark.parametrize("work", [gc, copy_to], ids=["gc", "sync"])
def test_killed_at_random_times(
    built: tuple[Path, dict[PointName, bytes]], tmp_path: Path, work: Callable[[Path, str], object]
) -> None:
    source, points = built
    chance = random.Random(7)
    longest = 0.05
    killed = 0
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        shutil.copytree(source / "repository", folder / "repository")
        began = time.monotonic()
        pid = in_child(lambda folder=folder: work(folder, "cache"))  # type: ignore[misc]
        if number:
            time.sleep(chance.uniform(0, longest))
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        killed += os.WIFSIGNALED(status)
        if not number:
            assert status == 0
            longest = time.monotonic() - began
        check(opened(folder, "later"), points)
        if work is gc:
            gc(folder, "later")
            gc(folder, "later")
            repository = opened(folder, "later")
            check(repository, points)
            assert verify_all(repository, SilentWatch(), clock()).damage == []
        else:
            copy = copy_to(folder, "later")
            assert set(copy.points.names()) == set(points)
            check(copy, points)
        leave(folder)
    assert killed > ROUNDS // 2


def _write(folder: Path, number: int, until: float) -> None:
    """Back up, carry over, delete: a writer on a machine of its own. What it committed is on its list."""
    repository = opened(folder, f"writer {number}")
    chance = random.Random(number)
    mine: list[tuple[PointName, bytes]] = []
    disk = noise(100 + number, 300)
    turn = 0
    with (folder / f"list {number}").open("w") as file:
        while time.monotonic() < until:
            turn += 1
            start = chance.randrange(290) * BLOCK
            new = noise(chance.choice([1, 2, 3, chance.randrange(10**6)]), 10)
            disk = disk[:start] + new + disk[start + len(new) :]
            parent = mine[-1][0] if mine and chance.random() < 0.7 else None
            name = backup(repository, disk, 24 * number + turn, parent=parent, now=clock)
            mine.append((name, disk))
            file.write(json.dumps(["+", name.vm, name.id, turn]) + "\n")
            file.flush()
            (folder / f"disk {name.id}").write_bytes(disk)
            if len(mine) > 3:
                gone = mine.pop(chance.randrange(len(mine) - 1))[0]
                file.write(json.dumps(["-", gone.vm, gone.id, turn]) + "\n")
                file.flush()
                repository.points.delete(gone, clock())


def _collect(folder: Path, until: float) -> None:
    deleted = 0
    while time.monotonic() < until:
        deleted += gc(folder, "collector").deleted
    (folder / "deleted").write_text(str(deleted))


def test_two_writers_and_a_collection_at_once(tmp_path: Path) -> None:
    create(tmp_path, cache=tmp_path / "parent")
    until = time.monotonic() + SECONDS
    works: list[Callable[[], object]] = [
        lambda: _write(tmp_path, 1, until),
        lambda: _write(tmp_path, 2, until),
        lambda: _collect(tmp_path, until),
    ]
    pids = [in_child(work) for work in works]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    points: dict[PointName, bytes] = {}
    for number in (1, 2):
        for line in (tmp_path / f"list {number}").read_text().splitlines():
            what, vm, point, _ = json.loads(line)
            name = PointName(VmId(vm), PointId(point))
            if what == "+":
                points[name] = (tmp_path / f"disk {point}").read_bytes()
            else:
                del points[name]
    assert len(points) >= 4
    assert int((tmp_path / "deleted").read_text()) > 0
    repository = opened(tmp_path, "fresh")
    check(repository, points)
    assert set(repository.points.names()) == set(points)
    assert verify_all(repository, SilentWatch(), clock()).damage == []
    gc(tmp_path, "fresh")
    check(repository, points)
    needed = {record.name for record in repository.index.all_packs()}
    assert needed == {item.name for item in repository.store.list(PACKS)}
