"""What was agreed to, and nothing else: whatever happens between the plan and the deletion."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.repositories import create, make_point
from vmtui import config
from vmtui.model.errors import CancelledError, RefusedError
from vmtui.model.ids import PointId, VmId, new_id
from vmtui.model.point import EventKind, PointEvent
from vmtui.model.progress import SilentWatch
from vmtui.model.settings import Settings
from vmtui.repository import ZERO_ID, PointName, Repository
from vmtui.repository.store import POINTS
from vmtui.retention import PrunePlan, make_plan
from vmtui.retention.run import Pruned, prune

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def rules(keep: str) -> Settings:
    text = f'repository = "file:///none"\n[tiers.standard]\nrpo = "1d"\nkeep = {{{keep}}}\n'
    return config.parse(text, Path("/none/config.toml"))


LAST_TWO = rules("last = 2")


def add(repository: Repository, age: timedelta, vm: int = 1) -> PointName:
    at = NOW - age
    point = replace(
        make_point(repository, {"vda": (ZERO_ID, 4096)}),
        id=PointId(new_id(at)),
        time=at,
        vm_uuid=VmId(f"00000000-0000-4000-8000-{vm:012x}"),
    )
    repository.points.commit(point)
    return PointName(point.vm_uuid, point.id)


def plan(repository: Repository, rule: Settings = LAST_TWO, used: dict[PointName, str] | None = None) -> PrunePlan:
    return make_plan(repository, rule, NOW, UTC, used or {})


def carry_out(
    repository: Repository,
    agreed: PrunePlan,
    rule: Settings = LAST_TWO,
    used: dict[PointName, str] | None = None,
    watch: SilentWatch | None = None,
) -> Pruned:
    return prune(repository, rule, agreed.request, UTC, lambda: used or {}, watch or SilentWatch(), NOW + DAY * 30)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create(tmp_path)


@pytest.fixture
def points(repository: Repository) -> list[PointName]:
    """Newest first; the last three go."""
    return [add(repository, DAY * age) for age in range(5)]


def test_a_month_in_the_queue_and_new_points_change_nothing(repository: Repository, points: list[PointName]) -> None:
    agreed = plan(repository, rules('within = "36h"'))
    new = [add(repository, -DAY * age) for age in (1, 2)]
    carry_out(repository, agreed, rules('within = "36h"'))
    assert repository.points.names() == sorted([*points[:2], *new])


def test_a_hold_since_the_plan_stops_it(repository: Repository, points: list[PointName]) -> None:
    agreed = plan(repository)
    repository.points.hold(points[4], "wait", NOW)
    with pytest.raises(RefusedError) as caught:
        carry_out(repository, agreed)
    assert caught.value.id == "PLAN-CHANGED"
    assert "held: wait" in caught.value.cause
    assert repository.points.names() == sorted(points)


def test_damage_since_the_plan_stops_it(repository: Repository, points: list[PointName]) -> None:
    agreed = plan(repository)
    for name in points[:2]:
        repository.points.record(name, PointEvent(EventKind.DAMAGED, NOW, "rot"))
    with pytest.raises(RefusedError):
        carry_out(repository, agreed)
    assert repository.points.names() == sorted(points)


def test_a_wider_rule_since_the_plan_stops_it_and_a_narrower_one_deletes_no_more(
    repository: Repository, points: list[PointName]
) -> None:
    agreed = plan(repository)
    with pytest.raises(RefusedError):
        carry_out(repository, agreed, rules("last = 3"))
    assert carry_out(repository, agreed, rules("last = 1")).deleted == 3
    assert repository.points.names() == sorted(points[:2])


def test_points_in_use_are_left(repository: Repository, points: list[PointName]) -> None:
    busy = {points[3]: "in use by the restore job x"}
    shown = {point.id: point for point in plan(repository, used=busy).points}
    assert (shown[points[3].id].keep, shown[points[3].id].reasons) == (True, ("in use by the restore job x",))
    assert shown[points[0].id].reasons == ("1 of the last 2", "last good point")
    done = carry_out(repository, plan(repository), used=busy)
    assert (done.deleted, [check.ok for check in done.checks].count(None)) == (2, 1)
    assert repository.points.names() == sorted([*points[:2], points[3]])


def test_a_hold_that_comes_between_mark_and_deletion_wins(
    repository: Repository, points: list[PointName], monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed = plan(repository)
    mark = repository.points.mark

    def late(name: PointName, now: datetime) -> None:
        if name == points[2]:
            repository.points.hold(name, "just in time", now)
        mark(name, now)

    monkeypatch.setattr(repository.points, "mark", late)
    assert carry_out(repository, agreed).deleted == 2
    assert repository.points.names() == sorted(points[:3])
    assert repository.points.status(points[2]).held == "just in time"


def test_what_an_earlier_run_began_is_ended(repository: Repository, points: list[PointName]) -> None:
    repository.points.mark(points[0], NOW)
    repository.points.mark(points[1], NOW)
    repository.store.delete(POINTS, points[1].key)
    assert plan(repository).unfinished == 2
    assert carry_out(repository, plan(repository, rules(""))).deleted == 2
    assert repository.points.names() == sorted(points[2:])
    assert (repository.points.marked(), repository.points.lost()) == ([], [])


def test_a_mark_on_a_held_point_is_taken_back(repository: Repository, points: list[PointName]) -> None:
    repository.points.hold(points[0], "x", NOW)
    repository.points.mark(points[0], NOW)
    assert carry_out(repository, plan(repository, rules(""))).deleted == 0
    assert repository.points.names() == sorted(points)


class Stopping(SilentWatch):
    """Asks to stop after so many points."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.left = points

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise CancelledError("CANCELLED", "stop")


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(1, 2), st.sampled_from(["", "", "", "held", "damaged", "rot"])),
        max_size=12,
    ),
    st.sampled_from(["last = 1", "daily = 2", 'within = "20h"', "daily = 1, monthly = 3", ""]),
    st.integers(0, 6),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_run_that_stops_and_begins_again_deletes_what_was_not_agreed_to(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, int, str]], keep: str, stop: int
) -> None:
    repository, rule = create(tmp_path_factory.mktemp("r")), rules(keep)
    good: set[PointName] = set()
    for hours, vm, mark in drawn:
        name = add(repository, timedelta(hours=hours), vm)
        if mark == "held":
            repository.points.hold(name, "x", NOW)
        elif mark == "damaged":
            repository.points.record(name, PointEvent(EventKind.DAMAGED, NOW, "rot"))
        elif mark == "rot":
            repository.store.put(POINTS, name.key, b"rot")
        if mark in ("", "held"):
            good.add(name)
    agreed = plan(repository, rule)
    goes = {PointName(point.vm, point.id) for point in agreed.go}
    before = set(repository.points.names())
    try:
        carry_out(repository, agreed, rule, watch=Stopping(stop))
    except CancelledError:
        assert before - goes <= set(repository.points.names())
        carry_out(repository, agreed, rule)
    after = set(repository.points.names())
    assert after == before - goes
    assert {name.vm for name in good & after} == {name.vm for name in good}
    assert repository.points.lost() == []
    assert plan(repository, rule).go == ()
