"""Defining and undefining VMs, without ever taking anything along that was not meant."""

from __future__ import annotations

from dataclasses import dataclass

import libvirt

from vmtui.hosts.domains import Domain
from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError, VmtuiError
from vmtui.model.ids import VmId

_KEEP = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
_KEEP_TPM_SINCE = 8_009_000
"""A libvirtd refuses flags that it does not know; older ones [libvirt version number] have none for TPM state."""


@dataclass(frozen=True, slots=True)
class Defined:
    """What libvirt made of a definition."""

    xml: str
    """As it reads back, inactive, with secrets."""
    schema_complaint: str
    """Why it does not fit the host's schema; empty when it does."""


def define(session: HostSession, xml: str) -> Defined:
    """Define a VM, or replace the definition of the one with that UUID.

    A definition from a newer host may hold elements that this one does not know. They are dropped, as
    libvirt always does, but not in silence: the schema's complaint comes back with the result.

    Raises:
        FailedError: libvirt refused.
    """

    def call(connection: libvirt.virConnect) -> Defined:
        complaint = ""
        try:
            domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_XML_INVALID_SCHEMA:
                raise
            complaint = str(error.get_error_message())
            domain = connection.defineXMLFlags(xml, 0)
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return Defined(domain.XMLDesc(flags), complaint)

    try:
        return session.with_libvirt("define the VM", call, deadline_s=60.0)
    except FailedError as error:
        raise FailedError("DEFINE-REFUSED", error.cause, **error.facts) from error


def undefine(session: HostSession, uuid: VmId) -> None:
    """Take a definition away; disks, firmware variables and, from libvirt 8.9, TPM state stay. Safe to repeat."""

    def call(domain: libvirt.virDomain) -> None:
        knows = domain.connect().getLibVersion() >= _KEEP_TPM_SINCE
        domain.undefineFlags(_KEEP | (libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM if knows else 0))

    try:
        Domain(session, uuid).call("undefine the VM", call)
    except VmtuiError as error:
        if error.id != "VM-GONE":
            raise


def set_note(session: HostSession, uuid: VmId, namespace: str, element: str | None) -> None:
    """Write an element of a namespace into the <metadata> of a VM's inactive definition, in place of what is there.

    Args:
        session: The host.
        uuid: The VM.
        namespace: Its URI.
        element: XML without a namespace; None takes what is there away.
    """
    kind, config = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
    Domain(session, uuid).call("note", lambda domain: domain.setMetadata(kind, element, "vmtui", namespace, config))


def set_autostart(session: HostSession, uuid: VmId, *, wanted: bool) -> None:
    """Whether the VM starts with its host."""
    Domain(session, uuid).call("set autostart", lambda domain: domain.setAutostart(int(wanted)))
