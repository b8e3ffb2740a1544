"""Many VMs, a host that hangs, a disk that is mostly empty."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import Client, disk_images, remove_vm
from tests.support.site import Site
from tests.support.sshd import sshd
from tests.support.vms import MIB, Spec, TestVm
from vmtui import config
from vmtui.hosts import connect
from vmtui.hosts.inventory import list_vms

GIB = 1 << 30
TIB = 1 << 40
MANY = 2_000


# -- many VMs ------------------------------------------------------------------------------------


@pytest.mark.alone
def test_inventory_of_two_thousand_vms(client: Client, north: Site, tmp_path: Path) -> None:
    """libvirt's test driver, served by the site's own libvirtd, listed in under 3 s."""
    domain = (
        "<domain type='test'><name>v{}</name><memory>8192</memory><os><type>hvm</type></os>"
        "<devices><disk type='file' device='disk'><source file='/v{}'/><target dev='vda'/></disk></devices></domain>"
    )
    many = north.folder / f"many-{tmp_path.name}.xml"
    many.write_text("<node>" + "".join(domain.format(number, number) for number in range(MANY)) + "</node>")
    north.own(many)
    try:
        client.settings["hosts"]["many"] = client.settings["hosts"]["north"] | {
            "uri": f"test://{many}",
            "socket": str(north.folder / "run" / "libvirt" / "libvirt-sock"),
        }
        client.save()
        with connect(config.load(client.config), "many") as session:
            # Reading its own file is the test driver's affair when a connection is opened.
            session.with_libvirt("open", lambda connection: connection.getLibVersion(), deadline_s=60)
            started = time.monotonic()
            found = list_vms(session)
            seconds = time.monotonic() - started
        assert len(found) == MANY
        assert seconds < 3
        rows = [row for row in client.ok("vms", "--json").json if row["host"] == "many"]
        assert {row["name"] for row in rows} == {f"v{number}" for number in range(MANY)}
        assert {row["status"] for row in rows} == {"never"}
    finally:
        many.unlink()


# -- a host that hangs ---------------------------------------------------------------------------


@pytest.mark.alone
def test_a_hung_host_delays_nobody(client: Client, vm: TestVm, north: Site, south: Site) -> None:
    """The others' rows come, and the whole answer within the hung host's deadline and a margin."""
    margin = 4.0  # the grace of asking all hosts, and the start of the program
    deadline = 4.0
    with sshd(south) as server:
        client.settings["hosts"]["south"] |= {"port": server.port, "deadline": deadline}
        client.save()
        client.ok("host", "trust", "south", "--yes")
        started = time.monotonic()
        client.ok("vms", "--json")
        usual = time.monotonic() - started
        server.hang()
        started = time.monotonic()
        result = client.ok("vms", "--json")
        seconds = time.monotonic() - started
        rows = client.ok("hosts", "--json").json
        server.go_on()
        assert "south" in result.err
        assert vm.name in north.domains()
        assert {row["name"] for row in result.json if row["host"] == "north"} >= north.domains()
        assert {row["host"]: row["state"] for row in rows}["north"] == "connected"
        assert {row["host"]: row["state"] for row in rows}["south"] != "connected"
        assert seconds < deadline + margin + usual
        client.ok("vms", "--json")


# -- a disk that is mostly empty -----------------------------------------------------------------


def peak_mib(pid: int) -> float:
    """Peak resident memory of a process."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match.group(1)) / 1024


@pytest.mark.alone
def test_a_sparse_disk_of_one_tebibyte(client: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    """1 GiB of data in 1 TiB: only what is there is read, by a worker below 400 MiB, there and back."""
    vm = new_vm([Spec(size=TIB)], started=False)
    pieces, piece = 16, 64 * MIB
    source = tmp_path / "source"
    for number in range(pieces):
        source.write_bytes(os.urandom(piece))
        offset = number * (TIB // pieces) + number * MIB
        command = f"write -q -s {source} {offset} {piece}"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, str(vm.paths["vda"])], check=True, timeout=120)
    source.unlink()
    vm.start()
    full = client.ok("backup", vm.name, "--json", timeout=400).json["disks"][0]
    assert full["kind"] == "full"
    assert GIB <= full["read_bytes"] <= GIB + 64 * MIB
    vm.write(0x71, TIB - 8 * MIB, 4 * MIB)
    document = client.ok("backup", vm.name, "--json", timeout=400).json
    increment = document["disks"][0]
    assert increment["kind"] == "incremental"
    # A few unchanged blocks are read again to compare them with the parent.
    assert 4 * MIB <= increment["read_bytes"] <= 64 * MIB
    client.ok("verify", document["point"], timeout=400)
    name = f"sparse-{vm.name}"
    client.ok("restore", document["point"], "--as", name, timeout=400)
    try:
        worker = client.worker_pid
        assert worker is not None
        assert peak_mib(worker) < 400
        vm.stop()
        (path, _) = disk_images(vm.site, name)["vda"]
        same = subprocess.run(
            ["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", str(path), str(vm.paths["vda"])],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert same.returncode == 0, same.stdout + same.stderr
    finally:
        remove_vm(vm.site, name)
