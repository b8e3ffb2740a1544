"""Whether the log of an XFS holds changes that are nowhere else yet.

XFS writes changes of folders and inodes into its log and, up to half a minute later, to their places. The next mount
brings the log's end to them. Whoever reads the volume without that sees it as it was before. The format is that of the
kernel's xfs_log_format.h: records, each with a header of one block or more, in a ring of 512-byte blocks. The first four
bytes of every block are the number of the turn ("cycle") in which it was written; the header keeps what was there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vmtui.files.helper.disk import DiskFile

_BLOCK = 512
_MAGIC = 0xFEEDBABE
_HEADER = struct.Struct(">IIIIQQIII")
"""Magic, cycle, version, length of the data, LSN, LSN of the tail, checksum, block before, number of operations."""
_WORDS = slice(44, 300)
"""Where the header keeps the first words of the data's blocks."""
_MORE_WORDS = slice(4, 260)
"""The same in its further blocks."""
_BUFFER_SIZE = slice(320, 324)
"""Where it has the size of the buffer that it was written from [bytes]."""
_PER_HEADER = 32 << 10
"""Data whose words are in one block of a header [bytes]; a larger buffer has a header of several blocks."""
_LARGEST_BUFFER = 256 << 10
_OPERATION = struct.Struct(">IIBBH")
"""Transaction, length, client, flags, reserved."""
_UNMOUNT = 0x20
_TRANSACTION = b"NART", b"TRAN"
"""Magic of a transaction's header, in either byte order."""
_BUFFER = 0x123C
_BUFFER_FORMAT = struct.Struct("HHHHq")
"""Type, number of regions, flags, length, first block; in the byte order of the machine that wrote it."""
_FURTHEST = 2048
"""No record is longer than these blocks."""
_COVERING = 8
"""Records that a freeze leaves in the log at most."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A record's header."""

    block: int
    cycle: int
    length: int
    """Of its data [bytes]."""
    tail: int
    """Block from which on the log must be replayed."""
    operations: int
    headers: int
    """Blocks of its header."""

    @property
    def count(self) -> int:
        """Blocks of its data."""
        return -(-self.length // _BLOCK)

    @property
    def end(self) -> int:
        """Block after it, if it does not go over the end of the ring."""
        return self.block + self.headers + self.count


def unreplayed(file: DiskFile, superblock: Any, start: int) -> bool:
    """Whether the log must be replayed before all that was written can be seen.

    What a freeze leaves in it, a copy of the superblock, does not count. What cannot be read as a log does.

    Args:
        file: The volume.
        superblock: Its superblock.
        start: Where the log begins [bytes].
    """
    log = _Log(file, start, superblock.sb_logblocks * superblock.sb_blocksize // _BLOCK)
    head = log.head()
    last = log.last_record(head)
    if last is None:
        return True
    if last.operations == 1 and last.end % log.blocks == head % log.blocks and _is_unmount(log, last):
        return False
    return not log.only_superblock(last.tail, head)


class _Log:
    """The ring of blocks."""

    def __init__(self, file: DiskFile, start: int, blocks: int) -> None:
        self._file = file
        self._start = start
        self.blocks = blocks

    def read(self, block: int, count: int) -> bytes:
        """Blocks one after the other, over the end of the ring."""
        parts = []
        while count > 0:
            block %= self.blocks
            step = min(count, self.blocks - block)
            self._file.seek(self._start + block * _BLOCK)
            parts.append(self._file.read(step * _BLOCK))
            block += step
            count -= step
        return b"".join(parts)

    def head(self) -> int:
        """The block after the last that was written: the first one of an earlier turn, by halving."""
        first = self._cycle(0)
        low, high = 0, self.blocks  # `low` is of this turn, `high` is not
        while high - low > 1:
            middle = (low + high) // 2
            if self._cycle(middle) == first:
                low = middle
            else:
                high = middle
        return high

    def _cycle(self, block: int) -> int:
        data = self.read(block, 1)
        word = int.from_bytes(data[:4], "big")
        return int.from_bytes(data[4:8], "big") if word == _MAGIC else word

    def last_record(self, head: int) -> _Record | None:
        """The last record before the head."""
        before = min(_FURTHEST, self.blocks)
        data = self.read(head - before, before)
        for place in range(before - 1, -1, -1):
            record = self._parsed((head - before + place) % self.blocks, data[place * _BLOCK : (place + 1) * _BLOCK])
            if record is not None:
                return record
        return None

    @staticmethod
    def _parsed(block: int, data: bytes) -> _Record | None:
        magic, cycle, version, length, lsn, tail, _, _, operations = _HEADER.unpack_from(data)
        size = int.from_bytes(data[_BUFFER_SIZE], "big")
        if magic != _MAGIC or lsn != (cycle << 32 | block) or max(size, length) > _LARGEST_BUFFER:
            return None
        headers = max(1, -(-size // _PER_HEADER)) if version & 2 else 1
        return _Record(block, cycle, length, tail & 0xFFFFFFFF, operations, headers)

    def regions(self, record: _Record) -> Iterator[tuple[int, bytes]]:
        """(flags, data) of the operations in a record.

        Raises:
            ValueError: Its parts do not fit together.
        """
        data = self._unstamped(record)
        position = 0
        for _ in range(record.operations):
            _, length, _, flags, _ = _OPERATION.unpack_from(data, position)
            position += _OPERATION.size
            if position + length > record.length:
                raise ValueError("an operation beyond its record")
            yield flags, data[position : position + length]
            position += length

    def _unstamped(self, record: _Record) -> bytes:
        """A record's data with the first words of its blocks in their places."""
        whole = self.read(record.block, record.headers + record.count)
        words = whole[_WORDS]
        for number in range(1, record.headers):
            words += whole[number * _BLOCK : (number + 1) * _BLOCK][_MORE_WORDS]
        data = bytearray(whole[record.headers * _BLOCK :])
        if len(words) < 4 * record.count:
            raise ValueError("a record longer than its header says")
        for place in range(record.count):
            data[place * _BLOCK : place * _BLOCK + 4] = words[place * 4 : place * 4 + 4]
        return bytes(data)

    def only_superblock(self, tail: int, head: int) -> bool:
        """Whether nothing but changes of the superblock is in a part of the log."""
        position = tail
        try:
            for _ in range(_COVERING):
                record = self._parsed(position % self.blocks, self.read(position, 1))
                if record is None or not _is_of_superblock([data for _, data in self.regions(record) if data]):
                    return False
                position = record.end
                if position % self.blocks == head % self.blocks:
                    return True
        except (ValueError, struct.error):
            return False
        return False


def _is_unmount(log: _Log, record: _Record) -> bool:
    try:
        return all(flags & _UNMOUNT for flags, _ in log.regions(record))
    except (ValueError, struct.error):
        return False


def _is_of_superblock(regions: list[bytes]) -> bool:
    """Whether the regions of a record are transactions that change the superblock only."""
    skipped = 0
    for data in regions:
        if skipped:
            skipped -= 1
        elif not data.startswith(_TRANSACTION):
            if len(data) < _BUFFER_FORMAT.size:
                return False
            kind, count, _, _, block = _BUFFER_FORMAT.unpack_from(data)
            if kind != _BUFFER or block != 0 or count < 1:
                return False
            skipped = count - 1
    return skipped == 0
