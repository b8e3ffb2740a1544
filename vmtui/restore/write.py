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
from typing import TypeVar

from vmtui.failpoint import failpoint
from vmtui.hosts import HostSession
from vmtui.hosts.disk_server import EXPORT, served
from vmtui.model.ahead import ahead
from vmtui.model.errors import FailedError
from vmtui.model.progress import Watch
from vmtui.nbd import BASE_ALLOCATION, ZERO, NbdClient
from vmtui.repository import ZERO_ID, BlobReader, MapReader
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

    def write(self, client: NbdClient, disk_map: MapReader, total: int) -> None:
        """Write all data to an image that reads as zeroes everywhere; durable when this returns.

        Args:
            client: Connected for writing.
            disk_map: The disk's map.
            total: Bytes that will be written.

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
        with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="fetch") as pool:
            pieces = ahead(pool, self._fetch, self._data_pieces(disk_map), _AHEAD)
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

    def _data_pieces(self, disk_map: MapReader) -> Iterator[tuple[int, list[bytes]]]:
        """(first block, ids) of stretches without a zero block, each up to one piece long."""
        limit = max(1, _PIECE // self._block_size)
        for first, ids in walk(disk_map, self._name):
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

    def read_back(self, client: NbdClient, disk_map: MapReader, total: int) -> int:
        """Compare a written image with the point, block by block.

        Args:
            client: Connected for reading, with base:allocation.
            disk_map: The disk's map.
            total: Bytes of data that the point has.

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
            for offset, data in client.read(self._written(client, disk_map), depth=_DEPTH):
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

    def _written(self, client: NbdClient, disk_map: MapReader) -> Iterator[tuple[int, int]]:
        """(offset, length) of what must be read: wherever the image or the point has data.

        Where both say zero, QEMU's own word that a range reads as zeroes is the proof.
        """
        expected = _data_blocks(disk_map, self._name)
        limit = max(1, _PIECE // self._block_size)
        for first, count in merge(expected, list(self._image_data(client)), limit):
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
