"""What a rehearsal will do, as data."""

from __future__ import annotations

from dataclasses import dataclass

from vmtui.model.ids import JobId, PointId, VmId
from vmtui.model.progress import Check
from vmtui.model.rehearsal import Network

TIMEOUT_S = 180.0
"""How long a VM may take to show its marker, unless somebody says otherwise."""


@dataclass(frozen=True, slots=True)
class RehearsalRequest:
    """What was asked for."""

    vm: VmId
    """The VM that the point is of."""
    point: PointId
    host: str
    """Where."""
    network: Network = Network.NONE
    wait: str = "agent"
    """The sign of life, as `markers.parse_marker` reads it."""
    check: tuple[str, ...] = ()
    """A program in the guest with its arguments, which must end with 0; empty for none."""
    timeout_s: float = TIMEOUT_S
    """For the marker, and again for the program [s]."""
    capture: bool = False
    """Record every frame on the isolated network."""


@dataclass(frozen=True, slots=True)
class RehearsalDisk:
    """One disk, read from the repository as it is needed."""

    target: str
    size: int
    """As the VM sees it [bytes]."""
    root: str


@dataclass(frozen=True, slots=True)
class RehearsalPlan:
    """All that a run needs to know; plain data, without the VM's definition, which may hold passwords."""

    run: JobId
    request: RehearsalRequest
    origin: str
    """host/name that the point is of."""
    point_time: str
    parent: str
    """Folder on the host in which the throw-away folder is made."""
    memory_kib: int
    """What it gets."""
    own_memory_kib: int
    """What the VM has."""
    room: int
    """How much the overlays may grow [bytes]."""
    disks: tuple[RehearsalDisk, ...]
    checks: tuple[Check, ...]

    @property
    def refused(self) -> list[Check]:
        """Checks that failed; nothing is started then."""
        return [check for check in self.checks if check.ok is False]
