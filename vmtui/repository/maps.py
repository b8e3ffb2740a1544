"""Disk maps: a tree of block ids with a fixed fan-out.

A leaf is the ids of 256 blocks, one after the other; a node above is the ids of 256 nodes; the last of
each level is as long as needed. A node whose ids are all zero is not stored: its own id is the zero id.
A map has as many levels as its block count needs, at least one; the map of no blocks is the zero id.

So an increment writes only the nodes above what changed, and a 10 TiB disk is opened by reading one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vmtui.repository.blocks import ID_SIZE, ZERO_ID

FANOUT = 256
LEAF_SIZE = FANOUT * ID_SIZE
_RECENT = 4
"""Nodes of each level that a reader keeps."""


def block_count(size: int, block_size: int) -> int:
    """Blocks that a disk of `size` bytes has."""
    return -(-size // block_size)


def leaf_count(blocks: int) -> int:
    """Leaves that a map of so many blocks has."""
    return -(-blocks // FANOUT)


class MapReader:
    """Reads a map; every node is checked against its id as it is loaded.

    Args:
        load: Gives a node's bytes by its id, checked.
        root: The top node's id.
        blocks: Number of blocks.
    """

    def __init__(self, load: Callable[[bytes], bytes], root: bytes, blocks: int) -> None:
        self._load = load
        self._root = root
        self.blocks = blocks
        self._levels = level_sizes(blocks)
        self._recent: list[dict[int, bytes]] = [{} for _ in self._levels]
        self.loaded: list[bytes] = []
        """Ids of the nodes that were loaded so far."""

    def leaf_id(self, leaf: int) -> bytes:
        """Id of a leaf."""
        return self._id_at(0, leaf)

    def leaf(self, leaf: int) -> bytes:
        """The ids of a leaf's blocks, one after the other."""
        return self._node(0, leaf)

    def block(self, block: int) -> bytes:
        """Id of one block."""
        leaf, place = divmod(block, FANOUT)
        return self.leaf(leaf)[place * ID_SIZE : (place + 1) * ID_SIZE]

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        """(leaf, its block ids) of every leaf that is not all zero, in order."""
        for leaf in range(leaf_count(self.blocks)):
            if self.leaf_id(leaf) != ZERO_ID:
                yield leaf, self.leaf(leaf)

    def _id_at(self, level: int, number: int) -> bytes:
        if level == len(self._levels) - 1:
            return self._root
        above, place = divmod(number, FANOUT)
        return self._node(level + 1, above)[place * ID_SIZE : (place + 1) * ID_SIZE]

    def _node(self, level: int, number: int) -> bytes:
        """A node's bytes; the last few of each level are kept, as readers go in order."""
        recent = self._recent[level]
        data = recent.get(number)
        if data is None:
            data = self._read_node(level, number)
            if len(recent) >= _RECENT:
                del recent[next(iter(recent))]
            recent[number] = data
        return data

    def _read_node(self, level: int, number: int) -> bytes:
        entries = min(FANOUT, self._levels[level] - number * FANOUT)
        node = self._id_at(level, number)
        if node == ZERO_ID:
            return bytes(entries * ID_SIZE)
        data = self._load(node)
        self.loaded.append(node)
        if len(data) != entries * ID_SIZE:
            raise ValueError(f"a map node of {len(data)} bytes where {entries * ID_SIZE} belong")
        return data


class MapBuilder:
    """Builds a map from its leaves; holds 32 bytes in memory for each.

    Args:
        store: Stores a node once and gives its id.
        blocks: Number of blocks.
    """

    def __init__(self, store: Callable[[bytes], bytes], blocks: int) -> None:
        self._store = store
        self._levels = level_sizes(blocks)
        self._leaves = bytearray(leaf_count(blocks) * ID_SIZE)

    def set_leaf(self, leaf: int, leaf_id: bytes) -> None:
        """Set a leaf by its id; leaves that are never set are zero."""
        self._leaves[leaf * ID_SIZE : (leaf + 1) * ID_SIZE] = leaf_id

    def finish(self) -> bytes:
        """Store the nodes above the leaves.

        Returns:
            The top node's id.
        """
        ids = bytes(self._leaves)
        while len(ids) > ID_SIZE:
            ids = b"".join(self._node(ids[start : start + LEAF_SIZE]) for start in range(0, len(ids), LEAF_SIZE))
        return ids or ZERO_ID

    def _node(self, ids: bytes) -> bytes:
        return self._store(ids) if any(ids) else ZERO_ID


def level_sizes(blocks: int) -> list[int]:
    """Number of ids in each level, from the blocks up to the level of one node."""
    sizes = [blocks]
    while sizes[-1] > FANOUT:
        sizes.append(-(-sizes[-1] // FANOUT))
    return sizes
