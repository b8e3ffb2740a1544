from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.config.fields import duration_s, nearest, size_bytes

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@given(st.lists(st.tuples(st.integers(1, 10**6), st.sampled_from(list(UNITS))), min_size=1, max_size=4))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    assert duration_s("".join(f"{number}{unit}" for number, unit in parts)) == sum(n * UNITS[u] for n, u in parts)


@given(st.integers(0, 10**9), st.sampled_from(["", "K", "M", "G", "T"]), st.sampled_from(["", "B", "iB"]))
def test_sizes_are_powers_of_1024(number: int, unit: str, tail: str) -> None:
    assert size_bytes(f"{number}{unit}{tail}") == number * 1024 ** ["", "K", "M", "G", "T"].index(unit)


@given(st.text(max_size=10))
def test_other_texts_are_value_errors(text: str) -> None:
    for parse in (duration_s, size_bytes):
        try:
            assert parse(text) >= 0
        except ValueError:
            pass


@pytest.mark.parametrize("text", ["0s", "", "4", "h", "-4h", "1.5h", "4 h", "4H"])
def test_these_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError):
        duration_s(text)


def test_the_nearest_name_is_given() -> None:
    assert nearest("hots", ["hosts", "tiers"]) == "did you mean 'hosts'?"
    assert nearest("zzz", ["hosts", "tiers"]) == "known: hosts, tiers"
