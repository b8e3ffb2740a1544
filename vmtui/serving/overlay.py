"""A local image on top of an offered disk: reads come from the repository, writes stay on the host."""

from __future__ import annotations

from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement

from vmtui.hosts import HostSession
from vmtui.model.errors import FailedError, RefusedError
from vmtui.serving.offer import OfferedDisk

_EXISTS = 17
_CREATE = r"""
umask 077
set -C
: 2>/dev/null >"$1" || exit 17
exec qemu-img create -q -f qcow2 -o compat=1.1 -b "$3" -F raw "$1" "$2"
"""


def create_overlay(session: HostSession, path: str, offered: OfferedDisk) -> None:
    """Make an empty image, readable by its owner alone (0600), whose missing parts are the offered disk's.

    The offer must stand, as QEMU's tool looks at it.

    Args:
        session: The host.
        path: Must not be there.
        offered: What is below.

    Raises:
        RefusedError: Something is there.
        FailedError: No space, no rights, no such folder, or the offer cannot be read on the host.
    """
    url = f"nbd+unix:///{quote(offered.target, safe='')}?socket={quote(offered.socket)}"
    answer = session.run(["sh", "-c", _CREATE, "overlay", path, str(offered.size), url], deadline_s=60.0)
    if answer.status == _EXISTS:
        if session.files.exists(path):
            raise RefusedError("TARGET-EXISTS", f"{path} on {session.host.name} is already there.", path=path)
        raise FailedError(
            "WRITE-FAILED", f"{path} cannot be made on {session.host.name}: no such folder, or no right to write there."
        )
    if answer.status != 0:
        session.files.remove(path)
    answer.checked(session.host.name)


def back_by_offer(disk: Element, path: str, offered: OfferedDisk) -> None:
    """Let a domain's disk be an overlay on an offered disk.

    A read that fails pauses the VM instead of failing in its system: the default would damage its file
    systems when the offer is away for a moment.

    Args:
        disk: The element of a domain's XML; changed in place.
        path: The overlay on the host.
        offered: What is below it.
    """
    disk.set("type", "file")
    disk.attrib.pop("snapshot", None)
    for tag in ("source", "backingStore", "mirror"):
        for child in disk.findall(tag):
            disk.remove(child)
    driver = disk.find("driver")
    if driver is None:
        driver = Element("driver")
        disk.insert(0, driver)
    driver.attrib |= {"name": "qemu", "type": "qcow2", "error_policy": "stop", "rerror_policy": "stop"}
    disk.insert(1, Element("source", file=path))
    backing = Element("backingStore", type="network")
    SubElement(backing, "format", type="raw")
    source = SubElement(backing, "source", protocol="nbd", name=offered.target)
    SubElement(source, "host", transport="unix", socket=offered.socket)
    SubElement(backing, "backingStore")
    disk.insert(2, backing)
