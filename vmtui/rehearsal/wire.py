"""The isolated network of a rehearsal. Pure.

The interface ends in QEMU's own user-mode stack with `restrict=on`, in system mode as in session mode: no interface, bridge
or network of the host is used. The guest gets an address by DHCP, and everything that it sends anywhere else is dropped or
refused inside QEMU. The only way in is a port on the host's loopback address for each port that is waited for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

WIRE = "rehearsal"
"""QEMU's id of the network."""

_MODELS = {
    "virtio": "virtio-net-pci",
    "virtio-transitional": "virtio-net-pci",
    "virtio-non-transitional": "virtio-net-pci",
}
_SAME = ("e1000", "e1000e", "rtl8139", "vmxnet3", "igb", "pcnet", "ne2k_pci")
_FORWARD = re.compile(r"^\s*TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wire:
    """One isolated interface."""

    device: str
    """QEMU's name of the model."""
    mac: str
    bus: str
    slot: str
    """Where the guest finds it: the place of the interface that it stands for."""
    ports: tuple[int, ...] = ()
    """Ports of the guest that are reached from the host's loopback address."""
    capture: str = ""
    """Path of a file on the host in which every frame is recorded; empty for none."""

    def arguments(self) -> Iterator[str]:
        """QEMU's command line."""
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:0-:{port}" for port in self.ports)
        yield from ("-netdev", f"user,id={WIRE},restrict=on{forwards}")
        if self.capture:
            path = self.capture.replace(",", ",,")
            yield from ("-object", f"filter-dump,id={WIRE}-dump,netdev={WIRE},file={path}")
        device = {"driver": self.device, "netdev": WIRE, "mac": self.mac, "bus": self.bus, "addr": self.slot}
        # As JSON: QEMU makes devices that are written otherwise before those of libvirt, so before the bus.
        yield from ("-device", json.dumps(device))


def wire_for(domain: Element, mac: str, ports: tuple[int, ...], capture: str) -> Wire | None:
    """The isolated interface that stands for the first one of a definition; None when it has none.

    Args:
        domain: The point's definition.
        mac: Its new address.
        ports: Of the guest, to be reached.
        capture: Where to record; empty for nowhere.
    """
    interface = domain.find("./devices/interface")
    if interface is None:
        return None
    model = interface.find("model")
    kind = model.get("type", "") if model is not None else ""
    device = _MODELS.get(kind) or (kind if kind in _SAME else "virtio-net-pci")
    address = interface.find("address[@type='pci']")
    if address is None:
        return Wire(device, mac, _bus(domain, 0), "0x10", ports, capture)
    bus, slot, function = (int(address.get(part, "0"), 16) for part in ("bus", "slot", "function"))
    return Wire(device, mac, _bus(domain, bus), f"{slot:#x}.{function:#x}", ports, capture)


def _bus(domain: Element, number: int) -> str:
    root = domain.find("./devices/controller[@type='pci'][@model='pcie-root']")
    kind = domain.find("./os/type")
    machine = kind.get("machine", "") if kind is not None else ""
    if number:
        return f"pci.{number}"
    return "pcie.0" if root is not None or "q35" in machine or machine.startswith("virt") else "pci.0"


def forwarded_ports(monitor: str) -> dict[int, int]:
    """Port of the guest: port of the host's loopback address, from what QEMU's monitor says (`info usernet`)."""
    return {int(guest): int(host) for host, guest in _FORWARD.findall(monitor)}
