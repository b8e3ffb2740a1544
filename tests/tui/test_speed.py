"""Budgets of the screens, with a margin for a busy machine."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.client import PROGRAM, Client
from tests.support.pictures import CONFIG, NOW, StillApp, example, point, running, settings, uuid
from tests.support.terminal import Terminal
from tests.support.vms import TestVm
from vmtui.model.host import HostState
from vmtui.model.vm import DomainState, Vm
from vmtui.tui.cache import save_picture
from vmtui.tui.feeds import Composer
from vmtui.tui.mailbox import Mailbox
from vmtui.tui.picture import HostView, Picture

ROWS = 10_000
STALL_P99_S = 0.05
FIRST_PAINT_S = 0.7
QUIT_S = 1.0
IDLE_SHARE = 0.01
IDLE_MARGIN = 2
"""The machine that runs the tests is seldom quiet; measured alone it stays below the budget."""
_QUIET_S = 20

pytestmark = pytest.mark.alone


def many(now_states: DomainState = DomainState.RUNNING) -> Picture:
    """Ten thousand VMs on fifty hosts, one of which hangs."""
    hosts = {}
    for host in range(50):
        name = f"kvm{host}"
        vms = tuple(
            Vm(name, f"vm{host}-{number}", uuid(host * 200 + number), now_states) for number in range(ROWS // 50)
        )
        state = HostState.CONNECTED if host else HostState.UNREACHABLE
        hosts[name] = HostView(name, state, NOW, vms, NOW)
    points = tuple(point(number, f"vm{number // 200}-{number % 200}", NOW - NOW) for number in range(0, ROWS, 3))
    return Picture(hosts=hosts, catalogue=replace(example().catalogue, points=points))


def test_loop_never_stalls_for_long(tmp_path: Path) -> None:
    """Load, sort, filter and update ten thousand rows while a thread hangs; the loop is looked at all the time."""
    stalls: list[float] = []

    async def look() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            stalls.append(now - last - 0.001)
            last = now

    async def play() -> None:
        app = StillApp(tmp_path, Picture())
        mailbox = Mailbox()
        composer = Composer(settings(tmp_path, CONFIG), mailbox)
        app.mailbox = mailbox
        threading.Thread(target=threading.Event().wait, args=(30,), daemon=True).start()
        async with running(app) as pilot:
            await pilot.press("2")
            await pilot.pause()
            composer.start()
            watcher = asyncio.create_task(look())
            for state in (DomainState.RUNNING, DomainState.PAUSED, DomainState.SHUT_OFF):
                picture = many(state)
                for view in picture.hosts.values():
                    mailbox.put(f"host:{view.name}", view)
                mailbox.put("catalogue", picture.catalogue)
                composer.give(picture.hosts, picture.catalogue)
                for key in ("V", "I", "G", "g", "pagedown", "S"):
                    await asyncio.sleep(0.15)
                    await pilot.press(key)
                await asyncio.sleep(0.5)
            watcher.cancel()
            composer.end()
            assert app.screen.table.total == ROWS  # type: ignore[attr-defined]

    asyncio.run(play())
    stalls.sort()
    p99 = stalls[int(len(stalls) * 0.99)]
    assert p99 < STALL_P99_S, f"p99 {p99 * 1000:.0f} ms, worst {stalls[-1] * 1000:.0f} ms of {len(stalls)}"


def test_first_paint_from_the_cache(tmp_path: Path) -> None:
    """From the start of the process to the first frame, the median of five."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(state=tmp_path / "state"))
    save_picture(tmp_path / "state", example())
    script = f"""
import time, sys, os
began = float(sys.argv[1])
from pathlib import Path
from vmtui import config
from vmtui.tui.app import Look, VmtuiApp
class Timed(VmtuiApp):
    def _listen(self):
        print(time.time() - began)
        os._exit(0)
import asyncio
app = Timed(config.load(Path({str(config)!r})), Look())
async def main():
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(5)
asyncio.run(main())
"""
    seconds = []
    for _ in range(5):
        answer = subprocess.run(
            [sys.executable, "-c", script, str(datetime.now(UTC).timestamp())],
            capture_output=True,
            text=True,
            timeout=60,
        )
        seconds.append(float(answer.stdout))
    assert statistics.median(seconds) < FIRST_PAINT_S, seconds


def test_first_paint_needs_neither_libvirt_nor_ssh_nor_jobs(tmp_path: Path) -> None:
    script = "import sys, vmtui.tui.app; print([name for name in ('dbos', 'libvirt', 'paramiko', 'lmdb', 'borgstore') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


def test_quits_at_once_with_a_hung_host_and_a_running_job(
    client: Client, new_vm: Callable[..., TestVm], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    vm = new_vm()
    client.ok("backup", vm.name, "--detach", failpoint=f"backup.planned=hold:{gate}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        client.settings["hosts"]["hung"] = {"address": "127.0.0.1", "port": server.getsockname()[1], "deadline": 60.0}
        client.save()
        terminal = Terminal([*PROGRAM, "--config", str(client.config)])
        try:
            terminal.wait_for("beat", "asking 1 host")
            began = time.monotonic()
            terminal.press("q")
            terminal.wait_for("ENDED 0", seconds=20)
            seconds = time.monotonic() - began
        finally:
            terminal.close()
            gate.unlink()
    assert seconds < QUIT_S


def test_idle_screens_cost_next_to_nothing(client: Client, vm: TestVm) -> None:
    """Processor time of the program itself over quiet seconds."""
    client.backup(vm)
    client.stop()
    terminal = Terminal([*PROGRAM, "--config", str(client.config)])
    try:
        terminal.wait_for("live", "2 of 2 hosts answer")
        terminal.press("2")
        terminal.wait_for(vm.name)
        time.sleep(3)
        pid = _program(client.config)
        before = _cpu_seconds(pid)
        time.sleep(_QUIET_S)
        used = _cpu_seconds(pid) - before
    finally:
        terminal.close()
    assert used / _QUIET_S < IDLE_SHARE * IDLE_MARGIN, f"{used / _QUIET_S:.2%} of one core"


def _program(config: Path) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(config).encode() in words and b"worker" not in words and b"-m" in words:
                return int(entry.name)
    raise AssertionError("the program does not run")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
