"""A terminal is not a job: clients come and go, jobs go on; and only the SSH port carries data."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.client import Client, remove_vm, wait_until
from tests.support.holding import ended, held_backup
from tests.support.site import Site
from tests.support.vms import MIB, TestVm


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    path.touch()
    return path


def reached(gate: Path) -> Path:
    return gate.with_name("gate.reached")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_job_outlives_its_client(
    client: Client, vm: TestVm, south: Site, tmp_path: Path, gate: Path, number: signal.Signals
) -> None:
    vm.write(0x61, 0, 2 * MIB)
    process = client.popen(
        "backup",
        vm.name,
        failpoint=f"backup.half=hold:{gate}",
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )
    wait_until(reached(gate).exists, 60, "the middle of the data")
    process.send_signal(number)
    process.communicate(timeout=30)
    (job,) = client.ok("jobs", "--json").json
    assert job["state"] == "running"
    watcher = client.popen("job", "watch", job["id"])
    gate.unlink()
    _, err = watcher.communicate(timeout=120)
    assert watcher.returncode == 0, err
    point = client.points(vm)[0]["id"]
    client.assert_restores(point, south, vm.contents(tmp_path / "held"), tmp_path)


@pytest.mark.parametrize("place", ["backup.planned", "backup.begun", "backup.half", "backup.read"])
def test_cancelled_backup_leaves_nothing(client: Client, vm: TestVm, gate: Path, place: str) -> None:
    vm.write(0x61, 0, 2 * MIB)
    client.backup(vm)
    vm.write(0x62, MIB, 2 * MIB)
    client.stop()
    process = client.popen("backup", vm.name, failpoint=f"{place}=hold:{gate}")
    wait_until(reached(gate).exists, 60, place)
    job = client.ok("jobs", "--json").json[0]["id"]
    client.ok("job", "cancel", job)
    gate.unlink()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 6, err
    assert client.ok("job", "show", job, "--json").json["state"] == "cancelled"
    assert len(client.points(vm)) == 1
    assert (vm.job(), vm.leftovers(), len(vm.checkpoints())) == ("", [], 1)
    assert client.backup(vm)["disks"][0]["kind"] == "incremental"


def test_cancelled_restore_leaves_nothing(client: Client, vm: TestVm, south: Site, gate: Path) -> None:
    vm.write(0x61, 0, 2 * MIB)
    point = client.backup(vm)["point"]
    files = set(south.images.iterdir())
    client.stop()
    process = client.popen("restore", point, "--to", "south", "--as", "stopped", failpoint=f"restore.half=hold:{gate}")
    wait_until(reached(gate).exists, 60, "the middle of the restore")
    client.ok("job", "cancel", client.ok("jobs", "--json").json[0]["id"])
    gate.unlink()
    assert ended(process) == 6
    assert "stopped" not in south.domains()
    assert set(south.images.iterdir()) == files


def test_cancelled_after_the_commit_is_finished_anyway(client: Client, vm: TestVm, gate: Path) -> None:
    process = client.popen("backup", vm.name, failpoint=f"backup.committed=hold:{gate}")
    wait_until(reached(gate).exists, 60, "the commit")
    client.ok("job", "cancel", client.ok("jobs", "--json").json[0]["id"])
    gate.unlink()
    assert ended(process) == 0
    assert len(client.points(vm)) == 1


@pytest.mark.parametrize("change", ["read_only = true\n", "broken ["])
def test_a_changed_configuration_leaves_no_job_half_done(
    client: Client, vm: TestVm, south: Site, tmp_path: Path, change: str
) -> None:
    """What was begun before the configuration was set to read-only, or broken, is brought to its end."""
    vm.write(0x01, 0, 4 * MIB)
    with held_backup(client, vm, "backup.transfer", tmp_path) as held:
        before = client.config.read_text()
        client.config.write_text(change + before)
        result = held.finish()
        client.config.write_text(before)
    assert result.code == 0, str(result)
    assert not vm.job()
    assert vm.leftovers() == []
    assert vm.checkpoints() == [client.points(vm)[0]["checkpoint"]]


def test_queued_job_is_cancelled_before_it_begins(client: Client, new_vm: Callable[..., TestVm], gate: Path) -> None:
    first, second = new_vm(), new_vm()
    process = client.popen("backup", first.name, failpoint=f"backup.planned=hold:{gate}")
    wait_until(reached(gate).exists, 60, "the first job")
    job = client.ok("backup", second.name, "--detach").out.strip()
    assert client.ok("job", "show", job, "--json").json["state"] == "queued"
    client.ok("job", "cancel", job)
    gate.unlink()
    assert ended(process) == 0
    assert client.run("job", "watch", job).code == 6
    assert client.run("points", second.name).code == 2


def test_one_job_at_a_time_on_a_host(client: Client, new_vm: Callable[..., TestVm], south: Site, gate: Path) -> None:
    first, second, other = new_vm(), new_vm(), new_vm(site=south)
    process = client.popen("backup", first.name, failpoint=f"backup.planned=hold:{gate}")
    wait_until(reached(gate).exists, 60, "the first job")
    waiting = client.ok("backup", second.name, "--detach").out.strip()
    elsewhere = client.ok("backup", f"south/{other.name}", "--detach").out.strip()
    wait_until(lambda: client.ok("job", "show", elsewhere, "--json").json["state"] == "running", 30, "the other host")
    assert client.ok("job", "show", waiting, "--json").json["state"] == "queued"
    gate.unlink()
    assert ended(process) == 0
    assert client.run("job", "watch", waiting).code == 0
    assert client.run("job", "watch", elsewhere).code == 0


def test_two_clients_start_one_worker(client: Client, new_vm: Callable[..., TestVm]) -> None:
    first, second = new_vm(), new_vm()
    processes = [client.popen("backup", vm.name) for vm in (first, second)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    mine = [
        entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_worker(entry, client.config)
    ]
    assert mine == [str(client.worker_pid)]


def _is_worker(entry: Path, config: Path) -> bool:
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"worker" in words and str(config).encode() in words


def test_queued_job_outlives_the_worker(client: Client, new_vm: Callable[..., TestVm], gate: Path) -> None:
    first, second = new_vm(), new_vm()
    client.ok("backup", first.name, "--detach", failpoint=f"backup.planned=hold:{gate}")
    wait_until(reached(gate).exists, 60, "the first job")
    job = client.ok("backup", second.name, "--detach").out.strip()
    client.kill_worker()
    gate.unlink()
    assert client.run("job", "watch", job).code == 0
    assert len(client.points(second)) == 1


# -- the network ---------------------------------------------------------------------------------


def own_connections(pid: int) -> set[int]:
    """Remote ports of the TCP connections of a process."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] == "01":
                ports.add(int(fields[2].rpartition(":")[2], 16))
    return ports


@pytest.mark.parametrize("what", ["hot", "cold", "restore"])
def test_only_the_ssh_port_carries_data(
    client: Client, vm: TestVm, north: Site, south: Site, gate: Path, what: str
) -> None:
    vm.write(0x61, 0, 2 * MIB)
    command, site, place = ["backup", vm.name], north, "backup.half"
    if what == "cold":
        vm.stop()
        place = "cold.half"
    if what == "restore":
        command = ["restore", client.backup(vm)["point"], "--to", "south", "--as", f"n-{vm.name}"]
        site, place = south, "restore.half"
        client.stop()
    process = client.popen(*command, failpoint=f"{place}=hold:{gate}")
    wait_until(reached(gate).exists, 60, place)
    pid = client.worker_pid
    assert pid is not None
    assert own_connections(pid) == {site.port}
    assert not listeners_of(site)
    gate.unlink()
    assert ended(process) == 0
    if what == "restore":
        remove_vm(south, f"n-{vm.name}")


def listeners_of(site: Site) -> set[str]:
    """Listening TCP sockets of the site's QEMU processes and NBD servers."""
    found = set()
    listeners = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                listeners[fields[9]] = fields[1]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            if str(site.folder).encode() not in words or b"qemu" not in words:
                continue
            targets = [str(item.readlink()) for item in (entry / "fd").iterdir()]
        except OSError:
            continue
        found |= {listeners[target[8:-1]] for target in targets if target[8:-1] in listeners}
    return found


def test_a_restored_vm_that_was_started_keeps_its_disks(
    client: Client, vm: TestVm, south: Site, tmp_path: Path
) -> None:
    """The worker died after it had defined it, the operator started it, and the job is cancelled."""
    vm.write(0x61, 0, 2 * MIB)
    point = client.backup(vm)["point"]
    client.stop()
    arguments = ("restore", point, "--to", "south", "--as", "early", "--detach", "--json")
    job = client.ok(*arguments, failpoint="restore.defined=kill").json["job"]
    wait_until(lambda: "early" in south.domains(), 120, "the definition")
    pid = client.worker_pid
    if pid is not None:
        client.wait_worker_gone(pid)
    south.virsh("start", "early", "--paused")
    try:
        client.ok("job", "cancel", job)
        assert client.run("job", "watch", job, timeout=180).code != 0
        record = client.ok("job", "show", job, "--json").json
        assert any("Somebody started early" in note for note in record["notes"]), record
        assert "could be taken back" in record["error"]["cause"]
        assert south.virsh("domstate", "early").strip() == "paused"
        xml = ElementTree.fromstring(south.virsh("dumpxml", "early"))
        disk = xml.find("./devices/disk/source")
        assert disk is not None
        assert Path(disk.attrib["file"]).exists()
    finally:
        remove_vm(south, "early")
