"""In place, only what differs is written; what comes back is the point to the last byte all the same."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.site import Site
from tests.support.vms import MIB, Spec, TestVm, assert_same, raw_copy
from vmtui.lab import LabInfo

GIB = 1 << 30
BLOCK = 64 << 10


@pytest.fixture(scope="module")
def operator(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One client for all tests here; each works on VMs of its own."""
    client = Client(tmp_path_factory.mktemp("fast") / "client", lab)
    client.init()
    yield client
    client.stop()


def plan(client: Client, point: str, *options: str) -> dict[str, Any]:
    document: dict[str, Any] = client.ok("restore", point, "--in-place", "--plan", "--json", *options).json
    return document


def in_place(client: Client, point: str, *options: str) -> dict[str, Any]:
    document: dict[str, Any] = client.ok("restore", point, "--in-place", "--yes", "--json", *options, timeout=300).json
    return document


def detail(document: dict[str, Any], name: str) -> str:
    return next(str(check["detail"]) for check in document["checks"] if check["name"] == name)


def backing(path: Path) -> str:
    return subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", str(path)], check=True, capture_output=True, text=True
    ).stdout


def kept_image(vm: TestVm, target: str = "vda") -> Path:
    (path,) = [
        path for path in vm.site.images.glob(f"{vm.paths[target].name}.before-*") if not path.name.endswith(".json")
    ]
    return path


def is_on_top(vm: TestVm, target: str = "vda") -> bool:
    return str(kept_image(vm, target)) in backing(vm.paths[target])


@pytest.fixture
def changed(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> tuple[TestVm, str, Path, Path]:
    """A stopped VM that has changed since its point: (it, point, contents then, contents now)."""
    vm = new_vm()
    vm.write(0x41, 0, 20 * MIB)
    vm.write(0x42, 40 * MIB, 3 * MIB + 4096)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.write(0x43, 2 * MIB, 3 * MIB)
    vm.zero(41 * MIB, MIB)
    vm.write(0x44, 60 * MIB + 512, 512)
    vm.stop()
    return vm, point, then, vm.contents(tmp_path / "now")["vda"]


# -- how much, and that it is right ----------------------------------------------------------------


def test_64_mib_of_4_gib(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    """Reads and writes are at most one and a half times what differs, and every byte is the point's."""
    vm = new_vm([Spec("vda", size=4 * GIB)])
    for place in range(8):
        vm.write(0x50 + place, place * 512 * MIB, 64 * MIB)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    for place in range(16):
        vm.write(0x90 + place, place * 200 * MIB, 4 * MIB)
    vm.stop()
    differs = 64 * MIB
    said = plan(operator, point)
    (disk,) = said["disks"]
    assert disk["on_top"] and disk["exact"] and disk["since"] == point
    assert differs <= disk["bytes"] <= differs + 32 * BLOCK
    assert f"{disk['bytes']} of {4 * GIB} bytes differ" in detail(said, "differs")
    document = in_place(operator, point)
    words = detail(document, "disk vda")
    written, compared, read = (int(words.split(text)[0].split()[-1]) for text in (
        " bytes differed", " bytes read back", " bytes of the old image compared"
    ))  # fmt: skip
    assert written == document["bytes"]
    assert differs <= written <= 1.5 * differs
    assert compared + read <= 1.5 * differs, words
    assert is_on_top(vm)
    assert vm.paths["vda"].stat().st_blocks * 512 <= 1.5 * differs
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_to_an_older_point(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    """What changed between the points is told by their maps, what changed since by the bitmap, and zeroes are zeroes."""
    vm = new_vm([Spec("vda", size=64 * MIB + 3 * 512)])
    vm.write(0x11, 0, 30 * MIB)
    vm.write(0x12, 64 * MIB, 3 * 512)
    first = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.write(0x21, 2 * MIB, 2 * MIB)
    vm.zero(8 * MIB, MIB)
    vm.write(0x22, 50 * MIB, MIB)
    vm.write(0x23, 64 * MIB + 512, 512)
    second = operator.backup(vm)["point"]
    vm.write(0x31, 3 * MIB, 2 * MIB)
    vm.write(0x32, 55 * MIB, 100)
    vm.stop()
    said = plan(operator, first)
    assert said["disks"][0]["since"] == second
    document = in_place(operator, first)
    assert document["bytes"] == said["disks"][0]["bytes"]
    assert document["bytes"] < 10 * MIB
    assert is_on_top(vm)
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_what_was_written_and_is_the_same_again_is_not_written(
    operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path
) -> None:
    vm = new_vm()
    vm.write(0x61, 0, 40 * MIB)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.write(0x62, 0, 40 * MIB)
    vm.write(0x61, 8 * MIB, 32 * MIB)
    vm.stop()
    assert plan(operator, point)["disks"][0]["bytes"] >= 40 * MIB or "whole" in detail(plan(operator, point), "differs")
    vm.start()
    vm.write(0x63, 44 * MIB, 64 << 10)
    vm.stop()
    document = in_place(operator, point)
    assert_same(vm.contents(tmp_path / "after")["vda"], then)
    assert document["vm"] == vm.name


def test_part_that_is_the_same_again(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    """32 of 48 MiB that were written hold again what the point holds: they are read, not written."""
    vm = new_vm([Spec("vda", size=128 * MIB)])
    vm.write(0x61, 0, 120 * MIB)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.write(0x62, 0, 16 * MIB)
    vm.write(0x61, 16 * MIB, 32 * MIB)
    vm.stop()
    assert plan(operator, point)["disks"][0]["bytes"] >= 48 * MIB
    document = in_place(operator, point)
    assert 16 * MIB <= document["bytes"] <= 17 * MIB
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_scattered_writes(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    """Small writes and discards anywhere, over two disks; each comes back as in the point."""
    dice = random.Random(20261127)
    vm = new_vm([Spec("vda"), Spec("vdb", size=48 * MIB)])
    vm.write(0x71, 0, 60 * MIB)
    vm.write(0x72, 0, 40 * MIB, "vdb")
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")
    for number in range(40):
        vm.write(0x80 + number % 16, dice.randrange(64 * MIB // 512 - 64) * 512, dice.randrange(1, 64) * 512)
        vm.discard(dice.randrange(40 * MIB // 4096) * 4096, 256 << 10, "vdb")
    vm.stop()
    assert all(disk["on_top"] for disk in plan(operator, point)["disks"])
    in_place(operator, point)
    after = vm.contents(tmp_path / "after")
    for target in ("vda", "vdb"):
        assert is_on_top(vm, target)
        assert_same(after[target], then[target])


def test_vm_that_did_not_change_at_all(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    vm = new_vm()
    vm.write(0x41, 0, 5 * MIB)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.stop()
    assert plan(operator, point)["disks"][0]["bytes"] == 0
    assert in_place(operator, point)["bytes"] == 0
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_running_vm_says_about_how_much(guests: LabInfo, new_client: Callable[..., Client]) -> None:
    """A guest of its own mind: it is shut down before its disk is looked at, and runs again afterwards."""
    from tests.conftest import sites

    client, north = new_client(of=guests), sites(guests)["north"]
    client.init()
    point = client.backup("north/web1")["point"]
    said = plan(client, point, "--start")
    (disk,) = [item for item in said["disks"] if item["disk"] == "vda"]
    assert (disk["on_top"], disk["exact"]) == (True, False), detail(said, "differs")
    texts = [step["text"] for step in said["steps"]]
    stop = next(place for place, text in enumerate(texts) if "shut web1 down" in text)
    assert stop < next(place for place, text in enumerate(texts) if "write vda" in text)
    document = in_place(client, point, "--start")
    assert detail(document, "guest agent").startswith("answered")
    assert document["bytes"] < 64 * MIB
    client.ok("revert", "north/web1", "--yes", timeout=400)
    assert north.virsh("domstate", "web1").strip() == "running"
    for path in north.images.glob("web1*.reverted-*"):
        path.unlink()


# -- when it has to be the whole way ---------------------------------------------------------------


def test_whole_on_request(operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path) -> None:
    vm, point, then, _ = changed
    said = plan(operator, point, "--whole")
    assert not said["disks"][0]["on_top"]
    assert "--whole" in said["command"]
    in_place(operator, point, "--whole")
    assert not is_on_top(vm)
    assert_same(vm.contents(tmp_path / "after")["vda"], then)
    assert operator.run("restore", point, "--whole").code == 2


def test_bitmap_that_was_not_closed_cleanly(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    vm = new_vm()
    vm.write(0x41, 0, 5 * MIB)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.write(0x42, 0, MIB)
    vm.kill()
    said = plan(operator, point)
    assert not said["disks"][0]["on_top"]
    assert "nothing records what the VM wrote" in detail(said, "differs")
    in_place(operator, point)
    assert not is_on_top(vm)
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_block_that_changed_behind_the_bitmap(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    """The sample raises an alarm, and the disk is written whole."""
    vm = new_vm([Spec("vda", size=2 * MIB)])
    vm.write(0x41, 0, 2 * MIB)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.stop()
    image = vm.paths["vda"].read_bytes()
    vm.paths["vda"].write_bytes(image.replace(b"\x41" * MIB, b"\x41" * (MIB // 2) + b"\x66" * (MIB // 2), 1))
    document = in_place(operator, point)
    assert any("ALARM" in note["text"] if isinstance(note, dict) else "ALARM" in note for note in document["notes"])
    assert not is_on_top(vm)
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_disks_that_cannot_be_built_on(operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path) -> None:
    """Raw, grown, and with a snapshot inside: written whole, and the plan says why."""
    vm = new_vm([Spec("vda"), Spec("vdb", "raw", 8 * MIB), Spec("vdc", size=8 * MIB), Spec("vdd", size=8 * MIB)])
    for target in ("vda", "vdb", "vdc", "vdd"):
        vm.write(0x41, 0, 5 * MIB, target)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")
    vm.write(0x42, 0, MIB)
    vm.stop()
    subprocess.run(["qemu-img", "snapshot", "-c", "inside", str(vm.paths["vdc"])], check=True)
    subprocess.run(["qemu-img", "resize", "-q", "-f", "qcow2", str(vm.paths["vdd"]), str(16 * MIB)], check=True)
    said = plan(operator, point)
    assert [disk["on_top"] for disk in said["disks"]] == [True, False, False, False]
    words = detail(said, "differs")
    for text in (
        "vdb is written whole: it is raw",
        "vdc is written whole: its old image holds",
        "vdd is written whole",
    ):
        assert text in words
    in_place(operator, point)
    after = vm.contents(tmp_path / "after")
    for target, expected in then.items():
        assert_same(after[target], expected)


def test_second_restore_on_what_stands_on_top(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path
) -> None:
    vm, point, then, now = changed
    in_place(operator, point)
    said = plan(operator, point)
    assert not said["disks"][0]["on_top"]
    in_place(operator, point)
    assert_same(vm.contents(tmp_path / "after")["vda"], then)
    operator.ok("revert", vm.name, "--yes")
    assert_same(vm.contents(tmp_path / "once")["vda"], then)
    operator.ok("revert", vm.name, "--yes")
    assert_same(vm.contents(tmp_path / "twice")["vda"], now)
    assert subprocess.run(["qemu-img", "check", "-q", str(vm.paths["vda"])]).returncode == 0


# -- afterwards ------------------------------------------------------------------------------------


def test_undone_the_restored_disk_stands_alone(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path
) -> None:
    """What the VM wrote after the restore is kept, and no longer depends on the disk that is written again."""
    vm, point, _, now = changed
    in_place(operator, point)
    vm.start()
    vm.write(0x99, 30 * MIB, MIB)
    vm.stop()
    written = vm.contents(tmp_path / "written")["vda"]
    operator.ok("revert", vm.name, "--yes")
    assert_same(vm.contents(tmp_path / "back")["vda"], now)
    (aside,) = vm.site.images.glob(f"{vm.paths['vda'].name}.reverted-*")
    vm.start()
    vm.write(0x9A, 0, 30 * MIB)
    vm.stop()
    assert_same(raw_copy(aside, "qcow2", tmp_path / "aside"), written)


def test_undone_the_next_backup_is_an_increment(operator: Client, changed: tuple[TestVm, str, Path, Path]) -> None:
    """The old image has kept its bitmap, as nobody wrote to it."""
    vm, point, _, _ = changed
    in_place(operator, point)
    operator.ok("revert", vm.name, "--yes")
    document = operator.backup(vm)
    assert document["disks"][0]["kind"] == "incremental"


@pytest.mark.parametrize("running", [False, True])
def test_discarded_the_restored_disk_stands_alone(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path, running: bool
) -> None:
    vm, point, then, _ = changed
    in_place(operator, point)
    if running:
        vm.start()
    operator.ok("revert", vm.name, "--discard", "--yes", timeout=300)
    left = {path.name for path in vm.site.images.glob(f"{vm.name}*")}
    assert left == {vm.paths["vda"].name}
    if running:
        assert vm.state == "paused"
        assert_same(vm.contents(tmp_path / "live")["vda"], then)
        vm.stop()
    assert "backing-filename" not in backing(vm.paths["vda"])
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


@pytest.fixture
def held(operator: Client, tmp_path: Path) -> Iterator[Callable[[str, str, Callable[[], None], str], dict[str, Any]]]:
    """Restores in place, does something at a failpoint, and gives the job's record."""
    from tests.support.client import wait_until

    def restore(point: str, place: str, do: Callable[[], None], *options: str) -> dict[str, Any]:
        gate = tmp_path / "gate"
        gate.touch()
        operator.stop()
        arguments = ("restore", point, "--in-place", *options, "--yes", "--detach", "--json")
        job = operator.ok(*arguments, failpoint=f"{place}=hold:{gate}").json["job"]
        wait_until(gate.with_name("gate.reached").exists, 120, f"the restore is at {place}")
        do()
        gate.unlink()
        operator.run("job", "watch", job, timeout=180)
        record: dict[str, Any] = operator.ok("job", "show", job, "--json").json
        return record

    yield restore
    operator.stop()


def test_somebody_starts_the_vm_in_between(
    operator: Client,
    changed: tuple[TestVm, str, Path, Path],
    held: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    """What was found out is worth nothing then: nothing is replaced, and no byte of the VM is lost."""
    vm, point, _, _ = changed
    meant: list[Path] = []

    def interfere() -> None:
        vm.start()
        vm.write(0x77, 10 * MIB, MIB)
        vm.stop()
        meant.append(vm.contents(tmp_path / "meant")["vda"])

    record = held(point, "restore.verified", interfere)
    assert record["state"] == "failed"
    assert record["error"]["id"] == "VM-STARTED"
    assert {path.name for path in vm.site.images.glob(f"{vm.name}*")} == {vm.paths["vda"].name}
    assert_same(vm.contents(tmp_path / "after")["vda"], meant[0])


@pytest.mark.parametrize("options", [(), ("--whole",)], ids=["on-top", "whole"])
def test_started_on_its_old_disk_during_the_exchange(
    operator: Client,
    changed: tuple[TestVm, str, Path, Path],
    held: Callable[..., dict[str, Any]],
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    """It runs on under its old name; success would be a lie, and the disk on top would lose its ground."""
    vm, point, _, _ = changed
    record = held(point, "restore.kept", vm.start, *options)
    assert (record["state"], record["error"]["id"], "kept" in record["error"]["facts"]) == (
        "failed",
        "VM-STARTED",
        False,
    )
    vm.write(0x78, 11 * MIB, MIB)
    meant = vm.contents(tmp_path / "meant")["vda"]
    vm.stop()
    assert {path.name for path in vm.site.images.glob(f"{vm.name}*")} == {vm.paths["vda"].name}
    assert_same(vm.contents(tmp_path / "after")["vda"], meant)


@pytest.mark.parametrize("options", [(), ("--whole",)], ids=["on-top", "whole"])
def test_started_on_its_new_disk_during_the_exchange(
    operator: Client,
    changed: tuple[TestVm, str, Path, Path],
    held: Callable[..., dict[str, Any]],
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    """No disk is taken from below it; the way back is told, and leads to the old disk."""
    vm, point, then, now = changed
    record = held(point, "restore.swapped", vm.start, *options)
    assert (record["state"], record["error"]["id"]) == ("failed", "VM-STARTED")
    assert record["error"]["next_step"].endswith(f"vmtui revert north/{vm.name}")
    assert_same(vm.contents(tmp_path / "runs")["vda"], then)
    vm.stop()
    operator.ok("revert", vm.name, "--yes", timeout=300)
    assert_same(vm.contents(tmp_path / "back")["vda"], now)


def test_what_several_restores_kept_is_let_go_one_by_one(
    operator: Client, changed: tuple[TestVm, str, Path, Path], tmp_path: Path
) -> None:
    vm, point, then, now = changed
    in_place(operator, point, "--whole")
    in_place(operator, point, "--whole")
    said = operator.ok("revert", vm.name, "--discard", "--yes", "--json", timeout=300).json
    (first,) = vm.site.images.glob(f"{vm.paths['vda'].name}.before-*.json")
    assert str(first) in detail(said, "earlier restore")
    assert_same(raw_copy(kept_image(vm), "qcow2", tmp_path / "oldest"), now)
    said = operator.ok("revert", vm.name, "--discard", "--yes", "--json", timeout=300).json
    assert all(check["name"] != "earlier restore" for check in said["checks"])
    assert {path.name for path in vm.site.images.glob(f"{vm.name}*")} == {vm.paths["vda"].name}
    assert "record=" not in vm.site.virsh("dumpxml", "--inactive", vm.name)
    assert operator.run("revert", vm.name, "--yes").code != 0
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_another_host_has_nothing_to_build_on(
    operator: Client, changed: tuple[TestVm, str, Path, Path], south: Site
) -> None:
    vm, point, _, _ = changed
    said: dict[str, Any] = operator.ok("restore", point, "--same-identity", "--to", "south", "--plan", "--json").json
    assert not said["disks"][0]["on_top"]
    assert vm.name not in south.domains()


def test_definition_that_says_that_nothing_is_below(
    operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path
) -> None:
    """An empty `backingStore` of the point's definition would let QEMU read zeroes where the old image has data."""
    vm = new_vm(started=False)
    xml = vm.site.virsh("dumpxml", "--inactive", vm.name)
    vm.site.virsh("define", "/dev/stdin", stdin=xml.replace("<target dev", "<backingStore/><target dev"))
    vm.start()
    vm.write(0x41, 0, 20 * MIB)
    point = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.write(0x42, MIB, MIB)
    vm.stop()
    in_place(operator, point)
    assert is_on_top(vm)
    vm.start()
    assert_same(vm.contents(tmp_path / "live")["vda"], then)


def test_older_point_with_a_damaged_map_is_no_help(
    new_client: Callable[..., Client], new_vm: Callable[..., TestVm], tmp_path: Path
) -> None:
    """The manifest of the point that the bitmap belongs to is gone bad: the wanted point comes back whole."""
    client = new_client()
    client.init()
    vm = new_vm()
    vm.write(0x41, 0, 5 * MIB)
    first = client.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    vm.write(0x42, 0, MIB)
    second = client.backup(vm)["point"]
    vm.stop()
    (manifest,) = (client.repository / "points").glob(f"*{second}")
    data = bytearray(manifest.read_bytes())
    data[len(data) // 2] ^= 0x20
    manifest.chmod(0o600)
    manifest.write_bytes(data)
    document = in_place(client, first)
    assert document["point"] == first
    assert not is_on_top(vm)
    assert_same(vm.contents(tmp_path / "after")["vda"], then)


def test_a_disk_that_went_to_another_vm_is_not_replaced(
    operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path
) -> None:
    """Since the point was made the disk was detached, and another VM has it now."""
    vm, other = new_vm([Spec("vda"), Spec("vdb")]), new_vm(started=False)
    vm.write(0x41, 0, MIB)
    point = operator.backup(vm)["point"]
    vm.stop()
    disk = vm.paths["vdb"]
    vm.site.virsh("detach-disk", vm.name, "vdb", "--config")
    vm.site.virsh("attach-disk", other.name, str(disk), "vdc", "--config", "--subdriver", "qcow2")
    other.start()
    before = {path.name for path in vm.site.images.iterdir()}
    refused = operator.run("restore", point, "--in-place", "--yes", "--json")
    assert (refused.code, refused.json["error"]["id"]) == (5, "PREFLIGHT"), str(refused)
    assert f"{disk} on north belongs to another VM as well: {other.name}" in refused.json["error"]["cause"]
    assert {path.name for path in vm.site.images.iterdir()} == before
    other.stop()
    vm.site.virsh("undefine", vm.name, "--checkpoints-metadata")
    refused = operator.run("restore", point, "--in-place", "--yes", "--json")
    assert "belongs to another VM as well" in refused.json["error"]["cause"]


def test_a_bitmap_of_another_layer_tells_nothing(
    operator: Client, new_vm: Callable[..., TestVm], tmp_path: Path
) -> None:
    """A script that makes a snapshot of the same name each night: libvirt begins its bitmap anew in each."""
    vm = new_vm()
    snap = vm.paths["vda"].with_suffix(".snap")

    def snapshot() -> None:
        diskspec = ("--diskspec", f"vda,file={snap}")
        vm.site.virsh("snapshot-create-as", vm.name, "s1", "--disk-only", "--no-metadata", *diskspec)

    def merge() -> None:
        vm.site.virsh("blockcommit", vm.name, "vda", "--active", "--pivot", "--wait")
        snap.unlink()

    vm.write(0x41, 0, 12 * MIB)
    snapshot()
    wanted = operator.backup(vm)["point"]
    then = vm.contents(tmp_path / "then")["vda"]
    merge()
    operator.backup(vm)
    vm.write(0x42, 3 * MIB, MIB)
    vm.io("flush")
    snapshot()
    vm.stop()
    try:
        document = in_place(operator, wanted)
        assert document["bytes"] > 0
        assert_same(raw_copy(snap, "qcow2", tmp_path / "back"), then)
    finally:
        vm.site.virsh("undefine", vm.name, "--checkpoints-metadata")
        for path in vm.site.images.glob(f"{vm.name}*"):
            path.unlink()
