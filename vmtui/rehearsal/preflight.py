"""Whether a rehearsal can be carried out at all. What fails here says nothing about the point."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from xml.etree.ElementTree import Element

from vmtui.hosts import HostSession, capabilities, domain_xml, storage, throwaway
from vmtui.hosts.fitness import machine_checks
from vmtui.model.codec import format_instant
from vmtui.model.errors import RefusedError
from vmtui.model.ids import JobId
from vmtui.model.point import RestorePoint, Role
from vmtui.model.progress import Check
from vmtui.model.rehearsal import Network
from vmtui.rehearsal.context import RehearsalContext
from vmtui.rehearsal.markers import Marker, MarkerKind, parse_marker
from vmtui.rehearsal.plan import RehearsalDisk, RehearsalPlan, RehearsalRequest
from vmtui.repository.verify import check_containers

_KEPT_SHARE = 20
"""One part in so many of the host's memory is left to it."""
_LEAST_SHARE = 4
"""A VM that would get less than one part in so many of its memory is not tried."""
_LEAST_ROOM = 256 << 20
_MOST_ROOM = 16 << 30
_UNITS = {"b": 0, "bytes": 0, "k": 10, "kib": 10, "m": 20, "mib": 20, "g": 30, "gib": 30, "t": 40, "tib": 40}


def prepare(context: RehearsalContext, run: JobId, request: RehearsalRequest) -> RehearsalPlan:
    """Check everything and plan. Nothing is changed. Safe to repeat.

    Raises:
        DamageError: The point is missing something or damaged.
        UnreachableError: Host or repository do not answer.
        UsageError: What to wait for cannot be read.
    """
    marker = parse_marker(request.wait)
    context.watch.phase("preflight")
    context.repository.sync()
    point = context.point(request)
    packs = check_containers(context.repository, point, context.watch)
    session = context.session
    domain = domain_xml.parse(point.xml_inactive or point.xml_live)
    plan = RehearsalPlan(
        run=run,
        request=request,
        origin=f"{point.host}/{point.vm_name}",
        point_time=format_instant(point.time),
        parent=_parent(session, point),
        memory_kib=0,
        own_memory_kib=_memory_kib(domain),
        room=0,
        disks=tuple(RehearsalDisk(disk.name, disk.virtual_size, disk.root) for disk in point.disks),
        checks=(Check("point", True, f"{point.id} needs {packs} packs, all there with sound directories"),),
    )
    checks = [
        *machine_checks(session, domain),
        *_tools(session),
        _signs(domain, request, marker),
        *_boot_files(point, domain),
    ]
    plan = _with_room(session, _with_memory(session, plan))
    return replace(plan, checks=(*plan.checks, *checks))


def refuse(plan: RehearsalPlan) -> None:
    """Return if every check passed.

    Raises:
        RefusedError: One failed; the cause names them all.
    """
    if plan.refused:
        reasons = "; ".join(f"{check.name}: {check.detail}" for check in plan.refused)
        raise untried(plan, reasons)


def untried(plan: RehearsalPlan, reason: str) -> RefusedError:
    """It could not be carried out, which is no verdict on the point."""
    return RefusedError(
        "REHEARSAL-UNTRIED",
        f"{plan.origin} could not be rehearsed on {plan.request.host}: {reason}.",
        checks=[{"name": check.name, "ok": check.ok, "detail": check.detail} for check in plan.checks],
    )


# -- the host ------------------------------------------------------------------------------------


def _tools(session: HostSession) -> list[Check]:
    found = capabilities.probe(session)
    missing = [name for name, there in (("virsh and timeout", found.virsh), ("qemu-img", found.qemu_img)) if not there]
    if missing:
        return [Check("tools", False, f"{', '.join(missing)} missing on {session.host.name}")]
    return [Check("tools", True, "virsh, timeout, qemu-img")]


def _with_memory(session: HostSession, plan: RehearsalPlan) -> RehearsalPlan:
    """Give it what it has, or what the host can spare."""
    usable, everything = throwaway.free_memory(session)
    spare = max(0, usable - everything // _KEPT_SHARE) >> 10
    wanted = plan.own_memory_kib
    given = min(wanted, spare) >> 10 << 10
    if given * _LEAST_SHARE < wanted or not wanted:
        detail = f"the VM has {wanted >> 10} MiB, {session.host.name} can spare {spare >> 10} MiB"
        return replace(plan, checks=(*plan.checks, Check("memory", False, detail)))
    detail = f"{given >> 10} MiB of its {wanted >> 10} MiB; {session.host.name} can spare {spare >> 10} MiB"
    return replace(plan, memory_kib=given, checks=(*plan.checks, Check("memory", True, detail)))


def _memory_kib(domain: Element) -> int:
    element = domain.find("memory")
    if element is None:
        return 0
    shift = _UNITS.get(element.get("unit", "KiB").lower(), 10)
    text = (element.text or "").strip()
    return (int(text) << shift) >> 10 if text.isdigit() else 0


def _parent(session: HostSession, point: RestorePoint) -> str:
    """Where images of the VM are, or others, or temporary files."""
    own = [posixpath.dirname(disk.path) for disk in point.disks if disk.path and point.host == session.host.name]
    pools = [pool.path for pool in storage.pools(session) if pool.usable]
    for folder in (*own, *pools):
        if session.run(["test", "-d", folder, "-a", "-w", folder]).status == 0:
            return folder
    return session.environment("TMPDIR", "/var/tmp")  # noqa: S108  # the folder below it is new and 0700


def _with_room(session: HostSession, plan: RehearsalPlan) -> RehearsalPlan:
    free = storage.free_bytes(session, plan.parent) or 0
    room = min(free // 2, _MOST_ROOM)
    if room < _LEAST_ROOM:
        detail = (
            f"{plan.parent} on {session.host.name} has {free >> 20} MiB free, twice {_LEAST_ROOM >> 20} MiB are needed"
        )
        return replace(plan, checks=(*plan.checks, Check("space", False, detail)))
    detail = f"what the VM writes goes to {plan.parent}, at most {room >> 20} MiB"
    return replace(plan, room=room, checks=(*plan.checks, Check("space", True, detail)))


# -- the VM --------------------------------------------------------------------------------------


def _signs(domain: Element, request: RehearsalRequest, marker: Marker) -> Check:
    """Whether what is waited for can be seen at all."""
    agent = domain_xml.agent_channel(domain) != "absent"
    if marker.needs_network and request.network is not Network.ISOLATED:
        return Check("marker", False, f"{marker.words} needs a network: --network isolated")
    if marker.needs_network and domain.find("./devices/interface") is None:
        return Check("marker", False, f"{marker.words} needs a network, and the VM has no interface")
    if marker.kind is MarkerKind.AGENT and not agent:
        return Check(
            "marker", False, "the VM has no channel for a guest agent; wait for something else: --wait serial:REGEX"
        )
    if request.check and not agent:
        return Check("marker", False, "the VM has no channel for a guest agent, which the check command needs")
    return Check("marker", True, f"waits {request.timeout_s:g} s for {marker.words}")


def _boot_files(point: RestorePoint, domain: Element) -> list[Check]:
    held = {item.role for item in point.files}
    needed = [item.role for item in domain_xml.boot_files(domain) if item.role != Role.LOADER]  # that is the host's own
    lost = [role for role in needed if role not in held]
    return [Check("boot files", False, f"the point does not hold its {', '.join(lost)}")] if lost else []
