"""The lab and the clients that the tests run on. Nothing here depends on order or on fixed ports."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.client import Client
from tests.support.site import Site
from tests.support.vms import Spec, TestVm
from vmtui.lab import LabInfo, down, up

# A busy machine is no reason to fail, and a run leaves nothing behind in the tree.
settings.register_profile("vmtui", deadline=None, database=None)
settings.load_profile("vmtui")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a lab of their own share one process.

    They come first, and those of the screens next: they take longest, and the last ones must be short, or one process
    is left alone with them.
    """
    for item in items:
        if _wants(item, "guests"):
            item.add_marker(pytest.mark.xdist_group("guests"))
        elif _wants(item, "own_lab"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: (not _wants(item, "guests"), item.path.parent.name != "tui"))


def _wants(item: pytest.Item | None, fixture: str) -> bool:
    return fixture in getattr(item, "fixturenames", ())


_with_guests = contextlib.ExitStack()
_guests: list[LabInfo] = []


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Guests of plain emulation take their share of the processor as long as they run, so they end early."""
    if not _wants(nextitem, "guests"):
        _guests.clear()
        _with_guests.close()


@pytest.fixture(scope="session")
def lab() -> Iterator[LabInfo]:
    """Two sites without guests; tests define their own VMs."""
    with tempfile.TemporaryDirectory(prefix="vmtui-test-") as folder:
        root = Path(folder) / "lab"
        yield up(root, wanted=())
        down(root)


@pytest.fixture
def guests(request: pytest.FixtureRequest) -> LabInfo:
    """The lab as users get it, with running guests; one for all tests in a row that want it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@guests"), "each process would start guests of its own"
    if not _guests:
        root = Path(_with_guests.enter_context(tempfile.TemporaryDirectory(prefix="vmtui-test-"))) / "lab"
        _guests.append(up(root))
        _with_guests.callback(down, root)
    return _guests[0]


def sites(lab: LabInfo) -> dict[str, Site]:
    """The sites of a lab by name."""
    return {info.name: Site(info, lab.user) for info in lab.sites}


@pytest.fixture
def north(lab: LabInfo) -> Site:
    return sites(lab)["north"]


@pytest.fixture
def south(lab: LabInfo) -> Site:
    return sites(lab)["south"]


@pytest.fixture
def new_client(lab: LabInfo, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Makes clients; their workers are ended afterwards."""
    made: list[Client] = []

    def make(name: str = "client", *, of: LabInfo = lab, **changes: Any) -> Client:
        made.append(Client(tmp_path / name, of, **changes))
        return made[-1]

    yield make
    for client in made:
        client.stop()


@pytest.fixture
def client(new_client: Callable[..., Client]) -> Client:
    """A client with an empty repository."""
    made = new_client()
    made.init()
    return made


@pytest.fixture
def new_vm(north: Site) -> Iterator[Callable[..., TestVm]]:
    """Makes small VMs on a site; they are taken away afterwards."""
    made: list[TestVm] = []

    def make(disks: Sequence[Spec] = (Spec(),), *, site: Site = north, started: bool = True, **options: Any) -> TestVm:
        made.append(TestVm(site, disks, **options))
        if started:
            made[-1].start()
        return made[-1]

    yield make
    for vm in made:
        vm.remove()


@pytest.fixture
def vm(new_vm: Callable[..., TestVm]) -> TestVm:
    """A paused VM with one qcow2 disk."""
    return new_vm()
