"""What must not be believed: a clock that was ahead, a walk that broke off, a listing that is old, a size that is right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.repository.test_stale_listings import Service
from tests.support.machines import Writer
from tests.support.repositories import (
    BLOCK,
    START,
    at_start,
    backup,
    commit_disk,
    create,
    noise,
    phrase,
    read_disk,
    reopen,
)
from vmtui.model.codec import to_plain
from vmtui.model.errors import UnreachableError
from vmtui.model.ids import JobId, new_id
from vmtui.model.point import EventKind, PointEvent
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository import reach as reaching
from vmtui.repository import repair as repairing
from vmtui.repository import writer as writing
from vmtui.repository.collect import collect
from vmtui.repository.index import Index
from vmtui.repository.mirror import mirror, open_copy
from vmtui.repository.repair import repair
from vmtui.repository.scrub import Scope, verify_all
from vmtui.repository.store import EVENTS, PACKS, POINTS, ObjectInfo, ObjectStore
from vmtui.repository.verify import check_containers, verify_point

DAY = timedelta(days=1)
WATCH = SilentWatch()
RUN = JobId(new_id(START))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def packs(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "repository" / "packs").rglob("*") if path.is_file())


def pack_of(folder: Path, name: str) -> Path:
    return folder / "repository" / "packs" / name[:2] / name


# -- clocks ----------------------------------------------------------------------------------------


def test_damage_counts_though_most_was_verified_lately(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = backup(repository, noise(1, 20), 0)
    verify_all(repository, WATCH, START + 100 * DAY, Scope(not_since=START))
    assert repository.points.status(name).verified is not None
    for path in packs(tmp_path):
        path.unlink()
    now = START + 110 * DAY
    assert verify_all(repository, WATCH, now, Scope(not_since=now - 30 * DAY)).damage
    assert repository.points.status(name).damaged


@pytest.mark.parametrize("everything", [False, True])
def test_damage_counts_though_a_clock_was_a_year_ahead(tmp_path: Path, everything: bool) -> None:
    """And so does what takes it back."""
    repository = create(tmp_path)
    name = backup(repository, noise(1, 20), 0)

    def verify(day: int) -> None:
        if everything:
            verify_all(repository, WATCH, START + day * DAY)
        else:
            verify_point(repository, name, WATCH, START + day * DAY)

    verify(365)
    kept = {path: path.read_bytes() for path in packs(tmp_path)}
    for path in kept:
        path.unlink()
    verify(2)
    assert repository.points.status(name).damaged
    for path, data in kept.items():
        path.write_bytes(data)
    verify(3)
    assert not repository.points.status(name).damaged


@pytest.mark.parametrize("seed", range(4))
def test_a_repaired_point_is_good_though_no_time_has_passed(tmp_path: Path, seed: int) -> None:
    repository = create(tmp_path)
    name = backup(repository, noise(seed, 20), 0)
    flip(packs(tmp_path)[0], -1)
    assert repair(repository, RUN, WATCH, lambda: START + DAY).damage == []
    assert not repository.points.status(name).damaged


# -- walks -----------------------------------------------------------------------------------------


def test_a_walk_that_broke_off_vouches_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point with a damaged node is deleted while a collection walks it; another shares the nodes before that one."""
    monkeypatch.setattr(writing, "TARGET_SIZE", 1 << 20)
    repository = create(tmp_path)
    shared, own = noise(1, 512), noise(4, 256)
    doomed = backup(repository, shared + noise(3, 256), 0)
    kept = backup(repository, shared + own, 1)
    repository.sync()
    reader = repository.reader().map(bytes.fromhex(repository.points.load(doomed).disks[0].root), 768)
    (place,) = repository.index.find([reader.leaf_id(2)])
    assert place is not None
    flip(pack_of(tmp_path, place.pack.name), place.entry.offset + 9)
    other, add_point = reopen(tmp_path), reaching.Reach.add_point

    def deleted_meanwhile(self: reaching.Reach, name: PointName, point: Any) -> None:
        try:
            add_point(self, name, point)
        finally:
            if name == doomed and other.points.stored(doomed):
                other.points.delete(doomed, START)

    monkeypatch.setattr(reaching.Reach, "add_point", deleted_meanwhile)
    collect(repository, RUN, WATCH, lambda: START + DAY)
    seen = reopen(tmp_path, "third cache")
    assert read_disk(seen, seen.points.load(kept).disks[0].root, 768 * BLOCK) == shared + own


def test_every_point_that_lacks_something_is_refused_by_a_copy_and_named(tmp_path: Path) -> None:
    """Points that share a map's nodes; a segment of the source is damaged."""
    repository = create(tmp_path)
    data = bytearray(noise(1, 512))
    index = tmp_path / "repository" / "index"

    def change(block: int, seed: int) -> None:
        data[block * BLOCK : (block + 1) * BLOCK] = noise(seed, 1)

    whole = backup(repository, bytes(data), 0)
    before = set(index.iterdir())
    change(5, 50)
    change(300, 51)
    points = [backup(repository, bytes(data), 1, parent=whole)]
    (segment,) = set(index.iterdir()) - before
    for number, (block, seed) in enumerate([(9, 52), (300, 53)], 2):
        change(block, seed)
        points.append(backup(repository, bytes(data), number, parent=points[-1]))
    flip(segment, -1)
    store = ObjectStore(f"file://{tmp_path / 'copy'}")
    copy = open_copy(repository, store, lambda: Repository(store, tmp_path / "copy cache"))
    damage = mirror(repository, copy, RUN, WATCH, at_start).damage
    assert copy.points.names() == [whole]
    assert all(any(point.id in text for text in damage) for point in points)


def test_a_blob_that_is_damaged_wherever_it_is_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = create(tmp_path)
    data = noise(1, 300)
    name = backup(repository, data, 0)
    (first,) = packs(tmp_path)
    flip(first, 100)
    verify_all(repository, WATCH, START + DAY)
    backup(repository, data, 1)
    verify_all(repository, WATCH, START + 2 * DAY)
    assert not repository.points.status(name).damaged
    (second,) = set(packs(tmp_path)) - {first}
    flip(second, 100)
    looks: list[object] = []
    prefer = Index.prefer

    def counted(self: Index, *given: Any) -> None:
        looks.append(given)
        prefer(self, *given)

    monkeypatch.setattr(Index, "prefer", counted)
    assert verify_point(repository, name, WATCH, START + 3 * DAY).damage
    assert len(looks) < 5


def test_what_lies_beside_a_damaged_blob_is_read_from_where_it_is(tmp_path: Path) -> None:
    """One blob has a second copy, its neighbour has none: both are right."""
    repository = create(tmp_path)
    data = noise(1, 8)
    name = backup(repository, data, 0)
    (first,) = packs(tmp_path)
    flip(first, 100)
    repository.records.put("quarantine", first.name, {"found": "2026-01-02T03:04:05Z", "why": "test"})
    commit_disk(repository, data[:BLOCK], 1)
    seen = reopen(tmp_path)
    (place,) = seen.index.find([seen.keys.block_id(data[:BLOCK])])
    assert place is not None and place.pack.name != first.name
    seen.index.prefer(seen.store, seen.keys, lambda record: record.name == first.name)
    assert read_disk(seen, seen.points.load(name).disks[0].root, len(data)) == data


def test_what_surrounds_a_point_is_checked_in_little_memory_and_found(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = backup(repository, noise(1, 40), 0)
    point = repository.points.load(name)
    assert check_containers(repository, point, WATCH) == len(packs(tmp_path))
    number = next(iter(repository.index.all_packs()))
    with repository.index._begin(write=True) as transaction:  # an index that says something else of one blob
        values = repository.index._blobs
        key, value = next(iter(transaction.cursor(values)))
        changed = bytearray(value)
        changed[8] ^= 1
        transaction.put(bytes(key), bytes(changed), db=values)
    assert number.entries
    with pytest.raises(Exception, match="does not agree"):
        check_containers(repository, point, WATCH)


# -- listings --------------------------------------------------------------------------------------


def test_a_repair_forgets_no_pack_that_was_put_while_it_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup of the same machine settles in between; both use one local index."""
    repository = create(tmp_path)
    name = backup(repository, noise(1, 20), 0)
    beside = Repository(repository.store.url, tmp_path / "cache", phrase)
    made: list[PointName] = []
    forget: Callable[..., None] = repairing._forget_missing

    def interrupted(of: Repository, *given: Any) -> None:
        listing = of.store.list

        def late(namespace: str) -> list[ObjectInfo]:
            found = listing(namespace)
            if namespace == PACKS and not made:
                made.append(backup(beside, noise(1, 19) + noise(9, 1), 1, parent=name))
            return found

        monkeypatch.setattr(of.store, "list", late)
        forget(of, *given)
        monkeypatch.setattr(of.store, "list", listing)

    monkeypatch.setattr(repairing, "_forget_missing", interrupted)
    repair(repository, RUN, WATCH, lambda: START + DAY)
    seen = reopen(tmp_path)
    assert read_disk(seen, seen.points.load(made[0]).disks[0].root, 20 * BLOCK) == noise(1, 19) + noise(9, 1)


def test_an_old_listing_of_the_index_is_no_damage(tmp_path: Path) -> None:
    service = Service(tmp_path)
    create(tmp_path)
    repository = service.open("a")
    service.now = START
    Writer(repository, 0).store(noise(1, 20)).commit(START)
    for _ in range(2):
        for namespace in ("index", "points", "packs", "events", "sessions", "garbage", "quarantine"):
            repository.store.list(namespace)
        service.now += timedelta(minutes=15)
    name = Writer(repository, 1, now=service.now).store(noise(2, 20)).commit(service.now)
    service.now += timedelta(minutes=1)
    service.age = {"index": timedelta(minutes=5)}
    assert verify_all(repository, WATCH, service.now).damage == []
    assert not repository.points.status(name).damaged


# -- what a dead run did not say -------------------------------------------------------------------


def test_a_point_whose_commit_was_not_told_is_told_by_the_next_process(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = backup(repository, noise(1, 4), 0)
    for item in repository.store.list(EVENTS):
        repository.store.delete(EVENTS, item.name)
    repository.records.put(EVENTS, f"{name.key}.{new_id(START)}.held", to_plain(PointEvent(EventKind.HELD, START, "x")))
    for _ in range(2):
        assert repository.points.load_committed(name).id == name.id
    kinds = [event.kind for event in repository.points.history(name)]
    assert sorted(kinds) == [EventKind.COMMITTED, EventKind.HELD]
    repository.points.check_manifest(name)
    repository.store.delete(POINTS, name.key)
    assert repository.points.lost() == [name]


# -- sizes -----------------------------------------------------------------------------------------


@pytest.fixture
def mirrored(tmp_path: Path) -> tuple[Repository, ObjectStore, PointName]:
    repository = create(tmp_path)
    name = backup(repository, noise(1, 20), 0)
    store = ObjectStore(f"file://{tmp_path / 'copy'}")
    copy = open_copy(repository, store, lambda: Repository(store, tmp_path / "copy cache"))
    mirror(repository, copy, RUN, WATCH, at_start)
    return repository, store, name


def test_a_rotten_manifest_is_brought_back_from_a_copy(
    tmp_path: Path, mirrored: tuple[Repository, ObjectStore, PointName]
) -> None:
    repository, store, name = mirrored
    flip(tmp_path / "repository" / "points" / name.key, 60)
    assert verify_all(repository, WATCH, START + DAY).damage
    copy = Repository(store, tmp_path / "copy cache")
    assert mirror(copy, repository, RUN, WATCH, lambda: START + DAY).points == 1
    assert verify_all(repository, WATCH, START + 2 * DAY).damage == []
    assert not repository.points.status(name).damaged


def test_a_rotten_index_segment_of_a_copy_is_sent_again(
    tmp_path: Path, mirrored: tuple[Repository, ObjectStore, PointName]
) -> None:
    repository, store, name = mirrored
    (segment,) = (tmp_path / "copy" / "index").iterdir()
    flip(segment, -1)
    backup(repository, noise(7, 1) + noise(1, 20)[BLOCK:], 1, parent=name)
    copy = Repository(store, tmp_path / "new cache")
    assert mirror(repository, copy, RUN, WATCH, at_start).damage == []
    assert verify_all(copy, WATCH, START + DAY).damage == []


def test_a_copy_that_is_not_mounted_is_not_begun_anew(tmp_path: Path) -> None:
    from vmtui import config
    from vmtui.opening import open_copy as open_named

    place = tmp_path / "disk"
    place.mkdir()
    text = f'repository = "file://{tmp_path}/repository"\nstate = "{tmp_path}/state"\n'
    settings = config.parse(f'{text}[copies.usb]\nurl = "file://{place}/vmtui"\n', tmp_path / "config.toml")
    repository = create(tmp_path)
    for _ in range(2):
        assert open_named(settings, repository, "usb").id == repository.id
    place.rename(tmp_path / "unplugged")
    place.mkdir()
    with pytest.raises(UnreachableError) as caught:
        open_named(settings, repository, "usb")
    assert list(place.iterdir()) == []
    told = caught.value.next_step
    assert "Mount" in told
    Path(told.rpartition("rm ")[2]).unlink()
    assert open_named(settings, repository, "usb").id == repository.id
