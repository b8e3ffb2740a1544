"""The practice lab as a user meets it: up, info, down."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import PROGRAM
from vmtui.lab import processes


def vmtui(*arguments: str, code: int = 0, timeout: float = 180) -> str:
    """Run the program; gives its stdout."""
    answer = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    assert answer.returncode == code, f"{arguments} -> {answer.returncode}\n{answer.stdout}\n{answer.stderr}"
    assert "Traceback" not in answer.stderr
    return answer.stdout


def info(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(vmtui("lab", "info", "--json", "--root", str(root)))
    return document


def ground(document: dict[str, Any]) -> Path:
    """Folder of what runs."""
    return Path(document["sites"][0]["images"]).parent.parent


def traces(*folders: Path) -> list[str]:
    """Processes whose command line, working folder or open files name one of the folders."""
    words = [str(folder) for folder in folders]
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            texts = [(process / "cmdline").read_bytes().decode(errors="replace"), str((process / "cwd").readlink())]
        except OSError:
            continue
        if any(word in text for word in words for text in texts):
            found.append(f"{process.name}: {texts[0]}")
    return found


def processes_of(document: dict[str, Any]) -> list[int]:
    return [int(line.partition(":")[0]) for line in traces(ground(document))]


@pytest.fixture
def place() -> Iterator[Path]:
    """A root for a lab; whatever runs there is ended."""
    with tempfile.TemporaryDirectory(prefix="vmtui-test-") as folder:
        root = Path(folder) / "lab"
        yield root
        vmtui("lab", "down", "--root", str(root))


def test_up_info_down(place: Path) -> None:
    """Up in under a minute and twice without harm; all that is printed works; down leaves nothing."""
    started = time.monotonic()
    vmtui("lab", "up", "--root", str(place))
    assert time.monotonic() - started < 60
    document = info(place)
    running = processes_of(document)
    vmtui("lab", "up", "--root", str(place))
    assert info(place) == document
    assert set(running) <= set(processes_of(document))
    assert document.keys() >= {"config", "root", "repository", "user", "sites"}
    assert Path(document["repository"]).is_dir()
    for site in document["sites"]:
        assert site.keys() >= {"name", "host", "uri", "ssh", "images", "vms"}
        listed = subprocess.run(
            ["virsh", "-q", "-c", site["uri"], "list", "--all", "--name"], capture_output=True, text=True, check=True
        )
        assert set(listed.stdout.split()) == set(site["vms"])
    rows = json.loads(vmtui("--config", document["config"], "vms", "--json"))
    assert {(row["host"], row["name"]) for row in rows} == {
        (site["host"], vm) for site in document["sites"] for vm in site["vms"]
    }
    backup = json.loads(vmtui("--config", document["config"], "backup", "north/files1", "--json"))
    assert backup["point"]
    vmtui("lab", "down", "--root", str(place))
    assert traces(place, ground(document)) == []
    assert not place.exists()
    assert not ground(document).exists()
    vmtui("lab", "down", "--root", str(place))
    vmtui("lab", "info", "--root", str(place), code=2)


# Guests are what takes long, and nothing below is about them.
BARE = "from pathlib import Path; import sys; from vmtui.lab import up; up(Path(sys.argv[1]), wanted=())"


def up_bare(root: Path) -> dict[str, Any]:
    subprocess.run([*PROGRAM[:1], "-c", BARE, str(root)], check=True, timeout=120, capture_output=True)
    return info(root)


def test_two_labs_at_once(place: Path) -> None:
    first, second = place / "first", place / "second"
    one, two = up_bare(first), up_bare(second)
    try:
        assert ground(one) != ground(two)
        assert {site["ssh"] for site in one["sites"]}.isdisjoint(site["ssh"] for site in two["sites"])
        vmtui("lab", "down", "--root", str(first))
        assert traces(first, ground(one)) == []
        vmtui("--config", two["config"], "vms")
    finally:
        vmtui("lab", "down", "--root", str(first))
        vmtui("lab", "down", "--root", str(second))


def test_long_root(place: Path) -> None:
    """Paths of unix sockets are limited to 107 bytes; the lab's root is not."""
    root = place / ("long" * 20) / ("way" * 20) / "lab"
    document = up_bare(root)
    try:
        vmtui("--config", document["config"], "vms")
    finally:
        vmtui("lab", "down", "--root", str(root))
    assert not ground(document).exists()


def test_up_after_everything_was_killed(place: Path) -> None:
    old = up_bare(place)
    for pid in processes_of(old):
        os.kill(pid, signal.SIGKILL)
    vmtui("lab", "info", "--root", str(place), code=2)
    new = up_bare(place)
    assert not ground(old).exists()
    vmtui("--config", new["config"], "vms")


def test_nothing_of_a_site_runs_as_root(place: Path) -> None:
    document = up_bare(place)
    uids = {(Path("/proc") / str(pid)).stat().st_uid for pid in processes_of(document)}
    assert uids
    assert 0 not in uids
    key = Path(document["root"]) / "id_ed25519"
    assert stat.S_IMODE(key.stat().st_mode) & 0o077 == 0


def test_a_number_that_is_another_process_by_now_is_left_alone() -> None:
    """A pid file outlives a power cut; whoever has its number then is not ours to end."""
    mine = str(os.getpid())
    assert processes.naming(mine, Path("/no/such/lab")) is None
    assert processes.naming(mine + "\n", Path(sys.executable)) == processes.of_pid(os.getpid())
    assert processes.naming("", Path(sys.executable)) is None
