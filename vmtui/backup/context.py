"""What every step of a backup works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vmtui.backup.journal import LeafJournal
from vmtui.hosts import HostSession
from vmtui.hosts.domains import Definition, Domain
from vmtui.model.ids import JobId, VmId
from vmtui.model.progress import Watch
from vmtui.repository import Repository
from vmtui.runs import RunNotes


@dataclass(frozen=True, slots=True)
class BackupContext:
    """The world of one run.

    `session` and `repository` open on first use and may be asked for again after a connection broke.
    """

    open_session: Callable[[], HostSession]
    """A login to the VM's host; a living one is reused."""
    repository: Repository
    level: int
    """zstd level."""
    state: Path
    """State folder of this machine."""
    watch: Watch
    now: Callable[[], datetime]
    """The clock [UTC]."""
    _definitions: list[Definition] = field(default_factory=list)
    """Kept in memory alone: definitions hold passwords, and what a step returns is written down."""

    def keep_definition(self, definition: Definition) -> None:
        """Remember the VM's definition as of the frozen view."""
        self._definitions[:] = [definition]

    def definition(self, vm: VmId) -> Definition:
        """The definition as of the frozen view, or as it is now when another process took that view."""
        if not self._definitions:
            self.keep_definition(Domain(self.session, vm).definition())
        return self._definitions[0]

    @property
    def session(self) -> HostSession:
        """The login."""
        return self.open_session()

    def notes(self, run: JobId) -> RunNotes:
        """What the run wrote down on this machine."""
        return RunNotes(self.state, run)

    def leaf_journal(self, run: JobId, target: str) -> LeafJournal:
        """What the run has read of one disk."""
        return LeafJournal(self.notes(run).folder / f"{target.encode().hex()}.leaves")
