"""Setting a rehearsal up and clearing it away, whatever happens in between."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import time
import uuid as uuids
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from vmtui.failpoint import failpoint
from vmtui.hosts import HostSession, domain_xml, throwaway
from vmtui.hosts.console import Console
from vmtui.hosts.throwaway import Caretaker
from vmtui.model.errors import FailedError, UnreachableError, VmtuiError
from vmtui.model.ids import VmId
from vmtui.model.point import RestorePoint
from vmtui.model.rehearsal import PREFIX, Network
from vmtui.rehearsal.context import RehearsalContext
from vmtui.rehearsal.definition import Stage, make_harmless
from vmtui.rehearsal.markers import parse_marker
from vmtui.rehearsal.plan import RehearsalPlan
from vmtui.rehearsal.preflight import untried
from vmtui.rehearsal.serving import Served, served
from vmtui.rehearsal.wire import Wire, wire_for
from vmtui.repository.streams import read_stream
from vmtui.serving import new_folder

_CAPTURE = "network.pcap"
_ROLES = ("nvram", "kernel", "initrd", "dtb")
"""Captured files that a VM boots with."""


@dataclass(slots=True)
class Live:
    """A throw-away VM, its processors still stopped."""

    session: HostSession
    name: str
    uuid: VmId
    folder: str
    sockets: str
    console: Console
    served: Served
    wire: Wire | None
    untested: tuple[str, ...]
    define_s: float
    """What libvirt and QEMU took [s]."""
    links: int
    """Which of the login's connections to libvirt it lives by."""

    @property
    def capture(self) -> str:
        """Path of the record of its network."""
        return posixpath.join(self.folder, _CAPTURE)


@dataclass(slots=True)
class Cleared:
    """What became of the clearing away; filled when the stage was left."""

    left: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    """Leftovers of earlier runs."""


@contextlib.contextmanager
def staged(context: RehearsalContext, plan: RehearsalPlan, cleared: Cleared) -> Iterator[Live]:
    """Set everything up; leaving it destroys the VM and removes all that was made.

    Raises:
        RefusedError: libvirt or QEMU do not take the VM on this host; that is no verdict on the point.
        DamageError, FailedError, UnreachableError: What it needs cannot be had.
    """
    session = context.session
    cleared.swept = throwaway.sweep(session, plan.parent, plan.run)
    name = f"{PREFIX}{plan.run}-{secrets.token_hex(4)}"
    uuid = VmId(str(uuids.uuid4()))
    folder = posixpath.join(plan.parent, name)
    sockets = _make_folders(session, folder)
    folders = (folder, sockets, new_folder(session))
    try:
        throwaway.note_others(session, folder, folders[1:])
        caretaker = Caretaker(session, uuid, folder, folders[1:])
    except VmtuiError:
        _clear(session, uuid, folders)
        raise
    failpoint("rehearsal.guarded")
    try:
        with served(context, plan.request, folder, folders[2]) as disks:
            failpoint("rehearsal.served")
            live = _start(context, plan, _Place(name, uuid, folder, sockets), disks)
            try:
                yield live
            finally:
                live.console.close()
                throwaway.destroy(session, uuid)
                failpoint("rehearsal.destroyed")
        _clear(session, uuid, folders)
    except BaseException:
        with contextlib.suppress(VmtuiError):  # the first error matters more, and the caretaker is there
            _clear(session, uuid, folders)
        caretaker.abandon()
        raise
    caretaker.dismiss()
    cleared.left = throwaway.left_behind(session, uuid, folders)


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    uuid: VmId
    folder: str
    sockets: str


def _make_folders(session: HostSession, folder: str) -> str:
    """Make the folder of files, and one with a short path for sockets; QEMU's account may pass through both."""
    session.files.make_folder(folder)
    base = session.environment("TMPDIR", "/tmp")  # noqa: S108  # the folder below it is new and 0700
    sockets = posixpath.join(base, posixpath.basename(folder).replace(PREFIX, "vmtui-"))
    session.files.make_folder(sockets)
    if urlsplit(session.host.uri).path != "/session":
        session.run(["chmod", "711", folder, sockets]).checked(session.host.name)
    return sockets


def _clear(session: HostSession, uuid: VmId, folders: Sequence[str]) -> None:
    throwaway.destroy(session, uuid)
    session.files.remove(throwaway.log_path(session, posixpath.basename(folders[0])))
    for folder in folders:
        throwaway.clear_folder(session, folder)


# -- the VM --------------------------------------------------------------------------------------


def _start(context: RehearsalContext, plan: RehearsalPlan, place: _Place, disks: Served) -> Live:
    session = context.session
    point = context.point(plan.request)
    xml = point.xml_inactive or point.xml_live
    domain = domain_xml.parse(xml)
    wire = _wire(plan, domain, place)
    socket = posixpath.join(place.sockets, "console")
    stage = Stage(
        name=place.name,
        uuid=place.uuid,
        memory_kib=plan.memory_kib,
        disks=disks.disks,
        files=_own_files(context, point, domain, place.folder),
        console=socket,
        wire=wire,
    )
    harmless = make_harmless(xml, stage)
    untested = list(harmless.untested)
    if plan.memory_kib < plan.own_memory_kib:
        untested.append(f"memory: it had {plan.memory_kib >> 10} of its {plan.own_memory_kib >> 10} MiB")
    context.watch.phase("define")
    began = time.monotonic()
    try:
        throwaway.create_paused(session, harmless.xml)
    except FailedError as error:
        raise untried(plan, error.cause) from error
    failpoint("rehearsal.created")
    console = _console(session, socket)
    return Live(
        session=session,
        name=place.name,
        uuid=place.uuid,
        folder=place.folder,
        sockets=place.sockets,
        console=console,
        served=disks,
        wire=wire,
        untested=tuple(untested),
        define_s=time.monotonic() - began,
        links=session.links,
    )


def _wire(plan: RehearsalPlan, domain: Element, place: _Place) -> Wire | None:
    if plan.request.network is not Network.ISOLATED:
        return None
    marker = parse_marker(plan.request.wait)
    mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
    ports = (marker.port,) if marker.needs_network else ()
    return wire_for(domain, mac, ports, posixpath.join(place.folder, _CAPTURE) if plan.request.capture else "")


def _own_files(context: RehearsalContext, point: RestorePoint, domain: Element, folder: str) -> dict[str, str]:
    """Copies of what it boots with, by role; firmware variables that the point does not hold are made anew."""
    files = {}
    for item in point.files:
        if item.role not in _ROLES:
            continue
        path = posixpath.join(folder, f"{item.role}.file")
        data = read_stream(context.repository, item.role, item.size, item.root)
        context.session.files.write_new(path, data)
        files[item.role] = path
    system = domain.find("os")
    if system is not None and (system.get("firmware") or system.find("loader[@type='pflash']") is not None):
        files.setdefault("nvram", posixpath.join(folder, "nvram.file"))
    return files


def _console(session: HostSession, path: str) -> Console:
    """Its socket is there a moment before QEMU listens."""
    for _ in range(20):
        try:
            return Console(session, path)
        except UnreachableError:
            if not session.alive:
                raise
            time.sleep(0.1)
    return Console(session, path)
