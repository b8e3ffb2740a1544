"""Freezing and thawing: in bounded time, told truly, and never left frozen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sites
from tests.support.client import Client, wait_until
from tests.support.guests import ask_agent, is_frozen, is_thawed, run_in_guest, wait_agent
from tests.support.holding import held_backup
from tests.support.site import Site
from tests.support.vms import TestVm
from vmtui.lab import LabInfo

WEB = "north/web1"
CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"


@pytest.fixture
def guest_site(guests: LabInfo) -> Site:
    return sites(guests)["north"]


@pytest.fixture
def guest_client(guests: LabInfo, new_client: Callable[..., Client]) -> Client:
    made = new_client(of=guests)
    made.init()
    return made


def shown(client: Client, document: dict[str, Any]) -> dict[str, Any]:
    """The point as the repository has it."""
    point: dict[str, Any] = client.ok("show", document["point"], "--json").json
    return point


def test_answering_agent_gives_a_frozen_point_and_a_thawed_guest(guest_client: Client, guest_site: Site) -> None:
    document = guest_client.backup(WEB)
    assert document["consistency"] == "filesystem"
    assert 0 < document["frozen_ms"] < 20_000
    assert is_thawed(guest_site, "web1")


def test_guest_is_frozen_while_the_view_is_made_and_not_while_it_is_read(
    guest_client: Client, guest_site: Site, tmp_path: Path
) -> None:
    with held_backup(guest_client, WEB, "backup.transfer", tmp_path) as held:
        assert is_thawed(guest_site, "web1")
        assert held.finish().code == 0


@pytest.mark.parametrize("channel", ["", CHANNEL], ids=["no channel", "nobody behind it"])
def test_no_guest_agent(client: Client, new_vm: Callable[..., TestVm], channel: str) -> None:
    vm = new_vm(started=False, extra=channel)
    vm.start(paused=False)
    document = client.backup(vm)
    assert document["consistency"] == "crash"
    assert ("connected" if channel else "no channel") in document["consistency_reason"]
    assert document["frozen_ms"] == 0


def test_silent_guest_agent(guest_client: Client, guest_site: Site) -> None:
    """Its channel is open and it never answers: `crash` with the reason, and libvirt's wait has an end."""
    guest_client.backup(WEB)
    script = "pid=$(pidof qemu-ga); kill -STOP $pid; sleep 60; kill -CONT $pid"
    run_in_guest(guest_site, "web1", f"({script}) >/dev/null 2>&1 &", wait=False)
    wait_until(lambda: ask_agent(guest_site, "web1", "guest-ping") is None, 30, "the agent's silence")
    began = time.monotonic()
    document = guest_client.backup(WEB)
    took = time.monotonic() - began
    assert document["consistency"] == "crash"
    assert "agent" in document["consistency_reason"]
    assert took < 60
    wait_agent(guest_site, "web1")
    assert is_thawed(guest_site, "web1")


def test_zero_filesystems(guest_client: Client, guest_site: Site) -> None:
    """An agent that freezes nothing and calls that a success."""
    run_in_guest(guest_site, "web1", "umount -l /data")
    try:
        document = guest_client.backup(WEB)
    finally:
        run_in_guest(guest_site, "web1", "mount -t ext4 /dev/vda2 /data")
    assert document["consistency"] == "crash"
    assert "froze no file system" in document["consistency_reason"]


def test_killed_while_frozen(guest_client: Client, guest_site: Site, tmp_path: Path) -> None:
    """Nobody of ours is alive; the guard on the host thaws the guest within 20 s."""
    with held_backup(guest_client, WEB, "backup.frozen", tmp_path) as held:
        assert is_frozen(guest_site, "web1")
        held.lose_client()
        guest_client.kill_worker()
        wait_until(lambda: is_thawed(guest_site, "web1"), 20, "the thaw")
    guest_client.backup(WEB)
    assert is_thawed(guest_site, "web1")


def test_worker_that_hangs_while_frozen_does_not_keep_the_guest_frozen(
    guest_client: Client, guest_site: Site, tmp_path: Path
) -> None:
    """The worker lives and does not go on; the guard thaws all the same."""
    with held_backup(guest_client, WEB, "backup.frozen", tmp_path) as held:
        assert is_frozen(guest_site, "web1")
        wait_until(lambda: is_thawed(guest_site, "web1"), 30, "the thaw")
        result = held.finish()
    assert result.code == 0, str(result)
    assert result.json["consistency"] == "crash"


def test_a_thaw_that_nobody_confirms_is_gone_on_with_by_the_host(
    guest_client: Client, guest_site: Site, tmp_path: Path
) -> None:
    """The agent falls silent with the file systems frozen: the job says so, and the guard thaws when it can."""
    script = "while ! [ -e /run/qga.state.isfrozen ]; do sleep 0.1; done; pid=$(cat /run/ga.pid)"
    script += "; kill -STOP $pid; sleep 45; kill -CONT $pid"
    run_in_guest(guest_site, "web1", f"({script}) >/dev/null 2>&1 &", wait=False)
    with held_backup(guest_client, WEB, "backup.frozen", tmp_path) as held:
        wait_until(lambda: ask_agent(guest_site, "web1", "guest-ping") is None, 15, "the agent's silence")
        result = held.finish()
    assert result.code == 0, str(result)
    assert result.json["consistency"] == "crash"
    assert any("the host goes on with it" in note for note in result.json["notes"]), result.json["notes"]
    wait_agent(guest_site, "web1")
    wait_until(lambda: is_thawed(guest_site, "web1"), 30, "the thaw")


def test_a_guest_that_somebody_else_thawed_is_not_called_frozen(
    guest_client: Client, guest_site: Site, tmp_path: Path
) -> None:
    with held_backup(guest_client, WEB, "backup.frozen", tmp_path) as held:
        wait_until(
            lambda: ask_agent(guest_site, "web1", "guest-fsfreeze-thaw") is not None, 15, "an answer to the thaw"
        )
        result = held.finish()
    assert result.code == 0, str(result)
    assert result.json["consistency"] == "crash"
    assert "somebody else" in result.json["consistency_reason"]


def test_a_vm_that_was_paused_on_purpose_stays_so(
    client: Client, new_vm: Callable[..., TestVm], tmp_path: Path
) -> None:
    """A paused-mode run has resumed it long since; when it is cancelled later, it has no say any more."""
    vm = new_vm(started=False)
    vm.start(paused=False)
    with held_backup(client, vm, "backup.transfer", tmp_path, "--mode", "paused") as held:
        assert vm.state == "running"
        vm.site.virsh("suspend", vm.name)
        client.ok("job", "cancel", held.job)
        assert held.finish().code == 6
    assert vm.state == "paused"
