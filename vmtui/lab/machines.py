"""The VMs of the lab, and how they are made."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from vmtui.lab.site import Site, virsh
from vmtui.model.errors import UsageError

_AGENT_S = 180.0
_DATA_SIZE = 48 << 20


@dataclass(frozen=True, slots=True)
class Machine:
    """A practice VM."""

    site: str
    name: str
    running: bool
    data_disk: bool = False
    """A second, raw disk beside the qcow2 one that it boots from."""


MACHINES = (
    Machine("north", "web1", running=True),
    Machine("north", "db1", running=True, data_disk=True),
    Machine("north", "files1", running=False),
    Machine("south", "mail1", running=True),
)


def create(site: Site, machine: Machine, template: Path) -> None:
    """Make the images of a VM and define it; starts it when it should run."""
    boot = site.images / f"{machine.name}.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1", str(template), str(boot)],
        check=True,
    )
    site.account.own(boot, 0o600)
    disks = [("vda", "qcow2", boot)]
    if machine.data_disk:
        data = site.images / f"{machine.name}-data.raw"
        with data.open("wb") as file:
            file.truncate(_DATA_SIZE)
        subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", str(data)], check=True)
        site.account.own(data, 0o600)
        disks.append(("vdb", "raw", data))
    definition = site.folder / f"{machine.name}.xml"
    definition.write_text(domain_xml(machine.name, disks))
    virsh(site, "define", str(definition))
    definition.unlink()
    if machine.running:
        virsh(site, "start", machine.name)


def domain_xml(name: str, disks: list[tuple[str, str, Path]]) -> str:
    """Definition of a small guest that boots from its first disk, under plain emulation.

    Args:
        name: Name of the VM.
        disks: (target, format, path) of each.
    """
    domain = Element("domain", type="qemu")
    SubElement(domain, "name").text = name
    SubElement(domain, "title").text = f"vmtui practice VM {name}"
    SubElement(domain, "memory", unit="MiB").text = "160"
    SubElement(domain, "vcpu").text = "1"
    system = SubElement(domain, "os")
    SubElement(system, "type", arch="x86_64", machine="q35").text = "hvm"
    SubElement(system, "boot", dev="hd")
    SubElement(SubElement(domain, "features"), "acpi")
    SubElement(domain, "on_crash").text = "destroy"
    devices = SubElement(domain, "devices")
    for target, kind, path in disks:
        disk = SubElement(devices, "disk", type="file", device="disk")
        SubElement(disk, "driver", name="qemu", type=kind, discard="unmap")
        SubElement(disk, "source", file=str(path))
        SubElement(disk, "target", dev=target, bus="virtio")
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    interface = SubElement(devices, "interface", type="user")
    SubElement(interface, "model", type="virtio")
    SubElement(devices, "serial", type="pty")
    SubElement(devices, "memballoon", model="none")
    return tostring(domain, encoding="unicode")


def wait_agents(site: Site, names: list[str]) -> None:
    """Wait until the guest agents of running VMs answer.

    Raises:
        UsageError: One did not in time.
    """
    deadline = time.monotonic() + _AGENT_S
    for name in names:
        while not agent_answers(site, name):
            if time.monotonic() > deadline:
                raise UsageError(
                    "LAB-BAD", f"The guest agent of {name} on {site.name} did not answer in {_AGENT_S:g} s."
                )
            time.sleep(0.2)


def agent_answers(site: Site, name: str) -> bool:
    """Whether a VM's guest agent answers a ping."""
    answer = subprocess.run(
        [
            "virsh",
            "-q",
            "-c",
            site.uri,
            "qemu-agent-command",
            "--timeout",
            "2",
            name,
            json.dumps({"execute": "guest-ping"}),
        ],
        capture_output=True,
        timeout=30,
    )
    return answer.returncode == 0


def template_path(prefix: str) -> Path:
    """The guest image that set-up made.

    Args:
        prefix: Of the Python environment.

    Raises:
        UsageError: Set-up has not run.
    """
    path = Path(prefix) / "share" / "vmtui" / "guest" / "disk.raw"
    if not path.is_file():
        raise UsageError("LAB-NOT-READY", f"The lab's guest system is missing: {path}.")
    for tool in ("virsh", "qemu-img", "qemu-nbd", "qemu-system-x86_64", "ssh-keygen"):
        if shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/usr/local/bin") is None:
            raise UsageError("LAB-NOT-READY", f"{tool} is not installed.")
    return path
