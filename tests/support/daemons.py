"""Breaking and mending the daemons of a lab that belongs to one test module alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.client import wait_until
from tests.support.site import Site
from vmtui.lab import processes
from vmtui.lab.account import lab_account
from vmtui.lab.site import Site as LabSite


def children(pid: int) -> list[int]:
    """Processes below a process, at any depth."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            below.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        more = below.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def cut_ssh(site: Site) -> int:
    """End every SSH session of a site at once, as a cut cable does in the end; new logins are possible.

    Returns:
        How many processes were ended.
    """
    sessions = children(site.pid("sshd"))
    for pid in sessions:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(sessions)


def restart_libvirtd(site: Site) -> None:
    """Kill a site's libvirtd and start it again; its VMs go on."""
    pid = site.pid("libvirtd")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), 10, "the end of libvirtd")
    place = LabSite(site.name, site.folder, site.port, lab_account())
    argv = place.account.command(
        ["/usr/sbin/libvirtd", "--timeout", "0", "-p", f"{site.folder}/run/libvirtd.pid"], site.folder / "etc"
    )
    processes.start(argv, environment=place.environment, log=place.log("libvirtd"), cwd=site.folder)
    wait_until(lambda: bool(site.virsh("uri", check=False)), 30, "the start of libvirtd")


def end_libvirtd(site: Site) -> None:
    """End the libvirtd that runs now; the lab itself only knows the one that it started."""
    process = processes.of_pid(site.pid("libvirtd"))
    if process is not None:
        processes.stop([process], 10)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
