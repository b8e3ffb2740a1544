"""Hosts: whom we trust, the ways to reach them, what may be done there, and how their VMs stand."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, disk_images, remove_vm
from tests.support.points import check_point
from tests.support.site import Site
from tests.support.sshd import sshd
from tests.support.vms import MIB, TestVm, assert_same, raw_copy
from vmtui.lab import LabInfo


@pytest.fixture(scope="module")
def operator(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One client for the tests that do not change its configuration."""
    client = Client(tmp_path_factory.mktemp("hosts") / "client", lab)
    client.init()
    yield client
    client.stop()


def row_of(client: Client, vm: TestVm, code: int = 0, *options: str) -> dict[str, Any]:
    result = client.run("vms", "--json", *options)
    assert result.code == code, str(result)
    (row,) = [row for row in result.json if row["uuid"] == vm.uuid]
    found: dict[str, Any] = row
    return found


def only(client: Client, name: str, **changes: Any) -> None:
    """Let the client know one host alone."""
    client.settings["hosts"] = {name: client.settings["hosts"][name] | changes}
    client.save()


# -- trust ---------------------------------------------------------------------------------------


def test_an_unknown_key_is_shown_and_accepted_only_on_the_word(client: Client, north: Site, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    client.settings["known_hosts"] = str(known)
    only(client, "north")
    key = north.folder / "ssh" / "host_key.pub"
    printed = subprocess.run(
        ["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    refused = client.run("host", "trust", "north")
    assert refused.code == 5, str(refused)
    assert printed in refused.err
    assert not known.exists()
    assert client.run("vms").code == 4
    assert client.ok("host", "trust", "north", "--yes", "--json").json["fingerprint"] == printed
    client.ok("vms")


def test_a_changed_key_is_refused_even_with_the_word(client: Client, north: Site, tmp_path: Path) -> None:
    known, other = tmp_path / "known_hosts", tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    before = f"[127.0.0.1]:{north.port} {' '.join(other.with_suffix('.pub').read_text().split()[:2])}\n"
    known.write_text(before)
    client.settings["known_hosts"] = str(known)
    only(client, "north")
    for command in (["vms"], ["backup", "north/x"]):
        result = client.run(*command)
        assert result.code == 4, str(result)
        assert "HOST-KEY-CHANGED" in result.err
    result = client.run("host", "trust", "north", "--yes")
    assert result.code == 5, str(result)
    assert "HOST-KEY-CHANGED" in result.err
    assert known.read_text() == before


# -- ways ----------------------------------------------------------------------------------------


def test_through_a_jump_host(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    """South is reached through north alone, for backup and for restore."""
    client.settings["hosts"]["south"]["jump"] = "north"
    client.save()
    vm = new_vm(site=south)
    vm.write(0x61, 0, 2 * MIB)
    check_point(client, vm, south, tmp_path)
    only(client, "south", jump="south")
    assert client.run("vms").code == 2


def test_a_jump_host_that_is_down_is_named(client: Client) -> None:
    client.settings["hosts"]["north"]["port"] = 1
    client.settings["hosts"]["south"]["jump"] = "north"
    client.save()
    result = client.run("backup", "south/x")
    assert result.code == 4, str(result)
    assert "north" in result.err


@pytest.mark.parametrize("rule", ["AllowStreamLocalForwarding no", "DisableForwarding yes"])
def test_without_socket_forwarding(client: Client, vm: TestVm, north: Site, tmp_path: Path, rule: str) -> None:
    """A hot backup, an increment and a restore go through a program on the host instead."""
    with sshd(north, rule) as server:
        client.settings["hosts"]["north"]["port"] = server.port
        client.save()
        client.ok("host", "trust", "north", "--yes")
        (row,) = [row for row in client.ok("hosts", "--json").json if row["host"] == "north"]
        assert row["forwarding"] in ("nc", "socat")
        vm.write(0x62, 0, 2 * MIB)
        client.backup(vm)
        vm.write(0x63, MIB, 2 * MIB)
        document = client.backup(vm)
        assert document["disks"][0]["kind"] == "incremental"
        expected = vm.contents(tmp_path / "expected")["vda"]
        name = f"way-{vm.name}"
        client.restore(document["point"], north, name)
        try:
            (path, kind) = disk_images(north, name)["vda"]
            assert_same(raw_copy(path, kind, tmp_path / "restored"), expected)
        finally:
            remove_vm(north, name)
        client.stop()


# -- read-only -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["flag", "configuration", "host"])
def test_read_only(client: Client, vm: TestVm, south: Site, scope: str) -> None:
    """What changes something is refused with exit 5; looking and verifying work."""
    point = client.backup(vm)["point"]
    flags = ["--read-only"] if scope == "flag" else []
    if scope == "configuration":
        client.settings["read_only"] = True
    if scope == "host":
        for host in client.settings["hosts"].values():
            host["read_only"] = True
    client.save()
    before = ([item["id"] for item in client.points(vm)], south.domains())
    changing = [
        ["backup", vm.name],
        ["restore", point, "--to", "south", "--as", "ro"],
        ["restore", point, "--in-place", "--yes"],
        ["revert", vm.name, "--yes"],
    ]
    if scope != "host":
        changing.append(["repo", "init"])
    for command in changing:
        result = client.run(*flags, *command)
        assert result.code == 5, str(result)
        assert "READ-ONLY" in result.err
    for command in (["vms"], ["points"], ["verify", point], ["show", point], ["jobs"]):
        client.ok(*flags, *command)
    assert ([item["id"] for item in client.points(vm)], south.domains()) == before


def test_read_only_holds_below_the_command_line(client: Client, vm: TestVm) -> None:
    """The queue itself takes no job that changes something, whoever asks."""
    client.backup(vm)
    client.stop()
    client.settings["read_only"] = True
    client.save()
    from vmtui import config
    from vmtui.backup import BackupRequest
    from vmtui.jobs import JobClient
    from vmtui.model.errors import RefusedError
    from vmtui.model.ids import VmId
    from vmtui.model.job import JobKind
    from vmtui.model.point import Mode

    with pytest.raises(RefusedError):
        JobClient(config.load(client.config)).enqueue(
            JobKind.BACKUP, "north", vm.name, BackupRequest("north", VmId(vm.uuid), vm.name, Mode.HOT, False)
        )


# -- how VMs stand -------------------------------------------------------------------------------


def test_check_fails_until_every_vm_is_backed_up(client: Client, vm: TestVm) -> None:
    client.settings["rules"] = [{"vm": vm.name, "tier": "gold"}, {"vm": "*", "exempt": "not of this test"}]
    only(client, "north")
    assert row_of(client, vm, 7, "--check")["status"] == "never"
    client.backup(vm)
    row = row_of(client, vm, 0, "--check")
    assert (row["status"], row["tier"], row["rpo_s"], row["protected"]) == ("ok", "gold", 3600, True)
    client.settings["tiers"]["gold"]["rpo"] = "1s"
    client.save()
    time.sleep(1.5)  # the point is older than its RPO now
    late = row_of(client, vm, 7, "--check")
    assert late["status"] == "breached"
    assert late["ratio"] > 1
    assert late["protected"] is False


def test_worst_comes_first(client: Client, new_vm: Callable[..., TestVm]) -> None:
    never, fine, late = new_vm(started=False), new_vm(started=False), new_vm(started=False)
    client.settings["tiers"]["now"] = {"rpo": "1s"}
    client.settings["rules"] = [{"vm": late.name, "tier": "now"}]
    client.save()
    client.ok("backup", fine.name, late.name)
    order = [row["uuid"] for row in client.ok("vms", "--json").json]
    assert order.index(never.uuid) < order.index(late.uuid) < order.index(fine.uuid)
    lines = client.ok("vms").out.splitlines()
    assert lines[0].split() == ["VM", "Host", "State", "RPO", "Age", "Tier", "Points", "Note"]
    shown = [line.split()[0] for line in lines[1:] if line.split()]
    assert shown.index(never.name) < shown.index(late.name) < shown.index(fine.name)


def test_an_exemption_shows_its_reason(client: Client, vm: TestVm) -> None:
    client.settings["rules"] = [{"vm": vm.name, "exempt": "scratch machine"}]
    client.save()
    row = row_of(client, vm)
    assert (row["status"], row["reason"], row["rpo_s"]) == ("exempt", "scratch machine", None)


def test_a_vm_that_is_gone_is_still_listed(client: Client, vm: TestVm) -> None:
    point = client.backup(vm)["point"]
    vm.remove()
    row = row_of(client, vm)
    assert (row["state"], row["last_point"]) == ("gone", point)


def test_an_unreachable_host_keeps_its_last_known_age_growing(client: Client, vm: TestVm) -> None:
    client.backup(vm)
    first = row_of(client, vm)
    client.settings["hosts"]["north"]["port"] = 1
    client.save()
    row = row_of(client, vm)
    assert (row["state"], row["status"]) == ("unreachable", "unknown")
    assert row["age_s"] > first["age_s"]
    assert client.run("vms").code == 0
    client.settings["rules"] = [{"vm": "*", "exempt": "of no interest"}]
    client.save()
    assert client.run("vms", "--check").code == 4, "what a host that is away holds is not known"
    client.settings["rules"] = []
    client.save()
    assert row_of(client, vm)["age_s"] > row["age_s"]


def test_check_does_not_pass_while_the_repository_cannot_be_read(client: Client, vm: TestVm) -> None:
    client.backup(vm)
    client.stop()
    client.repository.rename(client.repository.with_name("elsewhere"))
    assert row_of(client, vm, 4, "--check")["status"] == "unknown"


def test_no_host_reachable_is_exit_4(client: Client) -> None:
    only(client, "north", port=1)
    assert client.run("vms").code == 4
    assert client.run("hosts").code == 4


# -- what other programs rely on -----------------------------------------------------------------

DISKS = {"name", "format", "virtual_size", "read_bytes", "new_bytes", "stored_bytes", "kind", "reason"}
FIELDS = {
    "vms": {"host", "name", "uuid", "state", "tier", "rpo_s", "age_s", "ratio", "status", "last_point", "protected"},
    "points": {"id", "vm", "uuid", "host", "time", "mode", "consistency", "disks", "verified"},
    "backup": {"point", "job", "mode", "consistency", "disks", "seconds"},
    "restore": {"vm", "host", "point", "bytes", "seconds", "checks"},
    "jobs": {"id", "kind", "vm", "host", "state", "phase", "done", "total", "rate", "started", "finished", "error"},
}


def test_json_has_the_promised_fields(operator: Client, vm: TestVm, south: Site) -> None:
    vm.write(0x64, 0, MIB)
    backup = operator.backup(vm)
    restored = operator.restore(backup["point"], south, f"json-{vm.name}")
    remove_vm(south, f"json-{vm.name}")
    (point,) = operator.points(vm)
    documents = {
        "vms": row_of(operator, vm),
        "points": point,
        "backup": backup,
        "restore": restored,
        "jobs": operator.ok("jobs", "--json").json[0],
    }
    for name, document in documents.items():
        assert FIELDS[name] <= document.keys(), name
    for disk in (*point["disks"], *backup["disks"]):
        assert disk.keys() >= DISKS
    assert all(check.keys() >= {"name", "ok", "detail"} for check in restored["checks"])
    assert restored["bytes"] == MIB
