"""A frozen view that cannot be had, or is not what was asked for: no point, nothing left, and the parent still stands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bitmaps import bitmaps_in_memory
from tests.support.client import Client
from tests.support.holding import held_backup
from tests.support.points import INCREMENTAL, check_point, checkpoint_of, kinds
from tests.support.site import Site
from tests.support.vms import MIB, TestVm


def qmp(vm: TestVm, command: str, **arguments: Any) -> Any:
    """Ask QEMU something, past libvirt; gives what it returned."""
    message = json.dumps({"execute": command, "arguments": arguments})
    answer = json.loads(vm.site.virsh("qemu-monitor-command", vm.name, message))
    assert "return" in answer, answer
    return answer["return"]


def scratch_folder_is_gone(vm: TestVm, scratch: Path) -> None:
    del vm
    shutil.rmtree(scratch)


def nbd_server_is_taken(vm: TestVm, scratch: Path) -> None:
    del scratch
    socket = vm.site.folder / "run" / "taken"
    qmp(vm, "nbd-server-start", addr={"type": "unix", "data": {"path": str(socket)}})


def export_is_taken(vm: TestVm, scratch: Path) -> None:
    """The disk's export fails when bitmap and checkpoint are already there.

    libvirt names the export after the scratch image's node, and numbers nodes from a counter that is not shown.
    """
    del scratch
    nodes = [str(node["node-name"]) for node in qmp(vm, "query-named-block-nodes")]
    node = next(name for name in nodes if name.endswith("-format"))
    for number in range(1, 20):
        address = {"type": "unix", "path": str(vm.site.folder / "run" / f"taken-{number}")}
        name = f"libvirt-nbd-libvirt-{number}-format"
        qmp(vm, "block-export-add", type="vhost-user-blk", id=name, **{"node-name": node, "addr": address})


@pytest.mark.parametrize("spoil", [scratch_folder_is_gone, nbd_server_is_taken, export_is_taken])
def test_failed_begin_leaves_nothing(
    new_client: Callable[..., Client],
    lab: Any,
    vm: TestVm,
    south: Site,
    tmp_path: Path,
    spoil: Callable[[TestVm, Path], None],
) -> None:
    scratch = vm.site.images / f"{vm.name}-scratch"
    scratch.mkdir()
    vm.site.own(scratch)
    hosts = new_client("plain", of=lab).settings["hosts"]
    client = new_client("scratched", of=lab, hosts=hosts | {"north": hosts["north"] | {"scratch": str(scratch)}})
    client.init()
    try:
        vm.write(0x31, 0, 2 * MIB)
        parent = checkpoint_of(client, client.backup(vm)["point"])
        vm.write(0x32, MIB, MIB)
        vm.site.virsh("resume", vm.name)
        with held_backup(client, vm, "backup.frozen", tmp_path, "--mode", "paused") as held:
            assert vm.state == "paused"
            spoil(vm, scratch)
            result = held.finish()
        assert result.code == 1, str(result)
        assert result.json["error"]["next_step"]
        assert not vm.job()
        assert vm.state == "running"  # as it was before
        assert vm.checkpoints() == [parent]
        assert bitmaps_in_memory(vm) == {parent}
        assert vm.leftovers() == []
        assert len(client.points(vm)) == 1
        # The same VM in a new QEMU, where nothing is in the way any more.
        vm.stop()
        scratch.mkdir(exist_ok=True)
        vm.site.own(scratch)
        vm.start()
        vm.write(0x33, 5 * MIB, MIB)
        assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}
    finally:
        client.stop()
        shutil.rmtree(scratch, ignore_errors=True)


def test_bitmap_context_not_granted(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """An export without its bitmap would look as if nothing had changed."""
    vm.write(0x41, 0, 2 * MIB)
    first = client.backup(vm)["point"]
    vm.write(0x42, MIB, 2 * MIB)
    with held_backup(client, vm, "backup.begun", tmp_path) as held:
        (export,) = qmp(vm, "query-block-exports")
        qmp(vm, "block-export-del", id=export["id"])
        qmp(vm, "block-export-add", type="nbd", id=export["id"], name="vda", **{"node-name": export["node-name"]})
        result = held.finish()
    assert result.code == 1, str(result)
    assert result.json["error"]["id"] == "DISK-CONTEXT-MISSING"
    assert [point["id"] for point in client.points(vm)] == [first]
    assert vm.checkpoints() == [checkpoint_of(client, first)]
    assert not vm.job()
    assert vm.leftovers() == []
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}
