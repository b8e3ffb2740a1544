from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.backup.ranges import Fate, classify
from vmtui.backup.transfer import by_leaf, stretches
from vmtui.nbd import DIRTY, ZERO
from vmtui.repository import FANOUT

EXTENTS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3), st.integers(0, 1)), max_size=20)


@given(EXTENTS, st.integers(0, 400), st.booleans(), st.sampled_from([1, 4, 16]))
def test_each_byte_has_the_fate_that_its_own_flags_say(
    extents: list[tuple[int, int, int]], parent_size: int, incremental: bool, block_size: int
) -> None:
    """Against a model of single bytes: clean and below the parent's end is kept, else zero is zero, else it is read."""
    model: list[Fate] = []
    for length, base, dirty in extents:
        for _ in range(length):
            if incremental and not dirty & DIRTY and len(model) < parent_size:
                model.append(Fate.KEEP)
            else:
                model.append(Fate.ZERO if base & ZERO else Fate.READ)
    items = ((length, (base, dirty)) for length, base, dirty in extents)
    runs = classify(stretches(items, incremental, parent_size if incremental else 0), len(model), block_size)
    position = 0
    for first, count, fate in runs:
        assert first == position, "a gap or an overlap"
        for block in range(first, first + count):
            fates = set(model[block * block_size : (block + 1) * block_size])
            assert fate is (fates.pop() if len(fates) == 1 else Fate.READ)
        position += count
    assert position == runs.blocks == -(-len(model) // block_size)
    assert sum(runs.count(fate) for fate in Fate) == runs.blocks


@given(st.lists(st.tuples(st.integers(1, 700), st.sampled_from(Fate)), max_size=10))
def test_leaves_cover_every_block_once(parts: list[tuple[int, Fate]]) -> None:
    size = sum(length for length, _ in parts)
    runs = classify(parts, size, 1)
    model = [fate for length, fate in parts for _ in range(length)]
    position, leaves = 0, []
    for leaf, pieces in by_leaf(runs):
        leaves.append(leaf)
        for first, count, fate in pieces:
            assert first == position
            assert first // FANOUT == (first + count - 1) // FANOUT == leaf
            assert set(model[first : first + count]) == {fate}
            position += count
    assert position == size
    assert leaves == list(range(-(-size // FANOUT)))


@pytest.mark.parametrize("covered", [9, 11])
def test_extents_that_do_not_cover_the_disk_are_refused(covered: int) -> None:
    with pytest.raises(ValueError, match="extents cover"):
        classify([(covered, Fate.READ)], 10, 4)
