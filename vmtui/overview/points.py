"""Restore points as lists and pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vmtui.model.codec import format_instant, to_plain
from vmtui.model.errors import DamageError
from vmtui.model.ids import PointId, VmId, id_instant
from vmtui.model.point import EventKind, LeftOut, PointDisk, PointStatus, RestorePoint
from vmtui.model.rehearsal import Rehearsal

if TYPE_CHECKING:
    from vmtui.repository import PointName, Repository


@dataclass(frozen=True, slots=True)
class FileView:
    """A captured file."""

    role: str
    path: str
    size: int
    part: str = ""

    @property
    def label(self) -> str:
        """Which file it is, for people."""
        return f"{self.role} {self.part}".rstrip()


@dataclass(frozen=True, slots=True)
class PointView:
    """A point without its definition, which may hold passwords."""

    id: PointId
    uuid: VmId
    vm: str
    host: str
    time: datetime
    mode: str
    """Empty when the manifest cannot be read."""
    consistency: str
    consistency_reason: str
    disks: tuple[PointDisk, ...]
    left_out: tuple[LeftOut, ...]
    files: tuple[FileView, ...]
    verified: datetime | None
    damaged: str
    parent: PointId | None
    checkpoint: str | None
    frozen_ms: int
    seconds: float
    job: str
    versions: Mapping[str, str]
    warnings: tuple[str, ...]
    held: str | None = None
    """Why no rule may prune it; None when nobody holds it."""
    snapshots: tuple[str, ...] = ()
    """Names of snapshots whose description is kept as a record."""
    other_checkpoints: tuple[str, ...] = ()
    """Names of other programs' checkpoints, kept likewise."""
    autostart: bool = False
    """The VM starts with its host."""
    rehearsed: Rehearsal | None = None
    """The newest rehearsal, whatever its verdict. One that failed does not make the point bad: its data is what it was."""
    proven: Rehearsal | None = None
    """The newest rehearsal in which it booted."""

    @property
    def good(self) -> bool:
        """Whether it can be restored as far as is known."""
        return not self.damaged

    @property
    def left_out_disks(self) -> tuple[LeftOut, ...]:
        """Disks that it does not hold; media that belong to nobody are not meant."""
        return tuple(item for item in self.left_out if item.disk and not item.reason.startswith(("cdrom", "floppy")))

    @property
    def virtual_size(self) -> int:
        """Size of all its disks as the VM sees them [bytes]."""
        return sum(disk.virtual_size for disk in self.disks)

    @property
    def new_bytes(self) -> int:
        """What the repository did not have."""
        return sum(disk.new_bytes for disk in self.disks)

    @property
    def stored_bytes(self) -> int:
        """What was written to the repository."""
        return sum(disk.stored_bytes for disk in self.disks)


def view_of(point: RestorePoint, status: PointStatus) -> PointView:
    """What is shown of a manifest and its history."""
    return PointView(
        id=point.id,
        uuid=point.vm_uuid,
        vm=point.vm_name,
        host=point.host,
        time=point.time,
        mode=point.mode.value,
        consistency=point.consistency.value,
        consistency_reason=point.consistency_reason,
        disks=point.disks,
        left_out=point.left_out,
        files=tuple(FileView(item.role, item.path, item.size, item.part) for item in point.files),
        verified=status.verified,
        damaged=status.damaged,
        parent=point.parent,
        checkpoint=point.checkpoint.name if point.checkpoint is not None else None,
        frozen_ms=point.frozen_ms,
        seconds=round((point.finished - point.started).total_seconds(), 3),
        job=point.job,
        versions=point.versions,
        warnings=point.warnings,
        held=status.held,
        snapshots=tuple(item.name for item in point.snapshots),
        other_checkpoints=tuple(item.name for item in point.other_checkpoints),
        autostart=point.autostart,
        rehearsed=status.rehearsed,
        proven=status.proven,
    )


def unreadable(name: PointName, who: str, cause: str) -> PointView:
    """A point whose manifest is gone or damaged.

    Args:
        name: The point.
        who: host/name of its VM, as far as its history tells.
        cause: What is wrong.
    """
    host, _, vm = who.partition("/")
    return PointView(
        id=name.id,
        uuid=name.vm,
        vm=vm or str(name.vm),
        host=host if vm else "?",
        time=id_instant(name.id),
        mode="",
        consistency="",
        consistency_reason="",
        disks=(),
        left_out=(),
        files=(),
        verified=None,
        damaged=cause,
        parent=None,
        checkpoint=None,
        frozen_ms=0,
        seconds=0.0,
        job="",
        versions={},
        warnings=(),
    )


def load_view(repository: Repository, name: PointName, status: PointStatus) -> PointView:
    """A point as it is shown; one that cannot be read is shown as damaged."""
    try:
        return view_of(repository.points.load(name), status)
    except DamageError as error:
        return replace(unreadable(name, who_is(repository, name), error.cause), held=status.held)


def with_status(view: PointView, status: PointStatus) -> PointView:
    """A readable point with what its history says by now; the same object when that is nothing new."""
    news = {name: getattr(status, name) for name in ("verified", "damaged", "held", "rehearsed", "proven")}
    return view if all(getattr(view, name) == value for name, value in news.items()) else replace(view, **news)


def who_is(repository: Repository, name: PointName) -> str:
    """host/name of a point's VM by the history beside an unreadable manifest; empty when that is gone as well."""
    try:
        events = repository.points.history(name)
    except DamageError:
        return ""
    return next((event.detail for event in events if event.kind is EventKind.COMMITTED), "")


def point_json(view: PointView) -> dict[str, Any]:
    """A point in the words of the JSON contract."""
    plain: dict[str, Any] = to_plain(view)
    readable = bool(view.mode)
    known = {"vm": view.vm, "host": view.host, "time": format_instant(view.time)}
    unread = dict.fromkeys(("vm", "host", "time", "mode", "consistency"))
    return plain | (known if readable else unread)
