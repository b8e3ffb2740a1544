"""Moving a disk's backing data into the image on top, while the VM runs on it."""

from __future__ import annotations

from dataclasses import dataclass

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Pull:
    """Where a pull stands."""

    done: int
    """[bytes of the disk]"""
    total: int


def backed_disks(xml: str, socket: str) -> list[str]:
    """Targets of disks that have an export at a unix socket anywhere below them. Pure.

    Args:
        xml: A domain's; of a running one the live form.
        socket: On the host.
    """
    found = []
    for disk in domain_xml.parse(xml).findall("./devices/disk"):
        target = disk.find("target")
        sockets = {host.get("socket") for host in disk.findall(".//backingStore/source/host")}
        if target is not None and socket in sockets:
            found.append(target.get("dev", ""))
    return found


def start_pull(domain: Domain, target: str) -> None:
    """Copy all that is below a disk's image into that image; then it stands alone, in both definitions.

    What is in the image already, the guest's own writes first of all, is never touched. A pull that broke
    off is simply started again: it goes on with what is missing.

    Raises:
        FailedError: libvirt refused.
    """
    domain.call("move the disk", lambda handle: handle.blockPull(target, 0, 0), deadline_s=_START_S)


def pull(domain: Domain, target: str) -> Pull | None:
    """Where the pull of a disk stands; None when there is none.

    Raises:
        FailedError: Another kind of block job works on the disk.
    """
    info = domain.call("look at the block job", lambda handle: handle.blockJobInfo(target, 0))
    if not info:
        return None
    if info["type"] != libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL:
        raise FailedError("VM-BUSY", f"Another block job works on {target}.", host=domain.session.host.name)
    return Pull(int(info["cur"]), int(info["end"]))


def end_pull(domain: Domain, target: str) -> None:
    """Stop the pull of a disk; what it has copied stays, and the disk stands where it stood. Safe to repeat."""
    if pull(domain, target) is not None:
        domain.call("end the block job", lambda handle: handle.blockJobAbort(target, 0), deadline_s=_START_S)
