"""A rehearsal that is broken off leaves nothing: no VM, overlay or socket; and what it could not try is no verdict."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, wait_until
from tests.support.killing import finish, start_and_die
from tests.support.rehearsals import throw_away
from tests.support.site import Site
from tests.support.vms import MIB, TestVm, digest
from vmtui.failpoint import NAMES
from vmtui.hosts import throwaway

NEVER = ("--wait", "serial:never said", "--timeout", "2s")
"""A VM without a system is decided upon soon."""
PLACES = sorted(name for name in NAMES if name.startswith("rehearsal."))


@pytest.fixture
def resting(new_vm: Callable[..., TestVm]) -> TestVm:
    """A VM that is off."""
    vm = new_vm(started=False)
    vm.start()
    vm.write(0xA1, 0, 3 * MIB)
    vm.stop()
    return vm


def rehearsals(client: Client, point: str) -> list[str]:
    """Verdicts in the point's history, as the objects in the repository tell."""
    kinds = [path.name.rpartition(".")[2] for path in (client.repository / "events").rglob(f"*.{point}.*")]
    return [kind for kind in kinds if kind in ("rehearsed", "evidence")]


@pytest.mark.parametrize("place", PLACES)
def test_killed_worker(client: Client, resting: TestVm, place: str) -> None:
    point = client.backup(resting, "--mode", "cold")["point"]
    before = resting.site.virsh("dumpxml", resting.name), digest(resting.paths["vda"])
    job = start_and_die(client, place, "rehearse", point, *NEVER)
    wait_until(lambda: throw_away(resting.site, job) == [], 60, "the caretaker cleared away")
    record = finish(client, job)
    assert record["error"]["id"] == "REHEARSAL-FAILED"
    assert throw_away(resting.site, job) == []
    assert client.points(resting)[0]["rehearsed"]["verdict"] == "failed"
    assert (resting.site.virsh("dumpxml", resting.name), digest(resting.paths["vda"])) == before


def test_a_cancelled_one_is_no_verdict(client: Client, resting: TestVm) -> None:
    point = client.backup(resting, "--mode", "cold")["point"]
    job = client.ok("rehearse", point, "--wait", "serial:never", "--timeout", "10m", "--detach", "--json").json["job"]
    wait_until(lambda: any(name.startswith("vmtui-rehearsal-") for name in resting.site.domains()), 60, "it runs")
    assert resting.name in client.ok("vms", "--json").out and "vmtui-rehearsal-" not in client.ok("vms", "--json").out
    client.ok("job", "cancel", job)
    record = finish(client, job)
    assert record["state"] == "cancelled"
    assert throw_away(resting.site, job) == []
    assert rehearsals(client, point) == []


def test_what_could_not_be_tried_is_no_verdict(client: Client, resting: TestVm) -> None:
    resting.site.virsh("setmaxmem", resting.name, "64T", "--config")
    point = client.backup(resting, "--mode", "cold")["point"]
    result = client.run("rehearse", point, *NEVER, "--json")
    assert result.code == 5, str(result)
    assert result.json["error"]["id"] == "REHEARSAL-UNTRIED" and "memory" in result.json["error"]["cause"]
    assert rehearsals(client, point) == []
    assert throw_away(resting.site) == []


def test_a_vm_without_agent_needs_another_sign(client: Client, resting: TestVm) -> None:
    point = client.backup(resting, "--mode", "cold")["point"]
    result = client.run("rehearse", point, "--json")
    assert result.code == 5 and "no channel for a guest agent" in result.json["error"]["cause"]
    assert client.run("rehearse", point, "--wait", "ssh", "--json").code == 5
    assert client.run("--read-only", "rehearse", point, *NEVER, "--json").json["error"]["id"] == "READ-ONLY"


def _left(site: Site, name: str, vm: TestVm, *, age_s: float) -> Path:
    """What a host that lost power, or a caretaker that was killed, leaves: a folder, and here a VM as well."""
    folder = site.images / name
    folder.mkdir()
    alive = folder / "alive"
    alive.touch()
    sockets = site.folder / f"vmtui-{name[-8:]}"
    sockets.mkdir()
    (folder / "others").write_text(f"{sockets}\n/etc\n{site.images}\n")
    site.own(folder, alive, folder / "others", sockets)
    os.utime(alive, (time.time() - age_s,) * 2)  # noqa: TID251  # the host's own clock
    site.virsh(
        "create",
        "/dev/stdin",
        "--paused",
        stdin=f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><os><type arch='x86_64' "
        f"machine='q35'>hvm</type></os><devices><memballoon model='none'/></devices></domain>",
    )
    return folder


def test_leftovers_are_swept_and_what_is_tended_is_not(client: Client, resting: TestVm) -> None:
    site = resting.site
    stale, fresh = "vmtui-rehearsal-0123456789abcdef-00000001", "vmtui-rehearsal-0123456789abcdef-00000002"
    old = _left(site, stale, resting, age_s=3600)
    new = _left(site, fresh, resting, age_s=0)
    try:
        point = client.backup(resting, "--mode", "cold")["point"]
        document: dict[str, Any] = client.run("rehearse", point, *NEVER, "--json").json
        cleared = next(check for check in document["checks"] if check["name"] == "cleared away")
        assert stale in cleared["detail"]
        assert not old.exists() and stale not in site.domains()
        assert not (site.folder / "vmtui-00000001").exists()
        assert new.exists() and fresh in site.domains()
    finally:
        site.virsh("destroy", fresh, check=False)
        site.virsh("destroy", stale, check=False)
        shutil.rmtree(new)
        (site.folder / "vmtui-00000002").rmdir()
        for name in (stale, fresh):
            (site.folder / "cache" / "libvirt" / "qemu" / "log" / f"{name}.log").unlink(missing_ok=True)


def test_a_vm_that_somebody_destroyed_is_no_verdict(client: Client, resting: TestVm) -> None:
    """The host, or somebody on it, ended it: that says nothing about the point."""
    point = client.backup(resting, "--mode", "cold")["point"]
    job = client.ok("rehearse", point, "--wait", "serial:never", "--timeout", "10m", "--detach", "--json").json["job"]
    wait_until(lambda: client.ok("job", "show", job, "--json").json["phase"] == "boot", 60, "it runs")
    (name,) = [name for name in resting.site.domains() if name.startswith("vmtui-rehearsal-")]
    resting.site.virsh("destroy", name)
    record = finish(client, job)
    assert record["error"]["id"] == "REHEARSAL-UNTRIED", record
    assert "destroyed" in record["error"]["cause"]
    assert rehearsals(client, point) == []
    assert throw_away(resting.site, job) == []


def test_a_sweep_touches_no_folder_of_others(tmp_path: Path) -> None:
    """Where everybody may write, anybody may make a folder of that name, or a link that has it."""
    name = "vmtui-rehearsal-0123456789abcdef-0000000"
    for number in "12":
        (tmp_path / "there" / f"{name}{number}").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    link = tmp_path / "there" / f"{name}3"
    link.symlink_to(tmp_path / "elsewhere")
    found = subprocess.run(
        ["sh", "-c", throwaway._STALE, "stale", f"{tmp_path}/there", "vmtui-rehearsal-", "0"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == [f"{tmp_path}/there/{name}{number}" for number in "12"]
    assert subprocess.run(["sh", "-c", throwaway._CLEAR, "clear", str(link)]).returncode != 0
    assert (tmp_path / "elsewhere" / "file").exists()
    assert subprocess.run(["sh", "-c", throwaway._CLEAR, "clear", found.stdout.split()[0]]).returncode == 0
