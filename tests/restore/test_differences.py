"""Which blocks can differ: the arithmetic of stretches, against sets of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vmtui.repository import ZERO_ID, MapReader
from vmtui.repository.maps import FANOUT, MapBuilder
from vmtui.restore.differences import between, blocks_in, sample_outside, without

Stretches = list[tuple[int, int]]


def stretches(limit: int = 60) -> st.SearchStrategy[Stretches]:
    """Ordered stretches that do not overlap; neighbours may touch."""

    def build(steps: Sequence[tuple[int, int]]) -> Stretches:
        found, position = [], 0
        for gap, count in steps:
            found.append((position + gap, count))
            position += gap + count
        return found

    return st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=limit // 6).map(build)


def blocks(of: Sequence[tuple[int, int]]) -> list[int]:
    return [block for first, count in of for block in range(first, first + count)]


@given(stretches(), stretches())
def test_without_leaves_what_is_not_taken(some: Stretches, taken: Stretches) -> None:
    left = list(without(some, taken))
    assert blocks(left) == sorted(set(blocks(some)) - set(blocks(taken)))
    assert blocks_in(left) == len(blocks(left))


def map_of(ids: Sequence[bytes]) -> MapReader:
    nodes: dict[bytes, bytes] = {}

    def store(data: bytes) -> bytes:
        name = len(nodes).to_bytes(2, "big") + hash(data).to_bytes(30, "big", signed=True)
        known = next((key for key, value in nodes.items() if value == data), name)
        nodes[known] = data
        return known

    return _read(nodes, store, ids)


def _read(nodes: dict[bytes, bytes], store: object, ids: Sequence[bytes]) -> MapReader:
    assert callable(store)
    builder = MapBuilder(store, len(ids))
    for leaf, start in enumerate(range(0, len(ids), FANOUT)):
        part = b"".join(ids[start : start + FANOUT])
        builder.set_leaf(leaf, store(part) if any(part) else ZERO_ID)
    return MapReader(lambda node: nodes[node], builder.finish(), len(ids))


def an_id(number: int) -> bytes:
    return ZERO_ID if number == 0 else number.to_bytes(32, "big")


@given(st.integers(1, 3 * FANOUT + 5), st.dictionaries(st.integers(0, 3 * FANOUT + 4), st.integers(0, 3), max_size=40))
def test_maps_are_told_apart_block_by_block(count: int, changes: dict[int, int]) -> None:
    before = [an_id(1 + block % 5) for block in range(count)]
    after = [an_id(changes[block]) if block in changes else before[block] for block in range(count)]
    found = between(map_of(before), map_of(after))
    assert blocks(found) == [block for block in range(count) if before[block] != after[block]]
    assert all(first + length < later for (first, length), (later, _) in pairwise(found))


@given(stretches(200), st.integers(1, 400))
def test_the_sample_is_taken_where_nothing_should_differ(taken: Stretches, count: int) -> None:
    ids = [an_id(block % 3) for block in range(count)]
    chosen = sample_outside(taken, map_of(ids), 16)
    assert len(chosen) <= 16
    assert chosen == sorted(set(chosen))
    assert not set(chosen) & set(blocks(taken))
    assert all(ids[block] != ZERO_ID for block in chosen)
