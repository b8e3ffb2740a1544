"""The program as an operator runs it: a configuration of its own, a repository of its own, a worker of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tomli_w

from tests.support.site import Site
from tests.support.vms import TestVm, assert_same, raw_copy
from vmtui.lab.lab import LabInfo

PROGRAM = (sys.executable, "-m", "vmtui")


@dataclass(frozen=True, slots=True)
class Result:
    """What a command answered."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"{' '.join(self.argv)} -> {self.code}\n{self.out}\n{self.err}"


class Client:
    """One operator's machine.

    Args:
        folder: For configuration, state and repository.
        lab: Whose hosts it knows.
        changes: Top-level keys of the configuration that differ from the lab's.
    """

    def __init__(self, folder: Path, lab: LabInfo, **changes: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.toml"
        self.state = folder / "state"
        self.repository = folder / "repository"
        self.settings: dict[str, Any] = tomllib.loads(Path(lab.config).read_text()) | {
            "repository": f"file://{self.repository}",
            "state": str(self.state),
        }
        self.settings |= changes
        self.save()

    def save(self) -> None:
        """Write the configuration anew."""
        self.config.write_text(tomli_w.dumps(self.settings))

    # -- running ---------------------------------------------------------------------------------

    def environment(self, failpoint: str = "") -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VMTUI_")}
        return clean | ({"VMTUI_FAILPOINT": failpoint} if failpoint else {})

    def popen(self, *arguments: str, failpoint: str = "", **options: Any) -> subprocess.Popen[str]:
        """Start the program and do not wait."""
        return subprocess.Popen(
            [*PROGRAM, "--config", str(self.config), *arguments],
            env=self.environment(failpoint),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: str, failpoint: str = "", timeout: float = 120) -> Result:
        """Run the program to its end."""
        process = self.popen(*arguments, failpoint=failpoint)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{arguments} hung\n{out}\n{err}") from None
        assert "Traceback" not in err + out, err + out
        return Result(arguments, process.returncode, out, err)

    def ok(self, *arguments: str, failpoint: str = "", timeout: float = 120) -> Result:
        """Run it and expect success."""
        result = self.run(*arguments, failpoint=failpoint, timeout=timeout)
        assert result.code == 0, str(result)
        return result

    def init(self) -> None:
        self.ok("repo", "init")

    # -- verbs -----------------------------------------------------------------------------------

    def backup(self, vm: TestVm | str, *options: str, failpoint: str = "") -> dict[str, Any]:
        """Back a VM up and give the JSON document."""
        document: dict[str, Any] = self.ok("backup", _name(vm), *options, "--json", failpoint=failpoint).json
        return document

    def points(self, vm: TestVm | str) -> list[dict[str, Any]]:
        """Points, newest first."""
        found: list[dict[str, Any]] = self.ok("points", _name(vm), "--json").json
        return found

    def restore(self, point: str, site: Site, name: str, *options: str) -> dict[str, Any]:
        """Restore a point as a new VM."""
        document: dict[str, Any] = self.ok("restore", point, "--to", site.name, "--as", name, *options, "--json").json
        return document

    def assert_restores(self, point: str, site: Site, expected: Mapping[str, Path], folder: Path) -> None:
        """Restore a point as a throw-away VM, compare all its disks from outside, and take it away."""
        name = f"r-{point[-8:]}-{time.monotonic_ns() % 10**6}"
        self.restore(point, site, name)
        try:
            disks = disk_images(site, name)
            assert disks.keys() == expected.keys()
            for target, (path, kind) in disks.items():
                assert_same(raw_copy(path, kind, folder / name), expected[target])
        finally:
            remove_vm(site, name)

    # -- the worker ------------------------------------------------------------------------------

    @property
    def worker_pid(self) -> int | None:
        path = self.state / "worker.pid"
        return int(path.read_text()) if path.exists() else None

    def kill_worker(self) -> None:
        """kill -9, as the kernel's out-of-memory killer would."""
        pid = self.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.wait_worker_gone(pid)

    def wait_worker_gone(self, pid: int, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while _running(pid):
            assert time.monotonic() < deadline, "the worker did not end"
            time.sleep(0.02)

    def stop(self) -> None:
        """End the worker; safe to repeat."""
        pid = self.worker_pid
        if pid is None or not _running(pid):
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while _running(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        if _running(pid):
            os.kill(pid, signal.SIGKILL)


def _name(vm: TestVm | str) -> str:
    return vm if isinstance(vm, str) else f"{vm.site.name}/{vm.name}"


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def disk_images(site: Site, name: str) -> dict[str, tuple[Path, str]]:
    """Target: (path, format) of a domain's disks, by its definition."""
    root = ElementTree.fromstring(site.virsh("dumpxml", "--inactive", name))
    images = {}
    for disk in root.findall("./devices/disk[@device='disk']"):
        target, source, driver = disk.find("target"), disk.find("source"), disk.find("driver")
        assert target is not None and source is not None and driver is not None
        images[str(target.get("dev"))] = (Path(str(source.get("file"))), str(driver.get("type")))
    return images


def remove_vm(site: Site, name: str) -> None:
    """Take a restored VM away with its images."""
    images = disk_images(site, name)
    site.virsh("destroy", name, check=False)
    site.virsh("undefine", name, "--checkpoints-metadata", "--nvram")
    for path, _ in images.values():
        path.unlink(missing_ok=True)


def wait_until(condition: Any, seconds: float = 30, what: str = "it") -> None:
    """Wait for something to become true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)
