"""A real guest that counts in its memory alone, so that one can tell whether it woke or started anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.guests import run_in_guest, wait_agent
from tests.support.site import Site
from vmtui.lab.machines import domain_xml

SLEEPER = "sleeper"
_TEMPLATE = Path(sys.prefix) / "share" / "vmtui" / "guest" / "disk.raw"


def make_sleeper(site: Site) -> None:
    """Make the guest, start it, and let it count."""
    image = site.images / f"{SLEEPER}.qcow2"
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(_TEMPLATE), str(image)], check=True)
    site.own(image)
    site.virsh("define", "/dev/stdin", stdin=domain_xml(SLEEPER, [("vda", "qcow2", image)]))
    site.virsh("start", SLEEPER)
    wait_agent(site, SLEEPER, 300)
    # /run is in the guest's memory: nothing of it is on a disk.
    script = "n=0; while :; do n=$((n + 1)); echo $n >/run/count; sleep 0.2; done >/dev/null 2>&1"
    run_in_guest(site, SLEEPER, script, wait=False)
    run_in_guest(site, SLEEPER, "while ! [ -s /run/count ]; do sleep 0.1; done")


def count(site: Site, vm: str) -> int:
    """How far it has counted."""
    return int(run_in_guest(site, vm, "while ! [ -s /run/count ]; do :; done; cat /run/count").split()[0])


def boot_id(site: Site, vm: str) -> str:
    """What the kernel made up when it booted."""
    return run_in_guest(site, vm, "cat /proc/sys/kernel/random/boot_id").strip()


def remove_sleeper(site: Site) -> None:
    """Take it away with its memory and its disk; safe to repeat."""
    site.virsh("destroy", SLEEPER, check=False)
    site.virsh("managedsave-remove", SLEEPER, check=False)
    (site.folder / "cfg" / "libvirt" / "qemu" / "save" / f"{SLEEPER}.save").unlink(
        missing_ok=True
    )  # libvirt may not know of it
    site.virsh("undefine", SLEEPER, "--checkpoints-metadata", check=False)
    (site.images / f"{SLEEPER}.qcow2").unlink(missing_ok=True)
