"""A VM and its disks, as libvirt and QEMU describe them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vmtui.model.ids import VmId


class DomainState(StrEnum):
    """libvirt's domain states in its own words."""

    NO_STATE = "no state"
    RUNNING = "running"
    BLOCKED = "idle"
    PAUSED = "paused"
    SHUTDOWN = "in shutdown"
    SHUT_OFF = "shut off"
    CRASHED = "crashed"
    SUSPENDED = "pmsuspended"

    @property
    def active(self) -> bool:
        """Whether a QEMU process exists."""
        return self not in (DomainState.SHUT_OFF, DomainState.CRASHED, DomainState.NO_STATE)


@dataclass(frozen=True, slots=True)
class Vm:
    """One row of a host's inventory."""

    host: str
    name: str
    uuid: VmId
    state: DomainState
    metadata: str = ""
    """The domain's <metadata> as text, only fetched when a rule asks for it."""


def metadata_of(xml: str) -> str:
    """The <metadata> of a domain's XML as rules look at it: a text, not parsed; empty when there is none."""
    start, end = xml.find("<metadata"), xml.find("</metadata>")
    return xml[start:end] if 0 <= start < end else ""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk element of the domain XML."""

    target: str
    """The name inside the domain, unique: vda, sdb, …; follows no pattern."""
    device: str
    """disk, cdrom, floppy or lun."""
    bus: str
    source_type: str
    """file, block, volume, network, nvme, vhostuser, …; empty when there is no source."""
    format: str
    path: str | None = None
    pool: str | None = None
    volume: str | None = None
    read_only: bool = False
    transient: bool = False
    shareable: bool = False
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Bitmap:
    """A dirty bitmap stored in a qcow2 image."""

    name: str
    usable: bool
    """False when it is marked in use (not closed cleanly) or disabled."""


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU's tools say about an image and its backing chain."""

    path: str
    format: str
    virtual_size: int
    """Size of the disk that the VM sees [bytes]."""
    file_length: int
    """Length of the top image file [bytes]; the exact length of a raw disk."""
    compat: str | None = None
    """qcow2 only: 0.10 has no bitmaps, 1.1 has."""
    backing: tuple[str, ...] = ()
    """Files below the top image, nearest first."""
    bitmaps: tuple[Bitmap, ...] = ()
    internal_snapshots: int = 0


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """A disk of the domain together with its image; `image` is None when it was not looked at."""

    disk: Disk
    image: Image | None


@dataclass(frozen=True, slots=True)
class VmFacts:
    """All that a plan is made from, read at one time."""

    host: str
    uuid: VmId
    name: str
    state: DomainState
    persistent: bool
    autostart: bool
    managed_save: bool
    disks: tuple[DiskFacts, ...]
    checkpoints: tuple[str, ...]
    """Names of all checkpoints that libvirt lists, ours and others'."""
    agent_channel: str
    """`connected`, `disconnected` or `absent`."""
    tpm: str = ""
    """Kind of its TPM's backend: emulator, passthrough, …; empty when it has none."""
