"""Things that break in mid-job: libvirtd, the SSH connection, the VM, the room in the repository."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import sites
from tests.support.client import Client, wait_until
from tests.support.daemons import cut_ssh, end_libvirtd, restart_libvirtd
from tests.support.guests import wait_agent
from tests.support.holding import ended, held
from tests.support.site import Site
from tests.support.small import fill, small_file_system
from tests.support.vms import MIB, TestVm
from vmtui.lab import LabInfo, down, up


@pytest.fixture(scope="module")
def own_lab() -> Iterator[LabInfo]:
    """Its daemons are broken by these tests alone."""
    with tempfile.TemporaryDirectory(prefix="vmtui-test-") as folder:
        root = Path(folder) / "lab"
        lab = up(root, wanted=())
        yield lab
        for site in sites(lab).values():
            end_libvirtd(site)
        down(root)


@pytest.fixture
def north(own_lab: LabInfo) -> Site:
    return sites(own_lab)["north"]


@pytest.fixture
def south(own_lab: LabInfo) -> Site:
    return sites(own_lab)["south"]


@pytest.fixture
def client(own_lab: LabInfo, new_client: Callable[..., Client]) -> Client:
    made = new_client(of=own_lab)
    made.init()
    return made


def assert_next_is_right(client: Client, vm: TestVm, south: Site, folder: Path) -> None:
    vm.write(0x77, 10 * MIB, MIB)
    point = client.backup(vm)["point"]
    client.assert_restores(point, south, vm.contents(folder / "next"), folder)
    assert vm.job() == ""
    assert vm.leftovers() == []
    assert vm.checkpoints() == [client.points(vm)[0]["checkpoint"]]


@pytest.fixture
def backed_up(client: Client, vm: TestVm) -> TestVm:
    """A VM with a point, and changes since."""
    vm.write(0x71, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x72, 2 * MIB, 4 * MIB)
    return vm


def check_outcome(client: Client, vm: TestVm, south: Site, code: int, folder: Path) -> None:
    """Either the job was resumed and its point is right, or it failed and there is none."""
    points = client.points(vm)
    if code == 0:
        assert len(points) == 2
        client.assert_restores(points[0]["id"], south, vm.contents(folder / "resumed"), folder)
    else:
        assert code in (1, 4)
        assert len(points) == 1


def test_libvirtd_restarted(client: Client, backed_up: TestVm, south: Site, tmp_path: Path) -> None:
    with held(client, "backup.half", tmp_path, "backup", backed_up.name) as process:
        restart_libvirtd(backed_up.site)
    check_outcome(client, backed_up, south, ended(process), tmp_path)
    assert_next_is_right(client, backed_up, south, tmp_path)


def test_ssh_cut_in_backup(client: Client, backed_up: TestVm, south: Site, tmp_path: Path) -> None:
    with held(client, "backup.half", tmp_path, "backup", backed_up.name) as process:
        assert cut_ssh(backed_up.site) > 0
    check_outcome(client, backed_up, south, ended(process), tmp_path)
    assert_next_is_right(client, backed_up, south, tmp_path)


def test_ssh_cut_in_restore(client: Client, backed_up: TestVm, south: Site, tmp_path: Path) -> None:
    point = client.backup(backed_up)["point"]
    expected = backed_up.contents(tmp_path / "expected")
    before = set(south.images.iterdir())
    with held(client, "restore.half", tmp_path, "restore", point, "--to", "south", "--as", "cut1") as process:
        assert cut_ssh(south) > 0
    code = ended(process)
    assert code in (1, 4)
    assert "cut1" not in south.domains()
    assert set(south.images.iterdir()) == before
    client.assert_restores(point, south, expected, tmp_path)


def test_vm_powered_off(client: Client, backed_up: TestVm, south: Site, tmp_path: Path) -> None:
    with held(client, "backup.half", tmp_path, "backup", backed_up.name) as process:
        backed_up.site.virsh("destroy", backed_up.name)
    assert ended(process) == 1
    assert len(client.points(backed_up)) == 1
    assert len(backed_up.checkpoints()) == 1
    backed_up.start()
    assert_next_is_right(client, backed_up, south, tmp_path)


def test_aborted_by_somebody_else(client: Client, backed_up: TestVm, south: Site, tmp_path: Path) -> None:
    with held(client, "backup.half", tmp_path, "backup", backed_up.name) as process:
        backed_up.site.virsh("domjobabort", backed_up.name)
    assert ended(process) == 1
    assert len(client.points(backed_up)) == 1
    assert_next_is_right(client, backed_up, south, tmp_path)


def test_guest_powers_itself_off(guests: LabInfo, new_client: Callable[..., Client], tmp_path: Path) -> None:
    client = new_client("other", of=guests)
    client.init()
    site = sites(guests)["south"]
    try:
        with held(client, "backup.half", tmp_path, "backup", "south/mail1") as process:
            site.virsh("shutdown", "mail1", "--mode", "agent", check=False)
            wait_until(lambda: site.virsh("domstate", "mail1").strip() == "shut off", 60, "the guest's power off")
        assert ended(process) == 1
        assert client.ok("points", "--json").json == []
        assert client.backup("south/mail1")["mode"] == "cold"
    finally:
        site.virsh("start", "mail1", check=False)
        wait_agent(site, "mail1")


# -- a full repository ---------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small file system for the repository."""
    with small_file_system(tmp_path / "small", 24 * MIB) as folder:
        yield folder


@pytest.mark.parametrize("filled_at", ["backup.transfer", "backup.packed", "backup.indexed"])
def test_repository_full(
    own_lab: LabInfo,
    new_client: Callable[..., Client],
    vm: TestVm,
    south: Site,
    small: Path,
    tmp_path: Path,
    filled_at: str,
) -> None:
    client = new_client("full", of=own_lab, repository=f"file://{small}/repository")
    client.init()
    vm.write(0x71, 0, MIB)
    first = client.backup(vm)["point"]
    held_then = vm.contents(tmp_path / "first")
    vm.write(0x72, 2 * MIB, MIB)
    filler = small / "filler"
    with held(client, filled_at, tmp_path, "backup", vm.name) as process:
        fill(filler)
    assert ended(process) == 1
    record = client.ok("jobs", "--json").json[0]
    assert record["error"]["id"] == "REPO-FULL"
    assert len(client.points(vm)) == 1
    filler.unlink()
    client.assert_restores(first, south, held_then, tmp_path)
    client.ok("verify", "--all")
    assert_next_is_right(client, vm, south, tmp_path)
