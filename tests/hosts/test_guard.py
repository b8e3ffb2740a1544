"""The guard's script, with a virsh that reads what it says from a file: it acts when it must, and only then."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from vmtui.hosts.guard import _SCRIPT, Duty

_VIRSH = """#!/bin/sh
shift 3
case $1 in
    domid) cat "$VM/id" ;;
    start) echo start >>"$VM/done"; echo 9 >"$VM/id" ;;
esac
"""
UUID = "11111111-2222-3333-4444-555555555555"


class Guarded:
    """A VM of files, and a guard beside it whose worker is gone as soon as `leave` is called."""

    def __init__(self, folder: Path, *, patience_s: int) -> None:
        self.folder = folder
        self.run_as("5")
        virsh = folder / "virsh"
        virsh.write_text(_VIRSH)
        virsh.chmod(0o755)
        self.process = subprocess.Popen(
            ["sh", "-c", _SCRIPT, "vmtui", "uri", UUID, Duty.START.value, "60", str(patience_s)],
            env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "VM": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def run_as(self, identity: str) -> None:
        """The VM has this id from now on; "-" is off."""
        (self.folder / "id").write_text(f"{identity}\n")

    def leave(self) -> None:
        """The worker dies."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> int:
        """Wait for the guard's end."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(30)

    @property
    def starts(self) -> int:
        path = self.folder / "done"
        return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_vm_that_is_off_is_started(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, patience_s=20)
    guarded.run_as("-")
    guarded.leave()
    assert (guarded.end(), guarded.starts) == (0, 1)


def test_a_vm_that_still_shuts_down_is_waited_for(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, patience_s=20)
    guarded.leave()
    time.sleep(2.5)
    assert guarded.process.poll() is None
    guarded.run_as("-")
    assert (guarded.end(), guarded.starts) == (0, 1)


def test_a_vm_that_somebody_has_started_is_left_to_him(tmp_path: Path) -> None:
    """He may stop it again, and the guard must not be there to undo that."""
    guarded = Guarded(tmp_path, patience_s=20)
    guarded.run_as("6")
    guarded.leave()
    assert (guarded.end(), guarded.starts) == (0, 0)


def test_a_libvirt_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, patience_s=20)
    (tmp_path / "id").unlink()
    guarded.leave()
    time.sleep(2.5)
    assert guarded.starts == 0
    guarded.run_as("-")
    assert (guarded.end(), guarded.starts) == (0, 1)


def test_a_vm_that_never_stops_is_let_be(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, patience_s=2)
    guarded.leave()
    assert (guarded.end(), guarded.starts) == (1, 0)


def test_done_means_done(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, patience_s=20)
    guarded.run_as("-")
    assert guarded.process.stdin is not None
    guarded.process.stdin.write(b"kd")
    guarded.leave()
    assert (guarded.end(), guarded.starts) == (0, 0)
