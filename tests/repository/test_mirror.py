"""A copy at a second place: damage at the source stays there, and a copy that takes no deletions is kept up to date."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from functools import partial
from pathlib import Path

import lmdb
import pytest

from tests.support.repositories import START, at_start, backup, create, noise, phrase, read_disk
from tests.support.stores import APPEND_ONLY, rest
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository, segments
from vmtui.repository.health import quarantine
from vmtui.repository.mirror import Mirrored, _Mirror, mirror, open_copy
from vmtui.repository.packs import HEAD_SIZE, Entry, PackInfo
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import INDEX, KEYS, PACKS, QUARANTINE, ObjectStore

WATCH = SilentWatch()
RUN = JobId(new_id(START))
FIRST, SECOND = noise(1, 20), noise(2, 20)


@pytest.fixture(autouse=True)
def lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut loses is not tested here."""
    monkeypatch.setattr(lmdb, "open", partial(lmdb.open, sync=False))
    monkeypatch.setattr(os, "fsync", lambda _: None)


def copy_of(source: Repository, folder: Path) -> Repository:
    url = f"file://{folder / 'copy'}"
    return open_copy(source, ObjectStore(url), lambda: Repository(url, folder / "copy cache", phrase))


def sync(source: Repository, copy: Repository) -> Mirrored:
    return mirror(source, copy, RUN, WATCH, at_start)


def flip(store: ObjectStore, namespace: str, name: str) -> None:
    data = bytearray(store.get(namespace, name))
    data[len(data) // 2] ^= 4
    store.put(namespace, name, bytes(data))


def assert_reads(repository: Repository, name: PointName, data: bytes) -> None:
    repository.sync()
    assert read_disk(repository, repository.points.load(name).disks[0].root, len(data)) == data


def test_damage_at_the_source_replaces_nothing_at_the_copy(tmp_path: Path) -> None:
    """Each object of the source is damaged in turn; the copy stays as it was, byte for byte."""
    source = create(tmp_path, sealed=True)
    first = backup(source, FIRST, 0)
    copy = copy_of(source, tmp_path)
    sync(source, copy)
    folder = tmp_path / "copy"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for namespace in (PACKS, INDEX, KEYS, "points", "events"):
        for item in source.store.list(namespace):
            whole = source.store.get(namespace, item.name)
            for bad in (whole[:-1], whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2), whole + b"x", b""):
                source.store.put(namespace, item.name, bad)
                sync(source, copy)
            source.store.put(namespace, item.name, whole)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert_reads(copy, first, FIRST)


def test_a_damaged_key_slot_costs_the_copy_none_of_its_own(tmp_path: Path) -> None:
    source = create(tmp_path, sealed=True)
    source.add_key("another passphrase", "second", START)
    slots = [item.name for item in source.store.list(KEYS)]
    copy = copy_of(source, tmp_path)
    sync(source, copy)
    source.store.delete(KEYS, slots[0])
    flip(source.store, KEYS, slots[1])
    assert sync(source, copy).damage
    assert [item.name for item in copy.store.list(KEYS)] == slots
    assert copy.key_slot("another passphrase") in slots


def test_a_key_that_was_taken_away_opens_the_copy_no_more(tmp_path: Path) -> None:
    source = create(tmp_path, sealed=True)
    second = source.add_key("another passphrase", "second", START)
    copy = copy_of(source, tmp_path)
    sync(source, copy)
    source.remove_key(second.id)
    assert sync(source, copy).damage == []
    assert second.id not in {item.name for item in copy.store.list(KEYS)}


def test_a_point_whose_pack_is_damaged_on_both_sides_is_not_copied(tmp_path: Path) -> None:
    source = create(tmp_path)
    first = backup(source, FIRST, 0)
    copy = copy_of(source, tmp_path)
    sync(source, copy)
    pack = source.store.list(PACKS)[0].name
    flip(source.store, PACKS, pack)
    flip(copy.store, PACKS, pack)
    assert verify_all(copy, WATCH, START).damage
    again = backup(source, FIRST, 1)  # relies on the pack, as nobody looked at it here
    other = backup(source, SECOND, 2)
    result = sync(source, copy)
    assert result.damage
    assert copy.points.names() == [first, other]
    assert_reads(copy, other, SECOND)
    assert verify_all(source, WATCH, START).damage
    healed = backup(source, FIRST, 3)
    sync(source, copy)
    assert {again, healed} <= set(copy.points.names())
    assert_reads(copy, healed, FIRST)
    assert_reads(copy, again, FIRST)


def test_a_damaged_pack_of_the_source_does_not_make_the_copy_grow(tmp_path: Path) -> None:
    source = create(tmp_path)
    backup(source, FIRST, 0)
    flip(source.store, PACKS, source.store.list(PACKS)[0].name)
    backup(source, SECOND, 1)
    copy = copy_of(source, tmp_path)
    sync(source, copy)
    before = copy.store.list(INDEX)
    sync(source, copy)
    assert copy.store.list(INDEX) == before


def test_a_pack_that_is_damaged_at_the_copy_alone_is_sent_again(tmp_path: Path) -> None:
    source = create(tmp_path)
    first = backup(source, FIRST, 0)
    copy = copy_of(source, tmp_path)
    sync(source, copy)
    flip(copy.store, PACKS, copy.store.list(PACKS)[0].name)
    assert verify_all(copy, WATCH, START).damage
    assert sync(source, copy).packs == 1
    assert copy.store.list(QUARANTINE) == []
    assert_reads(copy, first, FIRST)
    assert verify_all(copy, WATCH, START).damage == []


def test_an_append_only_copy_is_kept_up_to_date(tmp_path: Path) -> None:
    """Also when a key was changed and a pack of the copy is damaged: neither can be put right there, and both are said."""
    source = create(tmp_path, sealed=True)
    first = backup(source, FIRST, 0)
    with rest(tmp_path / "objects", APPEND_ONLY) as place:

        def copy() -> Repository:
            cache = tmp_path / "copy cache"
            return open_copy(source, place.store(), lambda: Repository(place.store(), cache, phrase))

        assert sync(source, copy()).damage == []
        old = source.store.list(KEYS)[0].name
        source.add_key("another passphrase", "second", START)
        source.remove_key(old)
        pack = source.store.list(PACKS)[0].name
        path = f"packs/{pack[:2]}/{pack}"
        place.write_raw(path, bytes(len(place.read_all()[path])))
        quarantine(copy().records, pack, START, "it was damaged")
        second = backup(source, SECOND, 1)
        result = mirror(source, copy(), JobId(new_id(START).replace("0", "1")), WATCH, at_start)
        assert len(result.damage) == 1
        assert pack in result.damage[0]
        there = copy()
        assert len(there.store.list(KEYS)) == 2
        assert set(there.points.names()) == {first, second}
        assert_reads(there, second, SECOND)


def test_a_copy_of_a_large_repository_needs_little_memory(tmp_path: Path) -> None:
    """Memory does not hold what is in the packs, only which packs there are."""
    source = create(tmp_path)
    copy = copy_of(source, tmp_path)
    for number in range(20):
        entries = tuple(
            Entry(place, hashlib.sha256(b"%d %d" % (number, place)).digest(), 0, 1, HEAD_SIZE + place, 1, 4096)
            for place in range(1500)
        )
        pack = PackInfo(hashlib.sha256(b"%d" % number).hexdigest(), bytes(32), 1 << 20, entries)
        source.store.put(INDEX, *segments.build([pack], source.keys))
    work = _Mirror(source, copy, WATCH, None, lambda: None)  # type: ignore[arg-type]  # nothing is sent
    tracemalloc.start()
    try:
        found = work._segments()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(packs) for packs in found.values()) == 20
    assert peak < 20 * 1500 * 100, "it holds all entries"
