"""Rehearsals in a point's history: the newest counts, what was seen travels with the point and goes with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.repositories import START, commit_disk, create, noise
from vmtui.model.errors import DamageError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.model.rehearsal import Evidence, Network, Rehearsal, Verdict
from vmtui.repository import PointName, Repository
from vmtui.repository.mirror import mirror, open_copy
from vmtui.repository.store import EVENTS, ObjectStore

DAY = timedelta(days=1)
SEEN = Evidence(picture="iVBORw0KGgo=", console="Kernel panic", result="{}")


def rehearsal(verdict: Verdict, days: int) -> Rehearsal:
    return Rehearsal(
        verdict, START + days * DAY, "kvm1", JobId(f"j{days}"), Network.NONE, "the guest agent answered", rto_s=41.0
    )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create(tmp_path / "one")


@pytest.fixture
def name(repository: Repository) -> PointName:
    return commit_disk(repository, noise(1, 3))


def objects(repository: Repository) -> list[str]:
    return [item.name.rpartition(".")[2] for item in repository.store.list(EVENTS)]


def test_the_newest_counts_and_the_last_proof_stays(repository: Repository, name: PointName) -> None:
    points = repository.points
    assert points.rehearsed(name, rehearsal(Verdict.BOOTABLE, 1), SEEN)
    assert points.rehearsed(name, rehearsal(Verdict.FAILED, 2), SEEN)
    status = points.status(name)
    assert status == points.statuses()[name]
    assert status.rehearsed is not None and status.rehearsed.verdict is Verdict.FAILED
    assert status.proven is not None and status.proven.rto_s == 41.0
    assert not status.damaged
    assert points.evidence(name, status.rehearsed.evidence) == SEEN
    assert [event.rehearsal is not None for event in points.history(name)] == [False, True, True]


def test_a_step_that_is_run_again_adds_nothing(repository: Repository, name: PointName) -> None:
    once = replace(rehearsal(Verdict.FAILED, 1), evidence=new_id(START))
    for _ in range(2):
        assert repository.points.rehearsed(name, once, SEEN)
    assert sorted(objects(repository)) == ["committed", "evidence", "rehearsed"]


def test_it_goes_with_the_point(repository: Repository, name: PointName) -> None:
    repository.points.rehearsed(name, rehearsal(Verdict.BOOTABLE, 1), SEEN)
    repository.points.delete(name, START + 3 * DAY)
    assert objects(repository) == []
    assert not repository.points.rehearsed(name, rehearsal(Verdict.BOOTABLE, 4), SEEN)
    assert objects(repository) == []


def test_it_travels_with_a_copy(repository: Repository, name: PointName, tmp_path: Path) -> None:
    repository.points.rehearsed(name, rehearsal(Verdict.BOOTABLE, 1), SEEN)
    store = ObjectStore(f"file://{tmp_path / 'two'}")
    copy = open_copy(repository, store, lambda: Repository(store.url, tmp_path / "cache"))
    mirror(repository, copy, JobId(new_id(START)), SilentWatch(), lambda: START + 2 * DAY)
    status = copy.points.status(name)
    assert status.proven is not None
    assert copy.points.evidence(name, status.proven.evidence) == SEEN


def test_kinds_of_a_newer_vmtui_are_left_alone(repository: Repository, name: PointName) -> None:
    key = f"{name.key}.{new_id(START + DAY)}.invented"
    repository.records.put(EVENTS, key, {"kind": "invented", "time": "never"})
    assert not repository.points.status(name).damaged
    assert len(repository.points.history(name)) == 1
    repository.points.mend_history()
    assert repository.records.exists(EVENTS, key)


def test_a_rehearsal_that_cannot_be_read_is_taken_away_by_a_repair(repository: Repository, name: PointName) -> None:
    repository.points.rehearsed(name, rehearsal(Verdict.BOOTABLE, 1), SEEN)
    key = next(item.name for item in repository.store.list(EVENTS) if item.name.endswith(".rehearsed"))
    repository.store.put(EVENTS, key, b"damage")
    assert repository.points.status(name).damaged
    repository.points.mend_history()
    assert repository.points.status(name).rehearsed is None and not repository.points.status(name).damaged
    with pytest.raises(DamageError):
        repository.points.evidence(name, "0123456789abcdef")
