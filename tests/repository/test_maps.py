from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.repository.blocks import ID_SIZE, ZERO_ID
from vmtui.repository.keys import PLAIN
from vmtui.repository.maps import FANOUT, MapBuilder, MapReader, block_count, leaf_count

SIZES = [1, 2, FANOUT - 1, FANOUT, FANOUT + 1, 2 * FANOUT + 3, FANOUT**2 - 1, FANOUT**2, FANOUT**2 + 1, FANOUT**2 + 777]


class Nodes(dict[bytes, bytes]):
    """Stored nodes by id."""

    def put(self, data: bytes) -> bytes:
        self[PLAIN.node_id(data)] = data
        return PLAIN.node_id(data)


def build(nodes: Nodes, ids: list[bytes]) -> bytes:
    builder = MapBuilder(nodes.put, len(ids))
    leaves = list(range(leaf_count(len(ids))))
    random.Random(1).shuffle(leaves)
    for leaf in leaves:
        content = b"".join(ids[leaf * FANOUT : (leaf + 1) * FANOUT])
        if any(content):
            builder.set_leaf(leaf, nodes.put(content))
    return builder.finish()


def read(nodes: Nodes, root: bytes, blocks: int) -> list[bytes]:
    reader = MapReader(nodes.__getitem__, root, blocks)
    ids = [ZERO_ID] * blocks
    for leaf, content in reader.leaves():
        for place in range(0, len(content), ID_SIZE):
            ids[leaf * FANOUT + place // ID_SIZE] = content[place : place + ID_SIZE]
    return ids


def some_ids(blocks: int, filled: float, seed: int) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(ID_SIZE) if source.random() < filled else ZERO_ID for _ in range(blocks)]


@pytest.mark.parametrize("filled", [1.0, 0.001])
@pytest.mark.parametrize("blocks", SIZES)
def test_what_is_built_is_read_back(blocks: int, filled: float) -> None:
    nodes = Nodes()
    ids = some_ids(blocks, filled, blocks)
    assert read(nodes, build(nodes, ids), blocks) == ids


@given(st.integers(1, 1500), st.sampled_from([0.0, 0.002, 0.5]), st.integers())
def test_single_blocks_are_found_in_any_order(blocks: int, filled: float, seed: int) -> None:
    nodes = Nodes()
    ids = some_ids(blocks, filled, seed)
    reader = MapReader(nodes.__getitem__, build(nodes, ids), blocks)
    order = list(range(blocks))
    random.Random(seed).shuffle(order)
    assert all(reader.block(block) == ids[block] for block in order[:200])


@pytest.mark.parametrize("blocks", SIZES)
def test_a_map_of_zeroes_stores_nothing(blocks: int) -> None:
    nodes = Nodes()
    assert build(nodes, [ZERO_ID] * blocks) == ZERO_ID
    assert not nodes
    assert read(nodes, ZERO_ID, blocks) == [ZERO_ID] * blocks


def test_the_map_of_no_blocks_is_the_zero_id() -> None:
    assert MapBuilder(Nodes().put, 0).finish() == ZERO_ID
    assert list(MapReader(Nodes().__getitem__, ZERO_ID, 0).leaves()) == []


@pytest.mark.parametrize(("before", "after"), [(FANOUT, FANOUT + 1), (FANOUT**2, FANOUT**2 + 5), (300, 70_000)])
def test_a_grown_map_keeps_the_old_leaves(before: int, after: int) -> None:
    nodes = Nodes()
    ids = some_ids(before, 1.0, 7)
    build(nodes, ids)
    stored = len(nodes)
    grown = ids + [ZERO_ID] * (after - before)
    root = build(nodes, grown)
    assert read(nodes, root, after) == grown
    assert len(nodes) - stored <= 4  # the last leaf with its new length, and the levels above


def test_one_changed_block_writes_one_node_of_each_level() -> None:
    nodes = Nodes()
    ids = some_ids(FANOUT**2 + 1, 1.0, 3)
    build(nodes, ids)
    stored = len(nodes)
    ids[1234] = b"x" * ID_SIZE
    build(nodes, ids)
    assert len(nodes) - stored == 3


def test_a_node_of_the_wrong_length_is_refused() -> None:
    nodes = Nodes()
    root = build(nodes, some_ids(FANOUT, 1.0, 5))
    with pytest.raises(ValueError, match="map node"):
        MapReader(nodes.__getitem__, root, FANOUT - 1).leaf(0)


@given(st.integers(0, 1 << 44), st.sampled_from([4096, 65536, 1 << 22]))
def test_blocks_cover_the_disk_exactly(size: int, block_size: int) -> None:
    blocks = block_count(size, block_size)
    assert (blocks - 1) * block_size < size <= blocks * block_size if size else blocks == 0
    assert leaf_count(blocks) * FANOUT >= blocks > (leaf_count(blocks) - 1) * FANOUT or blocks == 0
