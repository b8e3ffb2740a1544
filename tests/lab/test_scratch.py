"""Scratch files, sockets and their places: nothing of others is replaced, nothing of ours is left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bitmaps import bitmaps_in_memory
from tests.support.client import Client, wait_until
from tests.support.holding import held_backup
from tests.support.points import check_point
from tests.support.site import Site
from tests.support.vms import MIB, TestVm
from vmtui.lab import LabInfo

GIB = 1 << 30


@pytest.fixture
def unwritable(north: Site) -> Iterator[Path]:
    """A folder in which the site's account may not write."""
    folder = north.folder / "unwritable"
    folder.mkdir(mode=0o555)
    yield folder
    folder.rmdir()


@pytest.fixture
def roomy(north: Site) -> Iterator[Path]:
    """A scratch folder, with a file beside it that can eat the file system's free space."""
    folder = north.folder / "roomy"
    folder.mkdir()
    north.own(folder)
    yield folder
    shutil.rmtree(folder)


def with_host(new_client: Callable[..., Client], lab: LabInfo, **changes: object) -> Client:
    """A client that has the site north configured in another way."""
    plain = new_client("plain")
    hosts = plain.settings["hosts"]
    client = new_client(hosts=hosts | {"north": hosts["north"] | changes})
    client.init()
    return client


def assert_nothing_left(vm: TestVm) -> None:
    """No job, checkpoint, bitmap, scratch file or socket of ours."""
    assert not vm.job()
    assert vm.checkpoints() == []
    assert bitmaps_in_memory(vm) == set()
    assert vm.leftovers() == []


def test_begin_that_fails_for_an_unwritable_scratch_folder_leaves_nothing(
    new_client: Callable[..., Client], lab: LabInfo, vm: TestVm, unwritable: Path
) -> None:
    client = with_host(new_client, lab, scratch=str(unwritable))
    assert client.run("backup", f"north/{vm.name}").code == 1
    assert_nothing_left(vm)
    assert list(unwritable.iterdir()) == []
    assert client.ok("points", "--json").json == []


def test_scratch_folder_that_is_missing_leaves_nothing(
    new_client: Callable[..., Client], lab: LabInfo, north: Site, vm: TestVm
) -> None:
    client = with_host(new_client, lab, scratch=str(north.folder / "missing"))
    assert client.run("backup", f"north/{vm.name}").code == 1
    assert_nothing_left(vm)


def _run_folder(vm: TestVm) -> Path:
    """libvirt's folder of the running VM."""
    (found,) = (vm.site.folder / "cfg" / "libvirt" / "qemu" / "lib").glob(f"domain-*-{vm.name[:20]}")
    return found


def test_file_at_socket_path_is_untouched(client: Client, vm: TestVm, tmp_path: Path) -> None:
    """libvirt itself would replace it without asking."""
    with held_backup(client, vm, "backup.planned", tmp_path) as held:
        path = _run_folder(vm) / f"vmtui-{held.job}.sock"
        path.write_text("precious")
        result = held.finish()
    assert result.code == 1, str(result)
    assert path.read_text() == "precious"
    path.unlink()
    assert_nothing_left(vm)


def test_file_at_scratch_path_is_untouched(client: Client, vm: TestVm, tmp_path: Path) -> None:
    with held_backup(client, vm, "backup.planned", tmp_path) as held:
        repository = client.ok("repo", "init", "--json").json["id"]
        path = _run_folder(vm) / f"vmtui-{repository[:8]}-{held.job}-vda.scratch"
        path.write_text("precious")
        result = held.finish()
    assert result.code == 1, str(result)
    assert path.read_text() == "precious"
    path.unlink()
    assert_nothing_left(vm)


def test_long_vm_name(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    """Paths of sockets stay within 107 bytes whatever the name's length."""
    vm = new_vm(name="n" * 190)
    vm.write(0x01, 0, MIB)
    check_point(client, vm, south, tmp_path)


def test_scratch_low_water(
    new_client: Callable[..., Client], lab: LabInfo, vm: TestVm, roomy: Path, tmp_path: Path
) -> None:
    """The job is given up before the VM could feel it, and the operator reads why."""
    free = shutil.disk_usage(roomy).free
    client = with_host(new_client, lab, scratch=str(roomy), scratch_reserve=f"{free - 2 * GIB}")
    vm.write(0x01, 0, 8 * MIB)
    with held_backup(client, vm, "backup.transfer", tmp_path) as held:
        with (roomy / "eater").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 4 * GIB)
        wait_until(lambda: not vm.job(), 30, "the sentry's abort")
        result = held.finish()
    (roomy / "eater").unlink()
    assert result.code == 1, str(result)
    assert result.json["error"]["id"] == "SCRATCH-LOW"
    assert "(I/O error)" not in vm.site.virsh("domstate", "--reason", vm.name)
    assert_nothing_left(vm)
    assert list(roomy.iterdir()) == []
    assert client.ok("points", "--json").json == []
