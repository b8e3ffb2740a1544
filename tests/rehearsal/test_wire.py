from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from vmtui.rehearsal.wire import forwarded_ports, wire_for

SAID = """Hub -1 (rehearsal):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[HOST_FORWARD]   3       127.0.0.1 36669       10.0.2.15    22     0     0
  TCP[ESTABLISHED]   44       127.0.0.1 36669       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]   4         0.0.0.0 40000       10.0.2.15    80     0     0
"""


def test_the_ports_of_the_loopback_address_are_found() -> None:
    assert forwarded_ports(SAID) == {22: 36669}


@pytest.mark.parametrize(
    ("machine", "address", "place"),
    [
        ("pc-i440fx-7.2", "<address type='pci' bus='0x00' slot='0x03' function='0x0'/>", ("pci.0", "0x3.0x0")),
        ("pc-q35-7.2", "<address type='pci' bus='0x00' slot='0x03' function='0x1'/>", ("pcie.0", "0x3.0x1")),
        ("pc-q35-7.2", "<address type='pci' bus='0x05' slot='0x00' function='0x0'/>", ("pci.5", "0x0.0x0")),
        ("q35", "", ("pcie.0", "0x10")),
    ],
)
def test_it_stands_where_the_first_interface_stood(machine: str, address: str, place: tuple[str, str]) -> None:
    domain = fromstring(
        f"<domain><os><type machine='{machine}'>hvm</type></os><devices><interface type='network'>{address}</interface>"
        "<interface type='user'/></devices></domain>"
    )
    wire = wire_for(domain, "52:54:00:00:00:01", (), "/a,b/net.pcap")
    assert wire is not None
    assert (wire.bus, wire.slot) == place
    assert "restrict=on" in " ".join(wire.arguments())
    assert "filter-dump,id=rehearsal-dump,netdev=rehearsal,file=/a,,b/net.pcap" in list(wire.arguments())


def test_a_vm_without_interfaces_gets_none() -> None:
    assert wire_for(fromstring("<domain><devices/></domain>"), "52:54:00:00:00:01", (22,), "") is None
