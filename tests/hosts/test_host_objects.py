"""What is read from other machines' XML and listings: names of devices, rows of files, links."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from vmtui.hosts.host_files import _link, _parse
from vmtui.hosts.host_objects import devices_of


def test_devices_that_a_vm_is_given() -> None:
    pci = "<hostdev mode='subsystem' type='pci'><source><address domain='0x0000' bus='0x3b' slot='0x00' function='0x1'/></source></hostdev>"
    mdev = "<hostdev mode='subsystem' type='mdev'><source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>"
    domain = fromstring(f"<domain><devices>{pci}{mdev}<hostdev type='usb'><source/></hostdev></devices></domain>")
    assert list(devices_of(domain)) == ["pci_0000_3b_00_1", "mdev_c2177883_f1bb_47f0_914d_32a22e3a8804"]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("f\t644\troot\troot\t12\t/etc/libvirt/a\t", "f"),
        ("f\t644\troot\troot\t12\t/etc/libvirt/\ufffd\t", "x"),
        ("x\t0\t\t\t0\t/etc/secret\t", "x"),
    ],
)
def test_rows_of_a_listing(row: str, kind: str) -> None:
    (item,) = _parse(row + "\0")
    assert item.kind == kind


@pytest.mark.parametrize("row", ["", "f\t644", "f\t644\ta\tb\t1\trelative\t", "f\t1\t2\t3\t4\t/a\tb\tc"])
def test_rows_that_are_none(row: str) -> None:
    assert _parse(row + "\0") == []


def test_links_without_what_changes_by_itself() -> None:
    stable = {"ifname": "br0", "mtu": 1500, "address": "52:54:00:00:00:01"}
    detail = {"info_kind": "bridge", "info_data": {"stp_state": 1, "hello_timer": 0.5}}
    addresses = [
        {"family": "inet", "local": "10.0.0.1", "prefixlen": 24, "valid_life_time": 77},
        {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "temporary": True},
    ]
    link = _link(stable | {"ifindex": 9, "operstate": "DOWN", "linkinfo": detail, "addr_info": addresses})
    assert link == stable | {"kind": "bridge", "stp_state": 1, "addresses": ["10.0.0.1/24"]}
