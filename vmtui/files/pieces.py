"""Pieces of a point's disks, every block compared with its hash; the newest pieces are kept."""

from __future__ import annotations

from collections import OrderedDict

from vmtui.files.protocol import MAX_PIECES, PIECE
from vmtui.model.errors import DamageError
from vmtui.model.point import PointDisk, RestorePoint
from vmtui.repository import Repository
from vmtui.repository.maps import MapReader
from vmtui.repository.streams import open_map

_KEPT = 32
"""Pieces that are kept in memory."""


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
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._last: tuple[str, int] | None = None
        self.read_bytes = 0
        """Bytes of blocks that were fetched from the repository and compared."""

    @property
    def disks(self) -> list[tuple[str, int]]:
        """(name, size [bytes]) of the disks."""
        return [(disk.name, disk.virtual_size) for disk in self._disks.values()]

    def get(self, disk: str, number: int) -> bytes:
        """A piece and, where a disk is read from front to back, some that follow.

        Raises:
            DamageError: A block is missing or does not have its bytes.
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
            for item, data in zip(missing, self._load(chosen, missing), strict=True):
                self._kept[disk, item] = data
        given = []
        for item in range(number, number + count):
            if (disk, item) not in self._kept:
                break
            self._kept.move_to_end((disk, item))
            given.append(self._kept[disk, item])
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        self._last = (disk, number + len(given) - 1)
        return b"".join(given)

    def _load(self, disk: PointDisk, numbers: list[int]) -> list[bytes]:
        """Several pieces by one look at the repository."""
        block_size = self._repository.block_size
        disk_map = self._map(disk)
        ranges = []
        for number in numbers:
            end = min((number + 1) * PIECE, disk.virtual_size)
            ranges.append((number * PIECE // block_size, -(-end // block_size), number * PIECE, end))
        wanted = sorted({block for first, last, _, _ in ranges for block in range(first, last)})
        try:
            ids = [disk_map.block(block) for block in wanted]
        except ValueError as error:
            raise DamageError("REPO-OBJECT-BAD", f"The map of {disk.name} does not fit its size: {error}.") from error
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
