"""What belongs to a VM besides its disks: firmware variables, TPM state, saved memory, media, records."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, Result, remove_vm, wait_until
from tests.support.guests import run_in_guest, wait_agent
from tests.support.site import Site
from tests.support.sleepers import SLEEPER, boot_id, count, make_sleeper, remove_sleeper
from tests.support.uefi import (
    FIRMWARE,
    TPM,
    guest_tpm,
    make_uefi_guest,
    nvram_of,
    read_variable,
    remove_uefi_guest,
    seal,
    tpm_at_rest,
    tpm_folder,
    unseal,
    write_variable,
)
from tests.support.vms import MIB, Spec, TestVm, assert_same, raw_copy
from vmtui.lab import LabInfo

SECRET = b"only this TPM knows"
STATE = "tpm2/tpm2-00.permall"


@pytest.fixture(scope="module")
def operator(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One client for all tests here; each works on VMs of its own."""
    client = Client(tmp_path_factory.mktemp("whole") / "client", lab)
    client.init()
    yield client
    client.stop()


def failures(result: Result) -> dict[str, str]:
    return {check["name"]: check["detail"] for check in result.json["checks"] if check["ok"] is False}


def checks(document: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["detail"] for check in document["checks"]}


# -- firmware and TPM, by a guest that uses them -------------------------------------------------


@pytest.fixture
def uefi(north: Site, south: Site) -> Iterator[str]:
    """Name of a running guest with UEFI and TPM on north; it and what is made of it are taken away."""
    name = "uefi1"
    make_uefi_guest(north, name)
    north.virsh("start", name)
    wait_agent(north, name, 400)
    yield name
    for site in (north, south):
        for vm in (name, f"{name}-copy"):
            remove_uefi_guest(site, vm)


def test_uefi_guest_comes_back_elsewhere_with_its_secrets(
    operator: Client, uefi: str, north: Site, south: Site
) -> None:
    """Backed up hot and cold, lost with all its files, brought back on the other site: it opens what it sealed."""
    write_variable(north, uefi, "remember")
    seal(guest_tpm(north, uefi), SECRET)
    uuid = north.virsh("domuuid", uefi).strip()
    hot = operator.backup(f"north/{uefi}", "--mode", "hot")
    assert operator.ok("show", hot["point"], "--json").json["left_out"] == []
    north.virsh("destroy", uefi, "--graceful")
    files = {"nvram": nvram_of(north, uefi), "tpm": tpm_folder(north, uuid) / STATE}
    then = {role: path.read_bytes() for role, path in files.items()}
    cold = operator.backup(f"north/{uefi}")
    assert (hot["mode"], cold["mode"]) == ("hot", "cold")
    remove_uefi_guest(north, uefi)
    assert not any(path.exists() for path in files.values())

    copy = operator.restore(cold["point"], south, f"{uefi}-copy")
    assert copy["uuid"] != uuid
    assert nvram_of(south, f"{uefi}-copy").read_bytes() == then["nvram"]
    state = tpm_folder(south, copy["uuid"]) / STATE
    assert state.read_bytes() == then["tpm"]
    assert state.stat().st_mode & 0o777 == 0o600

    back = operator.ok(
        "restore", hot["point"], "--to", "south", "--same-identity", "--start", "--json", timeout=600
    ).json
    assert (back["vm"], back["uuid"]) == (uefi, uuid)
    assert "as in the point" in checks(back)["nvram"]
    assert "as in the point" in checks(back)[f"tpm {STATE}"]
    wait_agent(south, uefi, 400)
    assert read_variable(south, uefi) == "remember"
    assert unseal(guest_tpm(south, uefi), len(SECRET)) == SECRET


# -- saved memory --------------------------------------------------------------------------------


@pytest.fixture
def sleeper(north: Site, south: Site) -> Iterator[str]:
    """Name of a running guest on north that counts in memory."""
    make_sleeper(north)
    yield SLEEPER
    for site in (north, south):
        remove_sleeper(site)


def test_saved_vm_wakes_where_it_slept(
    operator: Client, sleeper: str, north: Site, south: Site, tmp_path: Path
) -> None:
    """Lost with its files and brought back, on its host and on the other one, it goes on counting."""
    run_in_guest(north, sleeper, "echo written >/data/mark; sync")
    born, before = boot_id(north, sleeper), count(north, sleeper)
    north.virsh("managedsave", sleeper, timeout=300)
    disk = raw_copy(north.images / f"{sleeper}.qcow2", "qcow2", tmp_path)
    document = operator.backup(f"north/{sleeper}")
    assert document["consistency"] == "crash"
    shown = operator.ok("show", document["point"], "--json").json
    assert [item["role"] for item in shown["files"]] == ["save"]
    assert any("not encrypted" in warning for warning in shown["warnings"])
    remove_sleeper(north)

    for site in (north, south):
        arguments = ("--to", site.name, "--same-identity", "--json")
        back = operator.ok("restore", document["point"], *arguments, timeout=300).json
        assert checks(back)["memory"] == "the VM wakes where it slept"
        assert_same(raw_copy(site.images / f"{sleeper}.qcow2", "qcow2", tmp_path / site.name), disk)
        site.virsh("start", sleeper, timeout=120)
        wait_agent(site, sleeper, 300)
        assert boot_id(site, sleeper) == born, "it was started anew, not woken"
        assert count(site, sleeper) > before
        assert run_in_guest(site, sleeper, "cat /data/mark; echo more >/data/mark; sync") == "written\n"
        remove_sleeper(site)


def test_clone_cannot_wake_and_says_so(
    operator: Client, new_vm: Callable[..., TestVm], north: Site, tmp_path: Path
) -> None:
    vm = new_vm()
    vm.write(0x31, 0, 2 * MIB)
    vm.site.virsh("managedsave", vm.name, "--paused")
    point = operator.backup(vm)["point"]
    expected = vm.contents(tmp_path / "then")["vda"]
    document = operator.restore(point, north, f"{vm.name}-copy")
    try:
        assert "anew" in checks(document)["memory"]
        assert not (save_of(north, f"{vm.name}-copy")).exists()
        (path,) = north.images.glob(f"{vm.name}-copy-vda.qcow2")
        assert_same(raw_copy(path, "qcow2", tmp_path / "copy"), expected)
    finally:
        remove_vm(north, f"{vm.name}-copy")
        vm.site.virsh("managedsave-remove", vm.name)


def save_of(site: Site, name: str) -> Path:
    return site.folder / "cfg" / "libvirt" / "qemu" / "save" / f"{name}.save"


def test_memory_of_another_time_never_meets_restored_disks(
    operator: Client, new_vm: Callable[..., TestVm], north: Site
) -> None:
    """In place it is kept aside; reverted, it is there again, and what was saved in between is not."""
    vm = new_vm()
    point = operator.backup(vm)["point"]
    vm.site.virsh("managedsave", vm.name, "--paused")
    memory = save_of(north, vm.name).read_bytes()
    operator.ok("restore", point, "--in-place", "--yes")
    assert not save_of(north, vm.name).exists()
    vm.start()
    vm.site.virsh("managedsave", vm.name, "--paused")
    later = save_of(north, vm.name).read_bytes()
    assert later != memory
    operator.ok("revert", f"north/{vm.name}", "--yes")
    assert save_of(north, vm.name).read_bytes() == memory
    north.virsh("start", vm.name, "--paused")
    for path in save_of(north, vm.name).parent.glob(f"{vm.name}.save*"):
        path.unlink()


# -- firmware and TPM, by VMs without a system ---------------------------------------------------


@pytest.fixture
def sealed(new_vm: Callable[..., TestVm], north: Site) -> Iterator[TestVm]:
    """A paused VM with UEFI firmware and a TPM, both of which have state."""
    vm = new_vm(started=False, extra=TPM)
    xml = north.virsh("dumpxml", "--inactive", vm.name)
    xml = xml.replace("</type>", "</type>" + FIRMWARE.format(nvram_of(north, vm.name)), 1)
    xml = xml.replace("<devices>", "<features><acpi/></features><devices>", 1)  # without ACPI, libvirt refuses UEFI
    north.virsh("define", "/dev/stdin", stdin=xml)
    vm.start()
    yield vm
    north.virsh("destroy", vm.name, check=False)
    north.virsh("undefine", vm.name, "--nvram", "--checkpoints-metadata", check=False)
    for path in nvram_of(north, vm.name).parent.glob(f"{vm.name}_VARS*"):
        path.unlink()


def state_of(vm: TestVm) -> dict[str, bytes]:
    return {
        "nvram": nvram_of(vm.site, vm.name).read_bytes(),
        "tpm": (tpm_folder(vm.site, vm.uuid) / STATE).read_bytes(),
    }


def change_state(vm: TestVm) -> None:
    """As a guest would, between a point and its restore."""
    for path in (nvram_of(vm.site, vm.name), tpm_folder(vm.site, vm.uuid) / STATE):
        path.write_bytes(path.read_bytes() + b"changed")


def test_in_place_keeps_old_firmware_and_tpm(operator: Client, sealed: TestVm) -> None:
    sealed.stop()
    then = state_of(sealed)
    point = operator.backup(sealed)["point"]
    change_state(sealed)
    now = state_of(sealed)
    operator.ok("restore", point, "--in-place", "--yes")
    assert state_of(sealed) == then
    operator.ok("revert", f"north/{sealed.name}", "--yes")
    assert state_of(sealed) == now


def test_clone_has_a_copy_of_the_tpm(operator: Client, sealed: TestVm, north: Site) -> None:
    sealed.stop()
    then = state_of(sealed)
    point = operator.backup(sealed)["point"]
    document = operator.restore(point, north, f"{sealed.name}-copy")
    try:
        assert nvram_of(north, f"{sealed.name}-copy").read_bytes() == then["nvram"]
        assert (tpm_folder(north, document["uuid"]) / STATE).read_bytes() == then["tpm"]
        assert "BitLocker" in checks(document)["tpm"]
        assert state_of(sealed) == then
        north.virsh("start", f"{sealed.name}-copy", "--paused")
    finally:
        remove_vm(north, f"{sealed.name}-copy")
        shutil.rmtree(tpm_folder(north, document["uuid"]), ignore_errors=True)


def test_copied_tpm_opens_what_was_sealed(operator: Client, sealed: TestVm, south: Site) -> None:
    """swtpm itself, on the state that was brought to the other site after the VM's own was lost."""
    sealed.stop()
    with tpm_at_rest(sealed.site, tpm_folder(sealed.site, sealed.uuid)) as tpm:
        seal(tpm, SECRET)
    point = operator.backup(sealed)["point"]
    shutil.rmtree(tpm_folder(sealed.site, sealed.uuid))
    document = operator.restore(point, south, f"{sealed.name}-copy")
    folder = tpm_folder(south, document["uuid"])
    try:
        with tpm_at_rest(south, folder) as tpm:
            assert unseal(tpm, len(SECRET)) == SECRET
        south.virsh("start", f"{sealed.name}-copy", "--paused")
    finally:
        remove_vm(south, f"{sealed.name}-copy")
        shutil.rmtree(folder, ignore_errors=True)


def test_running_state_is_of_the_instant(operator: Client, sealed: TestVm) -> None:
    """Hot and paused points of a VM whose firmware and TPM are at rest hold them without a warning."""
    then = state_of(sealed)
    for mode in ("hot", "paused"):
        point = operator.backup(sealed, "--mode", mode)["point"]
        shown = operator.ok("show", point, "--json").json
        sizes = {item["role"]: item["size"] for item in shown["files"] if item["role"] in then}
        assert sizes == {role: len(data) for role, data in then.items()}
        assert not any("changed" in warning for warning in shown["warnings"])


def test_missing_nvram(operator: Client, sealed: TestVm, south: Site) -> None:
    """libvirt would make it from a template without a word; here it is an error, or the operator's word."""
    sealed.stop()
    nvram_of(sealed.site, sealed.name).unlink()
    point = operator.backup(sealed)["point"]
    assert "nvram" in [item["name"] for item in operator.ok("show", point, "--json").json["left_out"]]
    arguments = ("restore", point, "--to", "south", "--as", "blank")
    refused = operator.run(*arguments, "--plan", "--json")
    assert refused.code == 5, str(refused)
    assert "--new-nvram" in failures(refused)["nvram"]
    document = operator.ok(*arguments, "--new-nvram", "--json").json
    remove_vm(south, "blank")
    shutil.rmtree(tpm_folder(south, document["uuid"]), ignore_errors=True)


def test_nvram_is_compared_before_the_first_start(
    operator: Client, sealed: TestVm, south: Site, tmp_path: Path
) -> None:
    """Somebody takes the restored variables away before the VM starts: it does not start with a template."""
    sealed.stop()
    point = operator.backup(sealed)["point"]
    operator.stop()  # the failpoint comes with a new worker
    hold = tmp_path / "hold"
    hold.touch()
    process = operator.popen(
        "restore", point, "--to", "south", "--as", "early", "--start", failpoint=f"restore.defined=hold:{hold}"
    )
    try:
        wait_until(lambda: hold.with_name("hold.reached").exists(), 120, "the definition")
        nvram_of(south, "early").unlink()
        hold.unlink()
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1, out + err
        assert south.virsh("domstate", "early").strip() == "shut off"
    finally:
        remove_uefi_guest(south, "early")


# -- media, records, what is not held ------------------------------------------------------------


def test_media_are_taken_on_request(operator: Client, new_vm: Callable[..., TestVm], north: Site, south: Site) -> None:
    vm = new_vm(started=False)
    medium = north.images / f"{vm.name}-seed.iso"
    medium.write_bytes(b"#cloud-config\n" * 70_001)
    content = medium.read_bytes()
    north.own(medium)
    drive = (
        f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{medium}'/>"
        "<target dev='sda' bus='sata'/><readonly/></disk>"
    )
    xml = north.virsh("dumpxml", "--inactive", vm.name).replace("</devices>", drive + "</devices>")
    north.virsh("define", "/dev/stdin", stdin=xml)
    without = operator.ok("show", operator.backup(vm)["point"], "--json").json
    assert [item["name"] for item in without["left_out"]] == ["sda"]
    assert "--with-media" in without["left_out"][0]["reason"]
    held = operator.ok("show", operator.backup(vm, "--with-media")["point"], "--json").json
    assert held["left_out"] == []
    medium.unlink()  # the lab's hosts share a file system
    operator.restore(held["id"], south, "seeded")
    try:
        assert (south.images / "seeded-medium-sda").read_bytes() == content
        assert "seeded-medium-sda" in south.virsh("domblklist", "seeded")
        south.virsh("start", "seeded", "--paused")
    finally:
        remove_vm(south, "seeded")
        (south.images / "seeded-medium-sda").unlink()


def test_records_of_what_is_not_held(operator: Client, new_vm: Callable[..., TestVm], north: Site) -> None:
    vm = new_vm([Spec("vda")], started=False)
    north.virsh("snapshot-create-as", vm.name, "before-upgrade")
    shown = operator.ok("show", operator.backup(vm)["point"], "--json").json
    assert shown["snapshots"] == ["before-upgrade"]
    assert [item["name"] for item in shown["left_out"]] == ["snapshot before-upgrade"]
    assert "record: snapshot before-upgrade" in operator.ok("show", shown["id"]).out


# -- a lost VM as itself -------------------------------------------------------------------------


def test_same_identity_replaces_nothing(
    operator: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path
) -> None:
    vm = new_vm(started=False)
    expected = vm.contents(tmp_path / "then")["vda"]
    point = operator.backup(vm)["point"]
    refused = operator.run("restore", point, "--same-identity", "--plan", "--json")
    assert refused.code == 5, str(refused)
    assert "--in-place" in failures(refused)["uuid"]
    assert "disk" in failures(refused)
    document = operator.ok("restore", point, "--to", "south", "--same-identity", "--json").json
    try:
        assert (document["vm"], document["uuid"]) == (vm.name, vm.uuid)
        (path,) = south.images.glob(f"{vm.name}*")
        assert_same(raw_copy(path, "qcow2", tmp_path / "back"), expected)
    finally:
        remove_vm(south, vm.name)
