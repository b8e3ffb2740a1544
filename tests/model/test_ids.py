from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vmtui.model.ids import id_instant, is_id, new_id

INSTANTS = st.integers(0, 16 * 10**15).map(
    lambda number: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)
)


@given(INSTANTS)
def test_an_id_tells_its_instant(now: datetime) -> None:
    made = new_id(now)
    assert is_id(made)
    assert not set(made) & set("ilou")
    assert timedelta(0) <= now - id_instant(made) < timedelta(milliseconds=1)


@given(INSTANTS, st.integers(1, 10**12))
def test_ids_sort_by_time(now: datetime, later_ms: int) -> None:
    assert new_id(now) < new_id(now + timedelta(milliseconds=later_ms))


@given(st.text(max_size=20))
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_id(text) or (len(text) == 16 and text.isascii() and text == text.lower())


def test_ids_of_one_instant_differ() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert len({new_id(now) for _ in range(1000)}) > 990
