"""What a restore will do, as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from vmtui.model.ids import JobId, PointId, VmId
from vmtui.model.progress import Check


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What was asked for."""

    vm: VmId
    """The VM that the point is of."""
    point: PointId
    host: str
    """Where to."""
    name: str | None = None
    """The new VM's name; None chooses one."""
    in_place: bool = False
    """Bring the VM back as itself, with its UUID, MACs and disk paths."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Network, bridge or device of the point: that of the target; `none` takes the link down."""
    pools: Mapping[str, str] = field(default_factory=dict)
    """Pool or folder of the point: pool of the target."""
    start: bool = False
    instant: bool = False
    """Let the VM run at once from the repository, and move its disks to the host while it runs."""
    approved: str = ""
    """The plan that the operator agreed to, as `fingerprint` gives it; empty when nobody was asked."""


@dataclass(frozen=True, slots=True)
class DiskPlacement:
    """Where one disk goes."""

    target: str
    format: str
    virtual_size: int
    file_length: int | None
    """Exact length of a raw image [bytes]."""
    root: str
    data_bytes: int
    """Bytes that are not zero."""
    path: str
    """Where it will be."""
    pool: str | None
    replaces: bool
    """An old image is there; it is kept aside."""

    def new_path(self, run: JobId) -> str:
        """Where it is written; renamed when it is proven."""
        return f"{self.path}.vmtui-{run}"

    def kept_path(self, run: JobId) -> str:
        """Where the old image goes."""
        return f"{self.path}.before-{run}"


@dataclass(frozen=True, slots=True)
class FilePlacement:
    """Where one captured file goes."""

    role: str
    size: int
    root: str
    source: str
    """Path on the host that the point is of."""
    path: str
    replaces: bool
    needed: bool = True
    """False when the very file is there already."""

    def new_path(self, run: JobId) -> str:
        """Where it is written; renamed when it is proven."""
        return f"{self.path}.vmtui-{run}"

    def kept_path(self, run: JobId) -> str:
        """Where the old file goes."""
        return f"{self.path}.before-{run}"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a plan."""

    number: int
    text: str
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """All that a run needs to know; plain data, without the VM's definition, which may hold passwords."""

    run: JobId
    request: RestoreRequest
    point_time: str
    origin: str
    """host/name that the point is of."""
    name: str
    uuid: VmId
    macs: tuple[str, ...]
    """In the order of the interfaces."""
    disks: tuple[DiskPlacement, ...]
    files: tuple[FilePlacement, ...]
    replaces_vm: bool
    """A VM of that UUID is there and gets the point's definition."""
    stop_first: bool
    """It runs and is shut down, never powered off hard."""
    checks: tuple[Check, ...]
    steps: tuple[Step, ...]
    changes: tuple[str, ...]
    """How the definition differs from the point's."""
    destroys: str
    unchecked: tuple[str, ...]
    command: str
    """The equivalent command line."""
    folder: str = ""
    """On the host, of the socket at which the disks are offered; empty unless it is an instant restore."""

    @property
    def refused(self) -> list[Check]:
        """Checks that failed; nothing may be written then."""
        return [check for check in self.checks if check.ok is False]

    @property
    def data_bytes(self) -> int:
        """Bytes that will be written."""
        return sum(disk.data_bytes for disk in self.disks) + sum(item.size for item in self.files if item.needed)

    def fingerprint(self) -> str:
        """Names what will be written, replaced and stopped, so that a plan that changed since is noticed."""
        facts = [
            self.request.host,
            self.request.point,
            self.name,
            self.request.in_place,
            self.replaces_vm,
            self.stop_first,
            self.request.start,
            self.request.instant,
            sorted(self.request.networks.items()),
            [[disk.target, disk.path, disk.replaces, disk.data_bytes] for disk in self.disks],
            [[item.role, item.path, item.replaces] for item in self.files],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
