"""The scratch space is really full, with nobody there in time: the guest goes on, and its writes are intact."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import sites
from tests.support.client import Client, wait_until
from tests.support.guests import run_in_guest, wait_agent
from tests.support.holding import held_backup
from tests.support.small import MIB, small_file_system
from vmtui.lab import LabInfo, down, up
from vmtui.lab.machines import Machine


@pytest.fixture(scope="module")
def cramped() -> Iterator[tuple[LabInfo, Path]]:
    """A lab with one guest, started after a small file system was mounted, so that its QEMU sees it."""
    with tempfile.TemporaryDirectory(prefix="vmtui-test-") as folder:
        Path(folder).chmod(0o755)  # the lab's account goes through it
        with small_file_system(Path(folder) / "scratch", 28 * MIB) as scratch:
            root = Path(folder) / "lab"
            yield up(root, wanted=(Machine("north", "web1", running=True),)), scratch
            down(root)


_FILL = "tr '\\0' {letter} < /dev/zero | dd of=/data/big bs=1M count=40 iflag=fullblock conv=notrunc"


@pytest.mark.xdist_group("guests")
def test_scratch_full_guest_goes_on(
    cramped: tuple[LabInfo, Path], new_client: Callable[..., Client], tmp_path: Path
) -> None:
    lab, scratch = cramped
    north = sites(lab)["north"]
    plain = new_client("plain", of=lab)
    hosts = plain.settings["hosts"]
    # With so small a reserve the sentry may come too late, which is what is wanted here.
    client = new_client(
        of=lab, hosts=hosts | {"north": hosts["north"] | {"scratch": str(scratch), "scratch_reserve": "1M"}}
    )
    client.init()
    # Not zeroes: keeping those for the frozen view costs no space.
    run_in_guest(north, "web1", _FILL.format(letter="o") + " && sync")
    with held_backup(client, "north/web1", "backup.half", tmp_path) as held:
        run_in_guest(
            north,
            "web1",
            "tr '\\0' x < /dev/zero | dd of=/data/big bs=1M count=40 iflag=fullblock conv=notrunc; sync; touch /data/done",
            wait=False,
        )
        wait_until(lambda: "None" in north.virsh("domjobinfo", "web1", check=False), 60, "the end of the libvirt job")
        result = held.finish()
    assert result.code == 1, str(result)
    wait_until(lambda: north.virsh("domstate", "web1").strip() == "running", 30, "the guest going on")
    wait_agent(north, "web1")
    wait_until(
        lambda: "yes" in run_in_guest(north, "web1", "test -e /data/done && echo yes || echo no"),
        90,
        "the guest's writes",
    )
    assert run_in_guest(north, "web1", "tr -d x < /data/big | wc -c").strip() == "0"
    assert client.ok("points", "--json").json == []
    assert list(scratch.iterdir()) == []
