"""Two machines at work at once, one of them stopped at a chosen storage call: nothing is lost, and nobody lies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.flaky import DeathError, Script, Way, flaky, store_of
from tests.support.machines import Writer
from tests.support.repositories import BLOCK, START, backup, create, noise, phrase, read_disk, reopen
from vmtui.model.errors import DamageError, FailedError, RefusedError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository.collect import collect
from vmtui.repository.mirror import mirror, open_copy
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import EVENTS, GARBAGE, INDEX, PACKS, POINTS, SESSIONS, ObjectStore

WATCH = SilentWatch()
DATA = noise(1, 30)


def clock() -> datetime:
    return START


def run_id(number: int) -> JobId:
    return JobId(new_id(START + timedelta(days=number)))


def at(repository: Repository, method: str, namespace: str, action: Callable[[], object], number: int = 1) -> None:
    """Do something else right before the n-th call of a method on a namespace."""
    real = getattr(repository.store, method)
    left = number

    def call(where: str, *arguments: object) -> object:
        nonlocal left
        if where == namespace:
            left -= 1
            if left == 0:
                action()
        return real(where, *arguments)

    setattr(repository.store, method, call)


def content(repository: Repository, name: PointName, size: int = len(DATA)) -> bytes:
    return read_disk(repository, repository.points.load(name).disks[0].root, size)


def gc(repository: Repository, number: int) -> int:
    return collect(repository, run_id(number), WATCH, clock).deleted


def test_two_collections_at_once_never_delete_both_copies_of_a_blob(tmp_path: Path) -> None:
    here, there = create(tmp_path), reopen(tmp_path)
    one, other = Writer(here, 1), Writer(there, 2)  # at the same time, so each stores everything
    first, second = one.store(DATA).commit(), other.store(DATA).commit()
    assert len(here.store.list(PACKS)) == 2
    running = Writer(reopen(tmp_path, "third cache"), 3)
    at(here, "put", GARBAGE, lambda: gc(there, 11))
    gc(here, 10)
    assert len(here.store.list(GARBAGE)) == 2  # each has named the copy that the other relies on
    running.session.close(START)
    here, there = Repository(here.store.url, tmp_path / "cache"), reopen(tmp_path)
    at(here, "delete", PACKS, lambda: gc(there, 13))
    gc(here, 12)
    fresh = reopen(tmp_path, "fresh")
    assert content(fresh, first) == content(fresh, second) == DATA
    gc(fresh, 14)
    fresh = reopen(tmp_path, "fresher")
    assert content(fresh, first) == content(fresh, second) == DATA
    assert len(fresh.store.list(PACKS)) == 1  # and in the end one copy is left


@pytest.mark.parametrize(("method", "namespace"), [("list", SESSIONS), ("list", EVENTS), ("list", POINTS)])
@pytest.mark.parametrize("number", range(1, 7))
def test_a_point_committed_during_a_collection_is_no_damage(
    tmp_path: Path, method: str, namespace: str, number: int
) -> None:
    here, there = create(tmp_path), reopen(tmp_path)
    old = backup(here, noise(2, 30), 0)
    here.points.delete(old, START)
    names = []
    at(here, method, namespace, lambda: names.append(backup(there, DATA, 1)), number)
    gc(here, 10)
    fresh = reopen(tmp_path, "fresh")
    assert all(content(fresh, name) == DATA for name in names)


@pytest.mark.parametrize(
    ("method", "namespace", "number"),
    [("list", INDEX, 1), ("list", PACKS, 1), ("get", PACKS, 1), ("list", POINTS, 1), ("list", POINTS, 2)],
)
@pytest.mark.parametrize("cache", ["cache", "other cache"])
def test_a_point_committed_during_a_verification_is_neither_damaged_nor_called_verified(
    tmp_path: Path, method: str, namespace: str, number: int, cache: str
) -> None:
    here = create(tmp_path)
    old = backup(here, noise(2, 30), 0)
    there = reopen(tmp_path, cache)
    names: list[PointName] = []
    at(here, method, namespace, lambda: names.append(backup(there, DATA, 1)), number)
    verdict = verify_all(here, WATCH, START)
    assert verdict.damage == []
    status = here.points.status(names[0])
    assert status.damaged == ""
    assert (namespace, number) in {(INDEX, 1), (POINTS, 1)} or status.verified is None
    assert here.points.status(old).verified == START
    assert here.store.list("quarantine") == []


def test_a_pack_listed_after_the_index_was_read_is_not_missing(tmp_path: Path) -> None:
    """The packs are listed folder by folder; a process with the same local index adds one meanwhile."""
    here = create(tmp_path)
    backup(here, noise(2, 30), 0)
    real = here.store.list

    def late(namespace: str) -> list[object]:
        found = real(namespace)
        if namespace == PACKS and len(found) == 1:
            backup(Repository(here.store.url, tmp_path / "cache"), DATA, 1)
        return list(found)

    here.store.list = late  # type: ignore[method-assign,assignment]
    assert verify_all(here, WATCH, START).damage == []
    assert real("quarantine") == []


def later() -> datetime:
    return START + timedelta(hours=27)


def test_a_copy_that_slept_for_a_day_commits_nothing(tmp_path: Path) -> None:
    source = create(tmp_path)
    name = backup(source, DATA, 0)
    url = f"file://{tmp_path / 'copy'}"

    def opened(cache: str) -> Repository:
        return open_copy(source, ObjectStore(url), lambda: Repository(url, tmp_path / cache))

    copy = opened("copy cache")
    mirror(source, copy, run_id(1), WATCH, clock)
    copy.points.delete(name, START)
    now = [START]

    def sleep() -> None:
        now[0] = later()
        collect(opened("another cache"), run_id(2), WATCH, later)

    at(copy, "list", POINTS, sleep)  # all packs are there already; the points come next
    with pytest.raises(FailedError) as caught:
        mirror(source, copy, run_id(3), WATCH, lambda: now[0])
    assert caught.value.id == "JOB-INTERRUPTED"
    assert opened("fresh").points.names() == []


def test_a_collection_that_slept_for_a_day_deletes_nothing_more(tmp_path: Path) -> None:
    """Meanwhile another one ended its work, and the same pack came back from the source of the copy."""
    source = create(tmp_path)
    name = backup(source, DATA, 0)
    url = f"file://{tmp_path / 'copy'}"

    def opened(cache: str) -> Repository:
        return open_copy(source, ObjectStore(url), lambda: Repository(url, tmp_path / cache))

    copy = opened("copy cache")
    mirror(source, copy, run_id(1), WATCH, clock)
    copy.points.delete(name, START)
    now = [START]

    def sleep() -> None:
        now[0] = later()
        other = opened("another cache")
        assert collect(other, run_id(2), WATCH, later).deleted == 1
        assert mirror(source, other, run_id(3), WATCH, later).points == 1

    at(copy, "get", INDEX, sleep, 2)  # the second time: to take the packs out of the index
    with pytest.raises(FailedError):
        collect(copy, run_id(4), WATCH, lambda: now[0])
    assert content_of(opened("fresh"), name) == DATA


def content_of(repository: Repository, name: PointName) -> bytes:
    repository.sync()
    return content(repository, name)


def test_a_mark_taken_back_during_a_collection_hides_no_point(tmp_path: Path) -> None:
    here = create(tmp_path)
    name = backup(here, DATA, 0)
    here.points.mark(name, START)
    real = here.points.marked

    def late() -> list[PointName]:
        here.points.unmark(name)
        return real()

    here.points.marked = late  # type: ignore[method-assign]
    assert collect(here, run_id(1), WATCH, clock, dry_run=True).named == 0
    assert content(here, name) == DATA


def test_an_index_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    here = create(tmp_path)
    name = backup(here, DATA, 0)
    backup(here, noise(5, 30), 1)
    here.points.delete(max(here.points.names()), START)
    there = Repository(here.store.url, tmp_path / "other cache")

    def replace_segments() -> None:
        from vmtui.repository.renaming import put_segments
        from vmtui.repository.segments import read

        for item in here.store.list(INDEX):
            put_segments(here, read(here.store, item.name, here.keys))
            here.store.delete(INDEX, item.name)

    at(there, "get", INDEX, replace_segments)
    assert there.sync() == []
    assert content(there, name) == DATA


def test_a_damaged_segment_does_not_keep_an_old_index_from_following_a_collection(tmp_path: Path) -> None:
    here = create(tmp_path)
    first, second = backup(here, DATA, 0), backup(here, noise(5, 30), 1)
    third = backup(here, noise(6, 30), 2)
    old = reopen(tmp_path)
    here.points.delete(third, START)
    gc(here, 10)
    segment = here.index.pack(here.store.list(PACKS)[0].name)
    assert segment is not None
    data = here.store.get(INDEX, segment.segment)
    here.store.put(INDEX, segment.segment, data[:-1] + bytes([data[-1] ^ 1]))
    old.sync()
    whole = 0
    for name, wanted in ((first, DATA), (second, noise(5, 30))):
        try:
            assert content(old, name) == wanted
            whole += 1
        except DamageError:
            pass
    assert whole >= 1


@pytest.mark.parametrize("cache", ["cache", "fresh"])
def test_damage_in_a_pack_and_in_a_segment_is_told_together(tmp_path: Path, cache: str) -> None:
    here = create(tmp_path)
    backup(here, DATA, 0)
    backup(here, noise(5, 30), 1)
    for namespace, number in ((PACKS, 0), (INDEX, 1)):
        name = here.store.list(namespace)[number].name
        data = bytearray(here.store.get(namespace, name))
        data[len(data) // 2] ^= 1
        here.store.put(namespace, name, bytes(data))
    again = Repository(here.store.url, tmp_path / cache)
    again.sync()
    verdict = verify_all(again, WATCH, START)
    assert any("index/" in item.cause for item in verdict.damage)
    assert {point for item in verdict.damage for point in item.points}


def test_a_parent_pruned_before_its_child_is_committed_costs_nothing(tmp_path: Path) -> None:
    """A writer carries over what a point relies on that a collection is just about to sweep."""
    here = create(tmp_path)
    data = noise(1, 300)
    here.points.delete(backup(here, data, 0), START)
    relying = Writer(reopen(tmp_path, "third cache"), 1)
    gc(here, 10)  # names the packs, and waits
    parent = relying.store(data).commit()
    there = reopen(tmp_path)
    children = []

    def begin_and_prune() -> None:
        children.append(Writer(there, 2, parent))
        there.points.delete(parent, START)

    at(here, "list", EVENTS, begin_and_prune)  # it has looked for sessions; the points come next
    gc(here, 11)
    changed = data[: 299 * BLOCK] + noise(3, 1)
    child = children[0].store(changed).commit()
    gc(here, 12)
    gc(there, 13)
    assert content(reopen(tmp_path, "fresh"), child, len(changed)) == changed


@pytest.mark.parametrize("sealed", [False, True])
def test_a_first_copy_that_was_broken_off_goes_on(tmp_path: Path, sealed: bool) -> None:
    source = create(tmp_path, sealed=sealed)
    name = backup(source, DATA, 0)
    url = f"file://{tmp_path / 'copy'}"
    for call in range(30):
        with flaky(Script(at=call, way=Way.BEFORE)) as script, suppress(DeathError):
            open_copy(source, store_of(url), lambda: Repository(url, tmp_path / "copy cache", phrase))
        copy = open_copy(source, ObjectStore(url), lambda: Repository(url, tmp_path / "copy cache", phrase))
        mirror(source, copy, run_id(call), WATCH, clock)
        assert content_of(copy, name) == DATA
        shutil.rmtree(tmp_path / "copy")
        if not script.dead:
            break
    assert call > 1


def test_a_copy_never_takes_a_place_that_holds_something_else(tmp_path: Path) -> None:
    source = create(tmp_path)
    store = ObjectStore(f"file://{tmp_path / 'copy'}")
    (tmp_path / "copy" / "packs").mkdir(parents=True)
    (tmp_path / "copy" / "photos").mkdir()
    with pytest.raises(RefusedError, match="TARGET-EXISTS"):
        open_copy(source, store, lambda: Repository(store, tmp_path / "copy cache"))
    assert sorted(item.name for item in (tmp_path / "copy").iterdir()) == ["packs", "photos"]
