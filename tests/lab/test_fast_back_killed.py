"""The worker is killed (-9) in every phase of the fast way back, of its undoing, and of letting go what it kept."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import sites
from tests.support.client import Client, wait_until
from tests.support.killing import finish, start_and_die
from tests.support.vms import MIB, TestVm, assert_same, raw_copy
from vmtui.lab import LabInfo

FAST = (
    "restore.stopped",
    "restore.overlaid",
    "restore.half",
    "restore.verified",
    "restore.kept",
    "restore.rebased",
    "restore.swapped",
    "restore.defined",
)
REVERT = ("revert.stopped", "revert.folded", "revert.swapped", "revert.defined", "revert.ended")
DISCARD = ("discard.pulling", "discard.folded", "discard.removed")


class Case:
    """A VM that has changed since its point, with what it held then and holds now."""

    def __init__(self, client: Client, vm: TestVm, folder: Path) -> None:
        self.client, self.vm, self.folder = client, vm, folder
        vm.write(0xC1, 0, 20 * MIB)
        self.point = client.backup(vm)["point"]
        self.then = vm.contents(folder / "then")["vda"]
        vm.write(0xC2, MIB, 3 * MIB)
        vm.zero(10 * MIB, MIB)
        vm.stop()
        vm.site.virsh("desc", vm.name, "--config", "as it was before the restore")
        self.now = vm.contents(folder / "now")["vda"]
        self.definition = self.defined
        self.files = self.there

    @property
    def defined(self) -> str:
        return self.vm.site.virsh("dumpxml", "--inactive", self.vm.name)

    @property
    def there(self) -> set[str]:
        return {path.name for path in self.vm.site.images.glob(f"{self.vm.name}*")}

    def assert_holds(self, expected: Path) -> None:
        image = self.vm.paths["vda"]
        assert_same(raw_copy(image, "qcow2", self.folder / "held"), expected)
        assert subprocess.run(["qemu-img", "check", "-q", str(image)]).returncode == 0

    def assert_untouched(self) -> None:
        self.assert_holds(self.now)
        assert self.defined == self.definition
        assert self.there == self.files

    def restore(self) -> None:
        document = self.client.ok("restore", self.point, "--in-place", "--yes", "--json").json
        assert document["bytes"] < 8 * MIB


@pytest.fixture
def case(client: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> Case:
    return Case(client, new_vm(), tmp_path)


@pytest.mark.parametrize("failpoint", FAST)
def test_goes_on(case: Case, failpoint: str) -> None:
    job = start_and_die(case.client, failpoint, "restore", case.point, "--in-place", "--yes")
    assert finish(case.client, job)["state"].startswith("ok")
    case.assert_holds(case.then)
    case.client.ok("revert", f"{case.vm.site.name}/{case.vm.name}", "--yes")
    case.assert_holds(case.now)
    assert case.defined == case.definition
    assert case.there == case.files | {f"{case.vm.paths['vda'].name}.reverted-{job}"}


@pytest.mark.parametrize("failpoint", FAST)
def test_cancelled_while_no_worker_lives(case: Case, failpoint: str) -> None:
    job = start_and_die(case.client, failpoint, "restore", case.point, "--in-place", "--yes")
    case.client.ok("job", "cancel", job)
    assert finish(case.client, job)["state"] == "cancelled"
    case.assert_untouched()
    assert case.client.backup(case.vm)["disks"][0]["kind"] == "incremental"


@pytest.mark.parametrize("failpoint", REVERT)
def test_undoing_goes_on(case: Case, failpoint: str) -> None:
    case.restore()
    job = start_and_die(case.client, failpoint, "revert", f"{case.vm.site.name}/{case.vm.name}", "--yes")
    assert finish(case.client, job)["state"].startswith("ok")
    case.assert_holds(case.now)
    assert case.defined == case.definition
    (aside,) = [name for name in case.there - case.files if ".reverted-" in name]
    assert case.there == case.files | {aside}
    assert_same(raw_copy(case.vm.site.images / aside, "qcow2", case.folder / "aside"), case.then)


@pytest.mark.parametrize("failpoint", DISCARD)
def test_letting_go_goes_on(case: Case, failpoint: str) -> None:
    case.restore()
    running = failpoint == "discard.pulling"
    if running:
        case.vm.start()
    job = start_and_die(case.client, failpoint, "revert", f"{case.vm.site.name}/{case.vm.name}", "--discard", "--yes")
    assert finish(case.client, job)["state"].startswith("ok")
    if running:
        assert case.vm.state == "paused"
        case.vm.stop()
    case.assert_holds(case.then)
    assert case.there == case.files


def test_damaged_pack(case: Case) -> None:
    """The VM is as it was, also its definition, and the pack is named."""
    for pack in (case.client.repository / "packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 3] ^= 0x40
            pack.chmod(0o600)
            pack.write_bytes(data)
    result = case.client.run("restore", case.point, "--in-place", "--yes")
    assert result.code in (3, 5, 6), str(result)
    case.assert_untouched()


def test_cancelled_while_it_writes(case: Case, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    case.client.stop()
    job = case.client.ok(
        "restore", case.point, "--in-place", "--yes", "--detach", "--json", failpoint=f"restore.half=hold:{gate}"
    ).json["job"]
    wait_until(gate.with_name("gate.reached").exists, 120, "the middle of the data")
    case.client.ok("job", "cancel", job)
    gate.unlink()
    assert finish(case.client, job)["state"] == "cancelled"
    case.assert_untouched()


def test_undone_from_another_machine(case: Case, new_client: Callable[..., Client]) -> None:
    case.restore()
    other = new_client("other", repository=f"file://{case.client.repository}")
    other.ok("revert", f"{case.vm.site.name}/{case.vm.name}", "--yes")
    case.assert_holds(case.now)


def test_guest_that_ran_runs_again(guests: LabInfo, new_client: Callable[..., Client]) -> None:
    """It was shut down for the restore, and the restore is cancelled: it runs on with its old disk."""
    client, north = new_client(of=guests), sites(guests)["north"]
    client.init()
    point = client.backup("north/web1")["point"]
    before = set(north.images.iterdir())
    job = start_and_die(client, "restore.stopped", "restore", point, "--in-place", "--yes")
    assert north.virsh("domstate", "web1").strip() == "shut off"
    client.ok("job", "cancel", job)
    assert finish(client, job)["state"] == "cancelled"
    assert north.virsh("domstate", "web1").strip() == "running"
    assert set(north.images.iterdir()) == before


@pytest.mark.parametrize("failpoint", ["revert.stopped", "revert.defined", "revert.ended"])
def test_guest_that_ran_before_the_undoing_runs_after_it(
    guests: LabInfo, new_client: Callable[..., Client], failpoint: str
) -> None:
    client, north = new_client(of=guests), sites(guests)["north"]
    client.init()
    point = client.backup("north/web1")["point"]
    before = set(north.images.iterdir())
    client.ok("restore", point, "--in-place", "--start", "--yes", timeout=400)
    job = start_and_die(client, failpoint, "revert", "north/web1", "--yes")
    assert finish(client, job)["state"].startswith("ok")
    assert north.virsh("domstate", "web1").strip() == "running"
    for path in set(north.images.iterdir()) - before:
        assert ".reverted-" in path.name
        path.unlink()


@pytest.mark.parametrize("failpoint", ["restore.kept", "restore.rebased", "restore.swapped", "restore.defined"])
@pytest.mark.parametrize("options", [(), ("--whole",)])
def test_cut_off_for_good_is_undone_from_another_machine(
    case: Case, new_client: Callable[..., Client], failpoint: str, options: tuple[str, ...]
) -> None:
    """The machine that restored is lost in the middle: the record on the host is enough; nothing kept is thrown away."""
    if options and failpoint == "restore.rebased":
        failpoint = "restore.verified"  # nothing is renamed yet, and there is no record
    start_and_die(case.client, failpoint, "restore", case.point, "--in-place", "--yes", *options)
    other = new_client("other", repository=f"file://{case.client.repository}")
    name = f"{case.vm.site.name}/{case.vm.name}"
    if failpoint == "restore.verified":
        result = other.run("revert", name, "--yes", "--json")
        assert (result.code, "NOTHING-TO-REVERT" in result.out + result.err) == (5, True), str(result)
        return
    if failpoint != "restore.defined":
        refused = other.run("revert", name, "--discard", "--yes", "--json")
        assert (refused.code, "KEPT-IN-USE" in refused.out + refused.err) == (5, True), str(refused)
    other.ok("revert", name, "--yes")
    case.assert_holds(case.now)
    assert case.defined == case.definition
    assert {item for item in case.there if ".reverted-" not in item} == case.files


def test_of_two_restores_the_one_that_was_cut_off_is_undone_first(
    case: Case, new_client: Callable[..., Client]
) -> None:
    """The definition names the first one still; its disks are below those of the second, which are the VM's own."""
    case.restore()
    case.vm.start()
    case.vm.write(0xC7, 5 * MIB, MIB)
    case.vm.stop()
    between = case.vm.contents(case.folder / "between")["vda"]
    start_and_die(case.client, "restore.swapped", "restore", case.point, "--in-place", "--yes")
    other = new_client("other", repository=f"file://{case.client.repository}")
    name = f"{case.vm.site.name}/{case.vm.name}"
    refused = other.run("revert", name, "--discard", "--yes", "--json")
    assert (refused.code, "KEPT-IN-USE" in refused.out + refused.err) == (5, True), str(refused)
    other.ok("revert", name, "--yes")
    case.assert_holds(between)
    other.ok("revert", name, "--yes")
    case.assert_holds(case.now)
    assert case.defined == case.definition


def test_a_snapshot_on_a_restored_disk_keeps_it_from_being_undone(case: Case) -> None:
    case.restore()
    case.vm.start()
    overlay = case.vm.paths["vda"].with_suffix(".snap")
    diskspec = ("--diskspec", f"vda,file={overlay}")
    case.vm.site.virsh("snapshot-create-as", case.vm.name, "s1", "--disk-only", "--no-metadata", *diskspec)
    case.vm.stop()
    refused = case.client.run("revert", case.vm.name, "--yes", "--json")
    assert (refused.code, refused.json["error"]["id"]) == (1, "VM-BUSY"), str(refused)
    case.vm.start()
    case.vm.site.virsh("blockcommit", case.vm.name, "vda", "--shallow", "--active", "--pivot", "--wait")
    case.vm.stop()
    overlay.unlink()
    case.client.ok("revert", case.vm.name, "--yes")
    case.assert_holds(case.now)
