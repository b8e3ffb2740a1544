"""VMs against their recovery points: what could be lost, worst first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vmtui.model.ids import PointId, VmId
from vmtui.model.policy import Protection, Status
from vmtui.model.settings import Settings
from vmtui.model.vm import DomainState, Vm
from vmtui.overview.catalogue import KnownVm
from vmtui.policy import Assignment, assign, protection

UNREACHABLE = "unreachable"
GONE = "gone"

_ORDER = list(Status)


@dataclass(frozen=True, slots=True)
class VmRow:
    """A VM as lists show it."""

    host: str
    name: str
    uuid: VmId
    state: str
    """libvirt's word, or `unreachable`, or `gone`."""
    assignment: Assignment
    stand: Protection
    points: int = 0
    newest: datetime | None = None
    """Instant of consistency of the newest good point [UTC]."""
    last_point: PointId | None = None
    twin: bool = False
    """The same UUID is on another host as well."""

    @property
    def id(self) -> str:
        """Names the row, whatever its place."""
        return f"{self.host}/{self.uuid}"

    @property
    def path(self) -> str:
        """host/name."""
        return f"{self.host}/{self.name}"

    def at(self, clock: datetime) -> VmRow:
        """The same row at another instant."""
        unknown = self.stand.reason if self.stand.status is Status.UNKNOWN else ""
        if self.state == GONE:
            return replace(self, stand=_gone(self.newest, clock))
        return replace(self, stand=protection(self.assignment, self.newest, clock, unknown=unknown))


def vm_rows(
    settings: Settings,
    vms: Iterable[Vm],
    away: Mapping[str, str],
    known: Mapping[VmId, KnownVm],
    clock: datetime,
    unknown: str = "",
) -> list[VmRow]:
    """All VMs, those on hosts that are away and those that are gone among them, worst first.

    Args:
        settings: Rules, tiers.
        vms: What the hosts said; for a host that is away, its last answer or nothing.
        away: Why hosts do not answer, by host.
        known: VMs that have points.
        clock: Now [UTC].
        unknown: Why the repository cannot be read; empty when it can.
    """
    seen = list(vms)
    count = Counter(vm.uuid for vm in seen)
    rows = [_row(settings, vm, known.get(vm.uuid), clock, unknown, away, twin=count[vm.uuid] > 1) for vm in seen]
    for uuid, item in known.items():
        if uuid in count:
            continue
        vm = Vm(item.host, item.name, item.uuid, DomainState.NO_STATE)
        if item.host in away:
            rows.append(_row(settings, vm, item, clock, unknown, away, twin=False))
        else:
            rows.append(
                VmRow(
                    host=item.host,
                    name=item.name,
                    uuid=uuid,
                    state=GONE,
                    assignment=Assignment(None, "gone"),
                    stand=_gone(item.newest_good, clock),
                    points=item.points,
                    newest=item.newest_good,
                    last_point=item.newest_good_id,
                )
            )
    rows.sort(key=urgency)
    return rows


def _row(
    settings: Settings,
    vm: Vm,
    known: KnownVm | None,
    clock: datetime,
    unknown: str,
    away: Mapping[str, str],
    *,
    twin: bool,
) -> VmRow:
    assignment = assign(vm, settings.rules, settings.tiers, settings.default_tier)
    newest = known.newest_good if known is not None else None
    reason = unknown or (f"{vm.host} does not answer" if vm.host in away else "")
    return VmRow(
        host=vm.host,
        name=vm.name,
        uuid=vm.uuid,
        state=UNREACHABLE if vm.host in away else vm.state.value,
        assignment=assignment,
        stand=protection(assignment, newest, clock, unknown=reason),
        points=known.points if known is not None else 0,
        newest=newest,
        last_point=known.newest_good_id if known is not None else None,
        twin=twin,
    )


def _gone(newest: datetime | None, clock: datetime) -> Protection:
    age_s = None if newest is None else (clock - newest).total_seconds()
    return Protection(Status.EXEMPT, None, None, age_s, None, "gone; its points can be restored")


def urgency(row: VmRow) -> tuple[int, float, str, str]:
    """Sorts never first, then breached, and unknown above their RPO, by ratio, then the rest."""
    ratio = row.stand.ratio or 0.0
    rank = _ORDER.index(row.stand.status)
    if row.stand.status is Status.UNKNOWN and ratio > 1:
        rank = _ORDER.index(Status.BREACHED)
    return rank, -ratio, row.host, row.name


def needs_attention(row: VmRow) -> bool:
    """Whether somebody should look at it."""
    return row.stand.status in (Status.NEVER, Status.BREACHED, Status.UNKNOWN) or row.twin


def count_by_status(rows: Sequence[VmRow]) -> dict[Status, int]:
    """How many VMs stand where; every status is there."""
    counts = Counter(row.stand.status for row in rows)
    return {status: counts[status] for status in Status}
