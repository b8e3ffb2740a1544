"""Every kind of object, damaged in every way: found or rightly harmless, never wrong bytes, and mended or declared lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.flaky import Script, flaky, leave
from tests.support.repositories import START, backup, copy_repository, create, noise, phrase, read_disk
from vmtui.model.errors import DamageError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository.collect import collect
from vmtui.repository.health import Named, name_garbage, quarantine
from vmtui.repository.repair import Repaired, repair
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import (
    CONFIG,
    EVENTS,
    GARBAGE,
    INDEX,
    KEYS,
    NAMESPACES,
    PACKS,
    QUARANTINE,
    SESSIONS,
    ObjectStore,
)
from vmtui.repository.verify import Verdict

WATCH = SilentWatch()
SHARED = noise(1, 20)
DISKS = [SHARED + noise(2, 20), SHARED + noise(3, 20), noise(4, 20)]
Contents = dict[PointName, bytes]


def flip(store: ObjectStore, other: ObjectStore, namespace: str, names: list[str]) -> None:
    data = bytearray(store.get(namespace, names[0]))
    data[len(data) // 2] ^= 4
    store.put(namespace, names[0], bytes(data))


def cut(store: ObjectStore, other: ObjectStore, namespace: str, names: list[str]) -> None:
    store.put(namespace, names[0], store.get(namespace, names[0])[:-1])


def empty(store: ObjectStore, other: ObjectStore, namespace: str, names: list[str]) -> None:
    store.put(namespace, names[0], b"")


def delete(store: ObjectStore, other: ObjectStore, namespace: str, names: list[str]) -> None:
    store.delete(namespace, names[0])


def swap(store: ObjectStore, other: ObjectStore, namespace: str, names: list[str]) -> None:
    first, last = store.get(namespace, names[0]), store.get(namespace, names[-1])
    store.put(namespace, names[0], last)
    store.put(namespace, names[-1], first)


def duplicate(store: ObjectStore, other: ObjectStore, namespace: str, names: list[str]) -> None:
    name = names[0]
    start = name.rindex(".") - 8 if namespace == EVENTS else len(name) - 8
    again = name[:start] + "0" * 8 + name[start + 8 :]
    store.put(namespace, again, store.get(namespace, name))


def foreign_under_own_name(store: ObjectStore, other: ObjectStore, namespace: str, names: list[str]) -> None:
    """The other's object, as if somebody had copied it into the wrong folder."""
    name = other.list(namespace)[0].name
    store.put(namespace, name, other.get(namespace, name))


def foreign_under_our_name(store: ObjectStore, other: ObjectStore, namespace: str, names: list[str]) -> None:
    store.put(namespace, names[0], other.get(namespace, other.list(namespace)[0].name))


WAYS: list[Callable[[ObjectStore, ObjectStore, str, list[str]], None]] = [
    flip,
    cut,
    empty,
    delete,
    swap,
    duplicate,
    foreign_under_own_name,
    foreign_under_our_name,
]

ALL = frozenset(way.__name__ for way in WAYS)
HARMLESS: dict[str, frozenset[str]] = {
    # Not in the index, so nobody relies on it: as a pack of a run that was broken off. A collection removes it.
    PACKS: frozenset({"duplicate", "foreign_under_own_name"}),
    # A point without its history is whole. The history of a point tells no less when it has one entry less, but for
    # a hold, which nothing can tell.
    EVENTS: frozenset({"delete"}),
    # An unreadable session is taken for that of a running writer, or ends its own run; repair removes it.
    SESSIONS: ALL,
    # Nobody acts on an unreadable record of garbage; its packs are named again.
    GARBAGE: ALL,
    # Its presence alone counts; without it a pack is looked at again by the next verification.
    QUARANTINE: ALL,
    # A key that was removed on purpose looks the same. Another repository's opens nothing here, as one whose passphrase
    # was forgotten.
    KEYS: frozenset({"delete", "foreign_under_own_name"}),
}


def fill(folder: Path, *, sealed: bool, seed: int) -> Contents:
    """A repository with at least two objects of each kind, but for the configuration."""
    repository = create(folder, sealed=sealed)
    disks = [disk[::-1] if seed else disk for disk in DISKS]
    points = {backup(repository, disk, number + seed): disk for number, disk in enumerate(disks)}
    if sealed:
        repository.add_key("another passphrase", "second", START)
    for number in (50, 51):
        repository.session(JobId(new_id(START + timedelta(hours=number)))).begin(START)
        name = new_id(START + timedelta(days=number + seed))
        keys = frozenset(point.key for point in points)
        name_garbage(repository.records, Named(name, START, frozenset({f"{number:064x}"}), keys))
        quarantine(repository.records, f"{number + seed:064x}", START, "it was damaged")
    return points


@pytest.fixture(scope="module", params=["plain", "sealed"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Contents]:
    folder = tmp_path_factory.mktemp("built")
    sealed = request.param == "sealed"
    with flaky(Script()):
        points = fill(folder / "ours", sealed=sealed, seed=0)
        fill(folder / "other", sealed=sealed, seed=100)
    return request.param, folder, points


@pytest.fixture
def place(built: tuple[str, Path, Contents], tmp_path: Path) -> Iterator[Path]:
    copy_repository(built[1] / "ours", tmp_path / "ours")
    with flaky(Script()):
        yield tmp_path / "ours"
    leave(tmp_path / "ours")


@contextmanager
def opened(folder: Path, cache: str) -> Iterator[Repository]:
    repository = Repository(f"file://{folder / 'repository'}", folder / cache, phrase)
    repository.sync()
    yield repository


def lost(repository: Repository, points: Contents) -> set[str]:
    """Points that cannot be read; the others gave exactly their bytes."""
    found: set[str] = set()
    there = set(repository.points.names())
    for name, data in points.items():
        try:
            assert read_disk(repository, repository.points.load(name).disks[0].root, len(data)) == data
            assert name in there
        except DamageError:
            found.add(name.id)
    return found


def named(verdict: Verdict | Repaired) -> set[str]:
    return {point for item in verdict.damage for point in item.points}


CASES = [(namespace, way) for namespace in NAMESPACES for way in WAYS]


@pytest.mark.parametrize(("namespace", "way"), CASES, ids=[f"{space}-{way.__name__}" for space, way in CASES])
@pytest.mark.parametrize("cache", ["cache", "fresh"])
def test_damage_is_found_told_and_mended(
    built: tuple[str, Path, Contents],
    place: Path,
    namespace: str,
    way: Callable[[ObjectStore, ObjectStore, str, list[str]], None],
    cache: str,
) -> None:
    _, folder, points = built
    store = ObjectStore(f"file://{place / 'repository'}")
    other = ObjectStore(f"file://{folder / 'other' / 'repository'}")
    names = [item.name for item in store.list(namespace)]
    if not names or (namespace == CONFIG and way is swap):
        return  # a plain repository has no keys; there is one configuration
    with opened(place, cache) as repository:
        way(store, other, namespace, names)
        repository.sync()
        unreadable = lost(repository, points)
        verdict = verify_all(repository, WATCH, START)
        harmless = way.__name__ in HARMLESS.get(namespace, frozenset())
        # A plain segment of another repository names packs that no point needs; a sealed one cannot be read.
        harmless |= (namespace, way) == (INDEX, foreign_under_own_name) and not repository.identity.encrypted
        assert bool(verdict.damage) is not harmless, verdict.damage
        assert unreadable <= named(verdict)
        run = JobId(new_id(START))
        result = repair(repository, run, WATCH, lambda: START)
        assert lost(repository, points) <= named(result)
        if namespace in {CONFIG, KEYS}:
            assert harmless or result.damage  # cannot be made anew
            return
    with opened(place, "after") as repository:
        gone = lost(repository, points)
        assert gone <= named(result)
        everything = repository.points.names() + repository.points.lost()
        hopeless = [name for name in everything if name.id in named(result)]
        left = repair(repository, run, WATCH, lambda: START, give_up=hopeless)
        assert named(left) == set()
        later = START + timedelta(days=3)  # the sessions of `fill` have expired
        collect(repository, JobId(new_id(later)), WATCH, lambda: later)  # away with what was damaged
        assert verify_all(repository, WATCH, later).damage == []
        assert lost(repository, {name: data for name, data in points.items() if name not in hopeless}) == set()
