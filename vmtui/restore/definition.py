"""A point's definition made to fit its new place. Pure: XML in, XML and a list of changes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

from vmtui.hosts import domain_xml
from vmtui.model.ids import VmId

NAMESPACE = "https://vmtui.invalid/kept/1"
"""XML namespace of what we note in a domain's <metadata>."""

NO_NETWORK = "none"

register_namespace("vmtui", NAMESPACE)
register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

_LIVE_ONLY = ("alias", "seclabel")
"""Elements that libvirt adds to a running domain's XML."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the definition has to fit."""

    name: str
    uuid: VmId
    macs: tuple[str, ...]
    disks: Mapping[str, tuple[str, str]]
    """Target: path and format of its restored image."""
    files: Mapping[str, str]
    """Role: path of the restored file."""
    networks: Mapping[str, str]
    """Network, bridge or device: what it becomes; `none` takes the link down."""
    new_vm: bool
    """Host devices, generation id and other things of the original are not taken along."""
    existing: frozenset[str] = frozenset()
    """Paths of media and read-only disks that are there."""
    media: Mapping[str, str] = field(default_factory=dict)
    """Target: path of a restored medium."""
    kept_record: str | None = None
    """Path of the record of what an in-place restore kept."""


@dataclass(slots=True)
class Fitted:
    """The outcome."""

    xml: str
    changes: list[str] = field(default_factory=list)


def fit(xml: str, target: Target) -> Fitted:
    """Make a definition fit.

    Args:
        xml: The point's, inactive where there is one.
        target: Where to.

    Raises:
        FailedError: It cannot be read.
    """
    domain = domain_xml.parse(xml)
    result = Fitted("")
    domain.attrib.pop("id", None)
    _strip_live(domain)
    _set_text(domain, "name", target.name)
    _set_text(domain, "uuid", target.uuid)
    _fit_system(domain, target, result)
    devices = domain.find("devices")
    if devices is not None:
        _fit_disks(devices, target, result)
        _fit_interfaces(devices, target, result)
        _fit_channels(devices)
        if target.new_vm:
            _drop_host_devices(devices, result)
    _note_kept(domain, target)
    result.xml = tostring(domain, encoding="unicode")
    return result


def _strip_live(domain: Element) -> None:
    for parent in list(domain.iter()):
        for child in list(parent):
            if child.tag in _LIVE_ONLY and (child.tag == "alias" or child.get("type") == "dynamic"):
                parent.remove(child)


def _set_text(domain: Element, tag: str, text: str) -> None:
    element = domain.find(tag)
    if element is None:
        element = SubElement(domain, tag)
    element.text = text


def _fit_system(domain: Element, target: Target, result: Fitted) -> None:
    system = domain.find("os")
    if system is None:
        return
    for role in ("kernel", "initrd", "dtb", "loader"):
        element = system.find(role)
        if element is not None and role in target.files and element.text != target.files[role]:
            result.changes.append(f"{role} is {target.files[role]}")
            element.text = target.files[role]
    _fit_nvram(system, target, result)
    genid = domain.find("genid")
    if genid is not None and target.new_vm:
        genid.text = None
        result.changes.append("new generation id")


def _fit_nvram(system: Element, target: Target, result: Fitted) -> None:
    nvram = system.find("nvram")
    if "nvram" in target.files:
        if nvram is None:  # libvirt chose the place by itself
            nvram = SubElement(system, "nvram")
        for child in list(nvram):
            nvram.remove(child)
        nvram.attrib.pop("type", None)
        if (nvram.text or "").strip() != target.files["nvram"]:
            result.changes.append(f"firmware variables are in {target.files['nvram']}")
        nvram.text = target.files["nvram"]
    elif nvram is not None and target.new_vm:
        system.remove(nvram)  # two VMs must never share one; libvirt makes it anew
        result.changes.append("firmware variables start anew: the point does not hold them")


def _fit_disks(devices: Element, target: Target, result: Fitted) -> None:
    for disk in devices.findall("disk"):
        place = disk.find("target")
        name = place.get("dev", "") if place is not None else ""
        if name in target.disks:
            _point_at(disk, *target.disks[name])
            continue
        if name in target.media:
            driver = disk.find("driver")
            _point_at(disk, target.media[name], driver.get("type", "raw") if driver is not None else "raw")
            continue
        source = disk.find("source")
        path = source.get("file") or source.get("dev") if source is not None else None
        if disk.get("device") in ("cdrom", "floppy"):
            if source is not None and path not in target.existing:
                disk.remove(source)
                _drop(disk, "backingStore")
                result.changes.append(f"{name}: the medium {path or 'of a pool or network'} is taken out")
        elif disk.find("readonly") is None or path not in target.existing:
            devices.remove(disk)
            result.changes.append(f"{name} is left away: the point does not hold it")


def _point_at(disk: Element, path: str, format_name: str) -> None:
    """Let a disk use a restored image, which stands alone."""
    disk.set("type", "file")
    disk.attrib.pop("snapshot", None)
    for tag in ("source", "backingStore", "mirror"):
        _drop(disk, tag)
    driver = disk.find("driver")
    if driver is None:
        driver = Element("driver", name="qemu")
        disk.insert(0, driver)
    driver.set("type", format_name)
    if disk.get("device") == "lun":  # passes SCSI commands to a block device, which a file is not
        disk.set("device", "disk")
        for attribute in ("rawio", "sgio"):
            disk.attrib.pop(attribute, None)
    disk.insert(1, Element("source", file=path))


def _drop(parent: Element, tag: str) -> None:
    for child in parent.findall(tag):
        parent.remove(child)


def _fit_interfaces(devices: Element, target: Target, result: Fitted) -> None:
    for number, interface in enumerate(devices.findall("interface")):
        mac = interface.find("mac")
        if mac is None:
            mac = SubElement(interface, "mac")
        if number < len(target.macs):
            mac.set("address", target.macs[number])
        for child in interface.findall("target"):
            if child.get("dev", "").startswith(("vnet", "macvtap", "tap")):
                interface.remove(child)
        source = interface.find("source")
        if source is None:
            continue
        source.attrib.pop("portid", None)
        _map_network(interface, source, target, result)


def _map_network(interface: Element, source: Element, target: Target, result: Fitted) -> None:
    kind = interface.get("type", "")
    attribute = {"network": "network", "bridge": "bridge", "direct": "dev"}.get(kind)
    old = source.get(attribute, "") if attribute is not None else ""
    new = target.networks.get(old)
    if not old or new is None or new == old:
        return
    if new == NO_NETWORK:
        _drop(interface, "link")
        SubElement(interface, "link", state="down")
        # A user-mode interface exists on every host, so the VM can be defined and started without that network.
        interface.set("type", "user")
        for tag in ("source", "virtualport", "portOptions", "bandwidth", "vlan"):
            _drop(interface, tag)
        result.changes.append(f"the interface on {old} has no network and its link is down")
        return
    for name in ("network", "bridge", "dev", "portgroup", "mode"):
        source.attrib.pop(name, None)
    interface.set("type", "network")
    source.set("network", new)
    result.changes.append(f"the interface on {old} is on the network {new}")


def _fit_channels(devices: Element) -> None:
    """Sockets that libvirt made for the old VM are made anew."""
    for channel in devices.findall("channel"):
        source = channel.find("source")
        if source is not None and channel.get("type") == "unix" and "/libvirt/qemu/" in source.get("path", ""):
            channel.remove(source)


def _drop_host_devices(devices: Element, result: Fitted) -> None:
    for tag in ("hostdev", "redirdev", "shmem"):
        for element in devices.findall(tag):
            devices.remove(element)
            what = " ".join(filter(None, (tag, element.get("type"), element.get("mode"), element.get("name"))))
            result.changes.append(f"left away: {what}, which belongs to the original's host")


def _note_kept(domain: Element, target: Target) -> None:
    metadata = domain.find("metadata")
    if metadata is not None:
        _drop(metadata, f"{{{NAMESPACE}}}kept")
    if target.kept_record is None:
        return
    if metadata is None:
        metadata = SubElement(domain, "metadata")
    SubElement(metadata, f"{{{NAMESPACE}}}kept", record=target.kept_record)


def kept_record(xml: str) -> str | None:
    """Path of the record of what an in-place restore kept, from a domain's XML."""
    element = domain_xml.parse(xml).find(f"./metadata/{{{NAMESPACE}}}kept")
    return None if element is None else element.get("record")


def missing_elements(wanted: str, got: str) -> list[str]:
    """Paths of elements that a host dropped without a word when it took a definition."""
    had, has = _paths(domain_xml.parse(wanted)), _paths(domain_xml.parse(got))
    return sorted(path for path, count in had.items() if has.get(path, 0) < count)


def _paths(root: Element, prefix: str = "") -> dict[str, int]:
    counts: dict[str, int] = {}
    path = f"{prefix}/{root.tag.rpartition('}')[2]}"
    counts[path] = 1
    for child in root:
        for name, count in _paths(child, path).items():
            counts[name] = counts.get(name, 0) + count
    return counts
