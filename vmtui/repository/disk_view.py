"""A stream of a point as bytes that can be read at any place, every block compared with its id."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from vmtui.model.errors import DamageError
from vmtui.repository.blocks import ZERO_ID
from vmtui.repository.maps import FANOUT, MapReader, block_count
from vmtui.repository.reader import BlobReader
from vmtui.repository.repository import Repository
from vmtui.repository.streams import node_of

_RECENT_BYTES = 64 << 20
"""Blocks that a view keeps [bytes]: a guest reads the same places again while it boots."""
_RECENT_NODES = 512
"""Nodes of the disk map that a view keeps; 8 KiB each."""


class DiskView:
    """Random access to one disk of a point. Safe from several threads; memory is bounded.

    Args:
        repository: In step (`sync`).
        name: Of the disk, for errors.
        size: Of the disk [bytes].
        root: Of its map, as the manifest gives it.
        recent_bytes: Blocks that are kept in memory [bytes].

    Raises:
        DamageError: The root is not an id.
    """

    def __init__(
        self, repository: Repository, name: str, size: int, root: str, recent_bytes: int = _RECENT_BYTES
    ) -> None:
        self._name = name
        self._size = size
        self._block_size = repository.block_size
        self._blobs: BlobReader = repository.reader()
        self._nodes = _Recent(_RECENT_NODES)
        self._recent = _Recent(max(1, recent_bytes // self._block_size))
        self._map = MapReader(self._node, node_of(root), block_count(size, self._block_size))
        self._map_lock = threading.Lock()

    @property
    def size(self) -> int:
        """Length [bytes]."""
        return self._size

    def read(self, offset: int, length: int) -> memoryview:
        """The bytes of a range that is inside.

        Raises:
            DamageError: A block or a node of the map is missing or not as written.
            UnreachableError: The repository cannot be read.
        """
        first = offset // self._block_size
        ids = self._ids(first, -(-(offset + length) // self._block_size) - first)
        blocks = self._blocks(ids)
        start = offset - first * self._block_size
        return memoryview(b"".join(blocks))[start : start + length]

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """(length [bytes], whether it is zeroes) of the blocks that make up a range, by the map alone.

        Raises:
            DamageError: A node of the map is missing or not as written.
            UnreachableError: The repository cannot be read.
        """
        end = offset + length
        while offset < end:
            leaf = offset // (FANOUT * self._block_size)
            border = min(end, (leaf + 1) * FANOUT * self._block_size)
            if self._leaf_is_zero(leaf):
                yield border - offset, True
                offset = border
                continue
            first = offset // self._block_size
            for block in self._ids(first, -(-border // self._block_size) - first):
                step = min(self._block_size - offset % self._block_size, border - offset)
                yield step, block == ZERO_ID
                offset += step

    # -- the map ---------------------------------------------------------------------------------

    def _ids(self, first: int, count: int) -> list[bytes]:
        with self._map_lock, _fitting(self._name):
            ids = [self._map.block(block) for block in range(first, first + count)]
            self._map.loaded.clear()
        return ids

    def _leaf_is_zero(self, leaf: int) -> bool:
        with self._map_lock, _fitting(self._name):
            return self._map.leaf_id(leaf) == ZERO_ID

    def _node(self, node: bytes) -> bytes:
        data = self._nodes.get(node)
        if data is None:
            data = self._blobs.node(node)
            self._nodes.put(node, data)
        return data

    # -- the blocks ------------------------------------------------------------------------------

    def _blocks(self, ids: list[bytes]) -> list[bytes]:
        """Blocks in the order asked; what is not at hand is fetched with as few reads as can be."""
        at_hand = {item: self._recent.get(item) for item in set(ids) if item != ZERO_ID}
        missing = [item for item in dict.fromkeys(ids) if item != ZERO_ID and at_hand[item] is None]
        for item, block in zip(missing, self._blobs.blocks(missing), strict=True):
            at_hand[item] = block
            if block is not None:
                self._recent.put(item, block)
        zero = bytes(self._block_size)
        return [at_hand.get(item) or zero for item in ids]


@contextmanager
def _fitting(name: str) -> Iterator[None]:
    """Turns the word of a map that does not fit its disk into damage."""
    try:
        yield
    except ValueError as error:
        raise DamageError("REPO-OBJECT-BAD", f"The map of {name} does not fit its size: {error}.") from error


class _Recent:
    """The blobs that were used last, by id. Safe from several threads.

    Args:
        limit: How many are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, item: bytes) -> bytes | None:
        with self._lock:
            data = self._kept.get(item)
            if data is not None:
                self._kept.move_to_end(item)
            return data

    def put(self, item: bytes, data: bytes) -> None:
        with self._lock:
            self._kept[item] = data
            self._kept.move_to_end(item)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
