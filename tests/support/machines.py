"""Backups in their steps, so that other things can happen in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tests.support.repositories import START, make_point, store_changes, store_disk
from vmtui.model.ids import JobId, new_id
from vmtui.model.point import RestorePoint
from vmtui.repository import PointName, Repository


class Writer:
    """A backup of one disk that is begun; then `store`, and `commit`.

    Args:
        repository: As the machine of the writer sees it.
        number: Of the point, in time.
        parent: An earlier point of as many blocks, whose unchanged blocks are carried over.
        now: The machine's clock.
    """

    def __init__(
        self, repository: Repository, number: int, parent: PointName | None = None, now: datetime = START
    ) -> None:
        self.repository = repository
        self.number = number
        self.data = b""
        self.point: RestorePoint | None = None
        """What `commit` puts; set before it does."""
        run = JobId(new_id(now))
        self.session = repository.session(run)
        self.session.begin(now)
        repository.sync()
        self._parent = repository.points.load(parent) if parent is not None else None
        self._saw = repository.declare(run, self._parent)

    def store(self, data: bytes) -> Writer:
        """Make the disk's blocks and map durable."""
        self.data = data
        writer = self.repository.writer(1)
        try:
            parent = self._parent
            root = store_changes(self.repository, writer, data, parent) if parent else store_disk(writer, data)
            writer.settle()
        finally:
            writer.close()
        self.point = replace(make_point(self.repository, {"vda": (root, len(data))}, self.number), saw=self._saw)
        return self

    def commit(self, now: datetime = START) -> PointName:
        """Make the point exist, if the session still stands."""
        assert self.point is not None
        self.session.require(now)
        self.repository.points.commit(self.point)
        self.session.close(now)
        return self.name

    @property
    def name(self) -> PointName:
        """Of the point that it makes."""
        assert self.point is not None
        return PointName(self.point.vm_uuid, self.point.id)
