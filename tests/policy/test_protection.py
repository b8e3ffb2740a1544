from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.model.ids import VmId
from vmtui.model.policy import Rule, Status, Tier
from vmtui.model.vm import DomainState, Vm
from vmtui.policy import Assignment, assign, protection

NOW = datetime(2026, 1, 2, tzinfo=UTC)
GOLD, STANDARD = Tier("gold", 3600), Tier("standard", 86400)
TIERS = {"gold": GOLD, "standard": STANDARD}
RPO = st.integers(1, 10**8)
ORDER = [Status.OK, Status.DUE, Status.BREACHED]


def vm(name: str = "db1", host: str = "north", metadata: str = "") -> Vm:
    return Vm(host, name, VmId("u"), DomainState.RUNNING, metadata)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((), Assignment(STANDARD)),
        ((Rule(vm="web*", tier="gold"),), Assignment(STANDARD)),
        ((Rule(vm="db*", tier="gold"),), Assignment(GOLD)),
        ((Rule(vm="db*", tier="gold"), Rule(vm="db1", exempt="no")), Assignment(GOLD)),
        ((Rule(vm="db1", exempt="no"), Rule(vm="db*", tier="gold")), Assignment(None, "no")),
        ((Rule(host="south", vm="db1", tier="gold"),), Assignment(STANDARD)),
        ((Rule(metadata="<critical/>", tier="gold"),), Assignment(STANDARD)),
        ((Rule(vm="DB*", tier="gold"),), Assignment(STANDARD)),
    ],
)
def test_the_first_rule_that_matches_wins(rules: tuple[Rule, ...], expected: Assignment) -> None:
    assert assign(vm(), rules, TIERS, "standard") == expected


def test_metadata_is_looked_into() -> None:
    rules = (Rule(metadata="<critical/>", tier="gold"),)
    assert assign(vm(metadata="a<critical/>b"), rules, TIERS, "standard").tier == GOLD


@given(RPO, st.integers(0, 10**8), st.integers(0, 10**8))
def test_time_alone_never_makes_it_better(rpo: int, age: int, more: int) -> None:
    at = Assignment(Tier("t", rpo))
    taken = NOW - timedelta(seconds=age)
    now, later = protection(at, taken, NOW), protection(at, taken, NOW + timedelta(seconds=more))
    assert ORDER.index(now.status) <= ORDER.index(later.status)


@given(RPO.map(lambda rpo: rpo * 10))
def test_due_from_four_fifths_and_breached_only_beyond_the_whole(rpo: int) -> None:
    at = Assignment(Tier("t", rpo))
    second = timedelta(seconds=1)
    due, whole = timedelta(seconds=rpo * 8 // 10), timedelta(seconds=rpo)
    ages = {due - second: Status.OK, due: Status.DUE, whole: Status.DUE, whole + second: Status.BREACHED}
    assert {age: protection(at, NOW - age, NOW).status for age in ages} == ages


@given(st.integers(0, 10**8))
def test_an_unknown_vm_keeps_its_growing_age(age: int) -> None:
    found = protection(Assignment(GOLD), NOW - timedelta(seconds=age), NOW, unknown="host down")
    assert (found.status, found.age_s, found.reason) == (Status.UNKNOWN, age, "host down")


@given(st.floats(1e-3, 1e8))
def test_a_clock_behind_the_point_is_never_ok(ahead: float) -> None:
    found = protection(Assignment(GOLD), NOW + timedelta(seconds=ahead), NOW)
    assert found.status is Status.UNKNOWN
    assert "clock" in found.reason


def test_no_point_is_never_and_an_exemption_keeps_its_reason() -> None:
    assert protection(Assignment(GOLD), None, NOW).status is Status.NEVER
    found = protection(Assignment(None, "scratch"), None, NOW)
    assert (found.status, found.reason, found.rpo_s) == (Status.EXEMPT, "scratch", None)
