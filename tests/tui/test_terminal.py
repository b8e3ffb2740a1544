"""The whole way in a real terminal: see, back up, lose the terminal, come back, restore elsewhere, compare from outside."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import PROGRAM, Client, disk_images, remove_vm, wait_until
from tests.support.site import Site
from tests.support.terminal import Terminal
from tests.support.vms import MIB, TestVm, assert_same, raw_copy


@pytest.fixture
def open_terminal(client: Client) -> Iterator[Callable[..., Terminal]]:
    """Opens the screens in terminals; they are closed afterwards."""
    made: list[Terminal] = []

    def make(failpoint: str = "", **size: int) -> Terminal:
        argv = [*PROGRAM, "--config", str(client.config)]
        environment = {"VMTUI_FAILPOINT": failpoint} if failpoint else {}
        made.append(Terminal(argv, environment=environment, **size))
        made[-1].wait_for("vmtui", "Pulse" if size.get("columns", 120) >= 80 else "[1]")
        return made[-1]

    yield make
    for terminal in made:
        terminal.close()


def test_from_the_first_look_to_the_evidence(
    client: Client,
    new_vm: Callable[..., TestVm],
    south: Site,
    open_terminal: Callable[..., Terminal],
    tmp_path: Path,
) -> None:
    vm = new_vm(started=False)
    vm.start(paused=False)
    vm.write(0x3C, 0, 5 * MIB)
    vm.write(0xC3, 30 * MIB, 2 * MIB)
    other = new_vm(site=south)
    gate = tmp_path / "gate"
    gate.touch()

    terminal = open_terminal(f"backup.half=hold:{gate}")
    terminal.press("2")
    terminal.wait_for(vm.name, other.name, "✗ never")
    back_up_from_the_list(terminal, vm)
    wait_until(gate.with_name("gate.reached").exists, 240, "the middle of the data")
    terminal.close()

    terminal = open_terminal()
    terminal.press("4")
    terminal.wait_for("backup", "► running", vm.name)
    terminal.press("Enter")
    terminal.wait_for("beat")
    gate.unlink()
    terminal.wait_for("✓ ok", "is committed")
    point = client.points(vm)[0]["id"]
    expected = vm.contents(tmp_path / "expected")

    restore_to_south(terminal, vm, point)
    (name,) = {item for item in south.domains() if item.startswith(vm.name)}
    try:
        (path, kind) = disk_images(south, name)["vda"]
        assert_same(raw_copy(path, kind, tmp_path), expected["vda"])
    finally:
        remove_vm(south, name)


def back_up_from_the_list(terminal: Terminal, vm: TestVm) -> None:
    terminal.filter_by(vm.name)
    terminal.press("b")
    terminal.wait_for("queued")
    terminal.press("4")
    terminal.wait_for("backup", "► running")


def restore_to_south(terminal: Terminal, vm: TestVm, point: str) -> None:
    """Through the wizard, by keys alone."""
    terminal.press("2")
    terminal.wait_for("[2 VMs]", vm.name)
    terminal.filter_by(vm.name)
    # Other VMs have points, too; only this one's row tells that its point was read from the repository.
    terminal.wait_for_line(vm.name, "✓")
    terminal.press("r")
    terminal.wait_for("[1 POINT]", point[-6:])
    terminal.press("]")
    terminal.wait_for("[2 TARGET]", "a new VM beside")
    terminal.press("j", "Enter")
    terminal.wait_for("enter picks", "south")
    terminal.press("Down", "Enter")
    terminal.wait_for("--to south")
    terminal.press("]")
    terminal.wait_for("[3 MAPPING]", "Everything fits")
    terminal.press("]")
    terminal.wait_for("[4 PLAN]", "NEW VM", "Destroys")
    terminal.press("]")
    terminal.wait_for("Restore as", "y yes")
    terminal.press("y")
    terminal.wait_for("evidence", "done as asked", "✓ passed   disk vda")


def test_quits_at_once_and_says_what_goes_on(
    client: Client, vm: TestVm, open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    client.ok("backup", vm.name, "--detach", failpoint=f"backup.planned=hold:{gate}")
    terminal = open_terminal()
    terminal.wait_for("backup", "beat")
    terminal.press("q")
    terminal.wait_for("1 job keeps running", "ENDED 0")
    gate.unlink()
    (job,) = client.ok("jobs", "--json").json
    assert client.run("job", "watch", job["id"]).code == 0


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (60, 20), (40, 12)])
def test_small_terminals_show_what_matters(
    client: Client, vm: TestVm, open_terminal: Callable[..., Terminal], columns: int, rows: int
) -> None:
    terminal = open_terminal(columns=columns, rows=rows)
    terminal.press("2")
    screen = terminal.wait_for("State", "RPO", "✗ never", vm.name[:5])
    assert vm.name[:5] in screen
    assert "State" in screen


def test_passphrase_is_asked_for_and_reaches_the_worker(
    client: Client, vm: TestVm, open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    key = tmp_path / "locked"
    key.write_bytes(Path(client.settings["hosts"]["north"]["key"]).read_bytes())
    key.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(key)], check=True)
    client.settings["hosts"]["north"]["key"] = str(key)
    client.save()
    terminal = open_terminal()
    terminal.press("5")
    terminal.wait_for("✗ login refused")
    terminal.press("Enter")
    terminal.wait_for("Log in to north", "enter takes it")
    terminal.type("open sesame")
    assert "sesame" not in terminal.screen
    terminal.press("Enter")
    terminal.wait_for_line("north", "✓ connected")
    terminal.press("2")
    terminal.wait_for("[2 VMs]", vm.name)
    terminal.filter_by(vm.name)
    terminal.press("b")
    terminal.wait_for("queued")
    terminal.press("4")
    terminal.wait_for("[4 Jobs]", "► backup")
    terminal.press("Enter")
    terminal.wait_for("✓ ok", "is committed")
    for path in client.folder.rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes()
