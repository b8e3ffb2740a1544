"""Restored == frozen view: the promise of the program, for every kind of disk and every kind of change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.site import Site
from tests.support.vms import MIB, Spec, TestVm


def kinds(document: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Target: (kind, reason) of a backup's disks."""
    return {disk["name"]: (disk["kind"], disk["reason"]) for disk in document["disks"]}


def check_point(client: Client, vm: TestVm, site: Site, folder: Path, *options: str) -> dict[str, Any]:
    """Back up, restore elsewhere, compare with an independent copy of what the disks held."""
    document = client.backup(vm, *options)
    expected = vm.contents(folder / document["point"])
    client.assert_restores(document["point"], site, expected, folder)
    return document


def test_data_and_an_increment(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0xAB, 0, 3 * MIB)
    vm.write(0xCD, 40 * MIB + 512, 1 * MIB + 1024)
    first = check_point(client, vm, south, tmp_path)
    assert kinds(first) == {"vda": ("full", "first")}
    vm.write(0xEF, 1 * MIB + 4096, 8192)
    vm.write(0x11, 63 * MIB, 1 * MIB)
    second = check_point(client, vm, south, tmp_path)
    assert kinds(second) == {"vda": ("incremental", None)}
    assert second["disks"][0]["read_bytes"] < 2 * MIB


@pytest.mark.parametrize("how", ["zeroes", "zeroes unmapped", "discard"])
def test_zeroes_after_the_full(client: Client, vm: TestVm, south: Site, tmp_path: Path, how: str) -> None:
    vm.write(0xAB, 0, 8 * MIB)
    vm.write(0xCD, 16 * MIB, 8 * MIB)
    check_point(client, vm, south, tmp_path)
    if how == "discard":
        vm.discard(1 * MIB, 4 * MIB)
        vm.discard(16 * MIB, 8 * MIB)
    else:
        vm.zero(1 * MIB, 4 * MIB, unmap="unmapped" in how)
        vm.zero(16 * MIB, 8 * MIB, unmap="unmapped" in how)
    second = check_point(client, vm, south, tmp_path)
    assert kinds(second) == {"vda": ("incremental", None)}
    assert second["disks"][0]["read_bytes"] == 0


def test_two_disks_of_different_kind(
    client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path
) -> None:
    vm = new_vm([Spec("vda"), Spec("vdb", "raw", 32 * MIB)])
    vm.write(0x01, 0, MIB)
    vm.write(0x02, 5 * MIB, MIB, "vdb")
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("full", "first"), "vdb": ("full", "raw")}
    vm.write(0x03, 2 * MIB, MIB)
    vm.write(0x04, 6 * MIB, MIB, "vdb")
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("incremental", None), "vdb": ("full", "raw")}


def test_disk_added_and_removed(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, MIB)
    check_point(client, vm, south, tmp_path)
    vm.stop()
    vm.attach(Spec("vdb", size=16 * MIB))
    vm.start()
    vm.write(0x02, 0, MIB, "vdb")
    vm.write(0x03, 4 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {
        "vda": ("incremental", None),
        "vdb": ("full", "disk added"),
    }
    vm.write(0x04, 2 * MIB, MIB, "vdb")
    assert kinds(check_point(client, vm, south, tmp_path)) == {
        "vda": ("incremental", None),
        "vdb": ("incremental", None),
    }
    vm.stop()
    vm.detach("vdb")
    vm.start()
    vm.write(0x05, 8 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("incremental", None)}


def test_grown_disk(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    vm = new_vm([Spec(size=10 * MIB + 512)])
    vm.write(0x01, 9 * MIB, MIB + 512)
    check_point(client, vm, south, tmp_path)
    vm.site.virsh("blockresize", vm.name, "vda", f"{40 * MIB}B")
    vm.write(0x02, 30 * MIB, MIB)
    second = check_point(client, vm, south, tmp_path)
    assert kinds(second) == {"vda": ("incremental", None)}
    assert second["disks"][0]["virtual_size"] == 40 * MIB


def test_compat_0_10(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    vm = new_vm([Spec("vda"), Spec("vdb", options="compat=0.10")])
    vm.write(0x01, 0, MIB, "vdb")
    assert kinds(check_point(client, vm, south, tmp_path))["vdb"] == ("full", "compat 0.10")
    vm.write(0x02, 3 * MIB, MIB, "vdb")
    assert kinds(check_point(client, vm, south, tmp_path)) == {
        "vda": ("incremental", None),
        "vdb": ("full", "compat 0.10"),
    }


def test_external_snapshot_and_commit(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, 4 * MIB)
    check_point(client, vm, south, tmp_path)
    base, overlay = vm.paths["vda"], vm.site.images / f"{vm.name}-overlay.qcow2"
    vm.site.virsh(
        "snapshot-create-as", vm.name, "s1", "--disk-only", "--no-metadata", "--diskspec", f"vda,file={overlay}"
    )
    vm.write(0x02, MIB, MIB)
    vm.paths["vda"] = overlay
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("incremental", None)}
    vm.write(0x03, 2 * MIB, MIB)
    vm.site.virsh("blockcommit", vm.name, "vda", "--active", "--pivot", "--wait")
    vm.write(0x04, 3 * MIB, 65536)
    vm.paths["vda"] = base
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("incremental", None)}


def test_restarted_between_points(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, 4 * MIB)
    check_point(client, vm, south, tmp_path)
    vm.write(0x02, MIB, MIB)
    vm.stop()
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("incremental", None)}


def test_qemu_killed_between_points(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, 4 * MIB)
    check_point(client, vm, south, tmp_path)
    vm.write(0x02, MIB, MIB)
    vm.io("flush")
    vm.kill()
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    document = check_point(client, vm, south, tmp_path)
    assert kinds(document) == {"vda": ("full", "bitmap lost")}
    assert len(vm.checkpoints()) == 1


@pytest.mark.parametrize("size", [512, 1536, 10 * MIB + 512, 16_777_728])
@pytest.mark.parametrize("kind", ["qcow2", "raw"])
def test_odd_sizes(
    client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path, kind: str, size: int
) -> None:
    vm = new_vm([Spec("vda", kind, size)])
    vm.write(0x5A, 0, 512)
    vm.write(0xA5, size - 512, 512)
    check_point(client, vm, south, tmp_path)
    vm.write(0x77, size - 512, 512)
    check_point(client, vm, south, tmp_path)


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_raw_file_of_odd_length_keeps_its_length(
    client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path, running: bool
) -> None:
    """QEMU rounds the export up to 512; the restored file has the exact length."""
    vm = new_vm([Spec("vda", "raw", 16_777_316)], started=False)
    with vm.paths["vda"].open("r+b") as file:
        file.seek(-100, 2)
        file.write(b"\x99" * 100)
    expected = vm.contents(tmp_path / "expected")  # at rest: an export is as long as its rounded size
    assert expected["vda"].stat().st_size == 16_777_316
    if running:
        vm.start()
    document = client.backup(vm)
    client.assert_restores(document["point"], south, expected, tmp_path)


def test_empty_disk(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    """An image in which nothing was ever written, beside one of no bytes at all."""
    vm = new_vm([Spec("vda"), Spec("vdb", size=0)])
    document = check_point(client, vm, south, tmp_path)
    assert [disk["stored_bytes"] for disk in document["disks"]] == [0, 0]


@pytest.mark.parametrize("mode", ["cold", "paused"])
def test_other_modes(client: Client, vm: TestVm, south: Site, tmp_path: Path, mode: str) -> None:
    vm.write(0x01, 0, 4 * MIB)
    if mode == "cold":
        vm.stop()
    first = check_point(client, vm, south, tmp_path, "--mode", mode)
    assert first["consistency"] == ("offline" if mode == "cold" else "crash")
    if mode == "cold":
        vm.start()
    vm.write(0x02, MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("incremental", None)}


def test_backing_chain_restores_standing_alone(
    client: Client, new_vm: Callable[..., TestVm], north: Site, south: Site, tmp_path: Path
) -> None:
    vm = new_vm()
    vm.write(0x01, 0, 4 * MIB)
    vm.site.virsh(
        "snapshot-create-as",
        vm.name,
        "s1",
        "--disk-only",
        "--no-metadata",
        "--diskspec",
        f"vda,file={north.images}/{vm.name}-top.qcow2",
    )
    vm.write(0x02, MIB, MIB)
    vm.paths["vda"] = north.images / f"{vm.name}-top.qcow2"
    check_point(client, vm, south, tmp_path)


def test_full_on_request(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, 4 * MIB)
    check_point(client, vm, south, tmp_path)
    document = check_point(client, vm, south, tmp_path, "--full")
    assert kinds(document) == {"vda": ("full", "forced")}
    assert document["disks"][0]["new_bytes"] == 0
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("incremental", None)}
