"""What the points of a repository need: a bit for each blob of each pack.

Memory is one bit for each blob in the packs that are needed, whatever the size of the disks.
"""

from __future__ import annotations

from collections.abc import Iterable

from vmtui.model.point import RestorePoint
from vmtui.model.progress import Watch
from vmtui.repository.blocks import ID_SIZE, ZERO_ID
from vmtui.repository.index import Location, PackRecord
from vmtui.repository.maps import block_count, level_sizes
from vmtui.repository.points import PointName
from vmtui.repository.reader import lost_blob
from vmtui.repository.repository import Repository
from vmtui.repository.streams import node_of, streams


class Reach:
    """Marks what points need; add points one after the other.

    Args:
        repository: In step (`sync`).
        watch: Cancelling.
    """

    def __init__(self, repository: Repository, watch: Watch) -> None:
        self._repository = repository
        self._blobs = repository.reader()
        self._watch = watch
        self._marks: dict[str, bytearray] = {}
        self.packs: dict[str, PackRecord] = {}
        """Packs of which a blob is needed."""
        self.live_bytes: dict[str, int] = {}
        """How much of each is needed [bytes as stored]."""
        self.points: set[PointName] = set()

    def add(self, name: PointName) -> None:
        """Mark what one point needs.

        Raises:
            DamageError: Something that it needs is missing or damaged, so it is not known what else it needs.
            UnreachableError: The repository cannot be read.
        """
        self.add_point(name, self._repository.points.load(name))

    def add_point(self, name: PointName, point: RestorePoint) -> None:
        """Mark what one point needs whose manifest was read already.

        Raises:
            DamageError, UnreachableError: As for `add`.
        """
        for _, size, root in streams(point):
            levels = level_sizes(block_count(size, self._repository.block_size))
            self._descend([node_of(root)], len(levels) - 1)
        self.points.add(name)

    def needs(self, location: Location) -> bool:
        """Whether a blob, at this place, is needed."""
        marks = self._marks.get(location.pack.name)
        return marks is not None and bool(marks[location.entry.number >> 3] >> (location.entry.number & 7) & 1)

    def _descend(self, ids: Iterable[bytes], level: int) -> None:
        """Mark nodes of a level (blocks, when it is below 0) that are new, each after all that is below it.

        So a node that is marked needs no second look, also after a walk that met damage.
        """
        self._watch.check()
        wanted = [item for item in dict.fromkeys(ids) if item != ZERO_ID]
        fresh: dict[bytes, Location] = {}
        for item, place in zip(wanted, self._repository.index.find(wanted), strict=True):
            if place is None:
                raise lost_blob(item)
            if not self.needs(place):
                fresh[item] = place
        if level < 0:
            for place in fresh.values():
                self._mark(place)
            return
        for place, data in zip(fresh.values(), self._blobs.nodes(list(fresh)), strict=True):
            self._descend((data[start : start + ID_SIZE] for start in range(0, len(data), ID_SIZE)), level - 1)
            self._mark(place)

    def _mark(self, place: Location) -> None:
        """Set a blob's bit."""
        name, number = place.pack.name, place.entry.number
        marks = self._marks.get(name)
        if marks is None:
            marks = self._marks[name] = bytearray(-(-place.pack.entries // 8))
            self.packs[name] = place.pack
            self.live_bytes[name] = 0
        if not self.needs(place):
            marks[number >> 3] |= 1 << (number & 7)
            self.live_bytes[name] += place.entry.length
