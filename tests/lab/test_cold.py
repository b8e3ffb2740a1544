"""Cold backups: the VM is off while it is read, and afterwards it is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import sites
from tests.support.client import Client, wait_until
from tests.support.guests import wait_agent
from tests.support.holding import held_backup
from tests.support.points import INCREMENTAL, check_point, kinds
from tests.support.site import Site
from tests.support.vms import MIB, Spec, TestVm
from vmtui.lab import LabInfo


@pytest.fixture
def guest_site(guests: LabInfo) -> Site:
    return sites(guests)["north"]


def test_cold_stop_killed_worker(
    guests: LabInfo, guest_site: Site, new_client: Callable[..., Client], tmp_path: Path
) -> None:
    """Worker and client die while the VM is held down: it runs again, before anything of ours is started."""
    client = new_client(of=guests)
    client.init()
    with held_backup(client, "north/web1", "cold.stopped", tmp_path, "--mode", "cold") as held:
        assert guest_site.virsh("domstate", "web1").strip() == "shut off"
        held.lose_client()
        client.kill_worker()
        wait_until(lambda: guest_site.virsh("domstate", "web1").strip() == "running", 30, "the start of web1")
    wait_agent(guest_site, "web1")
    assert client.ok("points", "--json").json == []


def test_cold_vm_wanted_by_user(client: Client, vm: TestVm, tmp_path: Path) -> None:
    """While it is read nobody can start it; on request we let go, and then it starts."""
    vm.write(0x01, 0, 8 * MIB)
    vm.stop()
    with held_backup(client, vm, "cold.half", tmp_path) as held:
        vm.site.fails("start", vm.name)
        # libvirt passes QEMU's words on only if it reads them before it sees the monitor closed.
        log = vm.site.folder / "cache" / "libvirt" / "qemu" / "log" / f"{vm.name}.log"
        assert 'Failed to get "write" lock' in log.read_text()
        assert vm.state == "shut off"
        client.ok("job", "cancel", held.job)
        result = held.finish()
    assert result.code == 6, str(result)
    vm.start()
    assert client.ok("points", "--json").json == []
    assert vm.checkpoints() == []


def test_cold_inconsistent_bitmap(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """QEMU was killed and the VM is off: its bitmap is marked in use and misses writes."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.stop()
    vm.start()
    vm.write(0x02, MIB, MIB)
    vm.io("flush")
    vm.kill()
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": ("full", "bitmap lost")}


def test_cold_increment(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """At rest the bitmap in the image tells what changed; and what is recorded from then on is a valid parent."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    vm.stop()
    second = client.backup(vm)
    assert kinds(second) == {"vda": INCREMENTAL}
    client.assert_restores(second["point"], south, vm.contents(tmp_path / "second"), tmp_path)
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}


@pytest.mark.parametrize("failpoint", ["cold.half", "cold.read"])
def test_cold_image_written_to_while_nobody_locks_it(
    client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path, failpoint: str
) -> None:
    """An administrator's tool changes a disk that was just read: the next increment has the change."""
    vm = new_vm([Spec("vda"), Spec("vdb")], started=False)
    client.backup(vm)
    target = {"cold.half": "vdb", "cold.read": "vda"}[failpoint]
    with held_backup(client, vm, failpoint, tmp_path) as held:
        command = ["qemu-io", "-f", "qcow2", "-c", f"write -P 0x42 {5 * MIB} {MIB}", str(vm.paths[target])]
        subprocess.run(command, check=True, capture_output=True)
        assert held.finish().code == 0
    second = check_point(client, vm, south, tmp_path)
    assert kinds(second) == {"vda": INCREMENTAL, "vdb": INCREMENTAL}


def test_cold_transient(client: Client, vm: TestVm) -> None:
    """It would disappear when it stops, so it is never stopped."""
    vm.site.virsh("undefine", vm.name)
    refused = client.run("backup", f"north/{vm.name}", "--mode", "cold", "--json")
    assert refused.code == 5, str(refused)
    assert "transient" in refused.json["error"]["cause"]
    assert vm.state == "paused"


def test_managed_save_present(client: Client, vm: TestVm) -> None:
    """The point holds the saved memory with the disks, and says what that means; the memory stays on the host."""
    vm.site.virsh("managedsave", vm.name, "--paused")
    document = client.backup(vm)
    assert any("managed save" in note for note in document["notes"])
    point = client.ok("show", document["point"], "--json").json
    assert any("managed save" in warning for warning in point["warnings"])
    saved = vm.site.folder / "cfg" / "libvirt" / "qemu" / "save" / f"{vm.name}.save"
    assert [(item["role"], item["size"]) for item in point["files"]] == [("save", saved.stat().st_size)]
    assert (point["consistency"], "saved, not shut down" in point["consistency_reason"]) == ("crash", True)
    assert "yes" in next(line for line in vm.site.virsh("dominfo", vm.name).splitlines() if "Managed save" in line)
    vm.site.virsh("managedsave-remove", vm.name)


def test_cold_network_that_is_gone_without_a_word(
    guests: LabInfo, guest_site: Site, new_client: Callable[..., Client], tmp_path: Path
) -> None:
    """The host hears nothing and no connection ends, while an image is served: the VM runs again all the same."""
    client = new_client(of=guests)
    client.init()
    with held_backup(client, "north/web1", "cold.serving", tmp_path, "--mode", "cold") as held:
        worker = client.worker_pid
        assert worker is not None
        os.kill(worker, signal.SIGSTOP)
        try:
            wait_until(lambda: guest_site.virsh("domstate", "web1").strip() == "running", 180, "the start of web1")
        finally:
            os.kill(worker, signal.SIGCONT)
        assert held.finish().code != 0
    assert guest_site.virsh("domstate", "web1").strip() == "running"
    wait_agent(guest_site, "web1")
    assert client.ok("points", "--json").json == []
