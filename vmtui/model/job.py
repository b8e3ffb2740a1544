"""A job: what an operator started, and what there is to see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from vmtui.model.ids import JobId


class JobKind(StrEnum):
    """Kinds of jobs."""

    BACKUP = "backup"
    RESTORE = "restore"
    GROUP_RESTORE = "group restore"
    INSTANT = "instant"
    REVERT = "revert"
    VERIFY = "verify"
    EXPORT = "export"
    REHEARSE = "rehearse"
    PRUNE = "prune"
    GC = "gc"
    REPAIR = "repair"
    SYNC = "sync"
    HOST_BACKUP = "host backup"
    HOST_RESTORE = "host restore"

    @property
    def changes(self) -> bool:
        """Whether it changes a host, or adds or deletes points; read-only mode refuses those."""
        return self not in (JobKind.VERIFY, JobKind.EXPORT)

    @property
    def planned(self) -> bool:
        """Whether the operator agreed to a plan, which holds for that day alone."""
        return self in (JobKind.RESTORE, JobKind.GROUP_RESTORE, JobKind.INSTANT, JobKind.PRUNE)

    @property
    def takes_turns(self) -> bool:
        """Whether it counts among the jobs that a host may have at once.

        A VM that is wanted at once waits for no backup, and none waits until all of it has been moved.
        """
        return self is not JobKind.INSTANT


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    OK = "ok"
    WARNINGS = "ok with warnings"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self in (JobState.OK, JobState.WARNINGS, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What was asked for, as it waits in the queue."""

    kind: JobKind
    host: str
    """Where the work is done; empty for the repository alone."""
    vm: str
    """The VM's name, for people."""
    request: Mapping[str, Any]
    """The request of its kind, as plain data."""
    by: str
    """user@machine."""
    asked: datetime


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as lists and pages show it."""

    id: JobId
    kind: JobKind
    vm: str
    host: str
    state: JobState
    phase: str
    disk: str
    done: int
    total: int | None
    new: int
    stored: int
    rate: float
    """Bytes a second over the last ten seconds."""
    asked: datetime
    started: datetime | None
    finished: datetime | None
    beat: datetime | None
    """The worker's last sign."""
    by: str
    error: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    phases: tuple[Mapping[str, str], ...] = ()
    """`phase`, `disk` and when it began, in order."""
    work: tuple[Mapping[str, Any], ...] = ()
    """`phase`, `disk`, `total`, `done`, `new`, `stored` [bytes] of everything that was counted, in order."""
    result: Mapping[str, Any] = field(default_factory=dict)
    """What the job brought: the point, or the restored VM with its evidence."""

    @property
    def runs_from_repository(self) -> bool:
        """Whether its VM has run and does not stand on its own disks yet."""
        reached = {phase["phase"] for phase in self.phases}
        return (
            self.kind is JobKind.INSTANT
            and not self.state.final
            and bool(reached & {"running from the repository", "moving"})
            and "pivoted" not in reached
        )
