"""The definition inside the file of a saved memory (managed save)."""

from __future__ import annotations

import libvirt

from vmtui.hosts.domains import Domain
from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError


def definition(session: HostSession, path: str) -> str:
    """The definition that the memory was saved with, with secrets.

    Raises:
        FailedError: The file is no saved memory.
    """
    flags = libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE
    xml: str = session.with_libvirt(
        "read the saved memory", lambda connection: connection.saveImageGetXMLDesc(path, flags)
    )
    return xml


def define(session: HostSession, path: str, xml: str) -> None:
    """Exchange the definition inside; libvirt allows only what the running system cannot see.

    Raises:
        FailedError: The definition is of another machine, or too long for the file.
    """
    session.with_libvirt(
        "fit the saved memory", lambda connection: connection.saveImageDefineXML(path, xml, 0), deadline_s=60.0
    )


def forget(domain: Domain, path: str) -> None:
    """Let libvirt see that a VM's saved memory is gone: it was renamed, and libvirt goes by a flag of its own. Safe to repeat.

    libvirt clears the flag only together with the file, so an empty one is put there for it to remove.

    Raises:
        FailedError: libvirt refused, or memory was saved anew, which libvirt would delete.
    """
    there = domain.session.files.info(path)
    if there is None:
        domain.session.files.write_new(path, b"")
    elif there.size:
        raise FailedError(
            "TARGET-EXISTS", f"{path} on {domain.session.host.name} holds memory that was saved meanwhile."
        )
    domain.call("forget the saved memory", lambda handle: handle.managedSaveRemove(0))
