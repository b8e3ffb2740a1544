"""The end of every backup: small files, then the commit that makes the point exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from vmtui.backup.context import BackupContext
from vmtui.backup.plan import BackupPlan, DiskPlan
from vmtui.backup.transfer import DiskRead
from vmtui.failpoint import failpoint
from vmtui.hosts import checkpoints, domain_xml
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError
from vmtui.model.ids import PointId
from vmtui.model.point import (
    CapturedFile,
    Checkpoint,
    Consistency,
    LeftOut,
    PointDisk,
    RestorePoint,
)
from vmtui.repository import BlobWriter, PointName, store_stream

_FILE_LIMIT = 512 << 20
"""A kernel or initrd beyond this is left out [bytes]."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Files that belong to the VM besides its disks."""

    files: tuple[CapturedFile, ...]
    left_out: tuple[LeftOut, ...]


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


def collect(context: BackupContext, plan: BackupPlan, writer: BlobWriter) -> Collected:
    """Take NVRAM, kernel, initrd and device tree where the host has them as files. Safe to repeat.

    What cannot be read is named on the point; it does not cost the disks that were read.

    Raises:
        UnreachableError: Host or repository do not answer.
    """
    context.watch.phase("collect")
    definition = context.definition(plan.request.vm)
    root = domain_xml.parse(definition.live or definition.inactive)
    files: list[CapturedFile] = []
    left_out: list[LeftOut] = []
    for item in domain_xml.boot_files(root):
        try:
            data = context.session.files.read(item.path, _FILE_LIMIT)
        except FailedError as error:
            left_out.append(LeftOut(item.role, error.cause))
            context.watch.note(f"{item.role} was not taken: {error.cause}")
            continue
        node = store_stream(data, writer, context.repository.block_size)
        files.append(CapturedFile(item.role, item.path, len(data), node.hex()))
    failpoint("backup.collected")
    return Collected(tuple(files), tuple(left_out))


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
        return context.repository.points.load(name)
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
        left_out=plan.left_out + collected.left_out,
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
        warnings=plan.warnings,
        pools=plan.pools,
        saw=plan.saw,
    )
    context.repository.points.commit(point)
    return point


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
