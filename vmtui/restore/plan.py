"""What a restore will do, as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vmtui.model.ids import JobId, PointId, VmId
from vmtui.model.point import Role
from vmtui.model.progress import Check

_SECTOR = 512
"""QEMU rounds the size of a raw image up to this [bytes]."""


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
    same_identity: bool = False
    """The same for a VM that is lost: nothing of it may be left on the target, so nothing is replaced."""
    new_nvram: bool = False
    """The operator agrees that firmware variables start anew where the point does not hold them."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Network, bridge or device of the point: that of the target; `none` takes the link down."""
    pools: Mapping[str, str] = field(default_factory=dict)
    """Pool or folder of the point: pool of the target."""
    start: bool = False
    whole: bool = False
    """In place: write every block anew, also those that the VM has not changed."""
    instant: bool = False
    """Let the VM run at once from the repository, and move its disks to the host while it runs."""
    approved: str = ""
    """The plan that the operator agreed to, as `fingerprint` gives it; empty when nobody was asked."""

    @property
    def keeps_identity(self) -> bool:
        """The VM comes back as itself."""
        return self.in_place or self.same_identity


@dataclass(frozen=True, slots=True)
class Base:
    """The old image that a disk is restored on top of: only what differs from the point is written."""

    point: PointId
    """Since this point a dirty bitmap in the old image records what the VM writes."""
    bitmap: str
    root: str
    """The disk's map in that point."""
    written: int
    """Of the disk, by the VM since [bytes]."""
    differs: int
    """All that can differ from the point that is brought back [bytes]."""
    exact: bool
    """It was counted; a VM that runs goes on writing, so it is an estimate then."""


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
    base: Base | None = None
    """Its old image, if it is restored on top of that."""

    @property
    def write_bytes(self) -> int:
        """Bytes that will be written; about as many, where the VM still runs."""
        return self.data_bytes if self.base is None else self.base.differs

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
    part: str = ""
    """Which of several of the role: a TPM file's path in its folder, a medium's target."""
    owner: str = ""
    """`user:group` that it is given to where the login is root."""

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.role} {self.part}".rstrip()

    @property
    def large(self) -> bool:
        """It is written and proven as a raw disk is, in pieces."""
        return self.role in (Role.SAVE, Role.MEDIUM)

    def as_disk(self) -> DiskPlacement:
        """A large file as the raw disk that it is written as."""
        rounded = -(-self.size // _SECTOR) * _SECTOR
        return DiskPlacement(
            target=self.label,
            format="raw",
            virtual_size=rounded,
            file_length=self.size,
            root=self.root,
            data_bytes=self.size,
            path=self.path,
            pool=None,
            replaces=self.replaces,
        )

    def new_path(self, run: JobId) -> str:
        """Where it is written; renamed when it is proven."""
        return f"{self.path}.vmtui-{run}"

    def kept_path(self, run: JobId) -> str:
        """Where the old file goes."""
        return f"{self.path}.before-{run}"


@dataclass(frozen=True, slots=True)
class Aside:
    """A file of the old VM that fits nothing of the restored one; it is only set aside."""

    path: str

    def kept_path(self, run: JobId) -> str:
        """Where it goes."""
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
    asides: tuple[Aside, ...] = ()
    """Files of the VM that is replaced which must not meet the restored disks."""
    folder: str = ""
    """On the host, of the socket at which the disks are offered; empty unless it is an instant restore."""

    @property
    def refused(self) -> list[Check]:
        """Checks that failed; nothing may be written then."""
        return [check for check in self.checks if check.ok is False]

    @property
    def data_bytes(self) -> int:
        """Bytes that will be written."""
        return sum(disk.write_bytes for disk in self.disks) + sum(item.size for item in self.files if item.needed)

    def fingerprint(self) -> str:
        """Names what will be written, replaced and stopped, so that a plan that changed since is noticed."""
        facts = [
            self.request.host,
            self.request.point,
            self.name,
            self.request.in_place,
            self.request.same_identity,
            self.replaces_vm,
            self.stop_first,
            self.request.start,
            self.request.instant,
            sorted(self.request.networks.items()),
            [[disk.target, disk.path, disk.replaces, disk.data_bytes, disk.base is None] for disk in self.disks],
            [[item.label, item.path, item.replaces] for item in self.files],
            [item.path for item in self.asides],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def shuts_down_first(plan: RestorePlan) -> bool:
    """Whether a running VM is shut down before anything is written: its image has to be at rest. Pure."""
    return any(disk.base is not None for disk in plan.disks)


def places(plan: RestorePlan) -> list[DiskPlacement | FilePlacement]:
    """Everything that is written. Pure."""
    return [*plan.disks, *(item for item in plan.files if item.needed)]


def record_path(run: JobId, disks: Sequence[DiskPlacement]) -> str | None:
    """Where the record of what was kept goes: beside the first disk. Pure."""
    return f"{disks[0].path}.before-{run}.json" if disks else None


def command_of(request: RestoreRequest, name: str) -> str:
    """The equivalent command line. Pure."""
    words = ["vmtui", "restore", request.point, "--to", request.host]
    if request.keeps_identity:
        words.append("--in-place" if request.in_place else "--same-identity")
    else:
        words += ["--as", name]
    words += ["--new-nvram"] if request.new_nvram else []
    for option, mapping in (("--map-pool", request.pools), ("--map-network", request.networks)):
        for old, new in mapping.items():
            words += [option, f"{old}={new}"]
    words += ["--whole"] if request.whole else []
    words += ["--instant"] if request.instant else ["--start"] if request.start else []
    return " ".join(words)


def unchecked_by(plan: RestorePlan) -> tuple[str, ...]:
    """What a restore does not prove. Pure."""
    kept = [disk.target for disk in plan.disks if disk.base is not None]
    unread = f"what of {', '.join(kept)} the bitmap calls unchanged, beyond a sample of it (--whole writes all of it)"
    boots = "that the VM boots: it stays powered off (--start starts it and asks its guest agent)"
    inside = "what runs inside the VM beyond its guest agent's answer"
    return (*([unread] if kept else []), inside if plan.request.start else boots)
