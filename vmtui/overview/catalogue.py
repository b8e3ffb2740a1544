"""Points by name: which VMs have some, and what `VM@latest` and `VM@good` mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from vmtui.model.errors import DamageError, UsageError
from vmtui.model.ids import PointId, VmId, id_instant, is_host_subject
from vmtui.model.point import PointStatus
from vmtui.overview.points import who_is
from vmtui.overview.words import local, unknown

if TYPE_CHECKING:
    from vmtui.repository import PointName, Repository

_LATEST = "latest"
_GOOD = "good"


@dataclass(frozen=True, slots=True)
class KnownVm:
    """A VM as its points know it."""

    uuid: VmId
    name: str
    host: str
    points: int
    newest_good: datetime | None
    """Instant of consistency [UTC]."""
    newest_good_id: PointId | None


def known_vms(repository: Repository) -> dict[VmId, KnownVm]:
    """VMs that have points, by UUID.

    Raises:
        UnreachableError: The repository cannot be read.
    """
    from vmtui.repository import newest_good

    statuses = repository.points.statuses()
    result: dict[VmId, KnownVm] = {}
    for vm, names in by_vm(of_vms(repository.points.names())).items():
        good = newest_good(names, statuses)
        host, name = _who(repository, names)
        result[vm] = KnownVm(
            uuid=vm,
            name=name,
            host=host,
            points=len(names),
            newest_good=id_instant(good.id) if good is not None else None,
            newest_good_id=good.id if good is not None else None,
        )
    return result


def of_vms(names: Iterable[PointName]) -> list[PointName]:
    """Points of VMs, without those of hosts' own configuration."""
    return [name for name in names if not is_host_subject(name.vm)]


def by_vm(names: Sequence[PointName]) -> dict[VmId, list[PointName]]:
    """Points of each VM, oldest first."""
    groups: dict[VmId, list[PointName]] = {}
    for name in names:
        groups.setdefault(name.vm, []).append(name)
    return groups


def _who(repository: Repository, names: Sequence[PointName]) -> tuple[str, str]:
    """(host, name) of a VM by its newest readable manifest, or by the history beside an unreadable one."""
    for name in reversed(names):
        try:
            point = repository.points.load(name)
        except DamageError:
            continue
        return point.host, point.vm_name
    for name in reversed(names):
        host, slash, vm = who_is(repository, name).partition("/")
        if slash:
            return host, vm
    return "?", str(names[-1].vm)


def find_point(repository: Repository, text: str) -> PointName:
    """A point by its id, an unambiguous start of it, or `[host/]VM@latest`, or `[host/]VM@good`: the newest
    that is there and has no known damage.

    Raises:
        UsageError: There is none, or several.
        DamageError: It was committed and its manifest is gone, or it has known damage.
    """
    vm, at, which = text.rpartition("@")
    if at:
        if which not in (_LATEST, _GOOD):
            raise UsageError("NAME-UNKNOWN", f"{text!r}: only VM@latest and VM@good are known after an @.")
        return _latest(repository, vm) if which == _LATEST else _newest_good(repository, vm)
    everything = sorted({*repository.points.names(), *repository.points.lost()}, key=lambda name: name.id)
    found = [name for name in everything if name.id == text] or [
        name for name in everything if name.id.startswith(text) and text
    ]
    if not found:
        raise unknown("point", text, [name.id for name in everything])
    if len(found) > 1:
        ids = ", ".join(name.id for name in found[:10])
        raise UsageError("NAME-AMBIGUOUS", f"Several points start with {text!r}: {ids}.")
    _check_there(repository, found[0])
    return found[0]


@dataclass(frozen=True, slots=True)
class Choice:
    """A point to bring back, and why it is not a newer one."""

    name: PointName
    passed_over: str = ""
    """Newer points that were left because of known damage, in words; empty where nothing was chosen for the operator."""


def choose_point(repository: Repository, text: str) -> Choice:
    """A point to bring back: as `find_point` finds it; a VM's name alone means its newest good point.

    Raises:
        UsageError: There is none, or several.
        DamageError: It was committed and its manifest is gone, or it has known damage.
    """
    try:
        name = find_point(repository, text)
    except UsageError as error:
        if "@" in text or error.id != "NAME-UNKNOWN" or not _is_vm(repository, text):
            raise
        text = f"{text}@{_GOOD}"
        name = find_point(repository, text)
    vm, _, which = text.rpartition("@")
    return Choice(name, _passed_over(repository, vm, name) if which == _GOOD else "")


def _is_vm(repository: Repository, text: str) -> bool:
    try:
        find_vm(repository, text)
    except UsageError as error:
        return error.id == "NAME-AMBIGUOUS"  # then that is what has to be said
    return True


def _passed_over(repository: Repository, vm: str, chosen: PointName) -> str:
    """Why the newest good point is not the newest."""
    newer = [name for name in find_vm(repository, vm) if name.id > chosen.id]
    if not newer:
        return ""
    reasons = []
    for name in reversed(newer):
        lost = not repository.points.exists(name)
        reasons.append(f"{name.id} ({'its manifest is gone' if lost else repository.points.status(name).damaged})")
    return (
        f"{vm}: {chosen.id} of {local(id_instant(chosen.id))} is the newest good point; newer with known damage: "
        + ("; ".join(reasons))
    )


def find_vm(repository: Repository, text: str) -> list[PointName]:
    """All points, lost ones included, of a VM by `name` or `host/name`, oldest first.

    A VM that was deleted and made anew has another UUID; points of both are found.

    Raises:
        UsageError: No points, or VMs of that name on several hosts.
    """
    everything = sorted(of_vms({*repository.points.names(), *repository.points.lost()}))
    groups = by_vm(everything)
    who = {vm: _who(repository, names) for vm, names in groups.items()}
    host, slash, short = text.partition("/")
    if not slash:
        host, short = "", text
    found = [vm for vm, (its_host, name) in who.items() if name == short and host in ("", its_host)]
    if not found:
        raise unknown("VM with points", text, {name for _, name in who.values()})
    hosts = {who[vm][0] for vm in found}
    if len(hosts) > 1:
        raise UsageError(
            "NAME-AMBIGUOUS", f"VMs named {short!r} of several hosts have points: {', '.join(sorted(hosts))}."
        )
    return sorted((name for vm in found for name in groups[vm]), key=lambda name: name.id)


def _latest(repository: Repository, vm: str) -> PointName:
    name = find_vm(repository, vm)[-1]
    _check_there(repository, name)
    status: PointStatus = repository.points.status(name)
    if status.damaged:
        raise DamageError(
            "POINT-DAMAGED",
            f"The newest point {name.id} has known damage: {status.damaged}",
            next_step=f"Take the newest without damage, {vm}@good, or choose by id: vmtui points {vm}",
            point=name.id,
        )
    return name


def _newest_good(repository: Repository, vm: str) -> PointName:
    from vmtui.repository import newest_good

    there = [name for name in find_vm(repository, vm) if repository.points.exists(name)]
    good = newest_good(there, repository.points.statuses())
    if good is None:
        raise DamageError("POINT-DAMAGED", f"Every point of {vm} is lost or has known damage.")
    return good


def _check_there(repository: Repository, name: PointName) -> None:
    if not repository.points.exists(name):
        raise DamageError(
            "POINT-MISSING", f"The point {name.id} was committed, and its manifest is gone.", point=name.id
        )
