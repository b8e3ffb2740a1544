"""What a command does not need it does not load: help answers at once, monitoring stays light."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("dbos", "libvirt", "paramiko", "textual", "borgstore", "lmdb", "boto3", "requests")


def loaded(tmp_path: Path, *arguments: str) -> set[str]:
    """Heavy modules that a command has loaded when it ends."""
    script = f"""
import sys
sys.argv = ["vmtui", *{list(arguments)!r}]
import os
end = os._exit
def report(code):
    sys.stderr.write("LOADED " + " ".join(name for name in {HEAVY!r} if name in sys.modules) + "\\n")
    sys.stderr.flush()
    end(code)
os._exit = report
from vmtui.cli.main import main
main()
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    line = next(line for line in answer.stderr.splitlines() if line.startswith("LOADED"))
    return set(line.split()[1:])


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded(tmp_path, "--help") == set()
    assert loaded(tmp_path, "restore", "--help") == set()


def test_vms_loads_neither_screens_nor_jobs(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'repository = "file://{tmp_path}/repository"\nstate = "{tmp_path}/state"\n')
    assert not loaded(tmp_path, "--config", str(config), "vms") & {"textual", "dbos"}


def test_a_store_that_is_not_used_is_not_loaded(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'repository = "file://{tmp_path}/repository"\nstate = "{tmp_path}/state"\n')
    for command in ("init", "stats"):
        assert not loaded(tmp_path, "--config", str(config), "repo", command) & {"boto3", "requests", "paramiko"}


@pytest.mark.alone
def test_help_answers_at_once() -> None:
    """A third of a second is promised; the margin is for a busy machine."""
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "vmtui", "--help"], check=True, capture_output=True, timeout=60)
        seconds.append(time.monotonic() - began)
    assert statistics.median(seconds) < 1.0, seconds
