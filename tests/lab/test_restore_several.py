"""Several VMs back as one job: in order, all or what came before the first failure, and never a guess."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sites
from tests.lab.test_bad_input import repeated
from tests.support.client import Client, disk_images, remove_vm, wait_until
from tests.support.repositories import copy_repository
from tests.support.site import Site
from tests.support.vms import MIB, TestVm, assert_same, raw_copy
from vmtui import config
from vmtui.hosts import connect
from vmtui.lab import LabInfo
from vmtui.model.errors import ExitCode
from vmtui.restore.room import MARGIN, rooms

Vms = Callable[..., TestVm]


@pytest.fixture(scope="module")
def operator(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One client for all tests here; each works on VMs of its own."""
    client = Client(tmp_path_factory.mktemp("several") / "client", lab)
    client.init()
    yield client
    client.stop()


class Group:
    """Three VMs that are switched off, a point of each, and what must come back.

    Args:
        client: Takes the points.
        site: Where the VMs are.
        folder: For copies of what the points must hold.
    """

    def __init__(self, client: Client, site: Site, folder: Path) -> None:
        self.vms = [TestVm(site) for _ in range(3)]
        self.points = []
        self.held = []
        for number, vm in enumerate(self.vms):
            vm.start()
            vm.write(0xD0 + number, number * MIB, 3 * MIB)
            vm.stop()
            self.points.append(str(client.backup(vm)["point"]))
            self.held.append(vm.contents(folder / vm.name)["vda"])

    @property
    def names(self) -> list[str]:
        return [vm.name for vm in self.vms]

    def assert_back(self, site: Site, number: int, folder: Path) -> None:
        """A member is defined on the site, off, with the bytes of its point; it is taken away afterwards."""
        name = self.names[number]
        assert site.virsh("domstate", name).strip() == "shut off"
        (path, kind) = disk_images(site, name)["vda"]
        assert_same(raw_copy(path, kind, folder / f"back{number}"), self.held[number])
        remove_vm(site, name)

    def remove(self) -> None:
        for vm in self.vms:
            vm.remove()


@pytest.fixture(scope="module")
def group(operator: Client, lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """The same three for all tests here: points do not change, and restores go elsewhere or bring back the same."""
    made = Group(operator, sites(lab)["north"], tmp_path_factory.mktemp("group"))
    yield made
    made.remove()


def standing(site: Site) -> tuple[set[Path], list[str]]:
    """All that a restore could leave on a site."""
    return set(site.images.iterdir()), sorted(site.domains())


def ended(client: Client, job: str) -> dict[str, Any]:
    client.run("job", "watch", job, timeout=180)
    record: dict[str, Any] = client.ok("job", "show", job, "--json").json
    return record


def written(record: dict[str, Any]) -> list[str]:
    """Members whose disks were written, in order, again where it was done again."""
    return [phase["disk"].split()[0] for phase in record["phases"] if phase["phase"].endswith(" write")]


def test_three_come_back_in_the_order_given(operator: Client, group: Group, south: Site, tmp_path: Path) -> None:
    before = standing(south)
    order = (2, 0, 1)
    chosen = [group.points[number] for number in order]
    document = operator.ok("restore", *chosen, "--to", "south", "--json").json
    assert [member["vm"] for member in document["members"]] == [group.names[number] for number in order]
    assert [member["point"] for member in document["members"]] == chosen
    assert all(check["ok"] is not False for member in document["members"] for check in member["checks"])
    assert document["bytes"] == sum(member["bytes"] for member in document["members"]) >= 9 * MIB
    record = operator.ok("job", "show", document["job"], "--json").json
    assert written(record) == [group.names[number] for number in order]
    assert {phase["phase"].split()[0] for phase in record["phases"]} == {"1/3", "2/3", "3/3"}
    for number in range(3):
        group.assert_back(south, number, tmp_path)
    assert standing(south) == before


def test_the_plan_tells_all_steps_and_the_sums(operator: Client, group: Group, south: Site) -> None:
    before = standing(south)
    text = operator.ok("restore", *group.points, "--to", "south", "--plan").out
    document = operator.ok("restore", *group.points, "--to", "south", "--plan", "--json").json
    assert document["ready"] is True
    for number, member in enumerate(document["members"], 1):
        assert member["vm"] == group.names[number - 1]
        assert f"{number} of 3: {member['vm']}" in text
        fixed = [
            step["text"] for step in member["steps"] if "vmtui-" not in step["text"] and "uuid" not in step["text"]
        ]
        assert len(fixed) > 3
        assert all(step in text for step in fixed)
    assert document["bytes"] == sum(member["bytes"] for member in document["members"])
    (room,) = document["rooms"]
    assert room["folders"] == [str(south.images)]
    assert room["need"] == document["bytes"] + 64 * MIB
    assert document["command"].startswith(f"vmtui restore {' '.join(group.points)} --to south")
    assert standing(south) == before


def test_the_second_fails(operator: Client, group: Group, south: Site, tmp_path: Path) -> None:
    """Somebody makes a file of the second's final name while the first is written."""
    before = standing(south)
    gate = tmp_path / "gate"
    gate.touch()
    operator.stop()
    process = operator.popen("restore", *group.points, "--to", "south", failpoint=f"restore.half=hold:{gate}")
    wait_until((tmp_path / "gate.reached").exists, 60, "the first is being written")
    foreign = south.images / f"{group.names[1]}-vda.qcow2"
    foreign.write_bytes(b"not ours")
    gate.unlink()
    out, err = process.communicate(timeout=180)
    assert process.returncode == ExitCode.REFUSED, out + err
    assert "TARGET-EXISTS" in err
    assert f"{group.names[1]} (2 of 3)" in err
    assert f"Restored, and kept: {group.names[0]}." in err
    assert f"Not begun: {group.names[2]}." in err
    assert f"What was begun of {group.names[1]} was taken back." in err
    assert f"vmtui restore {group.points[1]} {group.points[2]} --to south" in err
    assert foreign.read_bytes() == b"not ours"
    foreign.unlink()
    group.assert_back(south, 0, tmp_path)
    assert standing(south) == before, "nothing of the second, nothing of the third"
    operator.stop()


def test_damage_in_the_second_stops_all_before_a_byte_is_written(
    operator: Client, new_client: Callable[..., Client], group: Group, south: Site
) -> None:
    client = new_client()
    copy_repository(operator.repository, client.repository)
    before = standing(south)
    (manifest,) = (path for path in (client.repository / "points").rglob(f"*{group.points[1]}*") if path.is_file())
    manifest.write_bytes(manifest.read_bytes()[:-9])
    result = client.run("restore", *group.points, "--to", "south")
    assert result.code == ExitCode.DAMAGE, str(result)
    assert standing(south) == before


def start_and_reach(client: Client, failpoint: str, *command: str) -> str:
    """Enqueue a job with a worker that has the failpoint; gives the job's id."""
    client.stop()
    return str(client.ok(*command, "--detach", "--json", failpoint=failpoint).json["job"])


@pytest.mark.parametrize("place", ["created", "half", "verified", "swapped", "defined"])
def test_a_worker_killed_in_the_second_goes_on_there(
    operator: Client, group: Group, south: Site, tmp_path: Path, place: str
) -> None:
    """The first is not written again, and each is right."""
    before = standing(south)
    command = ("restore", *group.points, "--to", "south")
    job = start_and_reach(operator, f"restore.{place}#2=kill", *command)
    pid = operator.worker_pid
    assert pid is not None
    operator.wait_worker_gone(pid, 180)
    assert group.names[0] in south.domains()
    image = disk_images(south, group.names[0])["vda"][0]
    stamp = image.stat()
    record = ended(operator, job)
    assert record["state"] == "ok", record
    again = image.stat()
    assert (again.st_ino, again.st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)
    assert written(record).count(group.names[0]) == 1
    assert [member["vm"] for member in record["result"]["members"]] == group.names
    for number in range(3):
        group.assert_back(south, number, tmp_path)
    assert standing(south) == before


@pytest.mark.parametrize("place", ["half", "defined"])
def test_a_cancel_in_the_second_keeps_the_first(
    operator: Client, group: Group, south: Site, tmp_path: Path, place: str
) -> None:
    before = standing(south)
    gate = tmp_path / "gate"
    gate.touch()
    command = ("restore", *group.points, "--to", "south")
    job = start_and_reach(operator, f"restore.{place}#2=hold:{gate}", *command)
    wait_until((tmp_path / "gate.reached").exists, 90, "the second is at work")
    operator.ok("job", "cancel", job)
    gate.unlink()
    record = ended(operator, job)
    assert record["state"] == "cancelled", record
    kept = 1 if place == "half" else 2
    """A VM that is defined is a finished restore: the wish is seen before the next one."""
    assert [member["vm"] for member in record["result"]["members"]] == group.names[:kept]
    assert f"Restored, and kept: {', '.join(group.names[:kept])}." in record["error"]["cause"]
    assert operator.run("job", "watch", job).code == ExitCode.CANCELLED
    for number in range(kept):
        group.assert_back(south, number, tmp_path)
    assert standing(south) == before
    operator.stop()


# -- what cannot be one job ----------------------------------------------------------------------


def failures(document: dict[str, Any]) -> dict[str, str]:
    """Failed checks of the members together."""
    return {check["name"]: check["detail"] for check in document["checks"] if check["ok"] is False}


def refused(client: Client, south: Site, *command: str) -> dict[str, str]:
    """The plan says why, the job is refused with the same words, and nothing was touched."""
    before = standing(south)
    plan = client.run("restore", *command, "--to", "south", "--plan", "--json")
    assert plan.code == ExitCode.REFUSED, str(plan)
    told = failures(plan.json)
    result = client.run("restore", *command, "--to", "south")
    assert result.code == ExitCode.REFUSED, str(result)
    assert all(name in result.err for name in told)
    assert standing(south) == before
    return told


def test_what_two_want_is_refused(operator: Client, new_vm: Vms, north: Site, south: Site, tmp_path: Path) -> None:
    """The same VM twice, the same name, the same MAC address."""
    nic = "<interface type='user'><mac address='52:54:00:0a:0b:0c'/></interface>"
    one, two = new_vm(started=False, extra=nic), new_vm(started=False, extra=nic)
    first, second = operator.backup(one)["point"], operator.backup(two)["point"]
    assert refused(operator, south, first, first)["vm"] == f"north/{one.name} is given 2 times"
    told = refused(operator, south, first, second, "--same-identity")
    assert told == {"macs": f"52:54:00:0a:0b:0c is wanted by {one.name} and by {two.name}"}
    two.remove()
    twin = TestVm(north, name=f"{one.name}-x")
    try:
        third = operator.backup(twin)["point"]
        north.virsh("domrename", one.name, f"{one.name}-y")
        north.virsh("domrename", twin.name, one.name)
        named = operator.backup(f"north/{one.name}")["point"]
        told = refused(operator, south, first, named)
        assert told["names"] == f"{one.name} is wanted by {one.name} and by {one.name}"
        assert "paths" in told
        assert third != named
    finally:
        north.virsh("undefine", one.name, "--checkpoints-metadata", check=False)
        north.virsh("domrename", f"{one.name}-y", one.name, check=False)
        twin.remove()


def test_the_members_together_must_have_room(
    new_client: Callable[..., Client], new_vm: Vms, south: Site, tmp_path: Path
) -> None:
    """Each alone has room on the target; both together have not."""
    client = new_client()
    client.ok("repo", "init", "--block-size", "1M")  # fewer blocks to make up
    share = shutil.disk_usage(south.images).free * 6 // 10
    points = []
    for number in range(2):
        vm = new_vm()
        vm.write(0x41 + number, 0, MIB)
        point = client.backup(vm)["point"]
        points.append(repeated(client, vm, point, share - share % MIB, tmp_path / str(number)))
        alone = client.run("restore", points[-1], "--to", "south", "--plan", "--json")
        assert alone.code == ExitCode.DONE, str(alone)
    told = refused(client, south, *points)
    assert set(told) == {"space together"}
    assert "are needed by all" in told["space together"]


def test_folders_of_one_file_system_share_its_room(client: Client, south: Site) -> None:
    """What a restore with disks in two pools asks of the file system that both are on."""
    other = south.folder / "other"
    other.mkdir()
    try:
        with connect(config.load(client.config), "south") as session:
            (room,) = rooms(session, {str(south.images): 5 * MIB, str(other): 7 * MIB, "/nowhere": MIB})
            assert room.folders == (str(south.images), str(other))
            assert room.need == 12 * MIB + MARGIN
            assert abs(room.free - shutil.disk_usage(other).free) < 1 << 30
            assert room.enough
            (full,) = rooms(session, {str(south.images): room.free, str(other): 1})
            assert not full.enough
    finally:
        other.rmdir()


def test_options_for_one_are_refused_for_several(operator: Client, group: Group) -> None:
    for options in (("--as", "x"), ("--instant",)):
        result = operator.run("restore", *group.points, "--to", "south", *options)
        assert (result.code, "NAME-BAD" in result.err) == (ExitCode.USAGE, True), str(result)
    result = operator.run("restore", *group.points, "--to", "south", "--in-place")
    assert (result.code, "CONFIRM-MISSING" in result.err) == (ExitCode.REFUSED, True)
    result = operator.run("restore", *group.points, "--to", "south", "--map-pool", "nowhere=images")
    assert result.code == ExitCode.REFUSED
    assert "no VM has a network, pool or folder nowhere" in result.err


# -- in place, and the point that is chosen by default -------------------------------------------


def test_in_place_each_can_be_undone(operator: Client, group: Group, north: Site, tmp_path: Path) -> None:
    for vm in group.vms:
        vm.start()
        vm.write(0xEE, 0, 4 * MIB)
        vm.stop()
    later = [vm.contents(tmp_path / f"later-{vm.name}")["vda"] for vm in group.vms]
    document = operator.ok("restore", *group.points, "--in-place", "--yes", "--json").json
    assert document["host"] == "north"
    assert len({member["kept"] for member in document["members"]}) == 3
    for vm, held in zip(group.vms, group.held, strict=True):
        assert_same(raw_copy(vm.paths["vda"], "qcow2", tmp_path / "back"), held)
    operator.ok("revert", f"north/{group.names[1]}", "--yes")
    for number, vm in enumerate(group.vms):
        expected = later[1] if number == 1 else group.held[number]
        assert_same(raw_copy(vm.paths["vda"], "qcow2", tmp_path / "reverted"), expected)


def test_the_default_point_is_the_newest_that_verify_left_good(
    new_client: Callable[..., Client], new_vm: Vms, south: Site, tmp_path: Path
) -> None:
    """A block that only the newest point has is damaged; verify finds it; the older point is brought back, and it is said why."""
    client = new_client()
    client.init()
    vm = new_vm()
    vm.write(0x71, 0, MIB)
    older = client.backup(vm)["point"]
    held = vm.contents(tmp_path / "held")["vda"]
    before = set((client.repository / "packs").rglob("*"))
    vm.write(0x72, 8 * MIB, MIB)
    newest = client.backup(vm)["point"]
    for path in sorted(set((client.repository / "packs").rglob("*")) - before):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    assert client.run("verify", "--all").code == ExitCode.DAMAGE
    for number, text in enumerate((f"{vm.name}@good", vm.name)):
        name = f"good{number}-{vm.name}"
        result = client.ok("restore", text, "--to", "south", "--as", name, "--json")
        assert result.json["point"] == older
        assert newest in result.err
        assert "known damage" in result.err
        (path, kind) = disk_images(south, name)["vda"]
        assert_same(raw_copy(path, kind, tmp_path / name), held)
        remove_vm(south, name)
    refusal = client.run("restore", f"{vm.name}@latest", "--to", "south")
    assert refusal.code == ExitCode.DAMAGE
    assert f"{vm.name}@good" in refusal.err


# -- real guests ---------------------------------------------------------------------------------


def at(phase: dict[str, Any]) -> float:
    """When a phase began [s]."""
    return datetime.fromisoformat(phase["at"]).timestamp()


def test_each_answers_before_the_next_is_begun(guests: LabInfo, new_client: Callable[..., Client]) -> None:
    client, south = new_client(of=guests), sites(guests)["south"]
    client.init()
    points = [client.backup(f"north/{name}")["point"] for name in ("db1", "web1")]
    document = client.ok("restore", *points, "--to", "south", "--start", "--json", timeout=600).json
    try:
        assert [member["vm"] for member in document["members"]] == ["db1", "web1"]
        for member in document["members"]:
            (told,) = (check["detail"] for check in member["checks"] if check["name"] == "guest agent")
            assert told.startswith("answered"), told
        record = client.ok("job", "show", document["job"], "--json").json
        order = [phase["phase"] for phase in record["phases"]]
        assert order.index("1/2 start") < order.index("2/2 create"), order
        asked, begun = (next(at(phase) for phase in record["phases"] if phase["phase"] == name) for name in ("1/2 start", "2/2 create"))  # fmt: skip
        answered = float(document["members"][0]["checks"][-1]["detail"].split()[2])
        assert begun - asked >= answered, "the second waits for the agent of the first"
    finally:
        for name in ("db1", "web1"):
            south.virsh("destroy", name, check=False)
            remove_vm(south, name)
