"""Bringing parts of a host back: defined, read back, compared, started. What is there is never destroyed."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network

from vmtui.failpoint import failpoint
from vmtui.hostpoint.canonical import canonical
from vmtui.hostpoint.capture import capture_objects, own_bridge
from vmtui.hostpoint.hiding import shown_xml
from vmtui.hostpoint.plan import Action, HostRestoreRequest, PlannedPart, make_plan, with_uuid
from vmtui.hostpoint.store import HostPointWork, load_state
from vmtui.hosts import HostSession, domain_xml, host_files, host_objects
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.hostpoint import RESTORABLE, HostState, Part, PartKind
from vmtui.model.progress import Check
from vmtui.repository import PointName

_KINDS = (*RESTORABLE, PartKind.SECRET_VALUE)


def read_point(work: HostPointWork, request: HostRestoreRequest) -> HostState:
    """What can be brought back from a point.

    Raises:
        DamageError: The point is damaged.
    """
    work.repository.sync()
    point = work.repository.points.load(PointName(request.vm, request.point))
    return load_state(work.repository, point, _KINDS)


def bring_back(work: HostPointWork, request: HostRestoreRequest, planned: PlannedPart) -> Check:
    """Do one line of a plan. Safe to repeat: what is there already as it should be is done.

    Raises:
        RefusedError: The host is not any more as it was when the plan was made.
        FailedError: libvirt refused, or what it defined is not what the point says; the former state is back.
    """
    session = work.open_session()
    state = read_point(work, request)
    live = capture_objects(session, work.now())
    now = next(item for item in make_plan(request, state, live).parts if item.key == planned.key)
    name = f"{planned.kind} {planned.name}"
    begun = planned.action in (Action.CREATE, Action.REPLACE)
    done_already = now.action is Action.SAME or (begun and now.action is Action.SWITCH)
    if now.action is not planned.action and not done_already:
        raise RefusedError(
            "PLAN-CHANGED",
            f"{name} on {request.host}: the plan was {planned.action}, now it is {now.action}: {now.detail}",
        )
    part, there = state.parts[planned.key], live.parts.get(planned.key)
    done = []
    if now.action in (Action.CREATE, Action.REPLACE):
        _define(session, part, there)
    if begun:
        done = ["defined, reads back as in the point"]
    done += _value(session, part, state)
    done += _switches(session, part, now)
    problem = _start(session, part) if now.start else ""
    if now.start:
        done.append(f"not started: {problem}" if problem else "started")
    if problem:
        work.watch.note(f"{name} was not started: {problem}")
    return Check(name, not problem, ", ".join(done))


def _define(session: HostSession, part: Part, there: Part | None) -> None:
    """Define, read back, compare; undo it when it is not what it should be."""
    kind, name = part.key
    xml = part.text if there is None else with_uuid(part.text, there.entry.facts.get("uuid", ""))
    host_objects.define(session, kind, xml)
    wanted = canonical(kind, xml.encode())
    failpoint("host.defined")
    got = canonical(kind, host_objects.read_one(session, kind, name).encode())
    if got == wanted:
        return
    if there is None:
        host_objects.undefine(session, kind, name)
    else:
        host_objects.define(session, kind, there.text)
    lost = [line.strip() for line in shown_xml(wanted).splitlines() if line not in shown_xml(got).splitlines()]
    raise FailedError(
        "READBACK-DIFFERS",
        f"The {kind} {name} does not read back from libvirt on {session.host.name} as the point says"
        f"{f', for example {lost[0]}' if lost else ''}. It was taken back.",
        next_step="Compare the versions of libvirt: vmtui host diff POINT; define the rest by hand: vmtui host export",
    )


def _value(session: HostSession, part: Part, state: HostState) -> list[str]:
    if part.entry.kind is not PartKind.SECRET:
        return []
    value = state.parts.get((PartKind.SECRET_VALUE, part.entry.name))
    if value is None:
        return ["its value must be set by hand"]
    host_objects.set_secret_value(session, part.entry.name, value.content)
    return ["its value was set"]


def _switches(session: HostSession, part: Part, planned: PlannedPart) -> list[str]:
    if planned.autostart is None:
        return []
    host_objects.set_autostart(session, part.entry.kind, part.entry.name, wanted=planned.autostart)
    return [f"autostart {'on' if planned.autostart else 'off'}"]


# -- starting ------------------------------------------------------------------------------------


def _start(session: HostSession, part: Part) -> str:
    """Start a network or a pool.

    Returns:
        Why it was not started; empty when it was.
    """
    kind, name = part.key
    if kind is PartKind.NETWORK and (reason := why_not_start(session, part.text)):
        return reason
    try:
        host_objects.start(session, kind, name, build=kind is PartKind.POOL and _folder_missing(session, part))
    except FailedError as error:
        return error.cause
    return ""


def _folder_missing(session: HostSession, part: Part) -> bool:
    """Whether a pool of files in a folder lacks that folder: no other kind is ever built, as that may format."""
    root = domain_xml.parse(part.text)
    path = domain_xml.text_of(root, "./target/path")
    return root.get("type") == "dir" and bool(path) and session.files.info(path) is None


def why_not_start(session: HostSession, xml: str) -> str:
    """Why starting a network would disturb the host; empty when its bridge and its addresses are free."""
    bridge = own_bridge(xml)
    if not bridge:
        return ""
    try:
        links = host_files.addresses(session)
    except FailedError:
        return ""  # libvirt looks as well
    if any(link.get("ifname") == bridge for link in links):
        return f"there is a link {bridge} already"
    for network in networks_of(xml):
        for link in links:
            if any(
                network.version == address.version and address.ip in network for address in _parsed(link["addresses"])
            ):
                return f"its range {network} is in use by {link.get('ifname')}"
    return ""


def networks_of(xml: str) -> list[IPv4Network | IPv6Network]:
    """The ranges of addresses that a network has; what cannot be read is left to libvirt. Pure."""
    found = []
    for item in domain_xml.parse(xml).findall("./ip"):
        length = item.get("prefix") or item.get("netmask") or ""
        try:
            found.append(
                ip_network(f"{item.get('address', '')}/{length}" if length else item.get("address", ""), strict=False)
            )
        except ValueError:
            continue
    return found


def _parsed(texts: Iterable[str]) -> list[IPv4Interface | IPv6Interface]:
    found = []
    for text in texts:
        try:
            found.append(ip_interface(text))
        except ValueError:
            continue
    return found
