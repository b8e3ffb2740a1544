"""Reading a domain's XML. It comes from another machine: defusedxml parses it, nothing of it is trusted."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from vmtui.model.errors import FailedError
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
    """NVRAM, kernel, initrd and device tree, where the XML names files; the loader is the host's own."""
    for role, tag in (("kernel", "kernel"), ("initrd", "initrd"), ("dtb", "dtb"), ("nvram", "nvram")):
        element = domain.find(f"./os/{tag}")
        if element is None:
            continue
        source = element.find("source")
        path = source.get("file", "") if source is not None else (element.text or "").strip()
        if posixpath.isabs(path):
            yield BootFile(role, path)


def networks(domain: Element) -> tuple[tuple[str, str], ...]:
    """(kind, name) of each interface: network, bridge, direct, user, …; the name may be empty."""
    result = []
    for interface in domain.findall("./devices/interface"):
        kind = interface.get("type", "")
        source = interface.find("source")
        attribute = {"network": "network", "bridge": "bridge", "direct": "dev"}.get(kind)
        result.append((kind, source.get(attribute, "") if source is not None and attribute else ""))
    return tuple(result)


def macs(domain: Element) -> tuple[str, ...]:
    """MAC addresses in lower case."""
    found = (mac.get("address", "") for mac in domain.findall("./devices/interface/mac"))
    return tuple(address.lower() for address in found if address)


def text_of(domain: Element, path: str) -> str:
    """Text of an element, or an empty string."""
    return (domain.findtext(path) or "").strip()
