"""What a backup will do, as data made from facts. Pure; nothing here asks a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vmtui.model.errors import RefusedError
from vmtui.model.ids import JobId, PointId, VmId
from vmtui.model.point import DiskKind, FullReason, LeftOut, Mode, PointDisk, RestorePoint
from vmtui.model.vm import Disk, DiskFacts, DomainState, Image, VmFacts

_READABLE = frozenset({"file", "block", "volume", "network"})
"""Sources that QEMU exports while the VM runs."""
_AT_REST = frozenset({"file", "block", "volume"})
"""Sources that can be read while the VM is off."""
MEDIA = frozenset({"cdrom", "floppy"})
"""Drives whose medium is taken only on request."""
_NO_BLOCK_JOBS = frozenset({"sd"})
"""Buses whose disks refuse block jobs."""


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What was asked for."""

    host: str
    vm: VmId
    name: str
    """The VM's name when it was asked for; for messages only."""
    mode: Mode
    full: bool = False
    media: bool = False
    """Take what is in the CD-ROM and floppy drives along."""


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """How one disk will be read."""

    target: str
    format: str
    kind: DiskKind
    reason: FullReason | None
    tracked: bool
    """The new checkpoint will record its changes."""
    path: str | None
    """Its image on the host; None for a network disk."""
    virtual_size: int | None
    """As the image says [bytes]; the export has the last word."""
    source_type: str
    bus: str
    pool: str | None = None
    volume: str | None = None
    file_length: int | None = None
    """Exact length of a raw image [bytes]."""
    backing: tuple[str, ...] = ()
    parent_root: str | None = None
    """Map of the same disk in the parent point; for incremental disks."""
    parent_size: int = 0

    def as_full(self, reason: FullReason) -> DiskPlan:
        """The same disk, read in full."""
        return replace(self, kind=DiskKind.FULL, reason=reason, parent_root=None, parent_size=0)


@dataclass(frozen=True, slots=True)
class Parent:
    """What is known of the VM's earlier points."""

    point: RestorePoint | None
    """The newest good one."""
    earlier: bool
    """There is any, good or not."""
    newer_damaged: bool = False
    """A newer point than that is damaged or lost."""
    checkpoint_usable: bool = False
    """libvirt knows the point's checkpoint."""


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """All that a run needs to know; plain data, so that another process can take it up."""

    run: JobId
    """The job's id; part of every name that the run leaves on the host."""
    request: BackupRequest
    mode: Mode
    """What will be done; hot becomes cold for a VM that is off."""
    name: str
    state: DomainState
    """As the VM was found."""
    persistent: bool
    autostart: bool
    disks: tuple[DiskPlan, ...]
    left_out: tuple[LeftOut, ...]
    parent: PointId | None
    parent_checkpoint: str | None
    checkpoint: str | None
    """Name of the new checkpoint; None when no disk can be tracked."""
    agent_channel: str
    warnings: tuple[str, ...] = ()
    obsolete_checkpoints: tuple[str, ...] = ()
    """Checkpoints of ours that no point needs; deleted when the run is accepted."""
    socket: str = ""
    scratch_folder: str = ""
    pools: Mapping[str, str] = field(default_factory=dict)
    """Folder of each pool that a disk lives in."""
    saw: tuple[str, ...] = ()
    """Records of named garbage that this run does not rely on."""
    managed_save: bool = False
    """The VM's memory was saved and goes with the disks."""


def effective_mode(request: BackupRequest, facts: VmFacts) -> Mode:
    """The mode that fits the VM's state.

    Raises:
        RefusedError: The VM cannot be backed up in the mode asked for.
    """
    if not facts.state.active:
        return Mode.COLD
    if request.mode is not Mode.COLD:
        return request.mode
    if not facts.persistent:
        raise RefusedError(
            "VM-NOT-BACKED-UP",
            f"{facts.name} is transient: it would disappear when it stops.",
            next_step="Back it up with --mode hot.",
        )
    if facts.state is not DomainState.RUNNING:
        raise RefusedError(
            "VM-NOT-BACKED-UP",
            f"{facts.name} is {facts.state}, so it cannot shut down by itself.",
            next_step="Resume it first, or back it up with --mode hot.",
        )
    return Mode.COLD


def plan_disks(
    facts: VmFacts, parent: Parent, mode: Mode, *, full: bool
) -> tuple[list[DiskPlan], list[LeftOut], list[str]]:
    """Decide for each disk how it is read and why.

    Returns:
        Disks to read, things left out, and warnings.
    """
    disks: list[DiskPlan] = []
    left_out: list[LeftOut] = []
    warnings: list[str] = []
    for item in facts.disks:
        why = _left_out(item.disk, mode)
        if why:
            left_out.append(LeftOut(item.disk.target, why))
            continue
        disks.append(_plan_disk(item, parent, mode, full=full))
        warnings += _warnings(item)
    return disks, left_out, warnings


def _left_out(disk: Disk, mode: Mode) -> str:
    """Why a disk does not take part; empty when it does."""
    allowed = _AT_REST if mode is Mode.COLD else _READABLE
    when = "while the VM is off" if mode is Mode.COLD else "by QEMU"
    reasons = (
        (disk.device in MEDIA, f"{disk.device}: {_medium(disk)}"),
        (not disk.source_type, "no source"),
        (disk.read_only, "read-only"),
        (disk.transient, "transient: libvirt refuses block jobs on it"),
        (disk.encrypted, "encrypted (LUKS): not supported yet"),
        (disk.bus in _NO_BLOCK_JOBS, f"on the {disk.bus} bus: libvirt refuses block jobs on it"),
        (disk.source_type not in allowed, f"source of type {disk.source_type} cannot be read {when}"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _medium(disk: Disk) -> str:
    where = disk.path or (f"{disk.pool}/{disk.volume}" if disk.volume else "")
    return f"{where}; taken on request (--with-media)" if where else "no medium"


def _plan_disk(item: DiskFacts, parent: Parent, mode: Mode, *, full: bool) -> DiskPlan:
    disk, image = item.disk, item.image
    raw = disk.format == "raw"
    plan = DiskPlan(
        target=disk.target,
        format=disk.format,
        kind=DiskKind.FULL,
        reason=None,
        tracked=_can_track(disk, image),
        path=image.path if image is not None else None,
        virtual_size=image.virtual_size if image is not None else None,
        source_type=disk.source_type,
        bus=disk.bus,
        pool=disk.pool,
        volume=disk.volume,
        file_length=image.file_length if raw and image is not None and disk.source_type != "block" else None,
        backing=image.backing if image is not None else (),
    )
    before = _in_parent(disk.target, parent)
    reason = _full_reason(plan, image, before, parent, mode, full=full)
    if reason is not None or before is None:
        return plan.as_full(reason or FullReason.ADDED)
    return replace(plan, kind=DiskKind.INCREMENTAL, parent_root=before.root, parent_size=before.virtual_size)


def _can_track(disk: Disk, image: Image | None) -> bool:
    return disk.format == "qcow2" and image is not None and image.compat != "0.10"


def _in_parent(target: str, parent: Parent) -> PointDisk | None:
    if parent.point is None:
        return None
    return next((disk for disk in parent.point.disks if disk.name == target), None)


def _full_reason(
    plan: DiskPlan, image: Image | None, before: PointDisk | None, parent: Parent, mode: Mode, *, full: bool
) -> FullReason | None:
    """Why a disk must be read in full; None when an increment is right."""
    reason = _never_tracked(plan, image)
    if reason is None and full:
        reason = FullReason.FORCED
    if reason is None:
        reason = _no_parent(before, parent)
    if reason is None and before is not None:
        reason = _not_from(plan, image, before, mode)
    return reason


def _never_tracked(plan: DiskPlan, image: Image | None) -> FullReason | None:
    """Why no image of this kind can be read incrementally."""
    if plan.format == "raw":
        return FullReason.RAW
    if image is not None and image.compat == "0.10":
        return FullReason.COMPAT
    return None if plan.tracked else FullReason.TRACKING_OFF


def _no_parent(before: PointDisk | None, parent: Parent) -> FullReason | None:
    """Why there is no point to compare this disk with."""
    if not parent.earlier:
        return FullReason.FIRST
    if parent.point is None or parent.newer_damaged:
        return FullReason.PARENT_GONE
    if before is None:
        return FullReason.ADDED
    if not before.tracked or parent.point.checkpoint is None or not parent.checkpoint_usable:
        return FullReason.BITMAP_LOST
    return None


def _not_from(plan: DiskPlan, image: Image | None, before: PointDisk, mode: Mode) -> FullReason | None:
    """Why this disk cannot be compared with what it was in the parent point."""
    if plan.virtual_size is not None and plan.virtual_size < before.virtual_size:
        return FullReason.SHRUNK
    if mode is Mode.COLD and not _same_chain(image, before):
        return FullReason.BITMAP_LOST
    return None


def _same_chain(image: Image | None, before: PointDisk) -> bool:
    """Whether the image and what is below it are those of the parent point.

    qemu-nbd offers one layer's bitmap only, so at rest an increment needs the chain of that time.
    """
    return image is not None and image.path == before.path and image.backing == before.backing


def usable_at_rest(image: Image, bitmap: str) -> bool:
    """Whether a bitmap in an image at rest is whole and recording."""
    return any(item.name == bitmap and item.usable for item in image.bitmaps)


def _warnings(item: DiskFacts) -> list[str]:
    warnings = []
    if item.image is not None and item.image.internal_snapshots and _can_track(item.disk, item.image):
        warnings.append(
            f"{item.disk.target} has {item.image.internal_snapshots} internal snapshot(s): while changes are tracked, "
            "QEMU refuses to revert to one and leaves the VM off."
        )
    if item.disk.shareable:
        warnings.append(f"{item.disk.target} is shareable: writes of other VMs are not tracked.")
    return warnings


def general_warnings(facts: VmFacts, *, encrypted: bool) -> list[str]:
    """What the operator should know before the VM as a whole is taken. Pure.

    Args:
        facts: Of the VM.
        encrypted: Whether the repository is.
    """
    warnings = []
    saved = facts.managed_save and not facts.state.active
    if saved:
        warnings.append(
            f"{facts.name} has saved memory (managed save), which is taken with the disks: brought back as itself it wakes "
            "where it slept; a new VM made from this point starts anew, as after a power cut."
        )
    secret = [*(["the TPM's state"] if facts.tpm == "emulator" else []), *(["saved memory"] if saved else [])]
    if secret and not encrypted:
        warnings.append(
            f"{' and '.join(secret)} of {facts.name} may hold keys, and this repository is not encrypted: whoever can read it, "
            "has them."
        )
    return warnings


def check_worth(facts: VmFacts, disks: list[DiskPlan], left_out: list[LeftOut]) -> None:
    """Return if there is something to back up.

    Raises:
        RefusedError: Every disk is left out; the VM has none at all is fine, its definition is worth a point.
    """
    real = [item for item in left_out if not item.reason.startswith(("cdrom", "floppy"))]
    if not disks and real:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in real)
        raise RefusedError("VM-NOT-BACKED-UP", f"No disk of {facts.name} can be backed up: {reasons}.")
