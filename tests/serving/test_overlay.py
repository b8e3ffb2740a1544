"""A domain's disk on an offered one: it pauses on errors, whatever it was before."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from vmtui.hosts.block_jobs import backed_disks
from vmtui.serving import OfferedDisk, back_by_offer

OFFERED = OfferedDisk("vda", "/tmp/vmtui-1/s", 1 << 20)
DISKS = {
    "a file": "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' error_policy='report'/>"
    "<source file='/old'/><backingStore/><target dev='vda'/></disk>",
    "a volume": "<disk type='volume' device='disk' snapshot='no'><source pool='p' volume='v'/><target dev='vda'/></disk>",
    "a network disk": "<disk type='network' device='disk'><driver type='raw'/><source protocol='rbd' name='x'/>"
    "<target dev='vda'/></disk>",
}


@pytest.mark.parametrize("kind", DISKS)
def test_a_disk_of_any_kind_becomes_an_overlay_that_pauses_on_errors(kind: str) -> None:
    disk = fromstring(DISKS[kind])
    back_by_offer(disk, "/new.qcow2", OFFERED)
    driver = disk.find("driver")
    assert driver is not None
    assert {name: driver.get(name) for name in ("type", "error_policy", "rerror_policy")} == {
        "type": "qcow2",
        "error_policy": "stop",
        "rerror_policy": "stop",
    }
    assert [source.attrib for source in disk.findall("source")] == [{"file": "/new.qcow2"}]
    assert disk.get("type") == "file"
    (backing,) = disk.findall("backingStore")
    host = backing.find("source/host")
    assert host is not None
    assert host.attrib == {"transport": "unix", "socket": "/tmp/vmtui-1/s"}
    assert disk.get("snapshot") is None


def test_disks_that_still_need_the_offer_are_found_wherever_it_is_in_the_chain() -> None:
    disk = fromstring(DISKS["a file"])
    back_by_offer(disk, "/new.qcow2", OFFERED)
    root = fromstring("<domain><devices/></domain>")
    devices = root.find("devices")
    assert devices is not None
    devices.append(disk)
    devices.append(fromstring(DISKS["a volume"].replace("vda", "vdb")))
    from xml.etree.ElementTree import tostring

    xml = tostring(root, encoding="unicode")
    assert backed_disks(xml, "/tmp/vmtui-1/s") == ["vda"]
    assert backed_disks(xml, "/tmp/vmtui-2/s") == []
