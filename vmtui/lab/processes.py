"""Processes of the lab: started by us, ended by us, told apart by pid and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.05

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Daemons that this very process started; to be reaped when they end before it does."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process; the start time tells it from a later one with the same pid."""

    pid: int
    started: int
    """Start time in clock ticks since boot, field 22 of /proc/PID/stat."""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _start_time(self.pid) == self.started

    def kill(self, number: signal.Signals) -> None:
        """Send a signal if it is still this process."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # it ended in between


def start(argv: Sequence[str], *, environment: Mapping[str, str], log: Path, cwd: Path) -> Process:
    """Start a daemon in a session of its own, with its output in a file."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _CHILDREN[child.pid] = child
    return Process(child.pid, _start_time(child.pid) or 0)


def of_pid(pid: int) -> Process | None:
    """The process with that pid now, if there is one."""
    started = _start_time(pid)
    return None if started is None else Process(pid, started)


def naming(pid: str, path: Path) -> Process | None:
    """The process of a pid file's text, if its command line names a path: the number may be another's by now."""
    process = of_pid(int(pid)) if pid.strip().isdigit() else None
    try:
        return process if process and str(path).encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes() else None
    except OSError:
        return None  # it ended in between


def descendants(process: Process) -> list[Process]:
    """Children, their children, and so on."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    result: list[Process] = []
    waiting = [process.pid] if process.alive else []
    while waiting:
        for pid in parents.get(waiting.pop(), ()):
            waiting.append(pid)
            if (child := of_pid(pid)) is not None:
                result.append(child)
    return result


def stop(processes: Iterable[Process], patience_s: float) -> None:
    """Ask processes to end, wait, then kill what is left."""
    waiting = [process for process in processes if process.alive]
    for process in waiting:
        process.kill(signal.SIGCONT)  # a test may have stopped it
        process.kill(signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while any(process.alive for process in waiting) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for process in waiting:
        process.kill(signal.SIGKILL)
    while any(process.alive for process in waiting) and time.monotonic() < deadline + 5:
        time.sleep(_POLL_S)
    for pid, child in list(_CHILDREN.items()):
        if child.poll() is not None:
            del _CHILDREN[pid]


def _start_time(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None or fields[0] in ("Z", "X") else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on: state, parent, …"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
