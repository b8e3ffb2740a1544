"""Five silent losses of another program, as tests of ours: the same writes, both programs.

The other program refuses a VM that has a checkpoint of ours, so each backs up one of two twins. What it
did is recorded in the test report and never required to be wrong.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.holding import held_backup
from tests.support.peer import Peer
from tests.support.points import INCREMENTAL, kinds
from tests.support.repositories import copy_repository
from tests.support.site import Site
from tests.support.vms import MIB, TestVm

Record = Callable[[str, object], None]


@pytest.fixture
def twins(new_vm: Callable[..., TestVm]) -> tuple[TestVm, TestVm]:
    """Ours and theirs."""
    return new_vm(), new_vm()


@pytest.fixture
def vm(twins: tuple[TestVm, TestVm]) -> TestVm:
    return twins[0]


@pytest.fixture
def peer(twins: tuple[TestVm, TestVm]) -> Iterator[Peer]:
    twin = twins[1]
    folder = twin.site.folder / f"p{twin.name[-6:]}"
    folder.mkdir()
    twin.site.own(folder)
    yield Peer(twin, folder)
    shutil.rmtree(folder)


@pytest.fixture
def noise(vm: TestVm) -> Iterator[Path]:
    """8 MiB that do not compress, where QEMU can read them."""
    path = vm.site.folder / f"noise-{vm.name}"
    path.write_bytes(os.urandom(8 * MIB))
    vm.site.own(path)
    yield path
    path.unlink()


@pytest.mark.parametrize("unmap", [False, True], ids=["written", "unmapped"])
def test_diff_zero_after_full(
    client: Client,
    twins: tuple[TestVm, TestVm],
    vm: TestVm,
    south: Site,
    peer: Peer,
    tmp_path: Path,
    record_testsuite_property: Record,
    unmap: bool,
) -> None:
    for each in twins:
        each.write(0xAB, 0, 4 * MIB)
        each.write(0xCD, 8 * MIB, 4 * MIB)
    client.backup(vm)
    assert peer.backup("full") == 0
    for each in twins:
        each.zero(MIB, 2 * MIB, unmap=unmap)
        each.zero(8 * MIB, 4 * MIB, unmap=unmap)
    document = client.backup(vm)
    assert peer.backup("inc") == 0
    expected = vm.contents(tmp_path / "expected")
    record_testsuite_property("virtnbdbackup, zero_after_full", str(peer.restore(expected["vda"], tmp_path)))
    assert kinds(document) == {"vda": INCREMENTAL}
    client.assert_restores(document["point"], south, expected, tmp_path)


def test_diff_failed_increment_then_next(
    client: Client,
    twins: tuple[TestVm, TestVm],
    vm: TestVm,
    south: Site,
    peer: Peer,
    noise: Path,
    tmp_path: Path,
    record_testsuite_property: Record,
) -> None:
    """An increment fails as its target cannot be written; the next one has its changes, too."""
    for each in twins:
        each.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    assert peer.backup("full") == 0
    for each in twins:
        each.io(f"write -s {noise} {8 * MIB} {8 * MIB}")
    packs = client.repository / "packs"
    with held_backup(client, vm, "backup.transfer", tmp_path) as held:
        packs.rename(client.repository / "away")
        packs.touch()
        assert held.finish().code != 0
    packs.unlink()
    (client.repository / "away").rename(packs)
    failed = peer.backup("inc", file_limit=MIB)
    for each in twins:
        each.write(0x02, 2 * MIB, MIB)
    document = client.backup(vm)
    expected = vm.contents(tmp_path / "expected")
    codes = f"increment {failed}, next {peer.backup('auto')}"
    record_testsuite_property(
        "virtnbdbackup, failed_increment_then_next", f"{codes}, restore {peer.restore(expected['vda'], tmp_path)}"
    )
    assert len(client.points(vm)) == 2
    client.assert_restores(document["point"], south, expected, tmp_path)


def flip(path: Path, place: int) -> None:
    """Change one byte of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 0x40]))


def packs_of(client: Client) -> set[Path]:
    """The repository's packs."""
    return {path for path in (client.repository / "packs").rglob("*") if path.is_file()}


def assert_restores_nothing(client: Client, point: str, site: Site) -> None:
    """The restore says that data is damaged, and leaves neither a VM nor a file."""
    before = site.domains(), sorted(site.images.iterdir())
    assert client.run("restore", point, "--to", site.name, "--as", "never").code == 3
    assert (site.domains(), sorted(site.images.iterdir())) == before


def test_diff_flip_compressed(
    client: Client,
    twins: tuple[TestVm, TestVm],
    vm: TestVm,
    south: Site,
    peer: Peer,
    noise: Path,
    tmp_path: Path,
    record_testsuite_property: Record,
) -> None:
    for each in twins:
        each.io(f"write -s {noise} 0 {8 * MIB}")
    point = client.backup(vm)["point"]
    assert peer.backup("full", "-z") == 0
    largest = max(packs_of(client), key=lambda path: path.stat().st_size)
    flip(largest, largest.stat().st_size // 2)
    theirs = peer.set / "vda.full.data"
    flip(theirs, theirs.stat().st_size // 2)
    record_testsuite_property(
        "virtnbdbackup, flip_compressed", str(peer.restore(vm.contents(tmp_path)["vda"], tmp_path))
    )
    assert_restores_nothing(client, point, south)


def test_diff_flip_plain(
    client: Client,
    twins: tuple[TestVm, TestVm],
    vm: TestVm,
    south: Site,
    peer: Peer,
    noise: Path,
    tmp_path: Path,
    record_testsuite_property: Record,
) -> None:
    """The byte is in a block of the first point that no increment covers; the newest point needs it."""
    for each in twins:
        each.io(f"write -s {noise} 0 {8 * MIB}")
    client.backup(vm)
    assert peer.backup("full") == 0
    first = max(packs_of(client), key=lambda path: path.stat().st_size)
    for each in twins:
        each.write(0x02, 16 * MIB, MIB)
    newest = client.backup(vm)["point"]
    assert peer.backup("inc") == 0
    flip(first, first.stat().st_size // 2)
    flip(peer.set / "vda.full.data", 4 * MIB)
    record_testsuite_property("virtnbdbackup, flip_plain", str(peer.restore(vm.contents(tmp_path)["vda"], tmp_path)))
    assert_restores_nothing(client, newest, south)


def test_diff_mtimes_swapped(
    client: Client,
    new_client: Callable[..., Client],
    twins: tuple[TestVm, TestVm],
    vm: TestVm,
    south: Site,
    peer: Peer,
    tmp_path: Path,
    record_testsuite_property: Record,
) -> None:
    """A copy of the repository in which every object has another's time."""
    for number, level in enumerate(("full", "inc", "inc")):
        for each in twins:
            each.write(0x10 + number, number * MIB, 4 * MIB)
        point = client.backup(vm)["point"]
        assert peer.backup(level) == 0
    expected = vm.contents(tmp_path / "expected")
    client.stop()
    copy = copy_repository(client.repository, tmp_path / "copy")
    reverse_times([path for path in copy.rglob("*") if path.is_file()])
    theirs = shutil.copytree(peer.set, peer.set.with_name("copy"))
    reverse_times(sorted(theirs.glob("vda.inc.*.data")))
    vm.site.own(theirs, *theirs.rglob("*"))
    record_testsuite_property("virtnbdbackup, mtimes_swapped", str(peer.restore(expected["vda"], tmp_path, theirs)))
    other = new_client("other", repository=f"file://{copy}")
    other.assert_restores(point, south, expected, tmp_path)


def reverse_times(paths: list[Path]) -> None:
    """The oldest file becomes the newest, and so on; all times differ afterwards."""
    oldest_first = sorted(paths, key=lambda path: path.stat().st_mtime_ns)
    now = max(path.stat().st_mtime for path in paths)
    for path, age in zip(oldest_first, itertools.count(0, 10)):
        os.utime(path, (now - age, now - age))
