"""Disks as files: pieces are asked for, the newest are kept."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from vmtui.files.protocol import PIECE

_KEPT = 48
"""Pieces that are kept in memory."""


class PieceLost(Exception):  # noqa: N818  # a state, not a fault of ours
    """The program cannot give a piece of a disk."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a disk."""

    data: bytes
    bad: tuple[tuple[int, int], ...] = ()
    """Ranges of it that are damaged in the repository."""


class Pieces:
    """Pieces of all disks, the most recent ones kept.

    Args:
        ask: Gives the pieces of a disk from a number on, at least one, each with its damaged ranges.
    """

    def __init__(self, ask: Callable[[str, int], list[Piece]]) -> None:
        self._ask = ask
        self._kept: OrderedDict[tuple[str, int], Piece] = OrderedDict()
        self.touched: tuple[str, int] | None = None
        """A piece of which something damaged was wanted, since somebody looked last."""

    def part(self, disk: str, number: int, offset: int, length: int) -> bytes:
        """Bytes of one piece, as many as there are.

        Raises:
            PieceLost: They cannot be had.
        """
        piece = self._get(disk, number)
        for start, end in piece.bad:
            if start < offset + length and offset < end:
                self.touched = (disk, number)
                raise PieceLost(f"{disk} at {number * PIECE + start}")
        return piece.data[offset : offset + length]

    def _get(self, disk: str, number: int) -> Piece:
        key = (disk, number)
        piece = self._kept.get(key)
        if piece is not None:
            self._kept.move_to_end(key)
            return piece
        for place, given in enumerate(self._ask(disk, number)):
            self._kept[disk, number + place] = given
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


class DiskFile(io.RawIOBase):
    """A part of a disk as a file that can be read and searched.

    Args:
        pieces: Where its bytes come from.
        disk: Name of the disk.
        size: Of this part [bytes].
        start: Where it begins on the disk [bytes].
    """

    def __init__(self, pieces: Pieces, disk: str, size: int, start: int = 0) -> None:
        super().__init__()
        self._pieces = pieces
        self.disk = disk
        self.size = size
        self.start = start
        self._position = 0

    def part(self, start: int, size: int) -> DiskFile:
        """A part of this part; it ends where this one does."""
        start = min(start, self.size)
        return DiskFile(self._pieces, self.disk, min(size, self.size - start), self.start + start)

    def at(self, offset: int, length: int) -> bytes:
        """Bytes at an offset, as many as there are."""
        self.seek(offset)
        return self.read(length)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Bytes from the position on, as many as there are."""
        left = max(0, self.size - self._position)
        length = left if size is None or size < 0 else min(size, left)
        number, offset = divmod(self.start + self._position, PIECE)
        self._position += length
        if offset + length <= PIECE:
            return self._pieces.part(self.disk, number, offset, length) if length else b""
        parts = []
        while length > 0:
            part = self._pieces.part(self.disk, number, offset, min(length, PIECE - offset))
            parts.append(part)
            length -= len(part)
            number, offset = number + 1, 0
        return b"".join(parts)

    def readall(self) -> bytes:
        """Everything from the position on."""
        return self.read()

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]  # narrower than the base
        """Read into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
