"""Comparing what a VM has not written since a mark in time with the point that it was made from."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from vmtui.model.errors import FailedError
from vmtui.model.progress import Watch
from vmtui.nbd import BASE_ALLOCATION, DIRTY, ZERO, Extent, NbdClient
from vmtui.repository import ZERO_ID, BlobReader, MapReader

_DEPTH = 8
_PIECE = 1 << 20
"""Bytes in one read."""
_AHEAD = 16


@dataclass(frozen=True, slots=True)
class Compared:
    """The outcome for one disk [bytes]."""

    same: int
    """Every block of it is the point's."""
    written: int
    """In blocks that the VM has written to since; they are its own."""


class Comparison:
    """One disk against its point.

    Args:
        name: Of the disk.
        blobs: Of the repository.
        disk_map: Of the point's disk.
        block_size: Of the repository.
        size: Of the disk [bytes].
        watch: Progress and cancelling.
    """

    def __init__(
        self, name: str, blobs: BlobReader, disk_map: MapReader, block_size: int, size: int, watch: Watch
    ) -> None:
        self._name = name
        self._blobs = blobs
        self._map = disk_map
        self._block_size = block_size
        self._size = size
        self._watch = watch

    def run(self, client: NbdClient, dirty: str) -> Compared:
        """Compare all blocks that no byte was written to since the mark.

        Args:
            client: Of a frozen view of the disk, with base:allocation and the dirty bitmap.
            dirty: The bitmap's context.

        Raises:
            FailedError: A block is not the point's.
            NbdLostError: The connection ended.
        """
        self._watch.phase("compare", disk=self._name, total=self._size)
        clean = list(
            _whole_blocks(client.extents([BASE_ALLOCATION, dirty], 0, self._size), self._block_size, self._size)
        )
        same = 0
        with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="compare") as pool:
            waiting: deque[Future[int]] = deque()
            for offset, data in client.read(self._to_read(clean), depth=_DEPTH):
                first = offset // self._block_size
                ids = [self._map.block(first + place) for place in range(-(-len(data) // self._block_size))]
                waiting.append(pool.submit(self._compare, offset, data, ids))
                while len(waiting) > _AHEAD:
                    waiting.popleft().result()
                self._watch.check()
                self._watch.advance(len(data))
            while waiting:
                waiting.popleft().result()
        for first, count, _ in clean:
            same += self._bytes(first, count)
        return Compared(same, self._size - same)

    def _to_read(self, clean: list[tuple[int, int, bool]]) -> Iterator[tuple[int, int]]:
        """(offset, length) of what has to be read: where both sides call it zero, that is the proof."""
        step = max(1, _PIECE // self._block_size)
        for first, count, zero in clean:
            for start in range(first, first + count, step):
                length = min(step, first + count - start)
                if zero and all(self._map.block(start + place) == ZERO_ID for place in range(length)):
                    self._watch.advance(self._bytes(start, length))
                    continue
                yield start * self._block_size, self._bytes(start, length)

    def _bytes(self, first: int, count: int) -> int:
        return min(count * self._block_size, self._size - first * self._block_size)

    def _compare(self, offset: int, data: bytearray, ids: list[bytes]) -> int:
        """Compare one piece. Runs in the pool."""
        data.extend(bytes(-len(data) % self._block_size))
        view = memoryview(data)
        for place, expected in enumerate(ids):
            if not self._blobs.holds(view[place * self._block_size : (place + 1) * self._block_size], expected):
                raise FailedError(
                    "READBACK-DIFFERS",
                    f"The moved disk {self._name} is not right: the VM never wrote to the block at "
                    f"{offset + place * self._block_size}, and it is not the point's.",
                    disk=self._name,
                )
        return len(ids)


def _whole_blocks(extents: Iterator[Extent], block_size: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """(first block, count, whether it reads as zeroes) of blocks without a dirty byte, in order. Pure.

    A block that is partly zero counts as data.
    """
    clean_from = 0
    """Where the present clean stretch began [bytes]."""
    zeroes: list[tuple[int, int]] = []
    position = 0
    for extent in extents:
        position = extent.offset + extent.length
        if extent.flags[1] & DIRTY:
            yield from _split(clean_from, extent.offset, zeroes, block_size, size)
            clean_from, zeroes = position, []
        elif extent.flags[0] & ZERO:
            zeroes.append((extent.offset, position))
    yield from _split(clean_from, position, zeroes, block_size, size)


def _split(
    start: int, end: int, zeroes: list[tuple[int, int]], block_size: int, size: int
) -> Iterator[tuple[int, int, bool]]:
    """Whole blocks of a clean stretch, those that are all zero apart."""
    position, last = _inside(start, end, block_size, size)
    for zero_start, zero_end in zeroes:
        first, after = _inside(zero_start, zero_end, block_size, size)
        if after <= first:
            continue
        if first > position:
            yield position, first - position, False
        yield first, after - first, True
        position = after
    if last > position:
        yield position, last - position, False


def _inside(start: int, end: int, block_size: int, size: int) -> tuple[int, int]:
    """First whole block of a stretch, and one past its last; the disk's last block may be short."""
    return -(-start // block_size), -(-end // block_size) if end >= size else end // block_size
