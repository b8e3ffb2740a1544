"""A point that is deleted is whole or gone, at every instant; and a hold is never lost before it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.repositories import START, VM, create, make_point, reopen
from vmtui.model.errors import UsageError
from vmtui.model.ids import PointId, new_id
from vmtui.model.point import EventKind, PointEvent, PointStatus
from vmtui.model.progress import SilentWatch
from vmtui.repository import ZERO_ID, PointName, Repository
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import EVENTS, POINTS, ObjectInfo, ObjectStore

HOUR = timedelta(hours=1)


def commit(repository: Repository, number: int = 0) -> PointName:
    """A point whose disk is all zeroes."""
    point = make_point(repository, {"vda": (ZERO_ID, 4096)}, number)
    repository.points.commit(point)
    return PointName(point.vm_uuid, point.id)


def storied(repository: Repository, number: int = 0) -> PointName:
    """A point with a history: proven once, damaged since, held."""
    name = commit(repository, number)
    repository.points.record(name, PointEvent(EventKind.VERIFIED, START + HOUR * (number + 1)))
    repository.points.record(name, PointEvent(EventKind.DAMAGED, START + HOUR * (number + 2), "a pack is gone"))
    repository.points.hold(name, "evidence", START + HOUR * (number + 3))
    return name


WHOLE = PointStatus(verified=START + HOUR, damaged="a pack is gone", held="evidence")


class PowerCutError(Exception):
    """The program ended here."""


class Dying:
    """Ends the program before its n-th step; what was not flushed may be lost in any combination."""

    def __init__(self, store: ObjectStore, steps: int) -> None:
        self._store, self._left = store, steps
        self._put, self._delete, self._flush = store.put, store.delete, store.flush
        self.taken = 0
        self.undo: list[Callable[[], None]] = []
        store.put = self.put  # type: ignore[method-assign]
        store.delete = self.delete  # type: ignore[method-assign]
        store.flush = self.flush  # type: ignore[method-assign]

    def put(self, namespace: str, name: str, data: bytes | memoryview) -> None:
        self._step()
        self._put(namespace, name, data)
        self.undo.append(lambda: self._delete(namespace, name))

    def delete(self, namespace: str, name: str) -> None:
        self._step()
        data = self._store.get(namespace, name) if self._store.size(namespace, name) is not None else None
        self._delete(namespace, name)
        if data is not None:
            self.undo.append(lambda: self._put(namespace, name, data))

    def flush(self) -> None:
        self._step()
        self._flush()
        self.undo.clear()

    def _step(self) -> None:
        if self.taken == self._left:
            raise PowerCutError
        self.taken += 1


def steps_of_a_deletion(folder: Path) -> int:
    repository = create(folder)
    name = storied(repository)
    counting = Dying(repository.store, -1)
    repository.points.delete(name, START)
    return counting.taken


def cuts(folder: Path) -> list[tuple[int, int]]:
    """(step, what is lost of the unflushed), of every crash that can be told from others."""
    return [(step, lost) for step in range(steps_of_a_deletion(folder)) for lost in range(16)]


def test_a_crash_leaves_the_point_whole_or_gone_never_lost(tmp_path: Path) -> None:
    for step, lost in cuts(tmp_path / "count"):
        folder = tmp_path / f"{step}-{lost}"
        repository = create(folder)
        other = commit(repository, 9)
        name = storied(repository)
        dying = Dying(repository.store, step)
        with pytest.raises(PowerCutError):
            repository.points.delete(name, START)
        if lost >> len(dying.undo):
            continue  # there is less to lose
        for number, undo in enumerate(dying.undo):
            if lost >> number & 1:
                undo()
        later = reopen(folder)
        where = f"step {step}, lost {lost:b}"
        assert later.points.lost() == [], where
        assert later.points.names() in ([other], [name, other]), where
        assert later.points.exists(name) == (name in later.points.names()), where
        if later.points.exists(name):
            assert later.points.status(name) == WHOLE, where
            later.points.check_manifest(name)
        if later.store.size(POINTS, name.key) is not None:
            assert later.points.status(name).held == "evidence", where
        assert verify_all(later, SilentWatch(), START).damage == [], where
        for unfinished in later.points.marked():
            later.points.erase(unfinished)
        if not later.points.exists(name):
            assert [item.name for item in later.store.list(EVENTS) if name.id in item.name] == [], where
            assert [item.name for item in later.store.list(POINTS)] == [other.key], where
        assert later.points.lost() == [], where


def test_deleting_again_is_harmless(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name, other = commit(repository), commit(repository, 1)
    for _ in range(2):
        repository.points.delete(name, START)
        assert (repository.points.names(), repository.points.lost()) == ([other], [])


def test_a_mark_can_be_taken_back_while_the_point_is_whole(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = storied(repository)
    repository.points.mark(name, START)
    assert (repository.points.names(), repository.points.marked()) == ([], [name])
    assert repository.points.unmark(name)
    assert (repository.points.names(), repository.points.marked()) == ([name], [])
    assert repository.points.status(name) == WHOLE
    repository.points.delete(name, START)
    assert not repository.points.unmark(name)


def test_what_is_said_of_a_deleted_point_leaves_nothing_behind(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = commit(repository)
    repository.points.mark(name, START)
    with pytest.raises(UsageError):
        repository.points.hold(name, "too late", START)
    assert repository.points.status(name).held is None
    repository.points.erase(name)
    with pytest.raises(UsageError):
        repository.points.hold(name, "much too late", START)
    assert not repository.points.record(name, PointEvent(EventKind.VERIFIED, START))
    assert (repository.store.list(EVENTS), repository.points.lost()) == ([], [])


@pytest.mark.parametrize("step", range(6))
def test_of_a_hold_and_a_deletion_that_meet_one_sees_the_other(tmp_path: Path, step: int) -> None:
    """A hold at each step of a deletion that looks after its mark: it stands and the point too, or it is refused."""
    repository = create(tmp_path)
    name = commit(repository)
    taken = itertools.count()
    held: list[bool] = []

    def meet() -> None:
        held.append(False)
        with contextlib.suppress(UsageError):
            repository.points.hold(name, "wait", START)
            held.append(True)

    def wrapped(method: str) -> Callable[..., object]:
        real = getattr(repository.store, method)

        def call(*arguments: object) -> object:
            if next(taken) == step and not held:
                meet()
            return real(*arguments)

        return call

    for method in ("put", "delete", "flush"):
        setattr(repository.store, method, wrapped(method))
    repository.points.mark(name, START)
    if repository.points.status(name).held is not None:
        repository.points.unmark(name)
    else:
        repository.points.erase(name)
    assert held
    assert held[-1] == repository.points.exists(name)
    assert repository.points.lost() == []


# -- holding -------------------------------------------------------------------------------------


def test_hold_and_release(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = commit(repository)
    assert repository.points.status(name).held is None
    repository.points.hold(name, "before the upgrade", START + HOUR)
    assert repository.points.statuses()[name].held == "before the upgrade"
    repository.points.record(name, PointEvent(EventKind.VERIFIED, START + HOUR * 2))
    repository.points.record(name, PointEvent(EventKind.DAMAGED, START + HOUR * 3, "x"))
    assert repository.points.status(name) == PointStatus(START + HOUR * 2, "x", "before the upgrade")
    repository.points.release(name, START + HOUR * 4)
    assert repository.points.status(name).held is None
    repository.points.hold(name, "", START + HOUR * 5)
    assert repository.points.status(name).held


def test_an_unreadable_hold_holds(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = commit(repository)
    repository.points.hold(name, "x", START)
    key = next(item.name for item in repository.store.list(EVENTS) if item.name.endswith(".held"))
    repository.store.put(EVENTS, key, b"rot")
    assert repository.points.status(name).held
    assert repository.points.status(name).damaged
    repository.points.release(name, START)
    assert repository.points.status(name).held is None


def test_an_unreadable_release_releases_nothing(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = commit(repository)
    repository.points.hold(name, "x", START)
    repository.points.release(name, START)
    key = next(item.name for item in repository.store.list(EVENTS) if item.name.endswith(".released"))
    repository.store.put(EVENTS, key, b"rot")
    assert repository.points.status(name).held == "x"


@given(st.lists(st.tuples(st.booleans(), st.integers(-(10**6), 10**6)), min_size=1, max_size=6))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_last_word_counts_whatever_the_clocks_say(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[bool, int]]
) -> None:
    repository = create(tmp_path_factory.mktemp("words"))
    name = commit(repository)
    for hold, seconds in said:
        at = START + timedelta(seconds=seconds)
        repository.points.hold(name, "x", at) if hold else repository.points.release(name, at)
        assert (repository.points.status(name).held is not None) == hold


@pytest.mark.parametrize("event", ["uuuuuuuuuuuuuuuu", "zzzzzzzzzzzzzzzz"])
def test_names_that_no_vmtui_gave_end_nothing(tmp_path: Path, event: str) -> None:
    repository = create(tmp_path)
    name = commit(repository)
    repository.store.put(EVENTS, f"{name.key}.{event}.released", b"")
    repository.points.hold(name, "x", START)
    assert repository.points.status(name).held == "x"


def test_a_point_that_vanished_without_a_word_is_lost(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = commit(repository)
    repository.store.delete(POINTS, name.key)
    assert repository.points.lost() == [name]
    assert PointName(VM, PointId(new_id(START))) not in repository.points.lost()


def test_a_point_that_is_deleted_while_somebody_looks_is_never_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = create(tmp_path)
    name = commit(repository)
    real = repository.store.list

    def late(namespace: str) -> list[ObjectInfo]:
        if namespace == POINTS:
            monkeypatch.setattr(repository.store, "list", real)
            repository.points.delete(name, START)
        return real(namespace)

    monkeypatch.setattr(repository.store, "list", late)
    assert repository.points.lost() == []
