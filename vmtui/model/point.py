"""A restore point: one committed state of a VM that stands on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from vmtui.model.ids import JobId, PointId, VmId
from vmtui.model.rehearsal import Rehearsal


class Mode(StrEnum):
    """How a backup is taken."""

    HOT = "hot"
    COLD = "cold"
    PAUSED = "paused"


class Consistency(StrEnum):
    """How consistent the disks are; best first."""

    OFFLINE = "offline"
    """The VM was shut down cleanly."""
    APPLICATION = "application"
    """Frozen, and the guest's own hooks ran."""
    FILESYSTEM = "filesystem"
    """File systems were frozen by the guest agent."""
    CRASH = "crash"
    """As after pulling the plug; the reason says why."""


class DiskKind(StrEnum):
    """How a disk was read."""

    FULL = "full"
    INCREMENTAL = "incremental"


class FullReason(StrEnum):
    """Why a disk was read in full."""

    FIRST = "first"
    FORCED = "forced"
    RAW = "raw"
    COMPAT = "compat 0.10"
    ADDED = "disk added"
    BITMAP_LOST = "bitmap lost"
    SAMPLE_DIFFERS = "sample differs"
    SHRUNK = "shrunk"
    PARENT_GONE = "parent point gone"
    TRACKING_OFF = "tracking off"


@dataclass(frozen=True, slots=True)
class PointDisk:
    """One disk of a point."""

    name: str
    """Target in the domain."""
    format: str
    """Format of the image that it was read from, and that it is restored to."""
    virtual_size: int
    """Size of the disk that the VM sees [bytes]."""
    root: str
    """Id of the disk map's top node [hex]."""
    kind: DiskKind
    reason: FullReason | None
    read_bytes: int
    """Read from the host."""
    new_bytes: int
    """Not yet in the repository."""
    stored_bytes: int
    """Written to the repository, compressed."""
    file_length: int | None = None
    """Exact length of a raw image [bytes]; its export may be rounded up to 512."""
    tracked: bool = False
    """The point's checkpoint records this disk's changes from here on."""
    source_type: str = "file"
    path: str | None = None
    pool: str | None = None
    volume: str | None = None
    bus: str = ""
    backing: tuple[str, ...] = ()
    """The images below it when it was read; for information, a restored disk stands alone."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of the VM that the point does not hold."""

    name: str
    reason: str
    disk: bool = True
    """It is a disk; else a file, a device or a snapshot."""


class Role(StrEnum):
    """What a captured file is to its VM."""

    NVRAM = "nvram"
    KERNEL = "kernel"
    INITRD = "initrd"
    DTB = "dtb"
    LOADER = "loader"
    TPM = "tpm"
    """A file of the emulated TPM's state."""
    SAVE = "save"
    """The memory of a VM that was saved (managed save) when its disks were read."""
    MEDIUM = "medium"
    """What is in a CD-ROM or floppy drive."""


@dataclass(frozen=True, slots=True)
class CapturedFile:
    """A file that belongs to the VM besides its disks."""

    role: str
    """One of `Role`; a newer writer may know more."""
    path: str
    size: int
    root: str
    """Id of its map's top node [hex]; mapped as a disk is."""
    part: str = ""
    """Which of several: a TPM file's path inside its folder, a medium's target."""
    owner: str = ""
    """`user:group` on its host, where that matters to a restore."""

    @property
    def label(self) -> str:
        """For people, and unique within a point."""
        return f"{self.role} {self.part}".rstrip()


@dataclass(frozen=True, slots=True)
class Record:
    """Metadata that is kept for information; nothing is restored from it."""

    name: str
    xml: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The libvirt checkpoint from which the next increment may start."""

    name: str
    xml: str
    """As libvirt described it, so that it can be defined again after its metadata was lost."""


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """The manifest of a point."""

    id: PointId
    repository: str
    vm_uuid: VmId
    vm_name: str
    host: str
    time: datetime
    """The instant of consistency [UTC]; age is counted from here."""
    mode: Mode
    consistency: Consistency
    consistency_reason: str
    """Why it is not better; empty when there is nothing to say."""
    disks: tuple[PointDisk, ...]
    left_out: tuple[LeftOut, ...]
    files: tuple[CapturedFile, ...]
    xml_inactive: str
    """May hold passwords: never shown, never logged."""
    xml_live: str
    """Empty when the VM was off."""
    checkpoint: Checkpoint | None
    parent: PointId | None
    """The point that the incremental disks were compared with; for information."""
    job: JobId
    autostart: bool
    frozen_ms: int
    started: datetime
    finished: datetime
    versions: Mapping[str, str] = field(default_factory=dict)
    """vmtui, libvirt and QEMU that made it."""
    warnings: tuple[str, ...] = ()
    pools: Mapping[str, str] = field(default_factory=dict)
    """Folder of each pool that a disk lived in, by pool name."""
    saw: tuple[str, ...] = ()
    """Records of named garbage that nothing of this point relies on."""
    snapshots: tuple[Record, ...] = ()
    """The VM's snapshots as libvirt described them; what they hold is not in the point."""
    other_checkpoints: tuple[Record, ...] = ()
    """Checkpoints of other programs."""


class EventKind(StrEnum):
    """What may happen to a point after its commit."""

    COMMITTED = "committed"
    VERIFIED = "verified"
    DAMAGED = "damaged"
    HELD = "held"
    RELEASED = "released"
    REHEARSED = "rehearsed"


@dataclass(frozen=True, slots=True)
class PointEvent:
    """One entry of the history kept beside a point."""

    kind: EventKind
    time: datetime
    detail: str = ""
    """What is damaged; why it is held; on `committed`, the VM as host/name."""
    manifest: str = ""
    """SHA-256 of the manifest object [hex], on `committed`."""
    rehearsal: Rehearsal | None = None
    """On `rehearsed`."""


@dataclass(frozen=True, slots=True)
class PointStatus:
    """What the history says about a point now."""

    verified: datetime | None = None
    """Last time that every byte was read and found right."""
    damaged: str = ""
    """What is known to be wrong; empty when nothing is."""
    held: str | None = None
    """Why it must not be pruned; None when nobody holds it."""
    rehearsed: Rehearsal | None = None
    """The newest rehearsal, whatever its verdict."""
    proven: Rehearsal | None = None
    """The newest rehearsal in which it booted."""
