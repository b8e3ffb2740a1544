"""A point's disks on a host: true bytes through sshd's own socket, a VM on top that is paused and never damaged."""

from __future__ import annotations

import random
import stat
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring, tostring

import pytest

from tests.conftest import sites
from tests.support.client import wait_until
from tests.support.daemons import children, cut_ssh
from tests.support.repositories import commit_disk, create
from tests.support.site import Site
from tests.support.sshd import sshd
from tests.support.vms import MIB
from vmtui import config
from vmtui.hosts import HostSession, connect, reverse
from vmtui.lab import LabInfo, down, up
from vmtui.model.errors import FailedError, UnreachableError
from vmtui.model.point import RestorePoint
from vmtui.model.settings import Settings
from vmtui.repository import Repository
from vmtui.serving import Offer, back_by_offer, create_overlay, new_folder

BLOCK = 64 << 10


def content() -> bytes:
    source = random.Random(4)
    return b"".join(source.randbytes(BLOCK) if source.random() < 0.6 else bytes(BLOCK) for _ in range(1024))


CONTENT = content()


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
def settings(own_lab: LabInfo) -> Settings:
    return config.load(Path(own_lab.config))


@pytest.fixture
def session(settings: Settings) -> Iterator[HostSession]:
    with connect(settings, "north") as session:
        yield session


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, RestorePoint]:
    """A repository with a point of one disk of 64 MiB."""
    repository = create(tmp_path_factory.mktemp("serving"), BLOCK)
    name = commit_disk(repository, CONTENT)
    repository.sync()
    return repository, repository.points.load(name)


@pytest.fixture
def offer(settings: Settings, session: HostSession, stored: tuple[Repository, RestorePoint]) -> Iterator[Offer]:
    repository, point = stored
    disks = {disk.name: disk for disk in point.disks}
    with Offer(lambda: connect(settings, "north"), new_folder(session), repository, disks) as offer:
        yield offer


def read_on_host(offer: Offer, folder: Path) -> bytes:
    """All bytes, by QEMU's tool at the host's end of the socket."""
    disk = offer.disks["vda"]
    url = f"nbd+unix:///{disk.target}?socket={disk.socket}"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", url, str(folder / "read")], check=True, timeout=60)
    return (folder / "read").read_bytes()


def test_a_disk_reads_on_the_host_as_it_was_backed_up(offer: Offer, tmp_path: Path) -> None:
    assert read_on_host(offer, tmp_path) == CONTENT


def test_nobody_else_reaches_the_socket_and_nothing_stays(
    settings: Settings, session: HostSession, stored: tuple[Repository, RestorePoint], north: Site
) -> None:
    repository, point = stored
    disks = {disk.name: disk for disk in point.disks}
    with Offer(lambda: connect(settings, "north"), new_folder(session), repository, disks) as offer:
        path = Path(offer.disks["vda"].socket)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.owner() == north.images.owner()
    assert not path.parent.exists()


def test_a_cut_login_is_replaced_at_the_same_socket(offer: Offer, north: Site, tmp_path: Path) -> None:
    socket = offer.disks["vda"].socket
    for round_number in range(2):
        assert cut_ssh(north) > 0
        wait_until(lambda least=round_number + 2: offer.logins >= least and offer.standing, 60, "a new login")
        assert offer.disks["vda"].socket == socket
        assert read_on_host(offer, tmp_path) == CONTENT


def test_a_successor_takes_a_socket_over_from_a_login_that_hangs(
    settings: Settings, session: HostSession, stored: tuple[Repository, RestorePoint], north: Site, tmp_path: Path
) -> None:
    """As after the machine of a worker lost power: the host's sshd still holds the old login."""
    repository, point = stored
    folder = new_folder(session)
    before = set(children(north.pid("sshd")))
    old = connect(settings, "north")
    reverse.listen(old, folder, lambda stream: stream.close())
    carriers = set(children(north.pid("sshd"))) - before
    assert carriers
    disks = {disk.name: disk for disk in point.disks}
    with Offer(lambda: connect(settings, "north"), folder, repository, disks) as offer:
        wait_until(lambda: not carriers & set(children(north.pid("sshd"))), 20, "the end of the old login")
        assert read_on_host(offer, tmp_path) == CONTENT
        assert session.alive, "another login of ours was ended"
    old.close()


def test_a_folder_of_somebody_else_is_refused(session: HostSession) -> None:
    with pytest.raises(FailedError, match="belongs to somebody else"):
        reverse.listen(session, "/usr/share", lambda stream: stream.close())


def test_an_sshd_that_does_not_listen_is_told(settings: Settings, north: Site, tmp_path: Path) -> None:
    with sshd(north, "AllowStreamLocalForwarding local") as other:
        keys = settings.known_hosts.read_text().replace(f"]:{north.port} ", f"]:{other.port} ")
        (tmp_path / "known_hosts").write_text(keys)
        hosts = {**settings.hosts, "north": replace(settings.hosts["north"], port=other.port)}
        with connect(replace(settings, hosts=hosts, known_hosts=tmp_path / "known_hosts"), "north") as session:
            folder = new_folder(session)
            with pytest.raises(UnreachableError) as caught:
                reverse.listen(session, folder, lambda stream: stream.close())
            reverse.remove(session, folder)
    assert caught.value.id == "HOST-FORWARD-REFUSED"


# -- a VM on top ---------------------------------------------------------------------------------


class Machine:
    """A VM without a system on an overlay."""

    def __init__(self, site: Site, session: HostSession, offer: Offer) -> None:
        self.site = site
        self.name = f"o{uuid.uuid4().hex[:8]}"
        self.path = site.images / f"{self.name}.qcow2"
        disk = offer.disks["vda"]
        create_overlay(session, str(self.path), disk)
        root = fromstring(
            f"<domain type='qemu'><name>{self.name}</name><memory unit='MiB'>32</memory><os><type arch='x86_64' "
            "machine='q35'>hvm</type></os><devices><disk type='file' device='disk'><target dev='vda' bus='virtio'/>"
            "</disk><memballoon model='none'/></devices></domain>"
        )
        element = root.find("./devices/disk")
        assert element is not None
        back_by_offer(element, str(self.path), disk)
        site.virsh("define", "/dev/stdin", stdin=tostring(root, encoding="unicode"))
        site.virsh("start", self.name)

    def io(self, command: str) -> str:
        alias = "/machine/peripheral/virtio-disk0/virtio-backend"
        return self.site.virsh("qemu-monitor-command", "--hmp", self.name, f'qemu-io -d {alias} "{command}"')

    def remove(self) -> None:
        self.site.virsh("destroy", self.name, check=False)
        self.site.virsh("undefine", self.name)
        self.path.unlink()


@pytest.fixture
def machine(north: Site, session: HostSession, offer: Offer) -> Iterator[Machine]:
    machine = Machine(north, session, offer)
    yield machine
    machine.remove()


def test_a_vm_reads_the_point_and_keeps_its_own_writes(machine: Machine, offer: Offer, tmp_path: Path) -> None:
    assert stat.S_IMODE(machine.path.stat().st_mode) == 0o600
    machine.io(f"write -P 0x5a {MIB} {MIB}")
    assert "failed" not in machine.io(f"read -P 0x5a {MIB} {MIB}")
    machine.site.virsh("destroy", machine.name, "--graceful")
    expected = CONTENT[:MIB] + b"\x5a" * MIB + CONTENT[2 * MIB :]
    # the overlay says itself what is below it
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(machine.path), str(tmp_path / "all")], check=True)
    assert (tmp_path / "all").read_bytes() == expected


def test_a_vm_reads_on_after_the_login_was_cut(machine: Machine, offer: Offer, north: Site) -> None:
    assert cut_ssh(north) > 0
    wait_until(lambda: offer.logins >= 2 and offer.standing, 60, "a new login")
    at = CONTENT.index(bytes(BLOCK))
    words = [machine.io(f"read -P 0 {at} {BLOCK}") for _ in range(3)]
    assert "failed" not in words[-1] and "error" not in words[-1].lower(), words
