"""Who a restored VM is: never somebody who is there already, and never a part of the original."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.client import Client, disk_images, remove_vm
from tests.support.site import Site
from tests.support.vms import MIB, TestVm, assert_same, raw_copy
from vmtui.model.ids import PointId, VmId, new_id
from vmtui.repository import PointName, Repository

FLASH = 1 << 20
MAC = "52:54:00:aa:bb:cc"
SECRET = "swordfis"  # noqa: S105  # a password to look for
"""A VNC password; at most eight characters."""


class FirmwareVm:
    """A VM with an interface, a password, and a firmware whose variables are in a file of its own.

    The firmware is a file without a program in it: nothing ever runs on it, as the VM stays paused or off.
    """

    def __init__(self, vm: TestVm, loader: Path, nvram: Path) -> None:
        self.vm = vm
        self.loader = loader
        self.nvram = nvram

    def definition(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.vm.site.virsh("dumpxml", "--inactive", self.vm.name))


@pytest.fixture
def firmware_vm(new_vm: Callable[..., TestVm], north: Site) -> Iterator[FirmwareVm]:
    vm = new_vm(
        started=False,
        extra=f"<interface type='user'><mac address='{MAC}'/></interface>"
        f"<graphics type='vnc' socket='{north.folder}/run/vnc' passwd='{SECRET}'/>",
    )
    loader, nvram = north.folder / f"{vm.name}.code", north.folder / f"{vm.name}.vars"
    loader.write_bytes(bytes(FLASH))
    nvram.write_bytes(os.urandom(4096) + bytes(FLASH - 4096))
    north.own(loader, nvram)
    definition = ElementTree.fromstring(north.virsh("dumpxml", "--inactive", "--security-info", vm.name))
    system = definition.find("os")
    assert system is not None
    ElementTree.SubElement(system, "loader", readonly="yes", type="pflash").text = str(loader)
    ElementTree.SubElement(system, "nvram").text = str(nvram)
    ElementTree.SubElement(ElementTree.SubElement(definition, "features"), "acpi")
    north.virsh("define", "/dev/stdin", stdin=ElementTree.tostring(definition, encoding="unicode"))
    vm.start()
    yield FirmwareVm(vm, loader, nvram)
    north.virsh("destroy", vm.name, check=False)
    north.virsh("undefine", vm.name, "--checkpoints-metadata", "--keep-nvram", check=False)
    loader.unlink(missing_ok=True)
    nvram.unlink(missing_ok=True)


def test_clone_identity(client: Client, firmware_vm: FirmwareVm, south: Site) -> None:
    """UUID, MAC and place of the firmware's variables are new, their content is the same."""
    vm = firmware_vm.vm
    point = client.backup(vm)["point"]
    name = f"clone-of-{vm.name}"
    client.restore(point, south, name)
    clone = ElementTree.fromstring(south.virsh("dumpxml", "--inactive", name))
    nvram = Path(clone.findtext("./os/nvram", ""))
    try:
        assert clone.findtext("uuid") != vm.uuid
        mac = clone.find("./devices/interface/mac")
        assert mac is not None and mac.get("address") != MAC
        assert nvram != firmware_vm.nvram
        assert nvram.read_bytes() == firmware_vm.nvram.read_bytes()
    finally:
        remove_vm(south, name)


def test_clone_leaves_the_original_untouched(client: Client, firmware_vm: FirmwareVm, north: Site) -> None:
    vm = firmware_vm.vm
    point = client.backup(vm)["point"]
    before = vm.site.virsh("dumpxml", "--security-info", vm.name), firmware_vm.nvram.read_bytes(), vm.checkpoints()
    name = f"clone-of-{vm.name}"
    client.restore(point, north, name)
    try:
        after = vm.site.virsh("dumpxml", "--security-info", vm.name), firmware_vm.nvram.read_bytes(), vm.checkpoints()
        assert after == before
    finally:
        remove_vm(north, name)


def test_missing_nvram(client: Client, firmware_vm: FirmwareVm, south: Site) -> None:
    """The point says that it does not hold the variables, and so does the plan of a restore: no silent new ones."""
    vm = firmware_vm.vm
    vm.stop()
    firmware_vm.nvram.unlink()
    document = client.backup(vm)
    assert [item["name"] for item in document["left_out"]] == ["nvram"]
    plan = client.run("restore", document["point"], "--to", "south", "--as", f"r-{vm.name}", "--plan", "--json")
    assert any("firmware variables" in change for change in plan.json["changes"])


def test_known_name(client: Client, vm: TestVm, new_vm: Callable[..., TestVm]) -> None:
    """Refused before any byte is written."""
    other = new_vm()
    point = client.backup(vm)["point"]
    before = sorted(vm.site.images.iterdir())
    definition = vm.site.virsh("dumpxml", other.name)
    assert client.run("restore", point, "--to", "north", "--as", other.name).code == 5
    assert sorted(vm.site.images.iterdir()) == before
    assert vm.site.virsh("dumpxml", other.name) == definition


def test_known_uuid_under_another_name(client: Client, vm: TestVm, south: Site, new_vm: Callable[..., TestVm]) -> None:
    """In place on a host where the name is somebody else's: refused before any byte is written."""
    other = new_vm(site=south, name=vm.name)
    point = client.backup(vm)["point"]
    before = sorted(south.images.iterdir())
    refused = client.run("restore", point, "--to", "south", "--in-place", "--yes")
    assert refused.code == 5
    assert sorted(south.images.iterdir()) == before
    assert ElementTree.fromstring(south.virsh("dumpxml", vm.name)).findtext("uuid") == other.uuid


def test_in_place_keeps_old(client: Client, firmware_vm: FirmwareVm, tmp_path: Path) -> None:
    """Disk and firmware variables are the point's; on revert those that were there come back."""
    vm = firmware_vm.vm
    vm.write(0x01, 0, MIB)
    vm.stop()
    point = client.backup(vm)["point"]
    then_disk, then_nvram = vm.contents(tmp_path / "then")["vda"], firmware_vm.nvram.read_bytes()
    vm.start()
    vm.write(0x02, 0, MIB)
    vm.stop()
    firmware_vm.nvram.write_bytes(os.urandom(FLASH))
    now_disk, now_nvram = vm.contents(tmp_path / "now")["vda"], firmware_vm.nvram.read_bytes()
    client.ok("restore", point, "--to", "north", "--in-place", "--yes")
    assert_holds(vm, then_disk, tmp_path / "restored")
    assert firmware_vm.nvram.read_bytes() == then_nvram
    client.ok("revert", f"north/{vm.name}", "--yes")
    assert_holds(vm, now_disk, tmp_path / "reverted")
    assert firmware_vm.nvram.read_bytes() == now_nvram


def test_newer_xml_on_older_host(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """A definition with an element that this libvirt does not know: restored, and the operator reads what is gone."""
    name = PointName(VmId(vm.uuid), PointId(client.backup(vm)["point"]))
    repository = Repository(f"file://{client.repository}", tmp_path / "cache")
    point = repository.points.load(name)
    newer = replace(
        point,
        id=PointId(new_id(datetime.now(UTC))),
        xml_inactive=point.xml_inactive.replace("</devices>", "<flux capacity='1.21'/></devices>"),
    )
    repository.points.commit(newer)
    restored = f"newer-{vm.name}"
    document = client.restore(newer.id, south, restored)
    try:
        assert any("/domain/devices/flux" in check["detail"] for check in document["checks"])
        assert any("/domain/devices/flux" in note for note in document["notes"])
    finally:
        remove_vm(south, restored)


def assert_holds(vm: TestVm, expected: Path, folder: Path) -> None:
    """The VM's disk, as its definition names it now, has these bytes."""
    path, kind = disk_images(vm.site, vm.name)["vda"]
    assert_same(raw_copy(path, kind, folder), expected)


def test_secrets_nowhere(client: Client, firmware_vm: FirmwareVm, south: Site) -> None:
    """A password in the definition comes back with the VM, and is in no log, journal, document or screen."""
    vm = firmware_vm.vm
    said = [client.ok("backup", f"north/{vm.name}", "--json")]
    point = said[0].json["point"]
    said += [client.ok("show", point), client.ok("show", point, "--json")]
    name = f"secret-{vm.name}"
    said += [client.ok("restore", point, "--to", "south", "--as", name, "--plan")]
    said += [client.ok("restore", point, "--to", "south", "--as", name, "--json")]
    try:
        assert SECRET in south.virsh("dumpxml", "--security-info", name)
    finally:
        remove_vm(south, name)
    said += [client.ok("job", "show", job["id"], "--json") for job in client.ok("jobs", "--json").json]
    client.stop()
    assert [result.argv for result in said if SECRET in result.out + result.err] == []
    files = [path for path in client.state.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
