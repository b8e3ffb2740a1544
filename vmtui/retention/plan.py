"""The plan of a prune: what becomes of every point, and why. Nothing is changed.

A plan is made at an instant, and made again at the same instant when it is carried out. So hours in the queue
move no border between two days, and points that were made meanwhile change nothing about the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import groupby

from vmtui.model.errors import DamageError
from vmtui.model.ids import PointId, VmId, id_instant, is_host_subject
from vmtui.model.point import PointStatus, RestorePoint
from vmtui.model.settings import Settings
from vmtui.model.vm import DomainState, Vm, metadata_of
from vmtui.policy import Assignment, Candidate, Decision, assign, decide
from vmtui.repository import PointName, Repository


@dataclass(frozen=True, slots=True)
class ChosenPoint:
    """A point that the operator agreed to lose."""

    vm: VmId
    point: PointId


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """What was asked for."""

    at: datetime
    """The instant that the plan was made at [UTC]."""
    points: tuple[ChosenPoint, ...]


@dataclass(frozen=True, slots=True)
class PlannedPoint:
    """What becomes of a point."""

    vm: VmId
    id: PointId
    host: str
    name: str
    """The VM's name, as its newest readable manifest knows it."""
    tier: str | None
    """None for a VM that a rule exempts."""
    time: datetime
    keep: bool
    reasons: tuple[str, ...]
    stored_bytes: int
    """Written when it was made; blocks that other points need stay."""

    @property
    def path(self) -> str:
        """host/name of its VM."""
        return f"{self.host}/{self.name}"


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What becomes of all points."""

    at: datetime
    points: tuple[PlannedPoint, ...]
    """VM by VM, newest first."""
    unfinished: int
    """Deletions that an earlier run began and did not end."""

    @property
    def go(self) -> tuple[PlannedPoint, ...]:
        """What would be deleted."""
        return tuple(point for point in self.points if not point.keep)

    @property
    def request(self) -> PruneRequest:
        """What to ask for to have it carried out."""
        return PruneRequest(self.at, tuple(ChosenPoint(point.vm, point.id) for point in self.go))


@dataclass(frozen=True, slots=True)
class _Read:
    """A point as far as it can be read."""

    name: PointName
    status: PointStatus
    manifest: RestorePoint | None

    @property
    def time(self) -> datetime:
        return self.manifest.time if self.manifest is not None else id_instant(self.name.id)

    @property
    def candidate(self) -> Candidate:
        return Candidate(
            id=self.name.id,
            time=self.time,
            damaged=bool(self.status.damaged),
            held=self.status.held,
            readable=self.manifest is not None,
        )


def make_plan(
    repository: Repository,
    settings: Settings,
    at: datetime,
    zone: tzinfo | None,
    used: Mapping[PointName, str],
    only: Collection[VmId] | None = None,
) -> PrunePlan:
    """Decide about all points, or those of some VMs.

    Args:
        repository: Its points.
        settings: Tiers and rules; a VM has the tier that its newest readable manifest gives it.
        at: The instant that counts as now [UTC].
        zone: Whose days and months count; None is this machine's.
        used: Points that jobs work with, and the words for it; they stay for now.
        only: VMs; all when None.

    Raises:
        UnreachableError: The repository cannot be read.
    """
    statuses = repository.points.statuses()
    names = [name for name in repository.points.names() if only is None or name.vm in only]
    planned: list[PlannedPoint] = []
    for vm, own in groupby(names, key=lambda name: name.vm):
        read = [_Read(name, statuses.get(name, PointStatus()), _manifest(repository, name)) for name in own]
        planned += _of_vm(vm, read, settings, at, zone, used)
    return PrunePlan(at, tuple(planned), len(repository.points.marked()))


def _manifest(repository: Repository, name: PointName) -> RestorePoint | None:
    try:
        return repository.points.load(name)
    except DamageError:
        return None


def _of_vm(
    vm: VmId,
    points: Sequence[_Read],
    settings: Settings,
    at: datetime,
    zone: tzinfo | None,
    used: Mapping[PointName, str],
) -> list[PlannedPoint]:
    newest = next((point.manifest for point in reversed(points) if point.manifest is not None), None)
    assignment = _assignment(newest, settings)
    by_id = {point.name.id: point for point in points}
    result = []
    for decision in _decisions(assignment, points, at, zone):
        point = by_id[decision.id]
        busy = used.get(point.name, "") if not decision.keep else ""
        result.append(
            PlannedPoint(
                vm=vm,
                id=decision.id,
                host=newest.host if newest is not None else "?",
                name=newest.vm_name if newest is not None else str(vm),
                tier=assignment.tier.name if assignment.tier is not None else None,
                time=point.time,
                keep=decision.keep or bool(busy),
                reasons=(busy,) if busy else decision.reasons,
                stored_bytes=sum(disk.stored_bytes for disk in point.manifest.disks) if point.manifest else 0,
            )
        )
    return result


def _assignment(newest: RestorePoint | None, settings: Settings) -> Assignment:
    """A VM's tier by what its manifest says of it; it may not be on any host any more."""
    if newest is None:
        return Assignment(None, "no manifest can be read")
    if is_host_subject(newest.vm_uuid):
        return Assignment(settings.tiers[settings.default_tier])  # rules are about VMs
    metadata = metadata_of(newest.xml_inactive or newest.xml_live)
    vm = Vm(newest.host, newest.vm_name, newest.vm_uuid, DomainState.NO_STATE, metadata)
    return assign(vm, settings.rules, settings.tiers, settings.default_tier)


def _decisions(
    assignment: Assignment, points: Sequence[_Read], at: datetime, zone: tzinfo | None
) -> tuple[Decision, ...]:
    if assignment.tier is None:
        reason = f"exempt: {assignment.exempt}"
        return tuple(Decision(point.name.id, True, (reason,)) for point in reversed(points))
    return decide([point.candidate for point in points], assignment.tier.keep, at, zone)
