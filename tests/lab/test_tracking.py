"""Which changes an increment may leave out: never one that somebody made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bitmaps import bitmaps_at_rest, bitmaps_in_memory, edit_bitmap
from tests.support.client import Client
from tests.support.holding import held_backup
from tests.support.points import INCREMENTAL, check_point, checkpoint_of, kinds
from tests.support.site import Site
from tests.support.vms import MIB, Spec, TestVm

BITMAP_LOST = ("full", "bitmap lost")


# -- what is a change ----------------------------------------------------------------------------


def test_detect_zeroes_unmap(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    """Zeroes that the guest writes as data become holes; they are changes all the same."""
    vm = new_vm([Spec(driver="discard='unmap' detect_zeroes='unmap'")])
    vm.write(0xAB, 0, 8 * MIB)
    client.backup(vm)
    vm.write(0x00, MIB, 4 * MIB)
    second = check_point(client, vm, south, tmp_path)
    assert kinds(second) == {"vda": INCREMENTAL}
    assert second["disks"][0]["read_bytes"] == 0


@pytest.mark.parametrize("cluster", ["4k", "2M"])
def test_granularity_of_the_bitmap(
    client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path, cluster: str
) -> None:
    vm = new_vm([Spec(options=f"cluster_size={cluster}")])
    vm.write(0x01, 0, 16 * MIB)
    client.backup(vm)
    for number in range(8):
        vm.write(0x10 + number, number * 2 * MIB + 4096 * number + 512, 1024)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}


def test_shrunk_disk_is_read_in_full(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, 4 * MIB)
    first = client.backup(vm)
    vm.stop()
    name = checkpoint_of(client, first["point"])
    assert name is not None
    edit_bitmap(vm.paths["vda"], "--remove", name)
    subprocess.run(["qemu-img", "resize", "-q", "--shrink", str(vm.paths["vda"]), str(8 * MIB)], check=True)
    edit_bitmap(vm.paths["vda"], "--add", name)
    vm.start()
    vm.write(0x02, 6 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("full", "shrunk")}


def test_volume_disk(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    vm = new_vm([Spec(volume=True)])
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}


# -- what does not break the chain of changes ----------------------------------------------------


def test_blockcopy_between(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """The disk moved to another image: its bitmap moved with it."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    moved = vm.site.images / f"{vm.name}-moved.qcow2"
    vm.site.virsh("blockcopy", vm.name, "vda", str(moved), "--transient-job", "--wait", "--pivot")
    vm.paths["vda"] = moved
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}


def test_managedsave_between(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    vm.site.virsh("managedsave", vm.name, "--paused")
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}


def test_renamed_between(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """A VM is its UUID: under a new name it goes on where it was."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    vm.stop()
    vm.site.virsh("domrename", vm.name, f"{vm.name}-new")
    vm.name = f"{vm.name}-new"
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}
    assert len(client.points(vm)) == 2


def test_transient_redefine(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """A VM that was undefined while it ran, and libvirt has forgotten its checkpoint; the bitmap is there."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    vm.site.virsh("undefine", vm.name, "--checkpoints-metadata")
    for name in vm.checkpoints():
        vm.site.virsh("checkpoint-delete", vm.name, name, "--metadata")
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}


# -- what must not be built on -------------------------------------------------------------------


def test_qemu_killed_after_clean_stop(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """A bitmap that was saved once and then not closed is marked in use: it misses the last writes."""
    vm.write(0x01, 0, 4 * MIB)
    first = client.backup(vm)
    vm.stop()
    vm.start()
    vm.write(0x02, MIB, MIB)
    vm.io("flush")
    vm.kill()
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    second = check_point(client, vm, south, tmp_path)
    assert kinds(second) == {"vda": BITMAP_LOST}
    assert vm.checkpoints() == [checkpoint_of(client, second["point"])]
    assert checkpoint_of(client, first["point"]) not in bitmaps_in_memory(vm)


def test_checkpoint_without_bitmap(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, 4 * MIB)
    (name,) = [checkpoint_of(client, client.backup(vm)["point"])]
    assert name is not None
    vm.write(0x02, MIB, MIB)
    vm.stop()
    edit_bitmap(vm.paths["vda"], "--remove", name)
    vm.start()
    assert vm.checkpoints() == [name]
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": BITMAP_LOST}
    assert name not in vm.checkpoints()


def test_stale_bitmap_same_name(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """A bitmap of the right name that began to record too late: the sample of clean blocks tells."""
    vm.write(0x01, 0, 64 * MIB)
    name = checkpoint_of(client, client.backup(vm)["point"])
    assert name is not None
    vm.write(0x02, 0, 64 * MIB)
    vm.stop()
    edit_bitmap(vm.paths["vda"], "--remove", name)
    edit_bitmap(vm.paths["vda"], "--add", name)
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("full", "sample differs")}


def test_image_rolled_back_behind_the_parent(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """The older copy does not have the newer checkpoint's bitmap."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.stop()
    older = tmp_path / "older"
    shutil.copyfile(vm.paths["vda"], older)
    vm.start()
    vm.write(0x02, MIB, MIB)
    client.backup(vm)
    vm.stop()
    shutil.copyfile(older, vm.paths["vda"])
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": BITMAP_LOST}


def test_image_rolled_back_behind_some_writes(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """The older copy has the parent's bitmap, and that bitmap is right for the copy."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    vm.stop()
    older = tmp_path / "older"
    shutil.copyfile(vm.paths["vda"], older)
    vm.start()
    vm.write(0x04, 3 * MIB, MIB)
    vm.stop()
    shutil.copyfile(older, vm.paths["vda"])
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    check_point(client, vm, south, tmp_path)


def test_image_swapped(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    """Another VM's image under the known path."""
    vm, other = new_vm(), new_vm()
    vm.write(0x01, 0, 4 * MIB)
    other.write(0x02, MIB, 8 * MIB)
    client.backup(vm)
    client.backup(other)
    vm.stop()
    other.stop()
    shutil.copyfile(other.paths["vda"], vm.paths["vda"])
    vm.start()
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": BITMAP_LOST}


def test_write_behind_qemu(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """Bytes changed in the image file itself: found by the sample, read in full, with an alarm."""
    vm.write(0xAB, 0, 32 * MIB)
    client.backup(vm)
    vm.stop()
    _replace_bytes(vm.paths["vda"], 0xAB, 0xAC)
    vm.start()
    document = check_point(client, vm, south, tmp_path)
    assert kinds(document) == {"vda": ("full", "sample differs")}
    assert any("ALARM" in note for note in document["notes"])


def test_write_behind_qemu_is_found_at_rest(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0xAB, 0, 32 * MIB)
    client.backup(vm)
    vm.stop()
    _replace_bytes(vm.paths["vda"], 0xAB, 0xAC)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("full", "sample differs")}


def _replace_bytes(path: Path, old: int, new: int) -> None:
    """Change all clusters that hold nothing but one byte."""
    size = 1 << 16
    wanted, instead = bytes([old]) * size, bytes([new]) * size
    with path.open("r+b") as file:
        for offset in range(0, path.stat().st_size, size):
            file.seek(offset)
            if file.read(size) == wanted:
                file.seek(offset)
                file.write(instead)


def test_point_lost(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """A checkpoint whose point is gone is never a parent, and goes when the next point is accepted."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    lost = client.backup(vm)
    orphan = checkpoint_of(client, lost["point"])
    vm.write(0x03, 2 * MIB, MIB)
    manifests = [path for path in client.repository.glob("points/**/*") if lost["point"] in path.name]
    assert manifests
    for path in manifests:
        path.unlink()
    document = check_point(client, vm, south, tmp_path)
    assert kinds(document) == {"vda": ("full", "parent point gone")}
    assert vm.checkpoints() == [checkpoint_of(client, document["point"])] != [orphan]


# -- what is kept --------------------------------------------------------------------------------


def test_failed_increment_keeps_parent(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x01, 0, 4 * MIB)
    parent = checkpoint_of(client, client.backup(vm)["point"])
    vm.write(0x02, MIB, MIB)
    with held_backup(client, vm, "backup.transfer", tmp_path) as held:
        vm.site.virsh("domjobabort", vm.name)
        assert held.finish().code == 1
    assert vm.checkpoints() == [parent]
    vm.write(0x03, 3 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}
    assert len(client.points(vm)) == 2


def test_foreign_checkpoint_survives(client: Client, vm: TestVm) -> None:
    """Another tool's checkpoint and bitmap are there, and go on recording, after runs of every kind."""
    vm.site.virsh("checkpoint-create-as", vm.name, "theirs")
    for options in ((), (), ("--full",)):
        vm.write(0x01, 0, MIB)
        client.backup(vm, *options)
    assert "theirs" in vm.checkpoints()
    assert len(vm.checkpoints()) == 2
    assert 'size="1048576"' in vm.site.virsh("checkpoint-dumpxml", vm.name, "theirs", "--size").replace("'", '"')
    vm.stop()
    client.backup(vm)
    assert "theirs" in bitmaps_at_rest(vm.paths["vda"])
    assert len(bitmaps_at_rest(vm.paths["vda"])) == 2


def test_internal_snapshot_is_warned(client: Client, new_vm: Callable[..., TestVm]) -> None:
    vm = new_vm(started=False)
    subprocess.run(["qemu-img", "snapshot", "-c", "before", str(vm.paths["vda"])], check=True)
    vm.start()
    document = client.backup(vm)
    assert any("internal snapshot" in note for note in document["notes"])
