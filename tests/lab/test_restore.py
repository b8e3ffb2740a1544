"""Bringing points back: as a new VM, as the VM itself, on another host, as a single file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.conftest import sites
from tests.support.client import Client, Result, disk_images, remove_vm
from tests.support.site import Site
from tests.support.vms import MIB, Spec, TestVm, assert_same, digest, raw_copy
from vmtui.jobs.world import utc_now
from vmtui.lab import LabInfo
from vmtui.model.ids import PointId, VmId, new_id
from vmtui.repository import PointName, Repository

NETWORK = "<interface type='network'><source network='{}'/><mac address='52:54:00:11:22:{:02x}'/></interface>"


@pytest.fixture(scope="module")
def operator(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One client for all tests here; each works on VMs of its own."""
    client = Client(tmp_path_factory.mktemp("restore") / "client", lab)
    client.init()
    yield client
    client.stop()


@pytest.fixture
def networks(lab: LabInfo) -> Iterator[None]:
    """`lan` on north; on south `office`, which is active, and `dmz`, which is not. No bridge is made for them."""
    xml = "<network><name>{}</name><forward mode='bridge'/><bridge name='br-none'/></network>"
    wanted = [("north", "lan", True), ("south", "office", True), ("south", "dmz", False)]
    for site, name, active in wanted:
        sites(lab)[site].virsh("net-define", "/dev/stdin", stdin=xml.format(name))
        if active:
            sites(lab)[site].virsh("net-start", name)
    yield
    for site, name, active in wanted:
        if active:
            sites(lab)[site].virsh("net-destroy", name)
        sites(lab)[site].virsh("net-undefine", name)


def definition(site: Site, name: str) -> ElementTree.Element:
    return ElementTree.fromstring(site.virsh("dumpxml", "--inactive", "--security-info", name))


def macs(site: Site, name: str) -> list[str | None]:
    return [item.get("address") for item in definition(site, name).findall("./devices/interface/mac")]


def standing(site: Site) -> dict[str, Any]:
    """All that a restore could change on a site."""
    files = {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in site.images.iterdir()}
    states = site.virsh("list", "--all")
    return {"files": files, "states": states, "domains": {n: site.virsh("dumpxml", n) for n in site.domains()}}


def redefined(vm: TestVm, *changes: tuple[str, str]) -> None:
    """Define the VM anew with parts of its XML exchanged."""
    xml = vm.site.virsh("dumpxml", "--inactive", vm.name)
    for old, new in changes:
        assert old in xml
        xml = xml.replace(old, new, 1)
    vm.site.virsh("define", "/dev/stdin", stdin=xml)


def altered(client: Client, vm: TestVm, point: str, folder: Path, *changes: tuple[str, str]) -> str:
    """A further point with another definition, as a host of another kind would have given it."""
    repository = Repository(f"file://{client.repository}", folder / "cache")
    manifest = repository.points.load(PointName(VmId(vm.uuid), PointId(point)))
    xml = manifest.xml_inactive or manifest.xml_live
    for old, new in changes:
        assert re.search(old, xml), old
        xml = re.sub(old, new, xml, count=1)
    other = PointId(new_id(utc_now()))
    repository.points.commit(replace(manifest, id=other, xml_inactive=xml))
    return other


def checks(document: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["detail"] for check in document["checks"]}


def failures(result: Result) -> dict[str, str]:
    """Failed checks of a plan."""
    return {check["name"]: check["detail"] for check in result.json["checks"] if check["ok"] is False}


# -- as a new VM ---------------------------------------------------------------------------------


def test_new_vm_beside_its_original(
    operator: Client, new_vm: Callable[..., TestVm], north: Site, tmp_path: Path
) -> None:
    """It is another VM, powered off; the original runs on, untouched, with its checkpoint."""
    vm = new_vm(extra="<interface type='user'><mac address='52:54:00:aa:bb:01'/></interface>")
    vm.write(0x11, 0, 2 * MIB)
    point = operator.backup(vm)["point"]
    before = (vm.state, vm.checkpoints(), north.virsh("dumpxml", vm.name), vm.contents(tmp_path / "before"))
    document = operator.restore(point, north, "copy")
    try:
        assert document["uuid"] != vm.uuid
        assert definition(north, "copy").findtext("uuid") == document["uuid"]
        assert macs(north, "copy") != macs(north, vm.name)
        assert north.virsh("domstate", "copy").strip() == "shut off"
        (path, kind) = disk_images(north, "copy")["vda"]
        assert_same(raw_copy(path, kind, tmp_path / "copy"), before[3]["vda"])
        assert (vm.state, vm.checkpoints(), north.virsh("dumpxml", vm.name)) == before[:3]
        assert_same(vm.contents(tmp_path / "after")["vda"], before[3]["vda"])
    finally:
        remove_vm(north, "copy")


@pytest.mark.usefixtures("networks")
def test_networks_and_pools_are_mapped(operator: Client, new_vm: Callable[..., TestVm], south: Site) -> None:
    vm = new_vm(started=False, extra=NETWORK.format("lan", 1))
    point = operator.backup(vm)["point"]
    folder = south.folder / "more"
    folder.mkdir()
    south.own(folder)
    south.virsh("pool-create-as", "more", "dir", "--target", str(folder))
    try:
        operator.restore(point, south, "mapped", "--map-network", "lan=office", "--map-pool", "images=more")
        source = definition(south, "mapped").find("./devices/interface/source")
        assert source is not None
        assert source.get("network") == "office"
        (path, _) = disk_images(south, "mapped")["vda"]
        assert path.parent == folder
        assert path.name in south.virsh("vol-list", "more")
    finally:
        remove_vm(south, "mapped")
        south.virsh("pool-destroy", "more")
        folder.rmdir()


@pytest.mark.usefixtures("networks")
def test_no_network_takes_the_link_down(operator: Client, new_vm: Callable[..., TestVm], south: Site) -> None:
    vm = new_vm(started=False, extra=NETWORK.format("lan", 2))
    point = operator.backup(vm)["point"]
    operator.restore(point, south, "alone", "--map-network", "lan=none")
    try:
        interface = definition(south, "alone").find("./devices/interface")
        assert interface is not None
        assert interface.find("source") is None
        link = interface.find("link")
        assert link is not None
        assert link.get("state") == "down"
        south.virsh("start", "alone", "--paused")
    finally:
        remove_vm(south, "alone")


@pytest.mark.usefixtures("networks")
def test_network_that_is_not_active_is_refused(operator: Client, new_vm: Callable[..., TestVm], south: Site) -> None:
    vm = new_vm(started=False, extra=NETWORK.format("lan", 3))
    point = operator.backup(vm)["point"]
    result = operator.run(
        "restore", point, "--to", "south", "--as", "n1", "--map-network", "lan=dmz", "--plan", "--json"
    )
    assert result.code == 5, str(result)
    assert "dmz is not active" in failures(result)["network"]
    assert "n1" not in south.domains()


# -- the plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [("--as", "planned"), ("--in-place",)])
def test_plan_prints_every_step_and_changes_nothing(
    operator: Client, new_vm: Callable[..., TestVm], north: Site, options: tuple[str, ...]
) -> None:
    vm = new_vm([Spec("vda"), Spec("vdb", "raw", 8 * MIB)], started=False)
    point = operator.backup(vm)["point"]
    before = standing(north)
    text = operator.ok("restore", point, "--plan", *options).out
    steps = operator.ok("restore", point, "--plan", "--json", *options).json["steps"]
    assert standing(north) == before
    words = " ".join(step["text"] for step in steps)
    for target in ("vda", "vdb"):
        assert f"write {target}" in words
        assert f"read {target} back" in words
    assert ("set " + str(vm.paths["vdb"]) + " aside" in words) == ("--in-place" in options)
    assert "definition" in words
    assert all(f"{step['number']:3}" in text for step in steps)


def test_preflight_names_everything_at_once(
    operator: Client, new_vm: Callable[..., TestVm], north: Site, south: Site, tmp_path: Path
) -> None:
    taken = new_vm(site=south, started=False)
    vm = new_vm([Spec("vda"), Spec("vdb", "raw", 8 * MIB)], started=False, extra="<interface type='user'/>")
    folder = north.folder / f"pool-{vm.name}"
    folder.mkdir()
    north.own(folder)
    north.virsh("pool-create-as", folder.name, "dir", "--target", str(folder))
    try:
        moved = vm.paths["vdb"].rename(folder / vm.paths["vdb"].name)
        redefined(vm, (str(vm.paths["vdb"]), str(moved)))
        point = operator.backup(vm)["point"]
    finally:
        north.virsh("pool-destroy", folder.name)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    other = altered(
        operator,
        vm,
        point,
        tmp_path,
        (r"machine=(['\"])[^'\"]*\1", "machine='pc-q35-99.9'"),
        (">qemu64<", ">Nonesuch<"),
        (r"</type>", "</type><loader readonly='yes' type='pflash'>/none/OVMF.fd</loader>"),
        (r"<interface type=(['\"])user\1>", "<interface type='network'><source network='nowhere'/>"),
    )
    before = standing(south)
    arguments = ("restore", other, "--to", "south", "--as", taken.name, "--map-pool", f"{folder.name}=nopool")
    plan = operator.run(*arguments, "--plan", "--json")
    refused = operator.run(*arguments)
    assert (plan.code, refused.code) == (5, 5), f"{plan}{refused}"
    found = failures(plan)
    for name, word in {
        "name": taken.name,
        "machine": "pc-q35-99.9",
        "cpu": "Nonesuch",
        "firmware": "/none/OVMF.fd",
        "network": "nowhere",
        "pool": "nopool",
        "disk": f"{taken.name}-vda.qcow2",
    }.items():
        assert word in found.get(name, ""), f"{name}: {found}"
        assert word in refused.err
    assert standing(south) == before


# -- what does not come along --------------------------------------------------------------------


def test_host_devices_are_left_away_with_a_word(
    operator: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path
) -> None:
    device = (
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1d6b'/><product id='0x0002'/></source></hostdev>"
    )
    vm = new_vm(started=False, extra=device)
    point = operator.backup(vm)["point"]
    document = operator.restore(point, south, "bare")
    try:
        assert definition(south, "bare").find("./devices/hostdev") is None
        assert any("hostdev" in detail for detail in checks(document).values()), document["checks"]
    finally:
        remove_vm(south, "bare")


def test_missing_medium_is_taken_out(operator: Client, new_vm: Callable[..., TestVm], north: Site, south: Site) -> None:
    vm = new_vm(started=False)
    medium = north.images / f"{vm.name}-cd.iso"
    medium.write_bytes(b"medium")
    north.own(medium)
    redefined(
        vm,
        (
            "</devices>",
            (
                f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{medium}'/>"
                "<target dev='sda' bus='sata'/><readonly/></disk></devices>"
            ),
        ),
    )
    point = operator.backup(vm)["point"]
    medium.unlink()
    document = operator.restore(point, south, "tray")
    try:
        drive = definition(south, "tray").find("./devices/disk[@device='cdrom']")
        assert drive is not None
        assert drive.find("source") is None
        assert any(str(medium) in detail for detail in checks(document).values()), document["checks"]
    finally:
        south.virsh("detach-disk", "tray", "sda", "--config")
        remove_vm(south, "tray")


def test_kernel_and_initrd_come_along(
    operator: Client, new_vm: Callable[..., TestVm], north: Site, south: Site
) -> None:
    vm = new_vm(started=False)
    boot = north.folder / f"boot-{vm.name}"
    boot.mkdir()
    contents = {"kernel": b"kernel" * 40_000, "initrd": b"initrd" * 70_001}
    for role, data in contents.items():
        (boot / role).write_bytes(data)
    north.own(boot, *boot.iterdir())
    redefined(
        vm, ("</os>", f"<kernel>{boot}/kernel</kernel><initrd>{boot}/initrd</initrd><cmdline>quiet</cmdline></os>")
    )
    point = operator.backup(vm)["point"]
    for path in boot.iterdir():
        path.unlink()
    boot.rmdir()
    operator.restore(point, south, "direct")
    system = definition(south, "direct").find("os")
    assert system is not None
    placed = {role: Path(str(system.findtext(role))) for role in contents}
    try:
        assert {role: path.read_bytes() for role, path in placed.items()} == contents
        assert system.findtext("cmdline") == "quiet"
    finally:
        remove_vm(south, "direct")
        for path in placed.values():
            path.unlink()


# -- in place ------------------------------------------------------------------------------------


@pytest.fixture
def changed(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> tuple[TestVm, str, Path, Path]:
    """A VM that is off and has changed since its point: (it, the point, its disk then, its disk now)."""
    vm = new_vm(extra="<interface type='user'><mac address='52:54:00:aa:bb:02'/></interface>")
    vm.write(0x21, 0, 2 * MIB)
    then = vm.contents(tmp_path / "then")["vda"]
    point = operator.backup(vm)["point"]
    vm.write(0x22, MIB, 2 * MIB)
    vm.stop()
    return vm, point, then, vm.contents(tmp_path / "now")["vda"]


def kept(vm: TestVm) -> list[Path]:
    return sorted(path for path in vm.site.images.glob(f"{vm.name}*") if ".before-" in path.name)


def test_in_place_keeps_identity_and_the_old_disk(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path
) -> None:
    vm, point, then, now = changed
    before = macs(vm.site, vm.name)
    document = operator.ok("restore", point, "--in-place", "--yes", "--json").json
    assert document["uuid"] == vm.uuid
    assert definition(vm.site, vm.name).findtext("uuid") == vm.uuid
    assert macs(vm.site, vm.name) == before
    assert_same(vm.contents(tmp_path / "after")["vda"], then)
    (old,) = [path for path in kept(vm) if not path.name.endswith(".json")]
    assert_same(raw_copy(old, "qcow2", tmp_path / "old"), now)
    again = operator.backup(vm)
    assert again["disks"][0]["kind"] == "full"


def test_revert_brings_everything_back(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path
) -> None:
    vm, point, _, now = changed
    redefined(vm, ("<devices>", "<title>changed since</title><devices>"))
    before = vm.site.virsh("dumpxml", "--inactive", vm.name)
    operator.ok("restore", point, "--in-place", "--yes")
    assert "changed since" not in vm.site.virsh("dumpxml", "--inactive", vm.name)
    operator.ok("revert", vm.name, "--yes")
    assert vm.site.virsh("dumpxml", "--inactive", vm.name) == before
    assert_same(vm.contents(tmp_path / "after")["vda"], now)
    assert kept(vm) == []
    assert operator.run("revert", vm.name, "--yes").code == 5


def test_discard_deletes_what_was_kept(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path
) -> None:
    vm, point, then, _ = changed
    operator.ok("restore", point, "--in-place", "--yes")
    operator.ok("revert", vm.name, "--discard", "--yes")
    assert kept(vm) == []
    assert_same(vm.contents(tmp_path / "after")["vda"], then)
    assert operator.run("revert", vm.name, "--yes").code == 5


def test_two_restores_in_place_are_reverted_one_by_one(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path
) -> None:
    vm, point, then, now = changed
    operator.ok("restore", point, "--in-place", "--yes")
    operator.ok("restore", point, "--in-place", "--yes")
    operator.ok("revert", vm.name, "--yes")
    assert_same(vm.contents(tmp_path / "once")["vda"], then)
    operator.ok("revert", vm.name, "--yes")
    assert_same(vm.contents(tmp_path / "twice")["vda"], now)


def test_vm_that_is_gone_comes_back_as_itself(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path
) -> None:
    vm, point, then, _ = changed
    before = macs(vm.site, vm.name)
    vm.remove()
    assert operator.ok("restore", point, "--in-place", "--yes", "--json").json["uuid"] == vm.uuid
    assert macs(vm.site, vm.name) == before
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_a_vm_never_runs_twice(operator: Client, vm: TestVm, south: Site) -> None:
    """In place on another host is refused while the original is active, and goes when it is off."""
    point = operator.backup(vm)["point"]
    before = standing(south)
    result = operator.run("restore", point, "--to", "south", "--in-place", "--yes")
    assert result.code == 5, str(result)
    assert "must not run twice" in result.err
    assert standing(south) == before
    vm.stop()
    operator.ok("restore", point, "--to", "south", "--in-place", "--yes")
    assert definition(south, vm.name).findtext("uuid") == vm.uuid
    remove_vm(south, vm.name)


# -- a single disk -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_exported_disks_are_the_frozen_view(
    operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path, kind: str
) -> None:
    vm = new_vm([Spec("vda"), Spec("vdb", "raw", 5 * MIB + 512)])
    vm.write(0x31, MIB, MIB)
    vm.write(0x32, 4 * MIB, MIB, "vdb")
    expected = vm.contents(tmp_path / "expected")
    point = operator.backup(vm)["point"]
    for target, frozen in expected.items():
        path = tmp_path / f"{target}.{kind}"
        operator.ok("export", point, target, str(path))
        assert digest(raw_copy(path, kind, tmp_path / "read")) == digest(frozen)


# -- real guests ---------------------------------------------------------------------------------


def shutdowns(site: Site, name: str) -> list[str]:
    """Why QEMU ended, each time, as libvirt wrote it down."""
    log = site.folder / "cache" / "libvirt" / "qemu" / "log" / f"{name}.log"
    return re.findall(r"reason=(\w+)", log.read_text())


def test_a_running_guest_is_replaced_and_reverted_gracefully(
    guests: LabInfo, new_client: Callable[..., Client]
) -> None:
    """It shuts down by itself each time, the restored one answers, and the reverted one runs again."""
    client, north = new_client(of=guests), sites(guests)["north"]
    client.init()
    point = client.backup("north/web1")["point"]
    before = north.virsh("dumpxml", "--inactive", "web1")
    ended = shutdowns(north, "web1")
    document = client.ok("restore", point, "--in-place", "--start", "--yes", "--json", timeout=400).json
    assert checks(document)["guest agent"].startswith("answered")
    assert shutdowns(north, "web1") == [*ended, "shutdown"]
    client.ok("revert", "north/web1", "--yes", timeout=400)
    assert shutdowns(north, "web1") == [*ended, "shutdown", "shutdown"]
    assert north.virsh("dumpxml", "--inactive", "web1") == before
    assert north.virsh("domstate", "web1").strip() == "running"
    for path in north.images.glob("web1*.reverted-*"):
        path.unlink()
