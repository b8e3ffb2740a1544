"""What a host itself is made of: kept, compared, lost, brought back; and what must not be told to everybody."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.privileged import Privileged, privileged
from tests.support.repositories import PASSPHRASE
from tests.support.site import Site
from tests.support.vms import TestVm

LAN = """<network><name>lan</name><uuid>5a1f2f0e-7b1e-4c55-9a39-1f0f4ff9a001</uuid><forward mode='open'/>
<bridge name='hplan0' stp='on' delay='0'/><mac address='52:54:00:aa:00:01'/><dns enable='no'/>
<ip address='10.91.7.1' netmask='255.255.255.0'/></network>"""
UPLINK = """<network><name>uplink</name><uuid>5a1f2f0e-7b1e-4c55-9a39-1f0f4ff9a002</uuid><forward mode='bridge'/>
<bridge name='br0'/><portgroup name='guests' default='yes'/></network>"""
BASE = """<filter name='base-rules' chain='root'><uuid>5a1f2f0e-7b1e-4c55-9a39-1f0f4ff9a003</uuid>
<rule action='drop' direction='out' priority='500'><mac match='no' srcmacaddr='$MAC'/></rule></filter>"""
OUTER = """<filter name='all-rules' chain='root'><uuid>5a1f2f0e-7b1e-4c55-9a39-1f0f4ff9a004</uuid>
<filterref filter='base-rules'/></filter>"""
SECRET = "5a1f2f0e-7b1e-4c55-9a39-1f0f4ff9a005"  # noqa: S105  # its UUID
PRIVATE = "5a1f2f0e-7b1e-4c55-9a39-1f0f4ff9a006"
VALUE = "Wq7-open-sesame-Zk4"


@pytest.fixture
def system(client: Client, north: Site, request: pytest.FixtureRequest) -> Iterator[Privileged]:
    """A libvirtd with all its drivers behind north's sshd; the client knows it as north."""
    with privileged(north, f"sys{abs(hash(request.node.name)) % 10000}") as daemon:
        client.settings["hosts"] = {
            "north": client.settings["hosts"]["north"] | {"uri": "qemu:///system", "socket": str(daemon.socket)}
        }
        client.save()
        yield daemon
        client.stop()
        for name in daemon.names("net-list"):
            daemon.virsh("net-destroy", name) if name in daemon.virsh("net-list", "--name").split() else None


def furnish(daemon: Privileged) -> Path:
    """Two networks, a pool and two filters, running and starting by themselves where they can."""
    for xml in (LAN, UPLINK):
        daemon.define("net-define", xml)
    for verb in ("net-start", "net-autostart"):
        daemon.virsh(verb, "lan")
    daemon.virsh("net-start", "uplink")
    store = daemon.folder / "lib" / "vmstore"
    target = "/var/lib/libvirt/vmstore"
    daemon.define("pool-define", f"<pool type='dir'><name>vmstore</name><target><path>{target}</path></target></pool>")
    for verb in ("pool-build", "pool-start", "pool-autostart"):
        daemon.virsh(verb, "vmstore")
    for xml in (BASE, OUTER):
        daemon.define("nwfilter-define", xml)
    return store


def picture(daemon: Privileged) -> dict[str, str]:
    """All definitions with their switches, as virsh tells them; fill levels change by themselves."""
    found = {}
    for name in daemon.names("net-list"):
        found[f"network {name}"] = daemon.virsh("net-dumpxml", "--inactive", name) + daemon.virsh("net-info", name)
    for name in daemon.names("pool-list"):
        xml = daemon.virsh("pool-dumpxml", "--inactive", name)
        lines = [
            line for line in xml.splitlines() if not line.strip().startswith(("<capacity", "<allocation", "<avail"))
        ]
        info = [line for line in daemon.virsh("pool-info", name).splitlines() if "iB" not in line]
        found[f"pool {name}"] = "\n".join(lines + info)
    for name in daemon.filters():
        found[f"nwfilter {name}"] = daemon.virsh("nwfilter-dumpxml", name)
    return found


def lose_everything(daemon: Privileged) -> None:
    for name in ("lan", "uplink"):
        daemon.virsh("net-destroy", name)
        daemon.virsh("net-undefine", name)
    daemon.virsh("pool-destroy", "vmstore")
    daemon.virsh("pool-undefine", "vmstore")
    for name in ("all-rules", "base-rules"):
        daemon.virsh("nwfilter-undefine", name)
    assert (daemon.names("net-list"), daemon.names("pool-list"), daemon.filters()) == (set(), set(), set())


def point_of(client: Client, *options: str) -> str:
    return str(client.ok("host", "backup", "north", *options, "--json").json["point"])


def diff(client: Client, *points: str) -> dict[str, dict[str, Any]]:
    """Changes by `kind name`."""
    changes = client.ok("host", "diff", *points, "--json").json["changes"]
    return {f"{change['kind']} {change['name']}": change for change in changes}


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# -- the promise ---------------------------------------------------------------------------------


def test_networks_a_pool_and_filters_are_lost_and_brought_back(client: Client, system: Privileged) -> None:
    """Everything is as it was, active and autostart included; the diff says exactly what was gone."""
    store = furnish(system)
    before = picture(system)
    point = point_of(client)
    assert diff(client, point) == {}
    (store / "disk.img").write_bytes(b"a volume's data")
    lose_everything(system)
    lost = point_of(client)
    gone = {"network lan", "network uplink", "pool vmstore", "nwfilter all-rules", "nwfilter base-rules"}
    changes = diff(client, point, lost)
    assert {name: change["what"] for name, change in changes.items()} == dict.fromkeys(gone, "removed")
    plan = client.ok("host", "restore", point, "--plan", "--json").json
    actions = [(f"{part['kind']} {part['name']}", part["action"]) for part in plan["parts"]]
    assert [name for name, action in actions if action == "create"] == [
        "nwfilter base-rules",  # before the one that refers to it
        "nwfilter all-rules",
        "network lan",
        "network uplink",
        "pool vmstore",
    ]
    assert picture(system) == {}, "a plan changes nothing"
    result = client.ok("host", "restore", point, "--yes", "--json").json
    assert all(check["ok"] for check in result["checks"]), result
    assert picture(system) == before
    assert (store / "disk.img").read_bytes() == b"a volume's data"
    assert diff(client, point) == {}
    assert client.run("host", "restore", point, "--plan").code == 0


def test_a_diff_says_exactly_what_was_changed(client: Client, system: Privileged) -> None:
    furnish(system)
    before = point_of(client)
    system.virsh("net-autostart", "uplink")
    system.virsh("net-update", "lan", "add", "portgroup", "<portgroup name='late'/>", "--config")
    system.define("nwfilter-define", BASE.replace("priority='500'", "priority='400'"))
    system.define("net-define", UPLINK.replace("uplink", "second").replace("a002", "a00a"))
    system.virsh("pool-destroy", "vmstore")
    after = point_of(client, "--if-changed")
    assert after != before
    changes = diff(client, before, after)
    assert {name: change["what"] for name, change in changes.items()} == {
        "nwfilter base-rules": "changed",
        "network lan": "changed",
        "network second": "added",
        "network uplink": "changed",
        "pool vmstore": "changed",
    }
    assert changes["network uplink"]["details"] == ["autostart: no, now yes"]
    assert changes["network uplink"]["lines"] == []
    assert [line for line in changes["network lan"]["lines"] if line[0] in "+-"] == ['+  <portgroup name="late"/>']
    assert changes["pool vmstore"]["details"] == ["active: yes, now no"]
    changed = [line for line in changes["nwfilter base-rules"]["lines"] if line[0] in "+-"]
    assert [line.strip() for line in changed] == [
        '-  <rule action="drop" direction="out" priority="500">',
        '+  <rule action="drop" direction="out" priority="400">',
    ]
    assert client.ok("host", "backup", "north", "--if-changed", "--json").json["new"] is False


def test_what_exists_is_replaced_only_by_name_and_never_stopped(client: Client, system: Privileged) -> None:
    furnish(system)
    point = point_of(client)
    before = picture(system)
    system.virsh("net-update", "lan", "add", "portgroup", "<portgroup name='late'/>", "--config")
    changed = picture(system)
    refused = client.run("host", "restore", point, "--only", "network:lan", "--yes")
    assert refused.code == 5, str(refused)
    assert "--replace network:lan" in refused.err + refused.out
    assert picture(system) == changed
    result = client.ok("host", "restore", point, "--replace", "network:lan", "--yes", "--json").json
    assert picture(system) == before
    assert "lan" in system.virsh("net-list", "--name").split()
    client.ok("host", "restore", result["before"], "--replace", "network:lan", "--yes")
    assert picture(system) == changed, "what was replaced is in the point that was made before"


def test_a_network_whose_range_is_in_use_is_defined_and_not_started(client: Client, system: Privileged) -> None:
    furnish(system)
    point = point_of(client)
    for verb in ("net-destroy", "net-undefine"):
        system.virsh(verb, "lan")
    other = (
        LAN.replace("lan", "squatter")
        .replace("a001", "a009")
        .replace("hpsquatter0", "hpsq0")
        .replace("aa:00:01", "aa:00:09")
    )
    system.define("net-define", other)
    system.virsh("net-start", "squatter")
    result = client.ok("host", "restore", point, "--only", "network:lan", "--yes", "--json").json
    (check,) = result["checks"]
    assert check["ok"] is False
    assert "not started" in check["detail"]
    assert result["notes"]
    assert "lan" in system.names("net-list")
    assert "lan" not in system.virsh("net-list", "--name").split()


def test_what_cannot_be_read_is_named(client: Client, system: Privileged) -> None:
    """This daemon may run no QEMU, and the login may not read root's files."""
    shown = client.ok("host", "backup", "north", "--json").json
    names = {item["name"] for item in shown["left_out"]}
    assert {"record domain capabilities", "record hypervisor"} <= names, shown["left_out"]
    unreadable = subprocess.run(
        ["find", "/etc/libvirt", "-maxdepth", "1", "-type", "f", "!", "-perm", "-o=r"], capture_output=True, text=True
    ).stdout.split()
    if subprocess.run(["id", "-u"], capture_output=True, text=True).stdout.strip() == "0":
        assert set(unreadable) <= names


def test_files_links_and_what_may_not_be_read(client: Client, north: Site, request: pytest.FixtureRequest) -> None:
    """Their content, mode and owner; libvirt's own folders are not among them."""
    base = north.folder / "cfg" / "libvirt"
    hooks = base / "hooks"
    hooks.mkdir()
    request.addfinalizer(lambda: shutil.rmtree(hooks))
    hook, link, closed = hooks / "qemu with blank", hooks / "link", hooks / "closed"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    link.symlink_to("qemu with blank")
    closed.write_text("nobody reads this")
    north.own(hooks, hook, closed)
    closed.chmod(0)
    shown = client.ok("host", "backup", "north", "--json").json
    assert {item["name"] for item in shown["left_out"]} == {str(closed)}
    before = shown["point"]
    hook.write_text("#!/bin/sh\nexit 1\n")
    link.unlink()
    changes = diff(client, before)
    assert {name: change["what"] for name, change in changes.items()} == {
        f"file {hook}": "changed",
        f"link {link}": "removed",
    }
    assert [line for line in changes[f"file {hook}"]["lines"] if line[0] in "+-"] == ["-exit 0", "+exit 1"]
    hook.chmod(0o700)
    assert diff(client, before)[f"file {hook}"]["details"] == ["mode: 755, now 700"]


# -- secrets -------------------------------------------------------------------------------------


def secrets(site: Site) -> None:
    for uuid, private in ((SECRET, "no"), (PRIVATE, "yes")):
        xml = f"<secret private='{private}'><uuid>{uuid}</uuid><usage type='volume'><volume>/{uuid}</volume></usage></secret>"
        site.virsh("secret-define", "/dev/stdin", stdin=xml)
        site.virsh("secret-set-value", uuid, "--file", "/dev/stdin", "--plain", stdin=VALUE)


@pytest.fixture
def with_secrets(north: Site) -> Iterator[None]:
    """Two secrets and a file with a password on north."""
    secrets(north)
    file = north.folder / "cfg" / "libvirt" / "libvirt.conf"
    file.write_text(f'uri_default = "qemu:///session"\npassword = "{VALUE}"\n')
    north.own(file)
    yield
    file.unlink()
    for uuid in (SECRET, PRIVATE):
        if uuid in north.virsh("secret-list"):
            north.virsh("secret-undefine", uuid)


@pytest.mark.usefixtures("with_secrets")
def test_no_password_reaches_a_repository_that_is_not_encrypted(client: Client, north: Site) -> None:
    shown = client.ok("host", "backup", "north", "--json").json
    left = {item["name"]: item["reason"] for item in shown["left_out"]}
    assert left[f"secret value {SECRET}"] == "the repository is not encrypted"
    # Seen through our own reader, as packs are compressed: every stream of the point, and every byte of the folder.
    folder = client.folder / "out"
    client.ok("host", "export", "north@latest", str(folder), "--with-secrets")
    for place in (folder, client.repository, client.state):
        assert VALUE.encode() not in everything_in(place)
    assert b"uri_default" in everything_in(folder)
    north.virsh("secret-undefine", SECRET)
    result = client.ok("host", "restore", "north@latest", "--only", f"secret:{SECRET}", "--yes", "--json").json
    assert "must be set by hand" in result["checks"][0]["detail"]
    assert SECRET in north.virsh("secret-list")


@pytest.mark.usefixtures("with_secrets")
def test_an_encrypted_repository_brings_a_secret_back_with_its_value(
    new_client: Callable[..., Client], north: Site, tmp_path: Path
) -> None:
    phrase = tmp_path / "phrase"
    phrase.touch(0o600)
    phrase.write_text(PASSPHRASE)
    client = new_client(passphrase_file=str(phrase))
    client.ok("repo", "init", "--encryption", "yes")
    shown = client.ok("host", "backup", "north", "--json").json
    left = {item["name"]: item["reason"] for item in shown["left_out"]}
    assert f"secret value {SECRET}" not in left
    assert "private" in left[f"secret value {PRIVATE}"]
    for place in (client.repository, client.state):
        assert VALUE.encode() not in everything_in(place)
    north.virsh("secret-set-value", SECRET, "--file", "/dev/stdin", "--plain", stdin="another")
    told = client.ok("host", "diff", "north@latest")
    assert f"secret value {SECRET}" in told.out
    assert VALUE not in told.out
    assert "another" not in told.out
    one = ("--only", f"secret:{SECRET}", "--yes", "--json")
    refused = client.run("host", "restore", shown["point"], *one)
    assert (refused.code, "its value is another one" in refused.json["error"]["cause"]) == (5, True), str(refused)
    assert north.virsh("secret-get-value", "--plain", SECRET).strip() == "another"
    client.ok("host", "restore", shown["point"], *one, "--replace", f"secret:{SECRET}")
    assert north.virsh("secret-get-value", "--plain", SECRET).strip() == VALUE
    north.virsh("secret-undefine", SECRET)
    client.ok("host", "restore", shown["point"], *one)
    assert north.virsh("secret-get-value", "--plain", SECRET).strip() == VALUE
    xml = f"<secret><uuid>{SECRET}</uuid><usage type='volume'><volume>/{SECRET}</volume></usage></secret>"
    north.virsh("secret-undefine", SECRET)
    north.virsh("secret-define", "/dev/stdin", stdin=xml.replace("<secret>", "<secret ephemeral='no' private='no'>"))
    client.ok("host", "restore", shown["point"], *one)
    assert north.virsh("secret-get-value", "--plain", SECRET).strip() == VALUE
    hidden, clear = tmp_path / "hidden", tmp_path / "clear"
    client.ok("host", "export", shown["point"], str(hidden))
    assert VALUE.encode() not in everything_in(hidden)
    client.ok("host", "export", shown["point"], str(clear), "--with-secrets")
    assert VALUE.encode() in everything_in(clear)
    assert client.run("host", "export", shown["point"], str(clear)).code == 5


# -- beside VMs ----------------------------------------------------------------------------------


def test_a_vm_backup_keeps_its_host_when_it_changed(client: Client, vm: TestVm, north: Site) -> None:
    client.backup(vm)
    (first,) = client.ok("host", "points", "north", "--json").json
    client.backup(vm)
    assert len(client.ok("host", "points", "--json").json) == 1, "nothing has changed"
    name = f"late-{vm.name}"
    xml = f"<network><name>{name}</name><forward mode='bridge'/><bridge name='br0'/></network>"
    north.virsh("net-define", "/dev/stdin", stdin=xml)
    try:
        client.backup(vm)
        newest = client.ok("host", "points", "--json").json[0]
        assert newest["id"] != first["id"]
        assert diff(client, first["id"], newest["id"])[f"network {name}"]["what"] == "added"
        points = client.points(vm)
        assert len(points) == 3
        assert {point["uuid"] for point in client.ok("points", "--json").json} == {vm.uuid}, "no host among the VMs"
        refused = client.run("restore", newest["id"])
        assert refused.code == 2, str(refused)
        assert "vmtui host restore" in refused.err
    finally:
        north.virsh("net-undefine", name)


def test_a_host_that_cannot_be_kept_is_a_warning_on_the_vm(client: Client, vm: TestVm) -> None:
    document = client.backup(vm, failpoint="host.captured=error")
    assert (document["point"], document["state"]) == (client.points(vm)[0]["id"], "ok with warnings")
    assert client.ok("host", "points", "--json").json == []


def test_a_worker_that_dies_while_it_defines_is_taken_up(client: Client, north: Site, request: Any) -> None:
    name = "killed-net"
    xml = f"<network><name>{name}</name><forward mode='bridge'/><bridge name='br0'/></network>"
    north.virsh("net-define", "/dev/stdin", stdin=xml)
    request.addfinalizer(lambda: north.virsh("net-undefine", name))
    before = north.virsh("net-dumpxml", name)
    point = point_of(client)
    client.stop()
    north.virsh("net-undefine", name)
    result = client.ok(
        "host", "restore", point, "--only", f"network:{name}", "--yes", "--json", failpoint="host.defined=kill"
    )
    assert [check["ok"] for check in result.json["checks"]] == [True]
    assert north.virsh("net-dumpxml", name) == before


def test_a_fresh_host_is_rebuilt_in_order(client: Client, vm: TestVm, tmp_path: Path) -> None:
    client.backup(vm)
    client.ok("host", "backup", "north")
    folder = tmp_path / "rebuild"
    steps = client.ok("host", "export", "north@latest", str(folder), "--compare", "north", "--json").json["steps"]
    text = (folder / "REBUILD.md").read_text()
    assert all(step in text for step in steps)
    order = [next(i for i, step in enumerate(steps) if word in step) for word in ("Install Debian", "Install these packages", "vmtui host restore", f"/{vm.name}@good")]  # fmt: skip
    assert order == sorted(order)
    assert (folder / "changes.diff").read_text() == "nothing differs\n"
