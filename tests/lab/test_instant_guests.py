"""Real systems that run from the repository and write all the while: no acknowledged record is ever lost."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sites
from tests.support.client import Client, disk_images, remove_vm, wait_until
from tests.support.daemons import cut_ssh
from tests.support.guests import ask_agent, run_in_guest, wait_agent
from tests.support.holding import ended, held
from tests.support.site import Site
from tests.support.vms import raw_copy
from vmtui.lab import LabInfo, down, up
from vmtui.lab.machines import MACHINES

WRITER = """
n=0
while n=$((n + 1)); do
    printf 'record %08d\\n' $n >>/data/records
    sync
    echo $n >/run/acknowledged.new
    mv /run/acknowledged.new /run/acknowledged
done
"""
"""Each record is on the disk before its number is told, in memory alone."""
READER = "dd if=/dev/vda of=/dev/null bs=1M iflag=direct 2>/dev/null || cat /dev/vda >/dev/null; echo done >/run/read"
DATA_START = (2048 + (72 << 11)) * 512
"""Of the guests' data partition [bytes]."""


@pytest.fixture(scope="module")
def own_lab() -> Iterator[LabInfo]:
    """One guest alone; its SSH sessions are cut by these tests."""
    with tempfile.TemporaryDirectory(prefix="vmtui-test-") as folder:
        root = Path(folder) / "lab"
        lab = up(root, wanted=[machine for machine in MACHINES if machine.name == "web1"])
        yield lab
        down(root)


@pytest.fixture(scope="module")
def operator(own_lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(tmp_path_factory.mktemp("instant") / "client", own_lab)
    client.init()
    yield client
    client.stop()


@pytest.fixture
def south(own_lab: LabInfo) -> Site:
    return sites(own_lab)["south"]


@pytest.fixture(scope="module")
def point(own_lab: LabInfo, operator: Client) -> str:
    """A point of a running guest with a file that nothing reads while it boots."""
    north = sites(own_lab)["north"]
    run_in_guest(
        north, "web1", "head -c 1048576 /dev/urandom >/data/victim; md5sum /data/victim >/data/victim.md5; sync"
    )
    return str(operator.backup("north/web1")["point"])


@pytest.fixture
def gone(south: Site) -> Iterator[Callable[[str], str]]:
    """Names VMs that are taken away afterwards."""
    names: list[str] = []

    def note(name: str) -> str:
        names.append(name)
        return name

    yield note
    for name in names:
        if name in south.domains():
            remove_vm(south, name)


def ask(point: str, name: str) -> tuple[str, ...]:
    return ("restore", point, "--to", "south", "--as", name, "--instant", "--json")


def state(site: Site, name: str) -> str:
    return site.virsh("domstate", name, "--reason").strip()


def acknowledged(site: Site, name: str) -> int:
    return int(run_in_guest(site, name, "cat /run/acknowledged 2>/dev/null || echo 0"))


def assert_records_are_there(site: Site, name: str, folder: Path) -> None:
    """Power the VM off in the middle of its writing, and look at its disk from outside."""
    complaints = run_in_guest(site, name, "dmesg | grep -iE 'i/o error|ext4-fs error|remount' || true")
    assert complaints == ""
    last = acknowledged(site, name)
    assert last > 0
    site.virsh("destroy", name)
    (path, kind) = disk_images(site, name)["vda"]
    raw = raw_copy(path, kind, folder)
    data = folder / "data.ext4"
    with raw.open("rb") as source, data.open("wb") as target:
        source.seek(DATA_START)
        while piece := source.read(1 << 20):
            target.write(piece)
    # The journal is replayed, as the next boot would; after that the file system must be without a fault.
    subprocess.run(["e2fsck", "-p", "-E", "journal_only", str(data)], capture_output=True, timeout=60)
    check = subprocess.run(["e2fsck", "-f", "-n", str(data)], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stdout + check.stderr
    said = subprocess.run(["debugfs", "-R", "cat /records", str(data)], capture_output=True, text=True, timeout=60)
    lines = said.stdout.splitlines()
    assert lines[:last] == [f"record {number:08d}" for number in range(1, last + 1)]


def assert_done(client: Client, job: str) -> dict[str, Any]:
    record: dict[str, Any] = client.ok("job", "show", job, "--json").json
    assert record["state"] in ("ok", "ok with warnings"), record
    checks = {check["name"]: check for check in record["result"]["checks"]}
    assert checks["compared"]["ok"] is True
    assert checks["compared vda"]["ok"] is True
    return checks


@pytest.mark.alone
def test_the_agent_answers_within_15_seconds(
    operator: Client, point: str, south: Site, gone: Callable[[str], str]
) -> None:
    """From the key press; under plain emulation, with nothing beside it."""
    name = gone("quick")
    operator.ok("jobs")
    started = time.monotonic()
    process = operator.popen(*ask(point, name))
    wait_until(lambda: name in south.domains(), 60, "its definition")
    wait_agent(south, name)
    took = time.monotonic() - started
    assert ended(process) == 0
    assert took < 15, f"the agent answered after {took:.1f} s"


def test_a_cut_connection_only_pauses_a_guest_that_writes(
    operator: Client, point: str, south: Site, gone: Callable[[str], str], tmp_path: Path
) -> None:
    name = gone("writes1")
    with held(operator, "instant.running", tmp_path, *ask(point, name)) as process:
        wait_agent(south, name, 300)
        run_in_guest(south, name, WRITER, wait=False)
        wait_until(lambda: acknowledged(south, name) > 3, 60, "the first records")
        assert cut_ssh(south) > 0
        reads = False
        with contextlib.suppress(AssertionError):  # its own writing may have met a missing block already
            run_in_guest(south, name, READER, wait=False)
            reads = True
        outcome = paused_or_read(south, name)
    assert ended(process, 300) == 0
    wait_until(lambda: state(south, name).startswith("running"), 60, "the guest to go on")
    wait_agent(south, name)
    before = acknowledged(south, name)
    wait_until(lambda: acknowledged(south, name) > before, 60, "further records")
    if not reads:
        run_in_guest(south, name, READER, wait=False)
    wait_until(lambda: run_in_guest(south, name, "cat /run/read 2>/dev/null || true") != "", 120, "the reader's end")
    assert assert_done(operator, newest_job(operator))["boot"]["ok"] is True
    assert outcome in ("paused", "done")
    assert_records_are_there(south, name, tmp_path)


def paused_or_read(site: Site, name: str) -> str:
    """Wait until the guest is paused by a read that failed, or has read all without one."""
    found: list[str] = []

    def settled() -> bool:
        now = state(site, name)
        if now == "paused (I/O error)":
            found.append("paused")
            return True
        assert now.startswith("running"), now
        if ask_agent(site, name, "guest-ping") is not None:
            with contextlib.suppress(AssertionError):
                found.extend(run_in_guest(site, name, "cat /run/read 2>/dev/null || true").split())
        return bool(found)

    wait_until(settled, 120, "the reader's end or a pause")
    return found[-1]


def newest_job(client: Client) -> str:
    return str(client.ok("jobs", "--json", "--limit", "1").json[0]["id"])


def test_a_dead_worker_only_pauses_a_guest_that_writes(
    operator: Client, point: str, south: Site, gone: Callable[[str], str], tmp_path: Path
) -> None:
    name = gone("writes2")
    operator.stop()
    gate = tmp_path / "gate"
    gate.touch()
    job = operator.ok(*ask(point, name), "--detach", failpoint=f"instant.running=hold:{gate}").json["job"]
    wait_agent(south, name, 300)
    run_in_guest(south, name, WRITER, wait=False)
    wait_until(lambda: acknowledged(south, name) > 3, 60, "the first records")
    before = acknowledged(south, name)
    operator.kill_worker()
    gate.unlink()

    def met_a_missing_block() -> bool:
        if state(south, name) != "paused (I/O error)":
            with contextlib.suppress(AssertionError):  # its own writing may have met one, and then no agent answers
                run_in_guest(south, name, READER, wait=False)
        return state(south, name) == "paused (I/O error)"

    wait_until(met_a_missing_block, 120, "a read that nobody answers")
    operator.run("job", "watch", job, timeout=300)
    assert_done(operator, job)
    wait_agent(south, name)
    wait_until(lambda: acknowledged(south, name) > before, 60, "further records")
    assert_records_are_there(south, name, tmp_path)


# -- a damaged block -------------------------------------------------------------------------------


@contextlib.contextmanager
def damaged(repository: Path, slice_of_file: bytes) -> Iterator[None]:
    """One bit of what was stored is another while the body runs."""
    for path in (repository / "packs").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        at = content.find(slice_of_file)
        if at >= 0:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            try:
                yield
            finally:
                path.write_bytes(content)
            return
    raise AssertionError("the file's bytes are in no pack")


def test_a_damaged_block_pauses_the_guest_and_is_named(
    own_lab: LabInfo, operator: Client, point: str, south: Site, gone: Callable[[str], str], tmp_path: Path
) -> None:
    north = sites(own_lab)["north"]
    name = gone("damaged")
    words = run_in_guest(
        north, "web1", "dd if=/data/victim bs=512 skip=1000 count=1 2>/dev/null | hexdump -v -e '1/1 \"%02x\"'"
    )
    with damaged(operator.repository, bytes.fromhex(words.strip())):
        with held(operator, "instant.running", tmp_path, *ask(point, name)) as process:
            wait_agent(south, name)
            run_in_guest(south, name, "md5sum -c /data/victim.md5 >/run/sum 2>&1", wait=False)
            wait_until(lambda: state(south, name) == "paused (I/O error)", 60, "a pause at the damaged block")
        job = newest_job(operator)

        def notes() -> list[str]:
            return list(operator.ok("job", "show", job, "--json").json["notes"])

        wait_until(lambda: any("DAMAGE" in note and "packs/" in note for note in notes()), 60, "the block's name")
        assert process.poll() is None, "the job gave the guest up"
    assert ended(process, 300) == 0
    wait_agent(south, name)
    wait_until(lambda: "OK" in run_in_guest(south, name, "cat /run/sum 2>/dev/null || true"), 60, "the file's check")
    assert_done(operator, job)
