"""Each operation fails at each of its storage calls, in each way: committed points restore, and nothing lies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.faults import Fault, Faults, without_pauses
from tests.support.flaky import DeathError, Script, Way, flaky, leave, store_of
from tests.support.repositories import BLOCK, START, backup, copy_repository, create, noise, phrase, read_disk
from vmtui.model.errors import VmtuiError
from vmtui.model.ids import JobId
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository.collect import collect
from vmtui.repository.mirror import mirror, open_copy
from vmtui.repository.places.folder import Folder
from vmtui.repository.repair import repair
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import INDEX

Contents = dict[PointName, bytes]
"""What each committed point must give back."""

WATCH = SilentWatch()


def clock() -> datetime:
    """All of it happens at one instant."""
    return START


FIRST = noise(1, 40)
SECOND = FIRST[: 20 * BLOCK] + noise(2, 20)
THIRD = noise(3, 12) + FIRST[12 * BLOCK : 35 * BLOCK] + SECOND[35 * BLOCK :]
NEW = noise(4, 6) + THIRD[6 * BLOCK :]
RUN = JobId("01kdye0yr80000000000000000")


class World:
    """A repository and a copy of it in a folder, as a process that just started sees them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository(f"file://{folder / 'repository'}", folder / "cache", phrase)

    def copy(self) -> Repository:
        url = f"file://{self.folder / 'copy'}"
        return open_copy(self.repository, store_of(url), lambda: Repository(url, self.folder / "copy cache", phrase))


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Contents]:
    """Three points, of which the middle one was pruned, so that there is garbage of both kinds; and an old copy."""
    folder = tmp_path_factory.mktemp("built")
    repository = create(folder, sealed=request.param == "sealed")
    first = backup(repository, FIRST, 0)
    World(folder).copy()
    second = backup(repository, SECOND, 1)
    third = backup(repository, THIRD, 2)
    repository.points.delete(second, START)
    return folder, {first: FIRST, third: THIRD}


def do_backup(world: World, points: Contents) -> None:
    points[backup(world.repository, NEW, 3)] = NEW


def do_prune(world: World, points: Contents) -> None:
    name = max(points)
    data = points.pop(name)
    try:
        world.repository.points.delete(name, START)
    except (VmtuiError, DeathError):
        manifests = world.folder / "repository" / "points"
        if (manifests / name.key).exists() and not (manifests / name.mark).exists():
            points[name] = data  # not deleted yet: then it must still be whole
        raise


def do_collect(world: World, points: Contents) -> None:
    del points
    result = collect(world.repository, RUN, WATCH, clock)
    assert result.deleted
    assert not result.waiting_for


def do_mirror(world: World, points: Contents) -> None:
    copy = world.copy()
    result = mirror(world.repository, copy, RUN, WATCH, clock)
    assert result.damage == []
    assert set(copy.points.names()) >= set(points)


def do_repair(world: World, points: Contents) -> None:
    del points
    result = repair(world.repository, RUN, WATCH, clock)
    assert result.damage == []


def do_verify(world: World, points: Contents) -> None:
    del points
    world.repository.sync()
    assert verify_all(world.repository, WATCH, START).damage == []


Operation = Callable[[World, Contents], None]
OPERATIONS: list[Operation] = [do_backup, do_prune, do_collect, do_mirror, do_repair, do_verify]


def check(folder: Path, points: Contents) -> None:
    """Every committed point is whole, as this machine and as a new one sees it; and all operations work again."""
    for cache in ("cache", "new cache"):
        repository = Repository(f"file://{folder / 'repository'}", folder / cache, phrase)
        repository.sync()
        assert set(repository.points.names()) >= set(points)
        for name, data in points.items():
            root = repository.points.load(name).disks[0].root
            assert read_disk(repository, root, len(data)) == data


def check_copy(folder: Path, points: Contents) -> None:
    """Whatever points are at the copy can be restored from there."""
    if (folder / "copy" / "config" / "main").exists():
        copy = Repository(f"file://{folder / 'copy'}", folder / "newer cache", phrase)
        copy.sync()
        for name in set(copy.points.names()) & set(points):
            assert read_disk(copy, copy.points.load(name).disks[0].root, len(points[name])) == points[name]


def examine(folder: Path, points: Contents, way: Way) -> None:
    """Everything is whole, and stays so when work goes on."""
    check(folder, points)
    again = World(folder)
    if way is Way.PARTIAL:  # such a store lies; what it left is repaired, and points that never were go
        never = [name for name in again.repository.points.names() if name not in points]
        assert repair(again.repository, RUN, WATCH, clock, give_up=never).damage == []
        if (folder / "copy" / "config" / "main").exists():
            do_mirror(again, points)  # sends again what was cut
    check_copy(folder, points)
    collect(again.repository, JobId("01kdye0yr90000000000000000"), WATCH, clock)
    check(folder, points)
    assert verify_all(again.repository, WATCH, START).damage == []


CASES = [("plain", way) for way in Way] + [("sealed", Way.ERROR), ("sealed", Way.AFTER)]
"""Sealing changes bytes, not calls, so fewer ways are enough there."""


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__[3:])
@pytest.mark.parametrize(("built", "way"), CASES, indirect=["built"])
def test_failing_at_any_storage_call_costs_no_point_and_nothing_lies(
    built: tuple[Path, Contents], tmp_path: Path, operation: Operation, way: Way
) -> None:
    place = 0
    while True:
        folder = tmp_path / str(place)
        copy_repository(built[0], folder)
        points = dict(built[1])
        with flaky(Script(at=place, way=way)) as script:
            succeeded = False
            with suppress(VmtuiError, DeathError):
                operation(World(folder), points)
                succeeded = True
        reached = len(script.calls) > place
        if script.dead:
            assert not succeeded, script.calls[place]
        with flaky(Script()):
            examine(folder, points, way)
        leave(folder)
        if not reached:
            assert succeeded
            break
        place += 1
    assert place > 5


def damage(folder: Path) -> None:
    """Spoil the whole index, and of the pruned point's pack a block that no other point needs."""
    repository = World(folder).repository
    repository.sync()
    (place,) = repository.index.find([repository.keys.block_id(SECOND[20 * BLOCK : 21 * BLOCK])])
    assert place is not None
    pack = folder / "repository" / "packs" / place.pack.name[:2] / place.pack.name
    data = bytearray(pack.read_bytes())
    data[place.entry.offset + 5] ^= 1
    pack.write_bytes(data)
    for segment in (folder / "repository" / INDEX).iterdir():
        segment.write_bytes(segment.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("built", ["plain"], indirect=True)
@pytest.mark.parametrize("way", Way)
def test_mending_damage_may_fail_at_any_storage_call(built: tuple[Path, Contents], tmp_path: Path, way: Way) -> None:
    """Every index segment and a pack are damaged; what a repair leaves that was broken off, the next one mends."""
    for place in range(300):
        folder = tmp_path / str(place)
        copy_repository(built[0], folder)
        damage(folder)
        with flaky(Script(at=place, way=way)) as script, suppress(VmtuiError, DeathError):
            repair(World(folder).repository, RUN, WATCH, clock)
        with flaky(Script()):
            result = repair(World(folder).repository, RUN, WATCH, clock)
            assert result.damage == []
            check(folder, built[1])
        leave(folder)
        if len(script.calls) <= place:
            break
    assert 20 < place < 299


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is taken for a place that others serve: what was put is looked at."""
    monkeypatch.setattr(Folder, "checked", True)


@pytest.mark.usefixtures("looked_at")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__[3:])
@pytest.mark.parametrize("built", ["plain"], indirect=True)
@pytest.mark.parametrize("kind", ["store", "load"])
def test_a_store_that_lies_at_any_call_costs_no_point(
    built: tuple[Path, Contents], tmp_path: Path, operation: Operation, kind: str
) -> None:
    """It keeps, or gives, half of an object and says that all went well."""
    for place in range(300):
        folder = tmp_path / str(place)
        copy_repository(built[0], folder)
        points = dict(built[1])
        with pytest.MonkeyPatch.context() as patch, flaky(Script()):
            faults = Faults({place: Fault.PARTIAL}, only=(kind,)).everywhere(patch)
            # What was read wrong may be called damage, which is no success either.
            with suppress(VmtuiError, *([AssertionError] if kind == "load" else [])):
                operation(World(folder), points)
        with flaky(Script()):
            examine(folder, points, Way.PARTIAL)
        leave(folder)
        if len(faults.calls) <= place:
            break
    assert place < 299


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__[3:])
@pytest.mark.parametrize("built", ["plain"], indirect=True)
@pytest.mark.parametrize("first", [0, 1])
def test_a_slow_store_that_loses_every_other_answer_costs_only_time(
    built: tuple[Path, Contents], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: Operation, first: int
) -> None:
    without_pauses(monkeypatch)
    folder = tmp_path / "it"
    copy_repository(built[0], folder)
    points = dict(built[1])
    trouble = dict.fromkeys(range(first, 10000, 2), Fault.LOST_ANSWER)
    with pytest.MonkeyPatch.context() as patch, flaky(Script()):
        faults = Faults(trouble, every=Fault.DELAY, delay_s=0.001).everywhere(patch)
        operation(World(folder), points)
    assert len(faults.calls) > 20
    with flaky(Script()):
        examine(folder, points, Way.ERROR)
    leave(folder)
