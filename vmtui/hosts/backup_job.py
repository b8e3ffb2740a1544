"""libvirt's backup job: the frozen view of a running VM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError

_OPERATIONS = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_START: "start",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: "save",
    libvirt.VIR_DOMAIN_JOB_OPERATION_RESTORE: "restore",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: "migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: "migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: "snapshot",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT: "snapshot revert",
    libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: "dump",
    libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP: "backup",
}

CHECKPOINT_INCONSISTENT = libvirt.VIR_ERR_CHECKPOINT_INCONSISTENT
"""libvirt's code for a bitmap that is missing or broken."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that libvirt has running on a VM."""

    operation: str
    socket: str | None = None
    """Unix socket of a backup job."""
    scratches: tuple[str, ...] = ()
    """Scratch files of a backup job; their names tell whose it is."""
    xml: str = ""
    """A backup job's description."""


@dataclass(frozen=True, slots=True)
class JobDisk:
    """How one disk takes part in a backup job."""

    target: str
    scratch: str | None
    """Path of its scratch file; None leaves the disk out."""
    incremental: str | None = None
    """Checkpoint to compare with; None reads in full."""

    @property
    def bitmap(self) -> str:
        """Name under which the dirty bitmap is exported."""
        return f"vmtui-{self.target}"


def running_job(domain: Domain) -> RunningJob | None:
    """The job on a VM, whoever's it is; None when there is none."""

    def read(handle: libvirt.virDomain) -> RunningJob | None:
        stats = handle.jobStats(0)
        if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
            return None
        operation = stats.get("operation", libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN)
        if operation != libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
            return RunningJob(_OPERATIONS.get(operation, "unknown"))
        xml = handle.backupGetXMLDesc(0)
        root = domain_xml.parse(xml)
        server = root.find("server")
        files = (scratch.get("file", "") for scratch in root.findall("./disks/disk/scratch"))
        socket = server.get("socket") if server is not None else None
        return RunningJob("backup", socket, tuple(files), xml)

    try:
        return domain.call("look for running jobs", read)
    except FailedError as error:
        if error.facts.get("code") in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN_BACKUP):
            return None  # the VM is off, or the job ended in between
        raise


def block_jobs(domain: Domain, targets: Sequence[str]) -> list[str]:
    """Disks that a block job (copy, commit, pull) works on."""

    def read(handle: libvirt.virDomain) -> list[str]:
        return [target for target in targets if handle.blockJobInfo(target, 0)]

    return domain.call("look for block jobs", read)


def begin(domain: Domain, socket: str, disks: Sequence[JobDisk], checkpoint: str | None, *, deadline_s: float) -> None:
    """Start a pull-mode backup, and with it a checkpoint, at one instant of all disks.

    Args:
        domain: The VM; must be active.
        socket: Unix socket that QEMU will serve the disks on.
        disks: Every disk of the domain; libvirt would include those that are not named.
        checkpoint: XML of the new checkpoint, or None.
        deadline_s: A begin that waits behind another job keeps the guest frozen, so it is bounded.

    Raises:
        FailedError: libvirt refused; `facts["code"]` is its number.
    """
    flags = 0
    xml = job_xml(socket, disks)
    domain.call("begin the backup", lambda handle: handle.backupBegin(xml, checkpoint, flags), deadline_s=deadline_s)


def job_xml(socket: str, disks: Sequence[JobDisk]) -> str:
    """The description of a pull-mode job, each disk with a mode of its own. Pure."""
    root = Element("domainbackup", mode="pull")
    SubElement(root, "server", transport="unix", socket=socket)
    listed = SubElement(root, "disks")
    for disk in disks:
        if disk.scratch is None:
            SubElement(listed, "disk", name=disk.target, backup="no")
            continue
        element = SubElement(listed, "disk", name=disk.target, backup="yes", type="file", exportname=disk.target)
        if disk.incremental is None:
            element.set("backupmode", "full")
        else:
            element.set("backupmode", "incremental")
            element.set("incremental", disk.incremental)
            element.set("exportbitmap", disk.bitmap)
        SubElement(element, "scratch", file=disk.scratch)
    return tostring(root, encoding="unicode")


def end(domain: Domain) -> None:
    """End the VM's backup job; nothing happens when there is none. libvirt removes its files."""
    try:
        domain.call("end the backup job", lambda handle: handle.abortJob())
    except FailedError as error:
        if error.id == "VM-GONE" or error.facts.get("code") == libvirt.VIR_ERR_OPERATION_INVALID:
            return
        raise
