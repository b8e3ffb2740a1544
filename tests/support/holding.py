"""Jobs that wait at a named place, so that a test can do something in the middle of one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.client import Client, Result, wait_until
from tests.support.vms import TestVm


class Held:
    """A backup whose worker waits at a failpoint.

    Args:
        client: Whose.
        process: The command that waits for it.
        gate: The worker waits while this file exists.
    """

    def __init__(self, client: Client, process: subprocess.Popen[str], gate: Path) -> None:
        self._client = client
        self._process = process
        self._gate = gate

    @property
    def job(self) -> str:
        """The job's id."""
        newest: dict[str, Any] = self._client.ok("jobs", "--json", "--limit", "1").json[0]
        return str(newest["id"])

    def release(self) -> None:
        """Let the worker go on; safe to repeat."""
        self._gate.unlink(missing_ok=True)

    def finish(self, seconds: float = 120) -> Result:
        """Let it go on and wait for the command's end."""
        self.release()
        out, err = self._process.communicate(timeout=seconds)
        assert "Traceback" not in out + err, out + err
        return Result(("backup",), self._process.returncode, out, err)

    def lose_client(self) -> None:
        """Kill the waiting command; the worker does not notice."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def held_backup(client: Client, vm: TestVm | str, place: str, folder: Path, *options: str) -> Iterator[Held]:
    """Begin a backup and wait until its worker has reached a failpoint.

    Args:
        client: Whose worker; a running one is ended first, as the failpoint comes with a new one.
        vm: The VM.
        place: Name of the failpoint.
        folder: For the gate.
        options: Of the command.
    """
    client.stop()
    name = vm if isinstance(vm, str) else f"{vm.site.name}/{vm.name}"
    gate = folder / f"gate-{place}"
    reached = gate.with_name(gate.name + ".reached")
    gate.touch()
    process = client.popen("backup", name, *options, "--json", failpoint=f"{place}=hold:{gate}")
    held = Held(client, process, gate)
    try:
        wait_until(lambda: reached.exists() or process.poll() is not None, 90, f"the way to {place}")
        if not reached.exists():
            raise AssertionError(f"the backup ended before {place}: {process.communicate()}")
        yield held
    finally:
        held.release()
        reached.unlink(missing_ok=True)
        if process.poll() is None:
            process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str], seconds: float = 180) -> int:
    """Wait for a command's end; gives its exit code."""
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in out + err, err
    return process.returncode


@contextlib.contextmanager
def held(client: Client, failpoint: str, folder: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command whose worker waits at the failpoint while the body runs."""
    client.stop()
    gate = folder / "gate"
    gate.touch()
    process = client.popen(*command, failpoint=f"{failpoint}=hold:{gate}")
    try:
        wait_until(gate.with_name("gate.reached").exists, 60, f"{failpoint} reached")
        yield process
    finally:
        gate.unlink()
        gate.with_name("gate.reached").unlink(missing_ok=True)
