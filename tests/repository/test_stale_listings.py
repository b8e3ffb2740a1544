"""A store whose listings are old, each by another while: no committed point is lost, whatever is pruned and collected."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.flaky import Script, flaky
from tests.support.machines import Writer
from tests.support.repositories import START, create, noise, read_disk
from vmtui.model.errors import VmtuiError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository.collect import PATIENCE, Collected, collect
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import GARBAGE, PACKS, POINTS, SESSIONS, ObjectInfo, ObjectStore

WATCH = SilentWatch()
OLDEST = timedelta(minutes=10)
"""How old a listing may be."""
APART = timedelta(minutes=15)
"""How far a clock may be off."""


class Service:
    """A place of objects whose listings show an earlier instant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"file://{folder / 'repository'}"
        self.now = START
        self.age: dict[str, timedelta] = {}
        """How old the listings of a namespace are."""
        self.past: dict[str, list[tuple[datetime, list[ObjectInfo]]]] = {}

    def open(self, cache: str) -> Repository:
        return Repository(Lagging(self), self.folder / cache)

    def remember(self, namespace: str, listed: list[ObjectInfo]) -> None:
        self.past.setdefault(namespace, []).append((self.now, listed))

    def shown(self, namespace: str, now: list[ObjectInfo]) -> list[ObjectInfo]:
        """What a listing shows."""
        at = self.now - self.age.get(namespace, timedelta())
        if at == self.now:
            return now
        before = [listed for when, listed in self.past.get(namespace, []) if when <= at]
        return before[-1] if before else []


class Lagging(ObjectStore):
    """The objects of such a place."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.url)
        self._service = service

    @property
    def exact_listings(self) -> bool:
        return False

    def put(self, namespace: str, name: str, data: bytes | memoryview) -> None:
        super().put(namespace, name, data)
        self._service.remember(namespace, super().list(namespace))

    def delete(self, namespace: str, name: str) -> None:
        super().delete(namespace, name)
        self._service.remember(namespace, super().list(namespace))

    def list(self, namespace: str) -> list[ObjectInfo]:
        return self._service.shown(namespace, super().list(namespace))


@pytest.fixture
def service(tmp_path: Path) -> Service:
    create(tmp_path)
    return Service(tmp_path)


def gc(service: Service, shift: timedelta = timedelta()) -> Collected:
    now = service.now + shift
    return collect(service.open("gc"), JobId(new_id(now)), WATCH, lambda: now)


def assert_reads(service: Service, points: dict[PointName, bytes]) -> None:
    service.age.clear()
    repository = service.open("reader")
    repository.sync()
    for name, data in points.items():
        assert read_disk(repository, repository.points.load(name).disks[0].root, len(data)) == data


def test_a_point_that_no_listing_shows_yet_keeps_its_packs(service: Service) -> None:
    """Its writer began before the packs were named, and has ended: only the listing of the sessions knows that already."""
    with flaky(Script()):
        data = noise(1, 10)
        first = Writer(service.open("a"), 0, None, service.now).store(data).commit(service.now)
        writer = Writer(service.open("b"), 1, None, service.now).store(data)  # relies on the packs of the first
        service.open("a").points.delete(first, service.now)
        gc(service)
        service.now += 2 * PATIENCE
        second = writer.commit(service.now)
        service.now += timedelta(minutes=1)
        service.age[POINTS] = OLDEST
        assert gc(service).deleted == 0
        assert_reads(service, {second: data})
        service.now += 2 * PATIENCE
        assert gc(service).kept
        service.now += 2 * PATIENCE
        gc(service)
        assert_reads(service, {second: data})
        assert len(service.open("a").store.list(SESSIONS)) == 1  # the collection's own, which the next one removes


def test_what_an_old_listing_does_not_show_is_asked_for(service: Service) -> None:
    """A pack that is there is not called missing, and no point damaged."""
    with flaky(Script()):
        data = noise(1, 10)
        point = Writer(service.open("a"), 0, None, service.now).store(data).commit(service.now)
        service.now += timedelta(minutes=1)
        service.age[PACKS] = OLDEST
        assert verify_all(service.open("a"), WATCH, service.now).damage == []
        gc(service)
        assert_reads(service, {point: data})


@pytest.mark.parametrize("seed", range(6))
def test_no_order_of_runs_with_old_listings_loses_a_point(service: Service, seed: int) -> None:
    chance = random.Random(seed)
    points: dict[PointName, bytes] = {}
    writers: list[Writer] = []
    shifts = {who: timedelta(minutes=chance.uniform(-1, 1) * APART / timedelta(minutes=1)) for who in ("a", "b", "gc")}
    pool = [noise(number, 1) for number in range(12)]
    with flaky(Script()):
        for number in range(40):
            service.now += timedelta(minutes=chance.choice([0, 1, 5, 30, 90, 90, 27 * 60]))
            service.age = {
                space: chance.choice([timedelta(), chance.uniform(0, 1) * OLDEST])
                for space in ("packs", "index", "points", "events", "garbage", "sessions")
            }
            who = chance.choice(["a", "b"])
            now = service.now + shifts[who]
            with suppress(VmtuiError):
                match chance.choice(["begin", "begin", "commit", "commit", "prune", "gc", "gc"]):
                    case "begin":
                        data = b"".join(chance.choices(pool, k=8))
                        parent = chance.choice([None, *points]) if points else None
                        writers.append(Writer(service.open(who), number, parent, now).store(data))
                    case "commit" if writers:
                        writer = writers.pop(chance.randrange(len(writers)))
                        with suppress(VmtuiError):
                            writer.commit(now)
                        if writer.point is not None and writer.repository.points.exists(writer.name):
                            points[writer.name] = writer.data
                    case "prune" if len(points) > 2:
                        name = chance.choice(list(points))
                        del points[name]
                        service.open(who).points.delete(name, now)
                    case "gc":
                        gc(service, shifts["gc"])
            age = dict(service.age)
            assert_reads(service, points)
            service.age = age
        service.age.clear()
        for _ in range(3):
            service.now += timedelta(hours=27)
            last = gc(service)
        assert (last.named, last.waiting_for, service.open("reader").store.list(GARBAGE)) == (0, [], [])
        assert_reads(service, points)
        assert verify_all(service.open("reader"), WATCH, service.now).damage == []
    assert points
