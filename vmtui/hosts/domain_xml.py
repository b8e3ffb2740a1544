"""Reading a domain's XML. It comes from another machine: defusedxml parses it, nothing of it is trusted."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from vmtui.model.errors import FailedError
from vmtui.model.point import Role
from vmtui.model.vm import Disk


def parse(xml: str) -> Element:
    """The root element.

    Raises:
        FailedError: Not well-formed, or using what defusedxml forbids.
    """
    try:
        root: Element = fromstring(xml)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise FailedError("LIBVIRT", f"libvirt's XML cannot be read: {error}") from error
    return root


def disks(domain: Element) -> tuple[Disk, ...]:
    """All disk elements in document order."""
    return tuple(_disk(element) for element in domain.findall("./devices/disk"))


def _disk(element: Element) -> Disk:
    target = element.find("target")
    driver = element.find("driver")
    source = element.find("source")
    source_type = element.get("type", "file")
    path = pool = volume = None
    if source is not None:
        if source_type == "file":
            path = source.get("file")
        elif source_type == "block":
            path = source.get("dev")
        elif source_type == "volume":
            pool, volume = source.get("pool"), source.get("volume")
    return Disk(
        target=target.get("dev", "") if target is not None else "",
        device=element.get("device", "disk"),
        bus=target.get("bus", "") if target is not None else "",
        source_type="" if source is None else source_type,
        format=driver.get("type", "raw") if driver is not None else "raw",
        path=path,
        pool=pool,
        volume=volume,
        read_only=element.find("readonly") is not None,
        transient=element.find("transient") is not None,
        shareable=element.find("shareable") is not None,
        encrypted=element.find("encryption") is not None
        or (source is not None and source.find("encryption") is not None),
    )


def agent_channel(domain: Element) -> str:
    """`connected`, `disconnected` or `absent`; the state is only in the live XML."""
    for target in domain.findall("./devices/channel/target"):
        if target.get("name") == "org.qemu.guest_agent.0":
            return target.get("state", "disconnected")
    return "absent"


@dataclass(frozen=True, slots=True)
class BootFile:
    """A file on the host that the VM boots with."""

    role: str
    path: str


def boot_files(domain: Element) -> Iterator[BootFile]:
    """Kernel, initrd, device tree and loader, where the XML names files: what a running VM does not change."""
    for role in (Role.KERNEL, Role.INITRD, Role.DTB, Role.LOADER):
        path = text_of(domain, f"./os/{role}")
        if posixpath.isabs(path):
            yield BootFile(role, path)


def has_nvram(domain: Element) -> bool:
    """Whether the VM's firmware keeps variables."""
    system = domain.find("os")
    return system is not None and (system.find("nvram") is not None or system.get("firmware") == "efi")


def nvram_source(domain: Element) -> tuple[str, str]:
    """(kind, path) of the firmware's variables: `file` and a path, which is empty when the XML does not name it."""
    element = domain.find("./os/nvram")
    if element is None:
        return "file", ""
    source = element.find("source")
    if source is None:
        return element.get("type", "file"), (element.text or "").strip()
    return element.get("type", "file"), source.get("file", "")


def tpm_backend(domain: Element) -> Element | None:
    """The TPM's backend: its `type` is emulator, passthrough or external."""
    return domain.find("./devices/tpm/backend")


def host_belongings(domain: Element) -> Iterator[tuple[str, str]]:
    """(name, why) of what the VM uses of its host and no backup can take along."""
    for element in domain.findall("./devices/filesystem"):
        source = element.find("source")
        folder = (source.get("dir") or source.get("socket") or "") if source is not None else ""
        yield f"filesystem {folder}".rstrip(), "a folder of the host that is shared with the VM"
    for element in domain.findall("./devices/hostdev"):
        words = filter(None, (element.get("type"), element.get("mode"), element.get("name")))
        yield " ".join(("hostdev", *words)), "a device of the host"
    for element in domain.findall("./devices/shmem"):
        yield f"shmem {element.get('name', '')}".rstrip(), "memory that is shared with others"


def networks(domain: Element) -> tuple[tuple[str, str], ...]:
    """(kind, name) of each interface: network, bridge, direct, user, …; the name may be empty."""
    result = []
    for interface in domain.findall("./devices/interface"):
        kind = interface.get("type", "")
        source = interface.find("source")
        attribute = {"network": "network", "bridge": "bridge", "direct": "dev"}.get(kind)
        result.append((kind, source.get(attribute, "") if source is not None and attribute else ""))
    return tuple(result)


def used_files(domain: Element, pools: Mapping[str, str]) -> Iterator[str]:
    """Files of disks, of what is below them as far as the XML tells, and of firmware variables.

    Args:
        domain: The definition.
        pools: Folders of storage pools by name.
    """
    for source in domain.findall("./devices/disk//source"):
        folder, volume = pools.get(source.get("pool", "")), source.get("volume")
        path = source.get("file") or source.get("dev") or (f"{folder}/{volume}" if folder and volume else "")
        if path:
            yield posixpath.normpath(path)
    nvram = text_of(domain, "./os/nvram")
    if nvram:
        yield posixpath.normpath(nvram)


def macs(domain: Element) -> tuple[str, ...]:
    """MAC addresses in lower case."""
    found = (mac.get("address", "") for mac in domain.findall("./devices/interface/mac"))
    return tuple(address.lower() for address in found if address)


def text_of(domain: Element, path: str) -> str:
    """Text of an element, or an empty string."""
    return (domain.findtext(path) or "").strip()
