"""What every step of a rehearsal works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmtui.hosts import HostSession
from vmtui.model.ids import JobId
from vmtui.model.point import RestorePoint
from vmtui.model.progress import Watch
from vmtui.rehearsal.plan import RehearsalRequest
from vmtui.repository import PointName, Repository
from vmtui.runs import RunNotes


@dataclass(frozen=True, slots=True)
class RehearsalContext:
    """The world of one rehearsal."""

    open_session: Callable[[], HostSession]
    """A login to the host; a living one is reused."""
    repository: Repository
    state: Path
    """State folder of this machine."""
    watch: Watch
    asked: datetime
    """When somebody asked for it [UTC]."""
    now: Callable[[], datetime]
    """The clock [UTC]."""

    @property
    def session(self) -> HostSession:
        """The login to the host."""
        return self.open_session()

    def notes(self, run: JobId) -> RunNotes:
        """What the run wrote down on this machine."""
        return RunNotes(self.state, run)

    def point(self, request: RehearsalRequest) -> RestorePoint:
        """The point's manifest.

        Raises:
            DamageError: It is missing or not as written.
        """
        return self.repository.points.load(PointName(request.vm, request.point))
