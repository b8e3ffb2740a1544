from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.model.ids import VmId
from vmtui.policy import Stored, forecast

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GIB = 1 << 30


def stored(days_ago: float, gib: float, vm: str = "a") -> Stored:
    return Stored(VmId(vm), NOW - timedelta(days=days_ago), int(gib * GIB))


def test_growth_of_thirty_days() -> None:
    points = [stored(60, 500), stored(45, 7)] + [stored(day, 1) for day in range(30)]
    found = forecast(points, 90 * GIB, NOW)
    assert (found.per_day_bytes, found.days) == (GIB, 90.0)


def test_a_young_repository_counts_from_its_first_point() -> None:
    found = forecast([stored(4, 100), stored(3, 2), stored(2, 2), stored(1, 2), stored(0, 2)], 20 * GIB, NOW)
    assert (found.per_day_bytes, found.days) == (2 * GIB, 10.0)


def test_the_first_point_of_a_vm_is_no_growth() -> None:
    points = [stored(40, 9), stored(10, 30), stored(10, 1000, "b")]
    assert forecast(points, GIB, NOW).per_day_bytes == GIB


@pytest.mark.parametrize(
    ("points", "free", "reason"),
    [
        ([], 1, "too little history"),
        ([stored(9, 1)], 1, "too little history"),
        ([stored(1, 1), stored(0, 1)], 1, "too little history"),
        ([stored(9, 1), stored(1, 0)], 1, "nothing was added"),
        ([stored(9, 1), stored(1, 1)], None, "does not say"),
        ([stored(9, 1), stored(-1, 1)], 1, "too little history"),
    ],
)
def test_what_cannot_be_known_says_why(points: list[Stored], free: int | None, reason: str) -> None:
    found = forecast(points, free, NOW)
    assert found.days is None
    assert reason in found.reason


@given(st.lists(st.builds(stored, st.floats(-2, 90), st.floats(0, 100), st.sampled_from("ab"))), st.integers(0, 10**15))
def test_it_is_a_number_or_a_reason(points: list[Stored], free: int) -> None:
    found = forecast(points, free, NOW)
    assert (found.days is None) == bool(found.reason)
    assert found.days is None or found.days >= 0
