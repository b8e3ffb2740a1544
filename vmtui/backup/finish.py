"""The end of every backup: small files, then the commit that makes the point exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from xml.etree.ElementTree import Element

from vmtui.backup.context import BackupContext
from vmtui.backup.plan import MEDIA, BackupPlan, DiskPlan
from vmtui.backup.state import State, store_file
from vmtui.backup.transfer import DiskRead
from vmtui.failpoint import failpoint
from vmtui.hosts import belongings, checkpoints, domain_xml
from vmtui.hosts.domain_xml import BootFile
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError
from vmtui.model.ids import PointId
from vmtui.model.point import (
    CapturedFile,
    Checkpoint,
    Consistency,
    LeftOut,
    PointDisk,
    Record,
    RestorePoint,
    Role,
)
from vmtui.model.vm import Disk
from vmtui.repository import BlobWriter, PointName, store_stream

_FILE_LIMIT = 512 << 20
"""A kernel or initrd beyond this is left out [bytes]."""
_MEDIUM_LIMIT = 16 << 30
"""A CD-ROM image beyond this is left out even on request [bytes]."""
_SNAPSHOT = "its description is kept as a record; the point is of the disks as they are now, without what it froze"


@dataclass(frozen=True, slots=True)
class Collected:
    """Files that belong to the VM besides its disks."""

    files: tuple[CapturedFile, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...] = ()
    snapshots: tuple[Record, ...] = ()
    other_checkpoints: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the steps before the commit found out."""

    point: PointId
    time: datetime
    consistency: Consistency
    consistency_reason: str
    frozen_ms: int
    disks: Sequence[DiskPlan]
    reads: Sequence[DiskRead]
    tracked: bool
    """The plan's checkpoint was made."""
    versions: Mapping[str, str]


def collect(context: BackupContext, plan: BackupPlan, state: State, writer: BlobWriter) -> Collected:
    """Take kernel, initrd, device tree and loader where the host has them as files, and media if wanted. Safe to repeat.

    What cannot be read is named on the point; it does not cost the disks that were read.

    Args:
        context: Of the run.
        plan: Of the run.
        state: Firmware and TPM, which were taken at the instant of the point.
        writer: Where blocks go.

    Raises:
        UnreachableError: Host or repository do not answer.
    """
    context.watch.phase("collect")
    definition = context.definition(plan.request.vm)
    root = domain_xml.parse(definition.live or definition.inactive)
    files = list(state.files)
    left_out = list(state.left_out)
    for item in domain_xml.boot_files(root):
        _take(context, item.role, partial(_small, context, item, writer), files, left_out)
    if plan.request.media:
        for disk in _media(root):
            _take(context, disk.target, partial(_medium, context, plan, disk, writer), files, left_out)
    left_out += [LeftOut(name, why, disk=False) for name, why in domain_xml.host_belongings(root)]
    domain = Domain(context.session, plan.request.vm)
    snapshots = belongings.snapshots(domain)
    left_out += [LeftOut(f"snapshot {item.name}", _SNAPSHOT, disk=False) for item in snapshots]
    others = belongings.checkpoints_of_others(domain, checkpoints.own_prefix(context.repository.id))
    failpoint("backup.collected")
    return Collected(tuple(files), tuple(left_out), state.warnings, snapshots, others)


def _take(
    context: BackupContext,
    name: str,
    read: Callable[[], CapturedFile],
    files: list[CapturedFile],
    left_out: list[LeftOut],
) -> None:
    try:
        files.append(read())
    except FailedError as error:
        left_out.append(LeftOut(name, error.cause, disk=False))
        context.watch.note(f"{name} was not taken: {error.cause}")


def _small(context: BackupContext, item: BootFile, writer: BlobWriter) -> CapturedFile:
    data = context.session.files.read(item.path, _FILE_LIMIT)
    return CapturedFile(
        item.role, item.path, len(data), store_stream(data, writer, context.repository.block_size).hex()
    )


def _media(root: Element) -> list[Disk]:
    """Drives with a medium that is a file or a volume."""
    return [
        disk
        for disk in domain_xml.disks(root)
        if disk.device in MEDIA and disk.source_type in ("file", "volume") and (disk.path or disk.volume)
    ]


def _medium(context: BackupContext, plan: BackupPlan, disk: Disk, writer: BlobWriter) -> CapturedFile:
    path = Domain(context.session, plan.request.vm).image_path(disk)
    info = context.session.files.info(path)
    if info is not None and info.size > _MEDIUM_LIMIT:
        raise FailedError(
            "REMOTE-COMMAND", f"{path} on {context.session.host.name} has {info.size} bytes, more than {_MEDIUM_LIMIT}."
        )
    size, root = store_file(context, plan.run, path, writer, f"medium {disk.target}")
    return CapturedFile(Role.MEDIUM, path, size, root, part=disk.target)


def commit(
    context: BackupContext,
    plan: BackupPlan,
    outcome: Outcome,
    collected: Collected,
    started: datetime,
    writer: BlobWriter,
) -> RestorePoint:
    """Make the point exist: packs, index, manifest, each durable before the next. Safe to repeat.

    Raises:
        FailedError: No space is left; there is no point.
        UnreachableError: Host or repository do not answer; there is no point.
    """
    context.watch.phase("commit")
    name = PointName(plan.request.vm, outcome.point)
    if context.repository.points.exists(name):
        return context.repository.points.load_committed(name)
    writer.settle()
    context.repository.session(plan.run).require(context.now())
    checkpoint = _checkpoint(context, plan) if outcome.tracked else None
    definition = context.definition(plan.request.vm)
    point = RestorePoint(
        id=outcome.point,
        repository=context.repository.id,
        vm_uuid=plan.request.vm,
        vm_name=plan.name,
        host=plan.request.host,
        time=outcome.time,
        mode=plan.mode,
        consistency=outcome.consistency,
        consistency_reason=outcome.consistency_reason,
        disks=tuple(
            _point_disk(disk, read, tracked=checkpoint is not None and disk.tracked)
            for disk, read in zip(outcome.disks, outcome.reads, strict=True)
        ),
        left_out=_still_left_out(plan, collected),
        files=collected.files,
        xml_inactive=definition.inactive,
        xml_live=definition.live,
        checkpoint=checkpoint,
        parent=plan.parent,
        job=plan.run,
        autostart=plan.autostart,
        frozen_ms=outcome.frozen_ms,
        started=started,
        finished=context.now(),
        versions=outcome.versions,
        warnings=plan.warnings + collected.warnings,
        pools=plan.pools,
        saw=plan.saw,
        snapshots=collected.snapshots,
        other_checkpoints=collected.other_checkpoints,
    )
    context.repository.points.commit(point)
    return point


def _still_left_out(plan: BackupPlan, collected: Collected) -> tuple[LeftOut, ...]:
    """What the plan left out and was not taken on request after all."""
    taken = {item.part for item in collected.files if item.role == Role.MEDIUM}
    return tuple(item for item in plan.left_out if item.name not in taken) + collected.left_out


def _checkpoint(context: BackupContext, plan: BackupPlan) -> Checkpoint | None:
    if plan.checkpoint is None:
        return None
    return checkpoints.describe(Domain(context.session, plan.request.vm), plan.checkpoint)


def _point_disk(disk: DiskPlan, read: DiskRead, *, tracked: bool) -> PointDisk:
    return PointDisk(
        name=disk.target,
        format=disk.format,
        virtual_size=read.size,
        root=read.root,
        kind=disk.kind,
        reason=disk.reason,
        read_bytes=read.read_bytes,
        new_bytes=read.new_bytes,
        stored_bytes=read.stored_bytes,
        file_length=disk.file_length,
        tracked=tracked,
        source_type=disk.source_type,
        path=disk.path,
        pool=disk.pool,
        volume=disk.volume,
        bus=disk.bus,
        backing=disk.backing,
    )
