"""Which blocks are compared after a move: every one without a dirty byte, and no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmtui.nbd import DIRTY, ZERO, Extent
from vmtui.restore.compare import _whole_blocks

BLOCK = 4


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_exactly_the_clean_blocks_are_compared(stretches: list[tuple[int, bool, bool]]) -> None:
    dirty: list[bool] = []
    zero: list[bool] = []
    extents = []
    for length, is_dirty, is_zero in stretches:
        extents.append(Extent(len(dirty), length, (ZERO if is_zero else 0, DIRTY if is_dirty else 0)))
        dirty += [is_dirty] * length
        zero += [is_zero] * length
    size = len(dirty)
    found: dict[int, bool] = {}
    last = -1
    for first, count, is_zero in _whole_blocks(iter(extents), BLOCK, size):
        assert first > last
        last = first + count - 1
        found |= dict.fromkeys(range(first, first + count), is_zero)
    for block in range(-(-size // BLOCK)):
        places = range(block * BLOCK, min(size, (block + 1) * BLOCK))
        assert (block in found) == (not any(dirty[place] for place in places))
        if found.get(block):
            assert all(zero[place] for place in places)
