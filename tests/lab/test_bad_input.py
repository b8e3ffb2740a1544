"""Whatever is wrong: one clear sentence, a next step, the documented exit code, and nothing lost or half defined."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.client import Client, Result, disk_images, remove_vm
from tests.support.site import Site
from tests.support.vms import MIB, Spec, TestVm, assert_same, raw_copy
from vmtui.jobs.world import utc_now
from vmtui.lab import LabInfo
from vmtui.model.ids import PointId, VmId, new_id
from vmtui.model.point import RestorePoint
from vmtui.repository import FANOUT, ZERO_ID, MapBuilder, PointName, Repository, leaf_count
from vmtui.repository.streams import open_map, walk


def refused(result: Result, code: int, error_id: str, *words: str) -> None:
    """The answer has the code, the id, a cause with these words, and a next step."""
    assert result.code == code, str(result)
    lines = [line for line in result.err.splitlines() if line]
    step = next((line for line in lines if line.rstrip().endswith(f"[{error_id}]")), "")
    assert step, result.err
    cause = lines[lines.index(step) - 1]
    assert len(step.strip()) > len(f"[{error_id}]") + 5, "a next step is missing"
    for word in words:
        assert word in cause + step, f"{word!r} is not in: {cause} {step}"


# -- configuration -------------------------------------------------------------------------------


def test_no_configuration(client: Client) -> None:
    client.config.unlink()
    refused(client.run("vms"), 2, "CONFIG-MISSING", str(client.config))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("repository = [", ("not valid TOML",)),
        ('repositry = "file:///x"', ("repositry", "repository")),
        ('repository = "file:///x"\n[hosts.a]\nadress = "x"', ("adress", "address")),
        ('repository = "file:///x"\n[hosts.a]\nport = "22"', ("port",)),
        ('repository = "ftp://x"', ("repository",)),
        ('repository = "file:///x"\n[tiers.gold]\nrpo = "soon"', ("rpo", "soon")),
        ('repository = "file:///x"\n[[rules]]\ntier = "glod"\n[tiers.gold]\nrpo = "1h"', ("glod", "gold")),
        ('repository = "file:///x"\n[[rules]]\nvm = "x"', ("rules",)),
    ],
)
def test_wrong_configuration(client: Client, text: str, words: tuple[str, ...]) -> None:
    client.config.write_text(text)
    refused(client.run("vms"), 2, "CONFIG-INVALID", *words)


# -- names ---------------------------------------------------------------------------------------


def test_unknown_names_offer_the_nearest(client: Client, vm: TestVm) -> None:
    refused(client.run("backup", "nort/x"), 2, "NAME-UNKNOWN", "nort", "north")
    refused(client.run("backup", f"{vm.name}x"), 2, "NAME-UNKNOWN", vm.name)
    refused(client.run("host", "trust", "sout"), 2, "NAME-UNKNOWN", "south")
    refused(client.run("points", "nothing"), 2, "NAME-UNKNOWN")
    refused(client.run("show", "zzzz"), 2, "NAME-UNKNOWN")
    refused(client.run("job", "show", "zzzz"), 2, "NAME-UNKNOWN", "vmtui jobs")
    refused(client.run("verify"), 2, "NAME-UNKNOWN", "--all")
    client.backup(vm)
    refused(client.run("show", ""), 2, "NAME-UNKNOWN")
    refused(client.run("show", f"{vm.name}@newest"), 2, "NAME-UNKNOWN", "latest")
    refused(client.run("export", f"{vm.name}@latest", "sdz", "x.raw"), 2, "NAME-UNKNOWN", "vda")
    client.backup(vm)
    refused(client.run("show", "0"), 2, "NAME-AMBIGUOUS")


HOSTILE = (
    "[b]x[b]",
    "[@click=app.quit]x",
    "two words",
    "$(touch x)",
    "a'b\"c",
    "虚拟机",
    "\u202eevil",
    "-rf",
    "a&b;c|d",
    "%s%n",
    "web1@latest",
    "x" * 150,
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_is_only_a_name(client: Client, north: Site, south: Site, tmp_path: Path, name: str) -> None:
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    vm = TestVm(north)
    try:
        north.virsh("undefine", vm.name)
        xml = f"""<domain type='qemu'><name>{escaped}</name><uuid>{vm.uuid}</uuid><memory unit='MiB'>32</memory>
            <os><type arch='x86_64' machine='q35'>hvm</type></os>
            <devices>{vm.disk_xml(Spec())}<memballoon model='none'/></devices></domain>"""
        north.virsh("define", "/dev/stdin", stdin=xml)
        north.virsh("start", vm.uuid, "--paused")
        result = client.ok("backup", "--json", "--", f"north/{name}")
        point = result.json["point"]
        assert result.json["vm"] == name
        (row,) = [row for row in client.ok("vms", "--json").json if row["uuid"] == vm.uuid]
        assert row["name"] == name
        for command in (["vms"], ["points"], ["show", point], ["jobs"]):
            shown = client.ok(*command)
            assert "\u202e" not in shown.out
            assert "\x1b" not in shown.out
        document = client.ok("restore", point, "--to", "south", "--json").json
        try:
            (path, kind) = disk_images(south, document["uuid"])["vda"]
            assert path.parent == south.images
            assert_same(raw_copy(path, kind, tmp_path), raw_copy(path, kind, tmp_path / "again"))
        finally:
            remove_vm(south, document["uuid"])
        assert not list(Path.cwd().glob("x"))
    finally:
        north.virsh("destroy", vm.uuid, check=False)
        north.virsh("undefine", vm.uuid, "--checkpoints-metadata", check=False)
        for path in north.images.glob(f"{vm.name}*"):
            path.unlink()


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a\nb", "[x]", "$(x)", "-x", "a" * 300, "a..b"])
def test_new_name_that_is_no_name(client: Client, vm: TestVm, south: Site, name: str) -> None:
    point = client.backup(vm)["point"]
    before = (south.domains(), set(south.images.iterdir()))
    result = client.run("restore", point, "--to", "south", f"--as={name}")
    refused(result, 5, "PREFLIGHT", "name")
    assert (south.domains(), set(south.images.iterdir())) == before


# -- hosts ---------------------------------------------------------------------------------------


def _one_host(client: Client, **changes: object) -> None:
    client.settings["hosts"] = {"north": client.settings["hosts"]["north"] | changes}
    client.save()


def test_closed_port(client: Client) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        _one_host(client, port=probe.getsockname()[1])
        refused(client.run("backup", "north/x"), 4, "HOST-UNREACHABLE", "north")


def test_host_that_accepts_and_never_speaks(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        _one_host(client, port=server.getsockname()[1], deadline=2.0)
        result = client.run("backup", "north/x", timeout=30)
        assert result.code == 4, str(result)


def test_host_that_speaks_something_else(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" * 100)
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        _one_host(client, port=server.getsockname()[1], deadline=3.0)
        assert client.run("backup", "north/x", timeout=30).code == 4


def test_refused_login(client: Client, tmp_path: Path) -> None:
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    _one_host(client, key=str(key))
    refused(client.run("backup", "north/x"), 4, "HOST-LOGIN-REFUSED", "north", str(key))


def test_wrong_password(client: Client) -> None:
    _one_host(client, key=str(client.folder / "none"), password_command=["echo", "wrong"])
    refused(client.run("backup", "north/x"), 4, "HOST-LOGIN-REFUSED", "password")


def test_key_with_a_passphrase(client: Client, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True)
    _one_host(client, key=str(key))
    refused(client.run("backup", "north/x"), 4, "HOST-LOGIN-REFUSED", "passphrase")


def test_unknown_and_changed_host_key(client: Client, north: Site, tmp_path: Path) -> None:
    known = tmp_path / "known"
    client.settings["known_hosts"] = str(known)
    client.save()
    refused(client.run("backup", "north/x"), 4, "HOST-KEY-UNKNOWN", "SHA256:", "vmtui host trust north")
    refused(client.run("host", "trust", "north"), 5, "CONFIRM-MISSING")
    other = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    kind, blob, *_ = other.with_suffix(".pub").read_text().split()
    known.write_text(f"[127.0.0.1]:{north.port} {kind} {blob}\n")
    refused(client.run("backup", "north/x"), 4, "HOST-KEY-CHANGED", "north")
    refused(client.run("host", "trust", "north", "--yes"), 5, "HOST-KEY-CHANGED")
    known.unlink()
    client.ok("host", "trust", "north", "--yes")
    assert "north" in {row["host"] for row in client.ok("hosts", "--json").json if row["state"] == "connected"}


def test_libvirt_down(client: Client, tmp_path: Path) -> None:
    _one_host(client, socket=str(tmp_path / "nobody"))
    refused(client.run("backup", "north/x"), 4, "HOST-LIBVIRT-DOWN", "north")


# -- VMs and disks -------------------------------------------------------------------------------


def test_disk_missing(client: Client, new_vm: Callable[..., TestVm]) -> None:
    vm = new_vm(started=False)
    vm.paths["vda"].unlink()
    refused(client.run("backup", vm.name), 1, "DISK-MISSING", "vda")
    assert client.run("points", vm.name).code == 2


def test_vm_gone_between_question_and_job(client: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    from tests.support.client import wait_until

    first, second = new_vm(), new_vm()
    gate = tmp_path / "gate"
    gate.touch()
    client.ok("backup", first.name, "--detach", failpoint=f"backup.planned=hold:{gate}")
    wait_until(gate.with_name("gate.reached").exists, 60, "the first job")
    job = client.ok("backup", second.name, "--detach").out.strip()
    second.remove()
    gate.unlink()
    assert client.run("job", "watch", job).code == 1
    assert client.ok("job", "show", job, "--json").json["error"]["id"] == "VM-GONE"


# -- repository ----------------------------------------------------------------------------------


def test_repository_not_there(new_client: Callable[..., Client], vm: TestVm) -> None:
    client = new_client()
    refused(client.run("backup", vm.name), 2, "REPO-NOT-INITIALISED", "vmtui repo init")


def test_repository_of_a_newer_format(client: Client, vm: TestVm) -> None:
    from vmtui.repository import frame

    (config,) = [path for path in (client.repository / "config").rglob("*") if path.is_file()]
    data = frame.unseal("config", config.name, config.read_bytes())
    config.write_bytes(frame.seal("config", config.name, data | {"format": 99}))
    result = client.run("backup", vm.name)
    refused(result, 2, "REPO-FORMAT-NEWER")


def test_repository_that_is_a_file(new_client: Callable[..., Client], tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("x")
    client = new_client(repository=f"file://{place}/below")
    result = client.run("repo", "init")
    assert result.code in (2, 4), str(result)
    assert result.err.startswith("vmtui: ")


def test_map_smaller_than_its_disk(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    vm.write(0x41, 0, MIB)
    repository, manifest = opened(client, vm, client.backup(vm)["point"], tmp_path)
    disk = manifest.disks[0]
    bad = PointId(new_id(utc_now()))
    repository.points.commit(replace(manifest, id=bad, disks=(replace(disk, virtual_size=disk.virtual_size * 4096),)))
    before = (south.domains(), set(south.images.iterdir()))
    refused(client.run("restore", bad, "--to", "south", "--as", "larger"), 3, "REPO-OBJECT-BAD")
    assert (south.domains(), set(south.images.iterdir())) == before


# -- targets -------------------------------------------------------------------------------------


def test_target_name_exists(client: Client, vm: TestVm, south: Site, new_vm: Callable[..., TestVm]) -> None:
    point = client.backup(vm)["point"]
    other = new_vm(site=south, started=False)
    before = set(south.images.iterdir())
    refused(client.run("restore", point, "--to", "south", "--as", other.name), 5, "PREFLIGHT", other.name)
    assert set(south.images.iterdir()) == before


def test_target_file_exists(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    point = client.backup(vm)["point"]
    there = south.images / "taken-vda.qcow2"
    there.write_text("mine")
    try:
        refused(client.run("restore", point, "--to", "south", "--as", "taken"), 5, "PREFLIGHT", str(there))
        assert there.read_text() == "mine"
    finally:
        there.unlink()
    export = tmp_path / "disk.raw"
    export.write_text("mine")
    refused(client.run("export", point, "vda", str(export)), 5, "TARGET-EXISTS", str(export))
    assert export.read_text() == "mine"


def test_pool_full(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """The point of a disk that holds more than any file system here: one block, again and again."""
    vm.write(0x41, 0, MIB)
    point = client.backup(vm)["point"]
    huge = shutil.disk_usage(south.images).free + (8 << 30)
    bad = repeated(client, vm, point, huge - huge % (64 << 10), tmp_path)
    before = (south.domains(), set(south.images.iterdir()))
    refused(client.run("restore", bad, "--to", "south", "--as", "big"), 5, "PREFLIGHT", "space", "free")
    assert (south.domains(), set(south.images.iterdir())) == before


def repeated(client: Client, vm: TestVm, point: str, size: int, folder: Path) -> str:
    """Commit a point like another, with a disk of `size` that repeats its first block."""
    repository, manifest = opened(client, vm, point, folder)
    disk = manifest.disks[0]
    first = bytes.fromhex(disk.root)
    blocks = size // repository.block_size
    reader = open_map(repository, disk.virtual_size, disk.root)
    block = next(item for _, ids in walk(reader, "vda") for item in ids if item != ZERO_ID)
    writer = repository.writer(1)
    try:
        builder = MapBuilder(writer.store_node, blocks)
        leaf = writer.store_node(block * FANOUT)
        last = writer.store_node(block * (blocks % FANOUT)) if blocks % FANOUT else leaf
        for number in range(leaf_count(blocks)):
            builder.set_leaf(number, last if number == leaf_count(blocks) - 1 else leaf)
        root = builder.finish()
        writer.settle()
    finally:
        writer.close()
    assert root != first
    crafted = PointId(new_id(utc_now()))
    disks = (replace(disk, virtual_size=size, root=root.hex()),)
    repository.points.commit(replace(manifest, id=crafted, disks=disks))
    return crafted


def opened(client: Client, vm: TestVm, point: str, folder: Path) -> tuple[Repository, RestorePoint]:
    """The client's repository, opened here, and a manifest of it."""
    repository = Repository(f"file://{client.repository}", folder / "cache")
    repository.sync()
    return repository, repository.points.load(PointName(VmId(vm.uuid), PointId(point)))


def test_wrong_mappings(client: Client, vm: TestVm) -> None:
    point = client.backup(vm)["point"]
    refused(client.run("restore", point, "--to", "south", "--map-pool", "images"), 2, "NAME-BAD", "A=B")
    refused(client.run("restore", point, "--to", "south", "--map-pool", "images=nowhere"), 5, "PREFLIGHT", "nowhere")
    refused(client.run("restore", point, "--to", "south", "--map-pool", "other=images"), 5, "PREFLIGHT", "other")
    refused(client.run("restore", point, "--to", "south", "--map-network", "lan=none"), 5, "PREFLIGHT", "lan")
    refused(client.run("restore", point, "--to", "east"), 2, "NAME-UNKNOWN", "east")


def test_in_place_needs_the_word(client: Client, vm: TestVm) -> None:
    point = client.backup(vm)["point"]
    refused(client.run("restore", point, "--in-place"), 5, "CONFIRM-MISSING", "--yes")
    refused(client.run("revert", vm.name), 5, "CONFIRM-MISSING")
    refused(client.run("revert", vm.name, "--yes"), 5, "NOTHING-TO-REVERT")


# -- read-only -----------------------------------------------------------------------------------


def test_read_only(client: Client, vm: TestVm, lab: LabInfo) -> None:
    point = client.backup(vm)["point"]
    for command in (
        ["backup", vm.name],
        ["restore", point, "--to", "south"],
        ["revert", vm.name, "--yes"],
        ["repo", "init"],
    ):
        refused(client.run("--read-only", *command), 5, "READ-ONLY")
    client.ok("--read-only", "vms")
    client.ok("--read-only", "verify", point)
    client.settings["hosts"]["north"]["read_only"] = True
    client.save()
    refused(client.run("backup", vm.name), 5, "READ-ONLY", "north")
    client.settings["hosts"]["north"]["read_only"] = False
    client.settings["read_only"] = True
    client.save()
    refused(client.run("backup", vm.name), 5, "READ-ONLY")
