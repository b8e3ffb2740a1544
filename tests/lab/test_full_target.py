"""The host's file system fills up while a VM is brought back in place: it is as it was, and the next try is right."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sites
from tests.support.client import Client, wait_until
from tests.support.site import Site
from tests.support.small import fill, small_file_system
from tests.support.vms import MIB, TestVm, assert_same
from vmtui.lab import LabInfo, down, up
from vmtui.restore.room import MARGIN


@pytest.fixture(scope="module")
def cramped() -> Iterator[tuple[LabInfo, Site]]:
    """A lab, and its north with images in a small file system that was mounted before."""
    with tempfile.TemporaryDirectory(prefix="vmtui-test-") as folder:
        Path(folder).chmod(0o755)  # the lab's account goes through it
        with small_file_system(Path(folder) / "images", MARGIN + 160 * MIB) as images:
            lab = up(Path(folder) / "lab", wanted=())
            north = sites(lab)["north"]
            yield lab, replace(north, info=replace(north.info, images=str(images)))
            down(Path(folder) / "lab")


def full_at(place: str, client: Client, gate: Path, filler: Path, *arguments: str) -> dict[str, Any]:
    """Fill the file system when a job has come to a place; gives the record of the job that has ended."""
    gate.touch()
    client.stop()
    job = client.ok(*arguments, "--detach", failpoint=f"{place}=hold:{gate}").json["job"]
    wait_until(gate.with_name("gate.reached").exists, 120, f"the way to {place}")
    fill(filler)
    gate.unlink()
    client.run("job", "watch", job, timeout=180)
    record: dict[str, Any] = client.ok("job", "show", job, "--json").json
    return record


@pytest.mark.parametrize("options", [(), ("--whole",)], ids=["on-top", "whole"])
def test_full_in_the_middle(
    cramped: tuple[LabInfo, Site], new_client: Callable[..., Client], tmp_path: Path, options: tuple[str, ...]
) -> None:
    lab, site = cramped
    client = new_client(of=lab)
    client.init()
    vm = TestVm(site)
    gate, filler = tmp_path / "gate", site.images / "filler"
    try:
        vm.start()
        vm.write(0x51, 0, 40 * MIB)
        point = client.backup(vm)["point"]
        vm.stop()
        then = vm.contents(tmp_path / "then")["vda"]
        vm.start()
        vm.write(0x52, 4 * MIB, 24 * MIB)
        vm.stop()
        now = vm.contents(tmp_path / "now")["vda"]
        definition = site.virsh("dumpxml", "--inactive", vm.name)

        arguments = ("restore", point, "--in-place", *options, "--yes", "--json")
        record = full_at("restore.created" if options else "restore.overlaid", client, gate, filler, *arguments)
        assert (record["state"], record["error"]["id"]) == ("failed", "WRITE-FAILED"), record
        assert "No space left" in record["error"]["cause"]
        assert {path.name for path in site.images.iterdir()} == {vm.paths["vda"].name, filler.name}
        assert site.virsh("dumpxml", "--inactive", vm.name) == definition
        assert_same(vm.contents(tmp_path / "still")["vda"], now)

        filler.unlink()
        client.stop()
        client.ok(*arguments, timeout=180)
        assert_same(vm.contents(tmp_path / "back")["vda"], then)
        assert subprocess.run(["qemu-img", "check", "-q", str(vm.paths["vda"])]).returncode == 0
    finally:
        client.stop()
        vm.remove()
        filler.unlink(missing_ok=True)


def test_full_before_the_way_back_is_written_down(
    cramped: tuple[LabInfo, Site], new_client: Callable[..., Client], tmp_path: Path
) -> None:
    """The record of the old disks does not fit: nothing of it stays, and the VM is as it was."""
    lab, site = cramped
    client = new_client(of=lab)
    client.init()
    vm = TestVm(site)
    gate, filler = tmp_path / "gate", site.images / "filler"
    try:
        vm.start()
        vm.write(0x51, 0, 8 * MIB)
        point = client.backup(vm)["point"]
        vm.write(0x52, MIB, MIB)
        vm.stop()
        now = vm.contents(tmp_path / "now")["vda"]
        arguments = ("restore", point, "--in-place", "--whole", "--yes", "--json")
        record = full_at("restore.verified", client, gate, filler, *arguments)
        assert record["state"] == "failed", record
        assert "kept" not in record["error"]["facts"]
        assert {path.name for path in site.images.iterdir()} == {vm.paths["vda"].name, filler.name}
        assert_same(vm.contents(tmp_path / "still")["vda"], now)
    finally:
        client.stop()
        vm.remove()
        filler.unlink(missing_ok=True)
