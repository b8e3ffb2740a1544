"""Jobs that libvirt has running: others' are never ended, and none of ours is left behind."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.bitmaps import bitmaps_at_rest, bitmaps_in_memory
from tests.support.client import Client
from tests.support.holding import held_backup
from tests.support.points import INCREMENTAL, check_point, checkpoint_of, kinds
from tests.support.site import Site
from tests.support.vms import MIB, TestVm

ROWS = ("backup.begun", "backup.committed", "backup.ended")
"""Where a hot run is killed: after begin, after the manifest, after the end of the job."""


# -- jobs of others ------------------------------------------------------------------------------


@contextlib.contextmanager
def job_of_another_tool(vm: TestVm) -> Iterator[Path]:
    """A pull backup that somebody else has running; gives its socket."""
    socket = vm.site.folder / "run" / f"{vm.name}.sock"
    scratch = vm.site.images / f"{vm.name}-theirs.scratch"
    description = vm.site.folder / "run" / f"{vm.name}-theirs.xml"
    description.write_text(
        f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/>"
        f"<disks><disk name='vda' backup='yes' type='file'><scratch file='{scratch}'/></disk></disks></domainbackup>"
    )
    vm.site.virsh("backup-begin", vm.name, str(description))
    try:
        yield socket
    finally:
        vm.site.virsh("domjobabort", vm.name)
        description.unlink()


def newest_job(client: Client) -> dict[str, Any]:
    """The job that was asked for last."""
    jobs: list[dict[str, Any]] = client.ok("jobs", "--json", "--limit", "1").json
    shown: dict[str, Any] = client.ok("job", "show", jobs[0]["id"], "--json").json
    return shown


def test_job_held_by_other_tool(client: Client, vm: TestVm) -> None:
    """Refused at once, before anything is frozen, with its socket named; it goes on."""
    client.backup(vm)
    with job_of_another_tool(vm) as socket:
        refused = client.run("backup", f"north/{vm.name}", "--json")
        assert refused.code == 5
        assert str(socket) in refused.json["error"]["cause"]
        assert vm.job()
    job = newest_job(client)
    took = datetime.fromisoformat(job["finished"]) - datetime.fromisoformat(job["started"])
    assert took.total_seconds() < 5
    assert [phase["phase"] for phase in job["phases"]] == ["plan"]


def test_block_job_running(client: Client, vm: TestVm) -> None:
    """The disk is named, and the copy is still there afterwards."""
    copy = vm.site.images / f"{vm.name}-copy.qcow2"
    vm.site.virsh("blockcopy", vm.name, "vda", str(copy), "--transient-job", "--wait")
    refused = client.run("backup", f"north/{vm.name}", "--json")
    assert refused.code == 5
    assert "vda" in refused.json["error"]["cause"]
    assert "mirror" in vm.monitor("info block-jobs")


def test_job_of_a_living_worker_is_left_alone(
    new_client: Callable[..., Client], client: Client, vm: TestVm, tmp_path: Path
) -> None:
    other = new_client("other", repository=f"file://{client.repository}")
    with held_backup(client, vm, "backup.transfer", tmp_path) as held:
        assert other.run("backup", f"north/{vm.name}").code == 5
        assert held.finish().code == 0


# -- jobs of ours --------------------------------------------------------------------------------


def test_adopt_job_after_worker_kill(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """The successor reads the same frozen view on: later writes are not in the point."""
    vm.write(0x01, 0, 8 * MIB)
    expected = vm.contents(tmp_path / "expected")
    with held_backup(client, vm, "backup.transfer", tmp_path) as held:
        vm.write(0x02, 2 * MIB, 4 * MIB)
        client.kill_worker()
        result = held.finish()
    assert result.code == 0, str(result)
    client.assert_restores(result.json["point"], south, expected, tmp_path)
    second = check_point(client, vm, south, tmp_path)
    assert kinds(second) == {"vda": INCREMENTAL}


def test_abort_leftover_job(new_client: Callable[..., Client], client: Client, vm: TestVm, tmp_path: Path) -> None:
    """A job whose worker is dead and will not come back is ended by the next run, wherever that is made."""
    other = new_client("other", repository=f"file://{client.repository}")
    with held_backup(client, vm, "backup.transfer", tmp_path) as held:
        held.lose_client()
        client.kill_worker()
    assert vm.job() and len(vm.checkpoints()) == 1
    _make_believe_that_time_passed(vm)
    document = other.backup(vm)
    assert any("left behind" in note for note in document["notes"])
    assert not vm.job()
    assert vm.leftovers() == []
    assert vm.checkpoints() == [checkpoint_of(other, document["point"])]


def _make_believe_that_time_passed(vm: TestVm) -> None:
    """The dead worker's last sign of life becomes two minutes old."""
    places = (vm.site.images, vm.site.folder / "cfg" / "libvirt" / "qemu" / "lib")
    beats = [path for place in places for path in place.rglob("vmtui-*.beat")]
    assert beats
    past = time.clock_gettime(time.CLOCK_REALTIME) - 120
    for path in beats:
        os.utime(path, (past, past))


@pytest.mark.parametrize("place", ROWS)
def test_killed_at(client: Client, vm: TestVm, south: Site, tmp_path: Path, place: str) -> None:
    """What is left is adopted or cleared, and the accepted checkpoint is the one that the newest point names."""
    vm.write(0x01, 0, 4 * MIB)
    client.backup(vm)
    vm.write(0x02, MIB, MIB)
    with held_backup(client, vm, place, tmp_path) as held:
        client.kill_worker()
        result = held.finish()
    assert result.code == 0, str(result)
    assert vm.checkpoints() == [checkpoint_of(client, result.json["point"])]
    assert bitmaps_in_memory(vm) == set(vm.checkpoints())
    assert not vm.job()
    assert vm.leftovers() == []
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}


def test_destroy_mid_job(client: Client, vm: TestVm, south: Site, tmp_path: Path) -> None:
    """No point, exit 1, and of the new checkpoint nothing stays, neither in libvirt nor in the image."""
    vm.write(0x01, 0, 8 * MIB)
    first = client.backup(vm)
    vm.write(0x02, MIB, MIB)
    with held_backup(client, vm, "backup.transfer", tmp_path) as held:
        vm.stop()
        result = held.finish()
    assert result.code == 1, str(result)
    assert len(client.points(vm)) == 1
    accepted = checkpoint_of(client, first["point"])
    assert vm.checkpoints() == [accepted]
    assert bitmaps_at_rest(vm.paths["vda"]) == {accepted}
    vm.start()
    vm.write(0x03, 2 * MIB, MIB)
    assert kinds(check_point(client, vm, south, tmp_path)) == {"vda": INCREMENTAL}


def test_abort_by_someone_else(client: Client, vm: TestVm, tmp_path: Path) -> None:
    """libvirt calls an aborted job a success; there is no point all the same."""
    vm.write(0x01, 0, 8 * MIB)
    with held_backup(client, vm, "backup.half", tmp_path) as held:
        vm.site.virsh("domjobabort", vm.name)
        result = held.finish()
    assert result.code == 1, str(result)
    assert client.ok("points", "--json").json == []
    assert vm.checkpoints() == []
    assert vm.leftovers() == []
