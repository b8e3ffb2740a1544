"""Any byte, any object: damage is found, named, and nothing is defined from it."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import sites
from tests.support.client import Client, disk_images, remove_vm
from tests.support.repositories import copy_repository
from tests.support.site import Site
from tests.support.vms import MIB, TestVm, assert_same, raw_copy
from vmtui.lab import LabInfo
from vmtui.model.errors import ExitCode
from vmtui.model.progress import SilentWatch
from vmtui.repository import Repository
from vmtui.repository.scrub import verify_all

SPACES = ("packs", "index", "points", "events", "config")


def objects(repository: Path) -> dict[str, list[Path]]:
    """All objects of a repository by their kind."""
    found: dict[str, list[Path]] = {}
    for path in sorted(repository.rglob("*")):
        if path.is_file():
            found.setdefault(path.relative_to(repository).parts[0], []).append(path)
    return found


def flip(place: Callable[[int], int]) -> Callable[[Path, list[Path]], None]:
    def act(path: Path, _: list[Path]) -> None:
        data = bytearray(path.read_bytes())
        data[place(len(data))] ^= 0x40
        path.write_bytes(data)

    return act


def cut(share: int) -> Callable[[Path, list[Path]], None]:
    def act(path: Path, _: list[Path]) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * share // 2])

    return act


def append(path: Path, _: list[Path]) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def swap(path: Path, others: list[Path]) -> None:
    other = next(item for item in others if item != path)
    path.write_bytes(other.read_bytes())


ACTS: dict[str, Callable[[Path, list[Path]], None]] = {
    "flip first": flip(lambda _: 0),
    "flip second": flip(lambda size: min(1, size - 1)),
    "flip at a quarter": flip(lambda size: size // 4),
    "flip middle": flip(lambda size: size // 2),
    "flip at three quarters": flip(lambda size: 3 * size // 4),
    "flip last": flip(lambda size: size - 1),
    "cut to half": cut(1),
    "cut to nothing": cut(0),
    "append a byte": append,
    "delete": lambda path, _: path.unlink(),
    "another of its kind": swap,
}


@dataclass(frozen=True, slots=True)
class Written:
    """A repository with two points of one VM and one of another."""

    client: Client
    second: str
    expected: dict[str, Path]
    """What the second point holds."""


@pytest.fixture(scope="module")
def written(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    folder = tmp_path_factory.mktemp("tamper")
    client = Client(folder / "client", lab)
    client.init()
    north = sites(lab)["north"]
    one, two = TestVm(north), TestVm(north)
    try:
        one.start()
        one.write(0x51, 0, 2 * MIB)
        client.backup(one)
        one.write(0x52, MIB, 2 * MIB)
        second = client.backup(one)["point"]
        two.start()
        two.write(0x53, 5 * MIB, MIB)
        client.backup(two)
        client.stop()
        yield Written(client, second, one.contents(folder / "expected"))
    finally:
        client.stop()
        one.remove()
        two.remove()


def copy_of(written: Written, folder: Path) -> Path:
    return copy_repository(written.client.repository, folder / "repository")


def is_reported(repository: Path, cache: Path) -> bool:
    """Whether the whole check finds something wrong, or the repository does not open."""
    from datetime import UTC, datetime

    from vmtui.model.errors import VmtuiError

    try:
        opened = Repository(f"file://{repository}", cache)
        opened.sync()
        return bool(verify_all(opened, SilentWatch(), datetime.now(UTC)).damage)
    except VmtuiError as error:
        return error.exit_code in (ExitCode.DAMAGE, ExitCode.USAGE)


@pytest.mark.parametrize(
    ("space", "act"), [(space, act) for space in SPACES for act in ACTS if (space, act) != ("events", "delete")]
)
@pytest.mark.parametrize("cached", [True, False], ids=["index cached", "index fresh"])
def test_verify_finds_every_damage(written: Written, tmp_path: Path, space: str, act: str, cached: bool) -> None:
    """Every object of the kind, one after the other, each damage alone.

    A history whose entry is deleted is as good as one whose entry was not yet written when the machine
    stopped, so it cannot be told from it; the point itself is whole.
    """
    repository = copy_of(written, tmp_path)
    numbers = itertools.count() if not cached else itertools.repeat(0)

    def cache() -> Path:
        return tmp_path / f"cache{next(numbers)}"

    assert not is_reported(repository, cache())
    kinds = objects(repository)
    assert kinds[space]
    for path in kinds[space]:
        others = [item for item in kinds[space] if item.stat().st_size != path.stat().st_size or item == path]
        if act == "another of its kind" and len(others) < 2:
            continue
        before = path.read_bytes()
        ACTS[act](path, others)
        assert is_reported(repository, cache()), f"{act} of {path.relative_to(repository)} was not noticed"
        path.write_bytes(before)
        for event in set(objects(repository).get("events", [])) - set(kinds["events"]):
            event.unlink()  # the verdict that the check wrote down
        assert not is_reported(repository, cache())
        for event in set(objects(repository).get("events", [])) - set(kinds["events"]):
            event.unlink()


@pytest.mark.parametrize("space", ["packs", "points"])
@pytest.mark.parametrize("act", ["flip first", "flip middle", "flip last", "cut to half", "delete"])
def test_restore_defines_nothing_from_damage(
    written: Written, lab: LabInfo, new_client: Callable[..., Client], south: Site, tmp_path: Path, space: str, act: str
) -> None:
    """Each object in turn: what needs it exits 3 and leaves nothing, what does not need it is restored."""
    repository = copy_of(written, tmp_path)
    client = new_client("damaged", of=lab, repository=f"file://{repository}")
    codes = []
    for _ in damaged_in_turn(repository, space, act):
        codes.append(restore_or_refuse(client, written, south, tmp_path))
        assert client.run("verify", "--all").code == ExitCode.DAMAGE
    assert ExitCode.DAMAGE in codes


@pytest.mark.parametrize("space", ["index", "events", "config"])
@pytest.mark.parametrize("act", ["flip middle", "delete"])
def test_restore_on_a_machine_that_knows_nothing(
    written: Written, lab: LabInfo, new_client: Callable[..., Client], south: Site, tmp_path: Path, space: str, act: str
) -> None:
    """What is only read where no cache has it: exit 3 and nothing defined, or identical."""
    repository = copy_of(written, tmp_path)
    for number, _ in enumerate(damaged_in_turn(repository, space, act)):
        client = new_client(f"fresh{number}", of=lab, repository=f"file://{repository}")
        restore_or_refuse(client, written, south, tmp_path)
        client.stop()


def damaged_in_turn(repository: Path, space: str, act: str) -> Iterator[Path]:
    """Damage one object of a kind after the other, each alone."""
    kinds = objects(repository)
    assert kinds[space]
    for path in kinds[space]:
        before = path.read_bytes()
        ACTS[act](path, kinds[space])
        yield path
        path.write_bytes(before)
        for event in set(objects(repository).get("events", [])) - set(kinds["events"]):
            event.unlink()  # the verdict that a check wrote down


def restore_or_refuse(client: Client, written: Written, site: Site, folder: Path) -> int:
    """Restore the second point; it is identical, or refused for damage with nothing left. Gives the exit code."""
    files, domains = set(site.images.iterdir()), site.domains()
    name = f"tampered-{time.monotonic_ns()}"
    result = client.run("restore", written.second, "--to", site.name, "--as", name)
    if result.code == 0:
        for target, (path, kind) in disk_images(site, name).items():
            assert_same(raw_copy(path, kind, folder / name), written.expected[target])
        shutil.rmtree(folder / name)
        remove_vm(site, name)
    else:
        assert result.code == ExitCode.DAMAGE, str(result)
    assert site.domains() == domains
    assert set(site.images.iterdir()) == files
    return result.code
