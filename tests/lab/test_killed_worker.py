"""The worker is killed (-9) in every phase: the VM runs as before, nothing stays behind, the next run is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sites
from tests.lab.test_fast_back_killed import DISCARD, FAST, REVERT
from tests.support.client import Client, disk_images, remove_vm, wait_until
from tests.support.killing import finish, start_and_die
from tests.support.site import Site
from tests.support.vms import MIB, TestVm, assert_same, raw_copy
from vmtui.failpoint import NAMES
from vmtui.lab import LabInfo

HOT = (
    "backup.planned",
    "backup.guarded",
    "backup.frozen",
    "backup.begun",
    "backup.thawed",
    "backup.transfer",
    "backup.half",
    "backup.read",
    "backup.collected",
    "backup.packed",
    "backup.indexed",
    "backup.committed",
    "backup.ended",
    "backup.accepted",
)
FROZEN = ("backup.guarded", "backup.frozen", "backup.begun", "backup.thawed")
"""Phases in which a guest is paused or its file systems are frozen."""
AGENT = ("backup.guarded", "backup.frozen")
"""Reached with a guest agent, or when the guest is paused."""
COLD = ("cold.guarded", "cold.stopped", "cold.serving", "cold.half", "cold.read", "cold.marked", "cold.started")
NEW_VM = (
    "restore.planned",
    "restore.created",
    "restore.half",
    "restore.written",
    "restore.verified",
    "restore.swapped",
    "restore.defined",
    "restore.started",
)
IN_PLACE = ("restore.planned", "restore.half", "restore.verified", "restore.kept", "restore.swapped", "restore.defined")
MADE_A_POINT = ("backup.committed", "backup.ended", "backup.accepted")


def test_every_phase_is_killed() -> None:
    # tests/jobs/test_prune.py, test_gc.py, tests/lab/test_instant.py, test_rehearsal_recovery.py, test_host_points.py
    elsewhere = {name for name in NAMES if name.startswith(("prune.", "gc.", "instant.", "rehearsal.", "host."))}
    here = set(HOT) | set(COLD) | set(NEW_VM) | set(IN_PLACE)
    assert here | set(FAST) | set(REVERT) | set(DISCARD) == NAMES - elsewhere


def assert_clean(client: Client, vm: TestVm) -> None:
    """Nothing of ours is left but the checkpoint that the newest point names."""
    assert vm.job() == ""
    assert vm.leftovers() == []
    newest = client.points(vm)[0]
    assert vm.checkpoints() == [newest["checkpoint"]]


@pytest.mark.parametrize(
    ("failpoint", "mode"),
    [(name, "hot") for name in HOT if name not in AGENT] + [(name, "paused") for name in FROZEN],
)
def test_live_backup(
    client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path, failpoint: str, mode: str
) -> None:
    vm = new_vm(started=False)
    vm.start(paused=mode == "hot")
    before = vm.state
    vm.write(0xA1, 0, 3 * MIB)
    first = client.backup(vm)
    held = vm.contents(tmp_path / "first")
    vm.write(0xA2, 2 * MIB, 2 * MIB)
    meant = vm.contents(tmp_path / "meant")

    job = start_and_die(client, failpoint, "backup", f"{vm.site.name}/{vm.name}", "--mode", mode)
    wait_until(lambda: vm.state == before, 30, f"{before} again")
    record = finish(client, job)

    assert vm.state == before
    points = client.points(vm)
    made = record["state"].startswith("ok")
    assert len(points) == (2 if made else 1)
    assert made or failpoint not in MADE_A_POINT, "the point was committed, the job must say so"
    if made:
        client.assert_restores(points[0]["id"], south, meant, tmp_path / "after")
    vm.write(0xA3, 5 * MIB, MIB)
    last = client.backup(vm)
    client.assert_restores(last["point"], south, vm.contents(tmp_path / "last"), tmp_path)
    client.assert_restores(first["point"], south, held, tmp_path / "earlier")
    assert_clean(client, vm)
    client.ok("verify", "--all")


# -- cold: a real guest that shuts down and starts again -----------------------------------------


@pytest.fixture
def web(guests: LabInfo, new_client: Callable[..., Client]) -> tuple[Client, Site]:
    """A client of a site with running guests."""
    client = new_client(of=guests)
    client.init()
    return client, sites(guests)["north"]


def agent(site: Site, vm: str, command: str) -> Any:
    """Ask a guest agent."""
    answer = site.virsh("qemu-agent-command", vm, json.dumps({"execute": command}), "--timeout", "10", check=False)
    return json.loads(answer)["return"] if answer.strip() else None


def assert_guest_lives(site: Site, vm: str) -> None:
    """It runs, its agent answers, nothing is frozen."""
    wait_until(lambda: site.virsh("domstate", vm).strip() == "running", 60, "running")
    wait_until(lambda: agent(site, vm, "guest-ping") is not None, 120, "the agent's answer")
    assert agent(site, vm, "guest-fsfreeze-status") == "thawed"


@pytest.mark.parametrize("failpoint", COLD)
def test_cold_backup(web: tuple[Client, Site], failpoint: str) -> None:
    client, north = web
    job = start_and_die(client, failpoint, "backup", "north/web1", "--mode", "cold")
    assert_guest_lives(north, "web1")
    record = finish(client, job)
    assert_guest_lives(north, "web1")
    made = record["state"].startswith("ok")
    assert len(client.ok("points", "--json").json) == int(made)
    document = client.backup("north/web1")
    assert document["consistency"] in ("application", "filesystem")
    client.ok("verify", "--all")
    newest = client.points("north/web1")[0]
    ours = newest["checkpoint"][: len("vmtui-00000000-")]
    names = north.virsh("checkpoint-list", "web1", "--name").split()
    assert [name for name in names if name.startswith(ours)] == [newest["checkpoint"]]
    assert list(north.images.glob("*vmtui-*")) == []


@pytest.mark.parametrize("failpoint", FROZEN)
def test_frozen_guest_is_thawed(web: tuple[Client, Site], failpoint: str) -> None:
    client, north = web
    job = start_and_die(client, failpoint, "backup", "north/web1", "--mode", "hot")
    wait_until(lambda: agent(north, "web1", "guest-fsfreeze-status") == "thawed", 20, "thawed")
    finish(client, job)
    assert_guest_lives(north, "web1")
    assert client.backup("north/web1")["consistency"] in ("application", "filesystem")


# -- restore -------------------------------------------------------------------------------------


@pytest.mark.parametrize("failpoint", NEW_VM)
def test_restore_as_new_vm(client: Client, vm: TestVm, south: Site, tmp_path: Path, failpoint: str) -> None:
    vm.write(0xB1, 0, 3 * MIB)
    point = client.backup(vm)["point"]
    held = vm.contents(tmp_path / "held")
    files = set(south.images.iterdir())
    name = f"k-{vm.name}"
    options = ["--start"] if failpoint == "restore.started" else []
    job = start_and_die(client, failpoint, "restore", point, "--to", "south", "--as", name, *options)
    record = finish(client, job)
    if record["state"].startswith("ok"):
        south.virsh("destroy", name, check=False)
        (path, kind) = disk_images(south, name)["vda"]
        assert_same(raw_copy(path, kind, tmp_path), held["vda"])
        remove_vm(south, name)
    else:
        assert name not in south.domains()
    assert set(south.images.iterdir()) == files
    client.assert_restores(point, south, held, tmp_path / "again")


@pytest.mark.parametrize("failpoint", IN_PLACE)
def test_restore_in_place_that_is_cancelled_while_no_worker_lives(
    client: Client, new_vm: Callable[..., TestVm], tmp_path: Path, failpoint: str
) -> None:
    """However far it had come: old disk and old definition are back, and nothing else is there."""
    vm = new_vm()
    vm.write(0xC1, 0, 3 * MIB)
    point = client.backup(vm)["point"]
    vm.stop()
    vm.site.virsh("desc", vm.name, "--config", "as it was before the restore")
    before = set(vm.site.images.glob(f"{vm.name}*"))
    later = vm.contents(tmp_path / "later")
    definition = vm.site.virsh("dumpxml", "--inactive", vm.name)

    job = start_and_die(client, failpoint, "restore", point, "--in-place", "--whole", "--yes")
    client.ok("job", "cancel", job)
    record = finish(client, job)

    assert record["state"] == "cancelled"
    assert_same(raw_copy(vm.paths["vda"], "qcow2", tmp_path), later["vda"])
    assert vm.site.virsh("dumpxml", "--inactive", vm.name) == definition
    assert set(vm.site.images.glob(f"{vm.name}*")) == before


@pytest.mark.parametrize("failpoint", NEW_VM[:-1])
def test_restore_as_new_vm_that_is_cancelled_while_no_worker_lives(
    client: Client, vm: TestVm, south: Site, failpoint: str
) -> None:
    vm.write(0xB1, 0, 3 * MIB)
    point = client.backup(vm)["point"]
    before = set(south.images.iterdir()), south.domains()
    job = start_and_die(client, failpoint, "restore", point, "--to", "south", "--as", f"c-{vm.name}")
    client.ok("job", "cancel", job)
    assert finish(client, job)["state"] == "cancelled"
    assert (set(south.images.iterdir()), south.domains()) == before


@pytest.mark.parametrize("failpoint", IN_PLACE)
def test_restore_in_place(client: Client, new_vm: Callable[..., TestVm], tmp_path: Path, failpoint: str) -> None:
    vm = new_vm()
    vm.write(0xC1, 0, 3 * MIB)
    point = client.backup(vm)["point"]
    held = vm.contents(tmp_path / "held")
    vm.write(0xC2, MIB, 3 * MIB)
    vm.stop()
    later = vm.contents(tmp_path / "later")
    definition = vm.site.virsh("dumpxml", "--inactive", vm.name)

    job = start_and_die(client, failpoint, "restore", point, "--in-place", "--whole", "--yes")
    record = finish(client, job)

    if record["state"].startswith("ok"):
        assert_same(raw_copy(vm.paths["vda"], "qcow2", tmp_path), held["vda"])
        client.ok("revert", f"{vm.site.name}/{vm.name}", "--yes")
    assert_same(raw_copy(vm.paths["vda"], "qcow2", tmp_path), later["vda"])
    assert vm.site.virsh("dumpxml", "--inactive", vm.name) == definition
    left = {path.name for path in vm.site.images.glob(f"{vm.name}*")} - {vm.paths["vda"].name}
    assert left == ({f"{vm.paths['vda'].name}.reverted-{job}"} if record["state"].startswith("ok") else set())
