"""What the screens show: one frozen picture, replaced as a whole when something was heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from vmtui.model.host import Capabilities, HostState
from vmtui.model.job import JobRecord
from vmtui.model.vm import Vm
from vmtui.overview.journal import LogEntry
from vmtui.overview.points import PointView
from vmtui.overview.vms import VmRow

LOG_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class PoolSpace:
    """Room in one storage pool of a host [bytes]."""

    name: str
    free: int
    size: int


@dataclass(frozen=True, slots=True)
class HostView:
    """What was heard of a host last."""

    name: str
    state: HostState
    since: datetime
    """When it got into this state."""
    vms: tuple[Vm, ...] = ()
    as_of: datetime | None = None
    """Its last answer."""
    capabilities: Capabilities | None = None
    pools: tuple[PoolSpace, ...] = ()
    seconds: float | None = None
    """How long the last answer took."""
    next_try: datetime | None = None
    error: Mapping[str, Any] | None = None
    read_only: bool = False

    @property
    def id(self) -> str:
        """Names the row."""
        return self.name

    @property
    def away(self) -> bool:
        """Whether it does not answer now."""
        return self.state not in (HostState.CONNECTED, HostState.CONNECTING)


@dataclass(frozen=True, slots=True)
class CatalogueView:
    """What the repository said last."""

    points: tuple[PointView, ...] = ()
    """Newest first."""
    as_of: datetime | None = None
    error: Mapping[str, Any] | None = None
    repository: str = ""
    """Its id; empty until it was read."""
    packs: int = 0
    blobs: int = 0
    stored_bytes: int = 0
    free_bytes: int | None = None
    block_size: int = 0
    host_points: tuple[PointView, ...] = ()
    """Points of hosts' own configuration, newest first."""

    @property
    def unknown_why(self) -> str:
        """Why it is not known which points there are now; empty when it is."""
        if self.error is not None:
            return f"the repository cannot be read: {self.error['cause']}"
        return "" if self.as_of is not None else "the repository has not been read yet"


@dataclass(frozen=True, slots=True)
class JobsView:
    """What the job database said last."""

    records: tuple[JobRecord, ...] = ()
    """Newest first."""
    worker: bool = False
    as_of: datetime | None = None
    error: Mapping[str, Any] | None = None

    @property
    def active(self) -> tuple[JobRecord, ...]:
        """Jobs that have not ended."""
        return tuple(record for record in self.records if not record.state.final)


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything at one instant."""

    hosts: Mapping[str, HostView] = field(default_factory=dict)
    catalogue: CatalogueView = CatalogueView()
    jobs: JobsView = JobsView()
    rows: tuple[VmRow, ...] = ()
    """VMs, worst first."""
    log: tuple[LogEntry, ...] = ()
    """Oldest first."""
    cached: bool = False
    """It comes from the last session; nobody has answered yet."""


# -- reducers: what was heard, put into the picture. Pure. ---------------------------------------


def with_host(picture: Picture, view: HostView) -> Picture:
    """A host was heard of."""
    return replace(picture, hosts={**picture.hosts, view.name: view}, cached=False)


def with_catalogue(picture: Picture, view: CatalogueView) -> Picture:
    """The repository was read."""
    return replace(picture, catalogue=view)


def with_jobs(picture: Picture, view: JobsView) -> Picture:
    """The jobs were read."""
    return replace(picture, jobs=view)


def with_rows(picture: Picture, rows: tuple[VmRow, ...]) -> Picture:
    """VMs and points were put together."""
    return replace(picture, rows=rows)


def with_log(picture: Picture, entries: tuple[LogEntry, ...]) -> Picture:
    """Something happened."""
    return replace(picture, log=(*picture.log, *entries)[-LOG_LIMIT:])
