"""One VM on a host: what it is made of, and its states."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import urlsplit

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.images import image_info
from vmtui.hosts.inventory import domain_state
from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError, VmtuiError
from vmtui.model.ids import VmId
from vmtui.model.vm import Disk, DiskFacts, DomainState, VmFacts

T = TypeVar("T")

_POLL_S = 0.25
_LIVE = libvirt.VIR_DOMAIN_XML_SECURE
_INACTIVE = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE
_AGENT_SHUTDOWN_S = 5
_ASK_STOP_S = 75.0
"""By the agent, libvirt itself waits up to 60 s until the agent is gone."""
IMAGE_SOURCES = ("file", "block", "volume")
"""Kinds of sources whose images QEMU's tools can open by a path on the host."""


class Domain:
    """A VM by its UUID; a name may change, a UUID is the VM.

    All calls block and have the host's deadline.

    Args:
        session: Its host.
        uuid: Its UUID.
    """

    def __init__(self, session: HostSession, uuid: VmId) -> None:
        self.session = session
        self.uuid = uuid

    def call(self, doing: str, function: Callable[[libvirt.virDomain], T], *, deadline_s: float | None = None) -> T:
        """Run a function with libvirt's domain.

        Raises:
            FailedError: The VM is gone, or libvirt refused.
            UnreachableError: libvirt does not answer in time.
        """
        return self.session.with_libvirt(
            doing, lambda connection: function(connection.lookupByUUIDString(self.uuid)), deadline_s=deadline_s
        )

    # -- what it is ------------------------------------------------------------------------------

    def name(self) -> str:
        """Its present name."""
        return str(self.call("look up the VM", lambda domain: domain.name()))

    def state(self) -> DomainState:
        """Its present state."""
        return self.call("read the state", lambda domain: domain_state(domain.state()[0]))

    def paused_by_io_error(self) -> bool:
        """Whether a write error, such as a full disk, paused it."""
        paused = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
        return self.call("read the state", lambda domain: tuple(domain.state()) == paused)

    def disk_errors(self) -> dict[str, bool]:
        """Disks whose requests failed since the VM was resumed last, by target: whether space was lacking."""
        full = libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE
        return self.call(
            "read the disk errors", lambda domain: {name: kind == full for name, kind in domain.diskErrors(0).items()}
        )

    def definition(self) -> Definition:
        """Its XML in both forms, with secrets; never show or log it."""

        def read(domain: libvirt.virDomain) -> Definition:
            active = bool(domain.isActive())
            return Definition(
                inactive=domain.XMLDesc(_INACTIVE) if domain.isPersistent() else "",
                live=domain.XMLDesc(_LIVE) if active else "",
            )

        return self.call("read the definition", read)

    def targets(self) -> list[str]:
        """Targets of all its disks, floppies and CD-ROMs."""
        xml = self.call("read the disks", lambda domain: domain.XMLDesc(0))
        return [disk.target for disk in domain_xml.disks(domain_xml.parse(xml))]

    def facts(self) -> VmFacts:
        """Everything that a plan is made from.

        Raises:
            FailedError: The VM or an image of it is gone.
        """
        facts = self.facts_without_images()
        return replace(facts, disks=tuple(self._disk_facts(item.disk) for item in facts.disks))

    def facts_without_images(self) -> VmFacts:
        """The same, without a look at the images, which may be missing or damaged.

        Raises:
            FailedError: The VM is gone.
        """

        def read(domain: libvirt.virDomain) -> tuple[str, DomainState, bool, bool, str, tuple[str, ...]]:
            persistent = bool(domain.isPersistent())
            return (
                domain.name(),
                domain_state(domain.state()[0]),
                persistent,
                bool(domain.autostart()) if persistent else False,
                domain.XMLDesc(0),
                tuple(checkpoint.getName() for checkpoint in domain.listAllCheckpoints(0)),
            )

        name, state, persistent, autostart, xml, checkpoints = self.call("read the VM", read)
        root = domain_xml.parse(xml)
        backend = domain_xml.tpm_backend(root)
        return VmFacts(
            host=self.session.host.name,
            uuid=self.uuid,
            name=name,
            state=state,
            persistent=persistent,
            autostart=autostart,
            managed_save=self._is_saved(name),
            disks=tuple(DiskFacts(disk, None) for disk in domain_xml.disks(root)),
            checkpoints=checkpoints,
            agent_channel=domain_xml.agent_channel(root),
            tpm=backend.get("type", "") if backend is not None else "",
        )

    def _disk_facts(self, disk: Disk) -> DiskFacts:
        if disk.device not in ("disk", "lun") or disk.source_type not in IMAGE_SOURCES or disk.encrypted:
            return DiskFacts(disk, None)
        return DiskFacts(disk, image_info(self.session, self.image_path(disk), disk.format))

    def image_path(self, disk: Disk) -> str:
        """Path of a disk's image on the host; volumes are looked up in their pool.

        Raises:
            FailedError: There is none.
        """
        if disk.source_type == "volume" and disk.pool and disk.volume:
            pool, volume = disk.pool, disk.volume
            path: str = self.session.with_libvirt(
                f"find the volume {volume} in the pool {pool}",
                lambda connection: connection.storagePoolLookupByName(pool).storageVolLookupByName(volume).path(),
            )
            return path
        if disk.path is None:
            raise FailedError(
                "DISK-MISSING", f"The disk {disk.target} has no source.", host=self.session.host.name, disk=disk.target
            )
        return disk.path

    def _is_saved(self, name: str) -> bool:
        """Whether it starts from saved memory. The file decides; libvirt's own flag is stale when it was put there or taken away."""
        return self.session.files.exists(save_path(self.session, name))

    # -- its states ------------------------------------------------------------------------------

    def suspend(self) -> None:
        """Stop its processors."""
        self.call("pause the VM", lambda domain: domain.suspend())

    def resume(self) -> None:
        """Let its processors run on. Safe to repeat: libvirt refuses to resume what runs, which is what is wanted."""

        def resume(domain: libvirt.virDomain) -> None:
            if domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
                domain.resume()

        self.call("resume the VM", resume)

    def start(self, *, paused: bool = False, deadline_s: float = 60.0) -> None:
        """Start it.

        Raises:
            FailedError: It did not start; the cause is libvirt's.
        """
        flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
        try:
            self.call("start the VM", lambda domain: domain.createWithFlags(flags), deadline_s=deadline_s)
        except FailedError as error:
            if error.id == "LIBVIRT":
                raise FailedError("VM-WILL-NOT-START", error.cause, **error.facts) from error
            raise

    def power_off(self) -> None:
        """End its QEMU at once, as pulling the plug would. Only by the operator's explicit word; safe to repeat."""
        if self.state().active:
            self.call("power the VM off", lambda domain: domain.destroy(), deadline_s=60.0)

    def shut_down(self, limit_s: float, check: Callable[[], None]) -> bool:
        """Ask it to shut down, by its agent and by ACPI, and wait. It is never powered off hard.

        Args:
            limit_s: How long to wait [s].
            check: Called while waiting; may raise to give up.

        Returns:
            Whether it is off.
        """
        deadline = time.monotonic() + limit_s
        self._ask_to_stop(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
        agent_until = min(deadline, time.monotonic() + _AGENT_SHUTDOWN_S)
        if self._wait_off(agent_until, check):
            return True
        self._ask_to_stop(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        return self._wait_off(deadline, check)

    def _ask_to_stop(self, flags: int) -> None:
        try:
            self.call("shut the VM down", lambda domain: domain.shutdownFlags(flags), deadline_s=_ASK_STOP_S)
        except FailedError as error:
            if error.id != "LIBVIRT":  # no agent, no ACPI: the waiting tells
                raise

    def _wait_off(self, deadline: float, check: Callable[[], None]) -> bool:
        while self.state().active:
            if time.monotonic() >= deadline:
                return False
            check()
            time.sleep(_POLL_S)
        return True


@dataclass(frozen=True, slots=True)
class Definition:
    """A domain's XML, with secrets."""

    inactive: str
    """Empty for a transient domain."""
    live: str
    """Empty for a domain that is off."""

    @property
    def best(self) -> str:
        """What a restore is made from: the persistent form where there is one."""
        return self.inactive or self.live


def find_domain(session: HostSession, name: str) -> Domain | None:
    """The VM of that name, or None."""

    def read(connection: libvirt.virConnect) -> str | None:
        try:
            return connection.lookupByName(name).UUIDString()  # type: ignore[no-any-return]  # untyped binding
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    uuid = session.with_libvirt("look up the VM", read)
    return None if uuid is None else Domain(session, VmId(uuid))


def exists(session: HostSession, uuid: VmId) -> bool:
    """Whether a VM of that UUID is defined or runs on the host."""
    try:
        Domain(session, uuid).name()
    except VmtuiError as error:
        if error.id == "VM-GONE":
            return False
        raise
    return True


def qemu_folder(session: HostSession) -> str:
    """Where libvirt's QEMU driver keeps its files on the host."""
    if urlsplit(session.host.uri).path == "/session":
        return posixpath.join(session.environment("XDG_CONFIG_HOME", "$HOME/.config"), "libvirt", "qemu")
    return "/var/lib/libvirt/qemu"


def save_path(session: HostSession, name: str) -> str:
    """Where libvirt keeps the memory of a VM that it saved (managed save)."""
    return posixpath.join(qemu_folder(session), "save", f"{name}.save")


def nvram_path(session: HostSession, name: str) -> str:
    """Where libvirt keeps a VM's firmware variables when its definition does not say."""
    return posixpath.join(qemu_folder(session), "nvram", f"{name}_VARS.fd")


def tpm_folder(session: HostSession, uuid: VmId) -> str:
    """Where libvirt keeps the state of a VM's emulated TPM."""
    if urlsplit(session.host.uri).path == "/session":
        return posixpath.join(qemu_folder(session), "swtpm", uuid)
    return posixpath.join("/var/lib/libvirt/swtpm", uuid)


def run_folder(session: HostSession, domain_id: int) -> str | None:
    """The running domain's own folder, which its security profile lets it write; None when not found."""
    base = qemu_folder(session)
    if urlsplit(session.host.uri).path == "/session":
        base = posixpath.join(base, "lib")
    prefix = f"domain-{domain_id}-"
    for name in session.files.names(base):
        if name.startswith(prefix):
            return posixpath.join(base, name)
    return None
