"""A point's definition made harmless. Pure: XML in, XML and a list of differences out.

It is built anew from what is known to be safe, never by taking away what is known to be dangerous: an element that this
file has not heard of does not get into a rehearsal.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

from vmtui.hosts import domain_xml
from vmtui.model.ids import VmId
from vmtui.rehearsal.wire import Wire

_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
register_namespace("qemu", _QEMU)

_KEPT = ("features", "clock", "pm", "cpu")
"""Top-level elements without names of files, devices or programs in them."""
_SYSTEM = ("bootmenu", "bios", "boot", "smbios", "firmware", "cmdline")
_DISK_PARTS = ("target", "address", "boot", "serial", "wwn", "vendor", "product", "geometry", "blockio")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "controller": ("model", "address", "target", "master"),
    "memballoon": ("address",),
    "hub": ("address",),
    "panic": ("address",),
    "iommu": ("address", "driver"),
}
"""Devices that end in QEMU itself, and the children whose attributes they keep."""
_INPUTS = ("mouse", "tablet", "keyboard")
_SCREENS = ("vga", "virtio", "cirrus", "bochs", "ramfb")
_SLOTS: tuple[int, ...] = (*range(0x19, 0x01, -1), 0x1E)
_MISSED = {
    "hostdev": "a host device",
    "filesystem": "a shared folder",
    "shmem": "shared memory",
    "vsock": "a vsock",
    "redirdev": "a redirected device",
    "memory": "a memory module",
    "sound": "sound",
    "parallel": "a parallel port",
    "smartcard": "a smart card",
    "crypto": "a crypto device",
}
"""Devices that the operator may miss, in words."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a rehearsal takes place."""

    name: str
    uuid: VmId
    memory_kib: int
    disks: Mapping[str, Element]
    """Target: a <disk> with driver, source and chain; the rest is taken from the point's definition."""
    files: Mapping[str, str]
    """Role: path of the VM's own copy."""
    console: str
    """Path of the unix socket of its serial console."""
    wire: Wire | None = None
    """The isolated network; None for no interface at all."""


@dataclass(slots=True)
class Harmless:
    """The outcome."""

    xml: str = ""
    untested: list[str] = field(default_factory=list)
    """How it differs from the VM, in words."""


def make_harmless(xml: str, stage: Stage) -> Harmless:
    """Build the definition of a rehearsal.

    Args:
        xml: The point's, inactive where there is one.
        stage: Where.

    Raises:
        FailedError: It cannot be read.
    """
    old = domain_xml.parse(xml)
    result = Harmless()
    domain = Element("domain", type=old.get("type", "qemu"))
    _text(domain, "name", stage.name)
    _text(domain, "uuid", stage.uuid)
    _text(domain, "memory", str(stage.memory_kib), unit="KiB")
    vcpu = old.find("vcpu")
    _text(domain, "vcpu", (vcpu.text or "1").strip() if vcpu is not None else "1")
    _system(domain, old, stage)
    for tag in _KEPT:
        for element in old.findall(tag):
            domain.append(_without(element, "numa"))
    sysinfo = old.find("sysinfo")
    if sysinfo is not None and sysinfo.get("type") == "smbios":
        domain.append(sysinfo)
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "preserve")  # so that a picture can be taken of what it died of
    _devices(domain, old, stage, result)
    if stage.wire is not None:
        _command_line(domain, stage.wire)
    result.xml = tostring(domain, encoding="unicode")
    return result


def _text(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    element = SubElement(parent, tag, attributes)
    element.text = text
    return element


def _without(element: Element, *tags: str) -> Element:
    for tag in tags:
        for child in element.findall(tag):
            element.remove(child)
    return element


def _system(domain: Element, old: Element, stage: Stage) -> None:
    before = old.find("os")
    system = SubElement(domain, "os")
    if before is None:
        return
    if firmware := before.get("firmware"):
        system.set("firmware", firmware)
    kind = before.find("type")
    if kind is not None:
        system.append(kind)
    _firmware(system, before, stage)
    for role in ("kernel", "initrd", "dtb"):
        if before.find(role) is not None and role in stage.files:
            _text(system, role, stage.files[role])
    for tag in _SYSTEM:
        for element in before.findall(tag):
            system.append(element)


def _firmware(system: Element, before: Element, stage: Stage) -> None:
    """The host's firmware, read only, and variables of its own."""
    loader = before.find("loader")
    if loader is not None:
        if loader.get("type") == "pflash":
            loader.set("readonly", "yes")
        system.append(loader)
    if "nvram" in stage.files:
        copy = _text(system, "nvram", stage.files["nvram"])
        nvram = before.find("nvram")
        for name in ("template", "templateFormat", "format"):
            if nvram is not None and nvram.get(name):
                copy.set(name, str(nvram.get(name)))


# -- devices -------------------------------------------------------------------------------------


def _devices(domain: Element, old: Element, stage: Stage, result: Harmless) -> None:
    devices = SubElement(domain, "devices")
    before = old.find("devices")
    for device in before if before is not None else ():
        if device.tag in _PARTS:
            devices.append(_only(device, _PARTS[device.tag]))
        elif device.tag in _MISSED:
            result.untested.append(f"left away: {_MISSED[device.tag]}")
        elif device.tag in _BUILDERS:
            _BUILDERS[device.tag](devices, device, stage, result)
    _interfaces(before, stage, result)
    _screen(devices, before, old)
    _console(devices, stage)
    if devices.find("panic") is None and _is_pc(old):
        SubElement(devices, "panic", model="isa")


def _only(device: Element, parts: tuple[str, ...]) -> Element:
    """A device with the attributes of the named children alone."""
    copy = Element(device.tag, dict(device.attrib))
    for part in parts:
        for child in device.findall(part):
            SubElement(copy, part, dict(child.attrib))
    return copy


def _disk(devices: Element, device: Element, stage: Stage, result: Harmless) -> None:
    place = device.find("target")
    name = place.get("dev", "") if place is not None else ""
    kind = device.get("device", "disk")
    if name in stage.disks:
        disk = stage.disks[name]
        disk.set("device", "disk")
        for part in _DISK_PARTS:
            for child in device.findall(part):
                disk.append(child)
        devices.append(disk)
    elif kind in ("cdrom", "floppy"):
        drive = SubElement(devices, "disk", type="file", device=kind)
        for part in ("target", "address", "boot"):
            for child in device.findall(part):
                drive.append(child)
        if kind == "cdrom":
            SubElement(drive, "readonly")
        if device.find("source") is not None:
            result.untested.append(f"{name}: the medium is taken out")
    else:
        result.untested.append(f"left away: the disk {name}, which the point does not hold")


def _input(devices: Element, device: Element, _stage: Stage, _result: Harmless) -> None:
    if device.get("type") in _INPUTS:
        devices.append(_only(device, ("address",)))


def _watchdog(devices: Element, device: Element, _stage: Stage, _result: Harmless) -> None:
    quiet = _only(device, ("address",))
    quiet.set("action", "none")
    devices.append(quiet)


def _rng(devices: Element, device: Element, _stage: Stage, _result: Harmless) -> None:
    copy = _only(device, ("address",))
    _text(copy, "backend", "/dev/urandom", model="random")
    devices.append(copy)


def _tpm(devices: Element, device: Element, _stage: Stage, result: Harmless) -> None:
    backend = device.find("backend")
    if backend is None or backend.get("type") != "emulator":
        result.untested.append("left away: the host's TPM")
        return
    copy = _only(device, ("address",))
    fresh = SubElement(copy, "backend", type="emulator")
    if version := backend.get("version"):
        fresh.set("version", version)
    devices.append(copy)
    result.untested.append("the TPM is a new, empty one: what the old one sealed does not open")


def _channel(devices: Element, device: Element, stage: Stage, _result: Harmless) -> None:
    """The guest agent's alone; others end in programs of the host.

    Its socket is beside the console's: the place that libvirt would choose holds the VM's name and may be too long.
    """
    target = device.find("target")
    if target is not None and target.get("name") == "org.qemu.guest_agent.0":
        channel = SubElement(devices, "channel", type="unix")
        SubElement(channel, "source", mode="bind", path=posixpath.join(posixpath.dirname(stage.console), "agent"))
        SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
        for address in device.findall("address"):
            channel.append(address)


_BUILDERS: Mapping[str, Callable[[Element, Element, Stage, Harmless], None]] = {
    "disk": _disk,
    "input": _input,
    "watchdog": _watchdog,
    "rng": _rng,
    "tpm": _tpm,
    "channel": _channel,
}
"""Devices that are made anew from what is known of them."""


def _interfaces(before: Element | None, stage: Stage, result: Harmless) -> None:
    count = len(before.findall("interface")) if before is not None else 0
    if stage.wire is None and count:
        result.untested.append("the network: its interfaces are taken out")
    elif stage.wire is not None and count > 1:
        result.untested.append(f"the network: {count - 1} of {count} interfaces are taken out, the first is isolated")
    elif stage.wire is not None:
        result.untested.append("the network: the interface is isolated")


def _screen(devices: Element, before: Element | None, old: Element) -> None:
    """A screen to take a picture of."""
    model = before.find("./video/model") if before is not None else None
    kind = model.get("type", "") if model is not None else ""
    video = SubElement(devices, "video")
    if model is not None and kind in _SCREENS:
        SubElement(video, "model", type=kind)
        address = before.find("./video/address") if before is not None else None
        if address is not None:
            video.append(address)
    elif _is_pc(old):
        SubElement(video, "model", type="vga")
        # libvirt would put a bridge for it where a device of the VM was.
        SubElement(video, "address", type="pci", domain="0", bus="0", slot=f"{_free_slot(old):#x}", function="0")
    else:
        SubElement(video, "model", type="virtio")


def _free_slot(old: Element) -> int:
    """A place on the first PCI bus where nothing of the VM is, far from where libvirt puts what has no place."""
    used = {
        int(address.get("slot", "0"), 16)
        for address in old.findall("./devices/*/address[@type='pci']")
        if int(address.get("bus", "0"), 16) == 0
    }
    return next(slot for slot in _SLOTS if slot not in used)


def _console(devices: Element, stage: Stage) -> None:
    serial = SubElement(devices, "serial", type="unix")
    SubElement(serial, "source", mode="bind", path=stage.console)
    SubElement(serial, "target", port="0")


def _is_pc(old: Element) -> bool:
    kind = old.find("./os/type")
    return kind is not None and kind.get("arch", "x86_64") in ("x86_64", "i686") and kind.get("machine") != "microvm"


def _command_line(domain: Element, wire: Wire) -> None:
    line = SubElement(domain, f"{{{_QEMU}}}commandline")
    for argument in wire.arguments():
        SubElement(line, f"{{{_QEMU}}}arg", value=argument)
