"""Pieces of a point's disks, every block compared with its hash; the newest pieces are kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from vmtui.files.protocol import MAX_PIECES, PIECE
from vmtui.model.errors import DamageError
from vmtui.model.point import PointDisk, RestorePoint
from vmtui.repository import Repository
from vmtui.repository.maps import MapReader
from vmtui.repository.streams import open_map

_KEPT = 32
"""Pieces that are kept in memory."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a disk, or several on end."""

    data: bytes
    bad: tuple[tuple[int, int], ...] = ()
    """Ranges of it that are damaged in the repository; zero here."""


class PointPieces:
    """Reads the disks of a point in pieces of `PIECE` bytes. Not for several threads.

    Args:
        repository: In step (`sync`).
        point: The point.
    """

    def __init__(self, repository: Repository, point: RestorePoint) -> None:
        self._repository = repository
        self._blobs = repository.reader()
        self._disks = {disk.name: disk for disk in point.disks}
        self._maps: dict[str, MapReader] = {}
        self._kept: OrderedDict[tuple[str, int], Piece] = OrderedDict()
        self.damage: dict[tuple[str, int], DamageError] = {}
        """What is wrong with pieces of which something is damaged."""
        self._last: tuple[str, int] | None = None
        self.read_bytes = 0
        """Bytes of blocks that were fetched from the repository and compared."""

    @property
    def disks(self) -> list[tuple[str, int]]:
        """(name, size [bytes]) of the disks."""
        return [(disk.name, disk.virtual_size) for disk in self._disks.values()]

    def get(self, disk: str, number: int) -> Piece:
        """A piece and, where a disk is read from front to back, some that follow.

        Raises:
            UnreachableError: The repository cannot be read.
            KeyError: No such disk or piece.
        """
        chosen = self._disks[disk]
        pieces = -(-chosen.virtual_size // PIECE)
        if not 0 <= number < pieces:
            raise KeyError(number)
        onwards = self._last is not None and self._last == (disk, number - 1)
        count = min(MAX_PIECES if onwards else 1, pieces - number)
        missing = [item for item in range(number, number + count) if (disk, item) not in self._kept]
        if number in missing:
            for item, piece in zip(missing, self._load(chosen, missing), strict=True):
                self._kept[disk, item] = piece
        given: list[Piece] = []
        for item in range(number, number + count):
            if (disk, item) not in self._kept:
                break
            self._kept.move_to_end((disk, item))
            given.append(self._kept[disk, item])
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        self._last = (disk, number + len(given) - 1)
        bad = [(place * PIECE + a, place * PIECE + b) for place, piece in enumerate(given) for a, b in piece.bad]
        return Piece(b"".join(piece.data for piece in given), tuple(bad))

    def _load(self, disk: PointDisk, numbers: list[int]) -> list[Piece]:
        """Several pieces by one look at the repository; where something is damaged, block by block."""
        try:
            return [Piece(data) for data in self._load_whole(disk, numbers)]
        except DamageError:
            return [self._load_by_blocks(disk, number) for number in numbers]

    def _load_by_blocks(self, disk: PointDisk, number: int) -> Piece:
        """What is left of a piece, and which of its blocks are not."""
        start, end = number * PIECE, min((number + 1) * PIECE, disk.virtual_size)
        step = min(self._repository.block_size, PIECE)
        data = bytearray(end - start)
        bad = []
        for place in range(start, end, step):
            stop = min(place + step, end)
            try:
                data[place - start : stop - start] = self._load_range(disk, place, stop)
            except DamageError as error:
                bad.append((place - start, stop - start))
                self.damage[disk.name, number] = error
        return Piece(bytes(data), tuple(bad))

    def _load_range(self, disk: PointDisk, start: int, end: int) -> bytes:
        block_size = self._repository.block_size
        blocks = range(start // block_size, -(-end // block_size))
        found = self._blobs.blocks([_id(self._map(disk), disk, block) for block in blocks])
        data = b"".join(block or bytes(block_size) for block in found)
        skip = start - blocks.start * block_size
        return data[skip : skip + end - start]

    def _load_whole(self, disk: PointDisk, numbers: list[int]) -> list[bytes]:
        block_size = self._repository.block_size
        disk_map = self._map(disk)
        ranges = []
        for number in numbers:
            end = min((number + 1) * PIECE, disk.virtual_size)
            ranges.append((number * PIECE // block_size, -(-end // block_size), number * PIECE, end))
        wanted = sorted({block for first, last, _, _ in ranges for block in range(first, last)})
        ids = [_id(disk_map, disk, block) for block in wanted]
        blocks = dict(zip(wanted, self._blobs.blocks(ids), strict=True))
        self.read_bytes += sum(len(data) for data in blocks.values() if data is not None)
        result = []
        for first, last, start, end in ranges:
            data = b"".join(blocks[block] or bytes(block_size) for block in range(first, last))
            skip = start - first * block_size
            result.append(data[skip : skip + end - start])
        return result

    def _map(self, disk: PointDisk) -> MapReader:
        if disk.name not in self._maps:
            self._maps[disk.name] = open_map(self._repository, disk.virtual_size, disk.root)
        return self._maps[disk.name]


def _id(disk_map: MapReader, disk: PointDisk, block: int) -> bytes:
    try:
        return disk_map.block(block)
    except ValueError as error:
        raise DamageError("REPO-OBJECT-BAD", f"The map of {disk.name} does not fit its size: {error}.") from error
