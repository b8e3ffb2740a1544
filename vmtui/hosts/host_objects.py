"""What libvirt keeps on a host beside the VMs: networks, pools, filters, secrets, interfaces, devices in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError
from vmtui.model.hostpoint import PartKind
from vmtui.model.point import LeftOut

_INACTIVE = 1
"""VIR_NETWORK_XML_INACTIVE, VIR_STORAGE_XML_INACTIVE and VIR_INTERFACE_XML_INACTIVE."""
_LIST_S = 60.0
"""A host with hundreds of objects needs one call for each [s]."""


@dataclass(frozen=True, slots=True)
class HostObject:
    """One object as libvirt describes it."""

    kind: PartKind
    name: str
    """A secret's UUID."""
    xml: str
    uuid: str = ""
    active: bool | None = None
    autostart: bool | None = None
    persistent: bool = True


def read_kind(session: HostSession, kind: PartKind) -> list[HostObject]:
    """All objects of a kind that has definitions, or all interfaces or VMs.

    Raises:
        FailedError: The host's libvirt has no such driver, or refuses to tell.
        UnreachableError: libvirt does not answer.
    """
    return session.with_libvirt(f"list each {kind}", _READ[kind], deadline_s=_LIST_S)


def _inactive(item: Any) -> str:
    """An object's lasting definition; drivers that know no other refuse the flag."""
    try:
        return str(item.XMLDesc(_INACTIVE))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        return str(item.XMLDesc(0))


def _started(kind: PartKind, item: Any) -> HostObject:
    return HostObject(
        kind=kind,
        name=item.name(),
        xml=_inactive(item),
        uuid=item.UUIDString(),
        active=bool(item.isActive()),
        autostart=bool(item.autostart()) if item.isPersistent() else False,
        persistent=bool(item.isPersistent()),
    )


def _networks(connection: libvirt.virConnect) -> list[HostObject]:
    return [_started(PartKind.NETWORK, item) for item in connection.listAllNetworks(0)]


def _pools(connection: libvirt.virConnect) -> list[HostObject]:
    return [_started(PartKind.POOL, item) for item in connection.listAllStoragePools(0)]


def _filters(connection: libvirt.virConnect) -> list[HostObject]:
    return [
        HostObject(PartKind.NWFILTER, item.name(), item.XMLDesc(0), item.UUIDString())
        for item in connection.listAllNWFilters(0)
    ]


def _secrets(connection: libvirt.virConnect) -> list[HostObject]:
    return [
        HostObject(PartKind.SECRET, item.UUIDString(), item.XMLDesc(0), item.UUIDString())
        for item in connection.listAllSecrets(0)
    ]


def _interfaces(connection: libvirt.virConnect) -> list[HostObject]:
    return [HostObject(PartKind.INTERFACE, item.name(), _inactive(item)) for item in connection.listAllInterfaces(0)]


def _domains(connection: libvirt.virConnect) -> list[HostObject]:
    return [
        HostObject(
            kind=PartKind.DOMAIN,
            name=item.name(),
            xml=item.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
            uuid=item.UUIDString(),
            autostart=bool(item.autostart()) if item.isPersistent() else False,
            persistent=bool(item.isPersistent()),
        )
        for item in connection.listAllDomains(0)
    ]


_READ: dict[PartKind, Callable[[libvirt.virConnect], list[HostObject]]] = {
    PartKind.NETWORK: _networks,
    PartKind.POOL: _pools,
    PartKind.NWFILTER: _filters,
    PartKind.SECRET: _secrets,
    PartKind.INTERFACE: _interfaces,
    PartKind.DOMAIN: _domains,
}


# -- devices that VMs use ------------------------------------------------------------------------


def devices_of(domain: Element) -> Iterable[str]:
    """Names of the node devices that a VM is given, as libvirt calls PCI and mediated ones."""
    for address in domain.findall("./devices/hostdev[@type='pci']/source/address"):
        numbers = [int(address.get(part, "0"), 0) for part in ("domain", "bus", "slot", "function")]
        yield "pci_{:04x}_{:02x}_{:02x}_{:x}".format(*numbers)
    for address in domain.findall("./devices/hostdev[@type='mdev']/source/address"):
        yield "mdev_" + address.get("uuid", "").replace("-", "_")


def devices_in_use(session: HostSession, domains: Iterable[HostObject]) -> tuple[list[HostObject], list[LeftOut]]:
    """The node devices that VMs are given, and those of them that are not there."""
    names = sorted({name for item in domains for name in devices_of(domain_xml.parse(item.xml))})
    found, away = [], []
    for name in names:
        try:
            xml = _device(session, name)
        except FailedError as error:
            away.append(LeftOut(f"node device {name}", error.cause))
            continue
        found.append(HostObject(PartKind.NODE_DEVICE, name, xml))
    return found, away


def _device(session: HostSession, name: str) -> str:
    return str(session.with_libvirt("look at a device", lambda c: c.nodeDeviceLookupByName(name).XMLDesc(0)))


# -- what the host says of itself ----------------------------------------------------------------


def capabilities(session: HostSession) -> str:
    """libvirt's description of the host, as XML."""
    return str(session.with_libvirt("read the capabilities", lambda connection: connection.getCapabilities()))


def domain_capabilities(session: HostSession) -> str:
    """What VMs can have here, as XML."""
    return str(
        session.with_libvirt("read the VMs' capabilities", lambda c: c.getDomainCapabilities(), deadline_s=_LIST_S)
    )


def versions(session: HostSession) -> dict[str, str]:
    """Versions of libvirt and the hypervisor, as libvirt's numbers, and the host's own name."""
    libvirt_version, name = session.with_libvirt("ask for versions", lambda c: (c.getLibVersion(), c.getHostname()))
    return {"libvirt": str(libvirt_version), "hostname": str(name)}


def hypervisor_version(session: HostSession) -> str:
    """The hypervisor's version, as libvirt's number.

    Raises:
        FailedError: None is installed that libvirt can use.
    """
    return str(session.with_libvirt("ask for the hypervisor's version", lambda c: c.getVersion()))


# -- secrets' values -----------------------------------------------------------------------------


def secret_value(session: HostSession, uuid: str) -> bytes | None:
    """The value of a secret; None when it has none.

    Raises:
        FailedError: It is private.
    """

    def read(connection: libvirt.virConnect) -> bytes | None:
        try:
            return bytes(connection.secretLookupByUUIDString(uuid).value(0))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
                return None
            raise

    return session.with_libvirt("read a secret", read)


def set_secret_value(session: HostSession, uuid: str, value: bytes) -> None:
    """Give a secret its value."""
    session.with_libvirt("set a secret", lambda c: c.secretLookupByUUIDString(uuid).setValue(value, 0))


# -- defining ------------------------------------------------------------------------------------

_DEFINE: dict[PartKind, Callable[[libvirt.virConnect, str], Any]] = {
    PartKind.NETWORK: lambda connection, xml: connection.networkDefineXML(xml),
    PartKind.POOL: lambda connection, xml: connection.storagePoolDefineXML(xml, 0),
    PartKind.NWFILTER: lambda connection, xml: connection.nwfilterDefineXML(xml),
    PartKind.SECRET: lambda connection, xml: connection.secretDefineXML(xml, 0),
}
_FIND: dict[PartKind, Callable[[libvirt.virConnect, str], Any]] = {
    PartKind.NETWORK: lambda connection, name: connection.networkLookupByName(name),
    PartKind.POOL: lambda connection, name: connection.storagePoolLookupByName(name),
    PartKind.NWFILTER: lambda connection, name: connection.nwfilterLookupByName(name),
    PartKind.SECRET: lambda connection, uuid: connection.secretLookupByUUIDString(uuid),
}


def define(session: HostSession, kind: PartKind, xml: str) -> None:
    """Define an object, or replace the definition of the one with that name and UUID.

    Raises:
        FailedError: libvirt refused.
    """
    try:
        session.with_libvirt(f"define the {kind}", lambda connection: _DEFINE[kind](connection, xml))
    except FailedError as error:
        raise FailedError("DEFINE-REFUSED", error.cause, **error.facts) from error


def read_one(session: HostSession, kind: PartKind, name: str) -> str:
    """The lasting definition of one object."""

    def call(connection: libvirt.virConnect) -> str:
        item = _FIND[kind](connection, name)
        return str(item.XMLDesc(0)) if kind in (PartKind.NWFILTER, PartKind.SECRET) else _inactive(item)

    return session.with_libvirt(f"read the {kind}", call)


def undefine(session: HostSession, kind: PartKind, name: str) -> None:
    """Take away a definition that was made just now."""
    session.with_libvirt(f"undefine the {kind}", lambda connection: _FIND[kind](connection, name).undefine())


def set_autostart(session: HostSession, kind: PartKind, name: str, *, wanted: bool) -> None:
    """Whether it starts with the host."""
    session.with_libvirt("set autostart", lambda c: _FIND[kind](c, name).setAutostart(int(wanted)))


def start(session: HostSession, kind: PartKind, name: str, *, build: bool = False) -> None:
    """Start a network or pool; nothing happens when it runs.

    Args:
        session: The host.
        kind: NETWORK or POOL.
        name: Which.
        build: Make the pool's folder first, if it is missing.

    Raises:
        FailedError: libvirt refused.
    """

    def call(connection: libvirt.virConnect) -> None:
        item = _FIND[kind](connection, name)
        if item.isActive():
            return
        if build:
            item.build(0)
        item.create(0) if kind is PartKind.POOL else item.create()

    session.with_libvirt(f"start the {kind}", call, deadline_s=_LIST_S)
