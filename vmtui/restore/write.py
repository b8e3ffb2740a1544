"""Writing a disk from a point, and reading it back.

Blocks are fetched, unpacked and compared with their ids by a pool of threads, ahead of the one that
writes. What was written is closed, opened again and read back: only a disk whose every block has the
id that the point says counts as restored.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import TypeVar

from vmtui.failpoint import failpoint
from vmtui.hosts import HostSession
from vmtui.hosts.disk_server import EXPORT, served
from vmtui.model.ahead import ahead
from vmtui.model.errors import FailedError
from vmtui.model.progress import Watch
from vmtui.nbd import BASE_ALLOCATION, ZERO, NbdClient
from vmtui.repository import ZERO_ID, BlobReader, MapReader
from vmtui.repository.maps import FANOUT
from vmtui.repository.streams import walk

T = TypeVar("T")
R = TypeVar("R")

_PIECE = 1 << 20
"""Bytes written or read back at once."""
_AHEAD = 16
"""Pieces that are fetched ahead of the writer, or wait to be compared behind the reader."""
_DEPTH = 8


@contextlib.contextmanager
def connected(session: HostSession, path: str, format_name: str, *, writable: bool) -> Iterator[NbdClient]:
    """An NBD connection to an image; leaving it means that the image was closed cleanly."""
    with served(session, path, format_name, writable=writable) as server:
        client = NbdClient(server.connect(), EXPORT, [] if writable else [BASE_ALLOCATION])
        yield client
        client.close()


class DiskWriter:
    """Writes and proves one disk.

    Args:
        name: The disk; for errors and progress.
        blobs: Reads the repository.
        block_size: Of the repository [bytes].
        size: Of the disk [bytes].
        watch: Progress and cancelling.
    """

    def __init__(self, name: str, blobs: BlobReader, block_size: int, size: int, watch: Watch) -> None:
        self._name = name
        self._blobs = blobs
        self._block_size = block_size
        self._size = size
        self._watch = watch

    def write(
        self, client: NbdClient, disk_map: MapReader, total: int, only: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """Write to an image; durable when this returns.

        Args:
            client: Connected for writing.
            disk_map: The disk's map.
            total: Bytes that will be written.
            only: (first block, count) of what is written, in order. None writes all data, to an image that reads as
                zeroes everywhere.

        Raises:
            DamageError: A block is missing or damaged; the image is worth nothing.
            FailedError: The target cannot be written, or is too small.
            NbdLostError: The connection ended.
        """
        if client.size < self._size:
            raise FailedError(
                "WRITE-FAILED", f"The image for {self._name} has {client.size} bytes, the point's disk {self._size}."
            )
        self._watch.phase("write", disk=self._name, total=total)
        for first, count in () if only is None else self._zeroes(disk_map, only):
            self._watch.check()
            length = min(count * self._block_size, self._size - first * self._block_size)
            client.write_zeroes(first * self._block_size, length)
            self._watch.advance(length)
        leaves = walk(disk_map, self._name) if only is None else _stretches(disk_map, only)
        with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="fetch") as pool:
            pieces = ahead(pool, self._fetch, self._data_pieces(leaves), _AHEAD)
            half = total // 2
            for length in client.write(self._with_half(pieces, half), depth=_DEPTH):
                self._watch.check()
                self._watch.advance(length)
        client.flush()

    def _with_half(self, pieces: Iterable[tuple[int, bytes]], half: int) -> Iterator[tuple[int, bytes]]:
        """The same pieces, with a failpoint in their middle."""
        written = 0
        reached = False
        for offset, data in pieces:
            yield offset, data
            written += len(data)
            if not reached and written >= half:
                reached = True
                failpoint("restore.half")

    @staticmethod
    def _zeroes(disk_map: MapReader, only: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """(first block, count) of stretches of zero blocks."""
        for first, ids in _stretches(disk_map, only):
            place = 0
            for zero, group in groupby(ids, lambda item: item == ZERO_ID):
                count = len(list(group))
                if zero:
                    yield first + place, count
                place += count

    def _data_pieces(self, leaves: Iterable[tuple[int, list[bytes]]]) -> Iterator[tuple[int, list[bytes]]]:
        """(first block, ids) of stretches without a zero block, each up to one piece long."""
        limit = max(1, _PIECE // self._block_size)
        for first, ids in leaves:
            start = 0
            while start < len(ids):
                if ids[start] == ZERO_ID:
                    start += 1
                    continue
                end = start + 1
                while end < len(ids) and end - start < limit and ids[end] != ZERO_ID:
                    end += 1
                yield first + start, ids[start:end]
                start = end

    def _fetch(self, piece: tuple[int, list[bytes]]) -> tuple[int, bytes]:
        """One piece as it goes on the wire. Runs in the pool."""
        first, ids = piece
        data = b"".join(block or b"" for block in self._blobs.blocks(ids))
        offset = first * self._block_size
        return offset, data[: self._size - offset]

    # -- reading back ----------------------------------------------------------------------------

    def read_back(
        self, client: NbdClient, disk_map: MapReader, total: int, only: Sequence[tuple[int, int]] | None = None
    ) -> int:
        """Compare a written image with the point, block by block.

        Args:
            client: Connected for reading, with base:allocation.
            disk_map: The disk's map.
            total: Bytes of data that the point has.
            only: (first block, count) of what is compared, in order; None compares everything.

        Returns:
            Bytes that were read and compared.

        Raises:
            FailedError: A block differs.
            NbdLostError: The connection ended.
        """
        if client.size < self._size:
            raise self._differs(f"it has {client.size} bytes, the point's disk {self._size}")
        self._watch.phase("read back", disk=self._name, total=total)
        compared = 0
        with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="compare") as pool:
            waiting: deque[Future[int]] = deque()
            for offset, data in client.read(self._written(client, disk_map, only), depth=_DEPTH):
                self._watch.check()
                waiting.append(
                    pool.submit(
                        self._compare,
                        offset,
                        data,
                        disk_map_ids(disk_map, offset // self._block_size, -(-len(data) // self._block_size)),
                    )
                )
                while len(waiting) > _AHEAD:
                    compared += self._count(waiting.popleft().result())
            while waiting:
                compared += self._count(waiting.popleft().result())
        return compared

    def _count(self, length: int) -> int:
        self._watch.advance(length)
        return length

    def _written(
        self, client: NbdClient, disk_map: MapReader, only: Sequence[tuple[int, int]] | None
    ) -> Iterator[tuple[int, int]]:
        """(offset, length) of what must be read: wherever the image or the point has data.

        Where both say zero, QEMU's own word that a range reads as zeroes is the proof.
        """
        limit = max(1, _PIECE // self._block_size)
        expected = _data_blocks(disk_map, self._name) if only is None else only
        image = list(self._image_data(client)) if only is None else []
        for first, count in merge(expected, image, limit):
            offset = first * self._block_size
            yield offset, min(count * self._block_size, self._size - offset)

    def _image_data(self, client: NbdClient) -> Iterator[tuple[int, int]]:
        """(first block, count) of ranges that the image does not call zero. Needs no requests in flight."""
        for extent in client.extents([BASE_ALLOCATION], 0, self._size):
            if not extent.flags[0] & ZERO:
                first = extent.offset // self._block_size
                yield first, -(-(extent.offset + extent.length) // self._block_size) - first

    def _compare(self, offset: int, data: bytearray, ids: Sequence[bytes]) -> int:
        """Compare one piece. Runs in the pool."""
        length = len(data)
        data.extend(bytes(-length % self._block_size))
        view = memoryview(data)
        for place, expected in enumerate(ids):
            block = view[place * self._block_size : (place + 1) * self._block_size]
            if not self._blobs.holds(block, expected):
                raise self._differs(f"the block at {offset + place * self._block_size} is not the point's")
        return length

    def _differs(self, what: str) -> FailedError:
        return FailedError(
            "READBACK-DIFFERS", f"The written disk {self._name} does not read back right: {what}.", disk=self._name
        )


def disk_map_ids(disk_map: MapReader, first: int, count: int) -> list[bytes]:
    """Ids of a stretch of blocks."""
    return [disk_map.block(block) for block in range(first, first + count)]


def _stretches(disk_map: MapReader, only: Iterable[tuple[int, int]]) -> Iterator[tuple[int, list[bytes]]]:
    """(first block, ids) of chosen blocks, in pieces."""
    for first, count in merge(only, [], FANOUT):
        yield first, disk_map_ids(disk_map, first, count)


def _data_blocks(disk_map: MapReader, name: str) -> Iterator[tuple[int, int]]:
    """(first block, count) of stretches with data, in order."""
    for first, ids in walk(disk_map, name):
        start: int | None = None
        for place, item in enumerate([*ids, ZERO_ID]):
            if item != ZERO_ID and start is None:
                start = place
            elif item == ZERO_ID and start is not None:
                yield first + start, place - start
                start = None


def merge(one: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]], limit: int) -> Iterator[tuple[int, int]]:
    """The union of two ordered lists of stretches, in pieces of at most `limit` blocks. Pure."""
    position = 0
    for first, count in heapq.merge(one, other):
        start, end = max(first, position), first + count
        while start < end:
            step = min(limit, end - start)
            yield start, step
            start += step
        position = max(position, end)
