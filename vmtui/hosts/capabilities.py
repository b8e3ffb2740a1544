"""What a host can do: probed, never assumed from the version of the local library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.session import HostSession
from vmtui.model.host import Capabilities

_PROBE = """
for tool in virsh qemu-img qemu-nbd timeout; do
    printf '%s %s\\n' "$tool" "$(command -v "$tool")"
done
"""

_INVALID = (
    libvirt.VIR_ERR_INVALID_ARG,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT,
)


def probe(session: HostSession) -> Capabilities:
    """Ask a host for its versions, tools and abilities.

    Raises:
        UnreachableError: It does not answer.
    """
    tools = dict(
        line.partition(" ")[::2]
        for line in session.run(["sh", "-c", _PROBE]).checked(session.host.name).output.splitlines()
    )

    def read(connection: libvirt.virConnect) -> tuple[int, int, bool]:
        return connection.getLibVersion(), connection.getVersion(), _supports_backup(connection)

    libvirt_version, hypervisor_version, backup = session.with_libvirt("read the capabilities", read)
    return Capabilities(
        libvirt_version=libvirt_version,
        hypervisor_version=hypervisor_version,
        hot_backup=backup,
        virsh=bool(tools.get("virsh") and tools.get("timeout")),
        qemu_img=tools.get("qemu-img") or None,
        qemu_nbd=tools.get("qemu-nbd") or None,
        forwarding=session.forwarding(),
    )


def _supports_backup(connection: libvirt.virConnect) -> bool:
    try:
        root = domain_xml.parse(connection.getDomainCapabilities(None, None, None, None))
    except libvirt.libvirtError as error:
        if error.get_error_code() in _INVALID:
            return False
        raise
    feature = root.find("./features/backup")
    return feature is not None and feature.get("supported") == "yes"


@dataclass(frozen=True, slots=True)
class Network:
    """A virtual network of the host."""

    name: str
    active: bool


def networks(session: HostSession) -> list[Network]:
    """All virtual networks, sorted by name."""

    def read(connection: libvirt.virConnect) -> list[Network]:
        return [Network(network.name(), bool(network.isActive())) for network in connection.listAllNetworks(0)]

    return sorted(session.with_libvirt("list the networks", read), key=lambda network: network.name)


def domain_capabilities(session: HostSession, domain: Element, *, any_machine: bool = False) -> Element | str:
    """What the host offers to a domain of this emulator, architecture, machine and kind.

    Args:
        session: The host.
        domain: A definition.
        any_machine: Ask about the host's default machine instead of the definition's.

    Returns:
        The <domainCapabilities> element, or libvirt's reason why there is none.
    """
    kind = domain.get("type", "qemu")
    type_element = domain.find("./os/type")
    arch = type_element.get("arch") if type_element is not None else None
    machine = type_element.get("machine") if type_element is not None and not any_machine else None

    def read(connection: libvirt.virConnect) -> str | libvirt.libvirtError:
        try:
            text: str = connection.getDomainCapabilities(None, arch, machine, kind)
        except libvirt.libvirtError as error:
            if error.get_error_code() in _INVALID:
                return error
            raise
        return text

    answer = session.with_libvirt("read the domain capabilities", read)
    if isinstance(answer, libvirt.libvirtError):
        return str(answer.get_error_message())
    return domain_xml.parse(answer)


def mac_owners(session: HostSession) -> dict[str, str]:
    """MAC addresses in use on the host, in lower case, each with its VM's UUID."""

    def read(connection: libvirt.virConnect) -> dict[str, str]:
        owners = {}
        for domain in connection.listAllDomains(0):
            for mac in domain_xml.macs(domain_xml.parse(domain.XMLDesc(0))):
                owners[mac] = domain.UUIDString()
        return owners

    return session.with_libvirt("read the MAC addresses", read, deadline_s=60.0)


def image_owners(session: HostSession, pools: Mapping[str, str], besides: str) -> dict[str, str]:
    """Files that the VMs of the host use or build on, each with the name of a VM that does.

    What is below the image of a VM that is off is not among them: its definition does not tell.

    Args:
        session: The host.
        pools: Folders of storage pools by name.
        besides: UUID of a VM that is not asked about.
    """

    def read(connection: libvirt.virConnect) -> dict[str, str]:
        owners: dict[str, str] = {}
        for domain in connection.listAllDomains(0):
            if domain.UUIDString() == besides:
                continue
            persistent = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)] if domain.isPersistent() else []
            for xml in [domain.XMLDesc(0), *persistent]:
                owners |= dict.fromkeys(domain_xml.used_files(domain_xml.parse(xml), pools), domain.name())
        return owners

    return session.with_libvirt("read the disks of all VMs", read, deadline_s=60.0)
