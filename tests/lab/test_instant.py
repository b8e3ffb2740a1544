"""VMs that run from the repository: whatever dies in whatever phase, what they wrote is there in the end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sites
from tests.support.client import Client, disk_images, remove_vm, wait_until
from tests.support.daemons import cut_ssh
from tests.support.holding import ended, held
from tests.support.site import Site
from tests.support.sshd import sshd
from tests.support.vms import MIB, Spec, TestVm, raw_copy
from vmtui.failpoint import NAMES
from vmtui.lab import LabInfo, down, up

PHASES = tuple(sorted(name for name in NAMES if name.startswith("instant.")))
RAN = ("instant.running", "instant.moving", "instant.moved", "instant.compared")
"""Phases after the VM began to run: it has written."""
CLUSTER = 64 << 10


@pytest.fixture(scope="module")
def own_lab() -> Iterator[LabInfo]:
    """Its SSH sessions are cut by these tests alone."""
    with tempfile.TemporaryDirectory(prefix="vmtui-test-") as folder:
        root = Path(folder) / "lab"
        lab = up(root, wanted=())
        yield lab
        down(root)


@pytest.fixture
def north(own_lab: LabInfo) -> Site:
    return sites(own_lab)["north"]


@pytest.fixture
def south(own_lab: LabInfo) -> Site:
    return sites(own_lab)["south"]


@pytest.fixture(scope="module")
def operator(own_lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One client with a repository for all tests here."""
    client = Client(tmp_path_factory.mktemp("instant") / "client", own_lab)
    client.init()
    yield client
    client.stop()


@dataclass(frozen=True, slots=True)
class Source:
    """A point and what its disks hold."""

    point: str
    content: dict[str, bytes]


@pytest.fixture(scope="module")
def source(own_lab: LabInfo, operator: Client, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The point of a VM without a system, of two disks."""
    vm = TestVm(sites(own_lab)["north"], (Spec(size=48 * MIB), Spec("vdb", "raw", 16 * MIB)))
    vm.start()
    for place in range(0, 48, 3):
        vm.write(1 + place, place * MIB, MIB + 5 * CLUSTER)
    vm.write(0xEE, 3 * MIB, 2 * MIB, "vdb")
    point = operator.backup(vm)["point"]
    files = vm.contents(tmp_path_factory.mktemp("source"))
    content = {target: path.read_bytes() for target, path in files.items()}
    vm.remove()
    return Source(point, content)


class Restored:
    """A VM that an instant restore made, as the host sees it."""

    def __init__(self, site: Site, name: str, content: dict[str, bytes]) -> None:
        self.site = site
        self.name = name
        self._expected = {target: bytearray(data) for target, data in content.items()}

    @property
    def state(self) -> str:
        return self.site.virsh("domstate", self.name).strip()

    def write(self, pattern: int, offset: int, length: int) -> None:
        """Write as its system would; it is acknowledged, so it must be there in the end."""
        alias = "/machine/peripheral/virtio-disk0/virtio-backend"
        command = f'qemu-io -d {alias} "write -P {pattern:#x} {offset} {length}"'
        said = self.site.virsh("qemu-monitor-command", "--hmp", self.name, command)
        assert "rror" not in said and "failed" not in said, said
        self._expected["vda"][offset : offset + length] = bytes([pattern]) * length

    def assert_whole(self, folder: Path) -> None:
        """It stands alone and holds the point and everything that was written since."""
        for xml in (self.site.virsh("dumpxml", self.name), self.site.virsh("dumpxml", "--inactive", self.name)):
            assert "nbd" not in xml
        assert "policy" not in self.site.virsh("dumpxml", "--inactive", self.name)
        assert self.site.virsh("checkpoint-list", self.name, "--name").split() == []
        self.site.virsh("destroy", self.name, "--graceful")
        images = disk_images(self.site, self.name)
        for target, (path, kind) in images.items():
            assert kind == "qcow2"
            assert path.stat().st_mode & 0o777 == 0o600
            assert raw_copy(path, kind, folder).read_bytes() == self._expected[target], target

    def remove(self) -> None:
        """Take it away, however far it came."""
        if self.name in self.site.domains():
            remove_vm(self.site, self.name)


@pytest.fixture
def new_restored(south: Site, source: Source) -> Iterator[Callable[[str], Restored]]:
    made: list[Restored] = []

    def make(name: str) -> Restored:
        made.append(Restored(south, name, source.content))
        return made[-1]

    yield make
    for item in made:
        item.remove()


def job_of(client: Client, job: str) -> dict[str, Any]:
    record: dict[str, Any] = client.ok("job", "show", job, "--json").json
    return record


def finished(client: Client, job: str) -> dict[str, Any]:
    """A worker takes the job to its end."""
    client.run("job", "watch", job, timeout=180)
    record = job_of(client, job)
    assert record["state"] in ("ok", "ok with warnings"), record
    return record


def evidence(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in record["result"]["checks"]}


def assert_nothing_left(site: Site) -> None:
    assert [path.name for path in site.images.glob("*vmtui-*")] == []


def ask(source: Source, name: str) -> tuple[str, ...]:
    return ("restore", source.point, "--to", "south", "--as", name, "--instant")


# -- the straight way ------------------------------------------------------------------------------


def test_the_vm_runs_from_the_repository_and_then_on_its_own(
    operator: Client, source: Source, new_restored: Callable[[str], Restored], south: Site, tmp_path: Path
) -> None:
    vm = new_restored("straight")
    document = operator.ok(*ask(source, "straight"), "--json").json
    assert vm.state == "running"
    checks = {check["name"]: check for check in document["checks"]}
    assert all(check["ok"] is not False for check in document["checks"])
    assert checks["boot"]["ok"] is checks["local storage"]["ok"] is checks["compared"]["ok"] is True
    size = len(source.content["vda"])
    assert checks["compared vda"]["detail"].startswith(f"{size} bytes have the hashes")
    phases = [item["phase"] for item in job_of(operator, document["job"])["phases"]]
    assert [name for name in ("serving", "running from the repository", "moving", "pivoted") if name in phases] == [
        "serving", "running from the repository", "moving", "pivoted",
    ]  # fmt: skip
    vm.write(0x99, 7 * MIB, MIB)
    vm.assert_whole(tmp_path)
    assert_nothing_left(south)


# -- the worker is killed --------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_worker_loses_nothing(
    operator: Client, source: Source, new_restored: Callable[[str], Restored], south: Site, tmp_path: Path, phase: str
) -> None:
    name = f"killed-{phase.partition('.')[2]}"
    vm = new_restored(name)
    operator.stop()
    job = operator.ok(*ask(source, name), "--detach", "--json", failpoint=f"{phase}=kill").json["job"]
    pid = operator.worker_pid
    assert pid is not None
    operator.wait_worker_gone(pid, 90)
    if phase in RAN:
        vm.write(0xA1, 5 * MIB, 8 * CLUSTER)  # whole clusters need nothing from below
    record = finished(operator, job)
    assert evidence(record)["compared"]["ok"] is True, record
    vm.write(0xA2, 11 * MIB + 512, 3 * CLUSTER)
    vm.assert_whole(tmp_path)
    assert_nothing_left(south)


# -- the connection is cut -------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_cut_connection_loses_nothing(
    operator: Client, source: Source, new_restored: Callable[[str], Restored], south: Site, tmp_path: Path, phase: str
) -> None:
    """Before the VM ran, the job may end and leave nothing; afterwards it must find its way to the end."""
    name = f"cut-{phase.partition('.')[2]}"
    vm = new_restored(name)
    operator.stop()
    with held(operator, phase, tmp_path, *ask(source, name), "--json") as process:
        if phase in RAN:
            vm.write(0xB1, 5 * MIB, 8 * CLUSTER)
        assert cut_ssh(south) > 0
    code = ended(process, 240)
    if phase not in RAN and code != 0:
        assert code in (1, 4)
        assert name not in south.domains()
    else:
        assert code == 0
        vm.write(0xB2, 11 * MIB + 512, 3 * CLUSTER)
        vm.assert_whole(tmp_path)
    assert_nothing_left(south)
    assert name in south.domains() or not list(south.images.glob(f"{name}*"))


# -- the operator's word ---------------------------------------------------------------------------


def test_a_vm_that_ran_is_only_thrown_away_by_its_word(
    operator: Client, source: Source, south: Site, tmp_path: Path
) -> None:
    operator.stop()
    with held(operator, "instant.moving", tmp_path, *ask(source, "thrown"), "--json") as process:
        job = operator.ok("jobs", "--json", "--limit", "1").json[0]["id"]
        wait_until(lambda: job_of(operator, job)["phase"] == "moving", 30, "the move to be seen")
        refused = operator.run("job", "cancel", job)
        assert refused.code == 5
        assert "VM-FROM-REPOSITORY" in refused.err or "runs from the repository" in refused.err
        assert operator.run("job", "cancel", job, "--discard").code == 5, "its word was not asked for"
        assert south.virsh("domstate", "thrown").strip() == "running"
        operator.ok("job", "cancel", job, "--discard", "--yes")
    assert ended(process, 120) == 6
    assert "thrown" not in south.domains()
    assert list(south.images.glob("thrown*")) == []
    assert_nothing_left(south)


def test_cancelled_before_it_ran_leaves_nothing(operator: Client, source: Source, south: Site, tmp_path: Path) -> None:
    operator.stop()
    with held(operator, "instant.serving", tmp_path, *ask(source, "early"), "--json") as process:
        job = operator.ok("jobs", "--json", "--limit", "1").json[0]["id"]
        operator.ok("job", "cancel", job)
    assert ended(process, 120) == 6
    assert "early" not in south.domains()
    assert list(south.images.glob("early*")) == []


def test_an_in_place_restore_is_never_instant(operator: Client, source: Source) -> None:
    assert operator.run("restore", source.point, "--in-place", "--instant", "--yes").code == 2


def test_a_host_that_does_not_hand_connections_over_is_refused_before_anything(
    operator: Client, source: Source, south: Site
) -> None:
    before = set(south.images.iterdir())
    with sshd(south, "AllowStreamLocalForwarding local") as other:
        hosts = operator.settings["hosts"]
        port = hosts["south"]["port"]
        keys = Path(operator.settings["known_hosts"])
        operator.settings["known_hosts"] = str(operator.folder / "other_hosts")
        (operator.folder / "other_hosts").write_text(keys.read_text().replace(f"]:{port} ", f"]:{other.port} "))
        hosts["south"]["port"] = other.port
        operator.save()
        try:
            result = operator.run(*ask(source, "refused"), "--plan", "--json")
        finally:
            hosts["south"]["port"] = port
            operator.settings["known_hosts"] = str(keys)
            operator.save()
    assert result.code == 5
    failed = [check for check in result.json["checks"] if check["ok"] is False]
    assert [check["name"] for check in failed] == ["instant"]
    assert "refuses to listen" in failed[0]["detail"]
    assert set(south.images.iterdir()) == before


# -- the VM goes off before it was moved -----------------------------------------------------------


def test_a_vm_that_was_off_is_moved_when_it_runs_again(
    operator: Client, source: Source, new_restored: Callable[[str], Restored], south: Site, tmp_path: Path
) -> None:
    vm = new_restored("off")
    operator.stop()
    with held(operator, "instant.moving", tmp_path, *ask(source, "off"), "--json") as process:
        vm.write(0xC1, 5 * MIB, 8 * CLUSTER)
        south.virsh("destroy", "off", "--graceful")
        job = operator.ok("jobs", "--json", "--limit", "1").json[0]["id"]
    wait_until(lambda: job_of(operator, job)["phase"].startswith("waiting"), 60, "the job to see it")
    assert any("can be started while this job runs" in note for note in job_of(operator, job)["notes"])
    south.virsh("start", "off")
    assert ended(process, 240) == 0
    assert evidence(job_of(operator, job))["compared"]["ok"] is True
    vm.write(0xC2, 11 * MIB + 512, 3 * CLUSTER)
    vm.assert_whole(tmp_path)
