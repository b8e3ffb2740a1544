"""Disks of a rehearsal: a throw-away overlay for each, on the point in the repository."""

from __future__ import annotations

import contextlib
import posixpath
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from vmtui.rehearsal.context import RehearsalContext
from vmtui.rehearsal.plan import RehearsalDisk, RehearsalPlan
from vmtui.repository.streams import read_stream


@dataclass(slots=True)
class Served:
    """Disks that can be used while it lasts."""

    disks: dict[str, Element] = field(default_factory=dict)
    trouble: list[Exception] = field(default_factory=list)
    """Reads of the repository that failed."""


@contextlib.contextmanager
def served(context: RehearsalContext, plan: RehearsalPlan, folder: str, sockets: str) -> Iterator[Served]:
    """INTERIM"""
    result = Served()
    for disk in plan.disks:
        result.disks[disk.target] = _disk(context, disk, folder)
    yield result


def _disk(context: RehearsalContext, disk: RehearsalDisk, folder: str) -> Element:
    base = posixpath.join(folder, f"{disk.target}.raw")
    context.session.files.write_new(base, b"", 0o666)
    with Path(base).open("r+b") as out:
        out.write(b"".join(read_stream(context.repository, disk.target, disk.size, disk.root)))
    overlay = posixpath.join(folder, f"{disk.target}.qcow2")
    context.session.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay]).checked("x")
    element = Element("disk", type="file")
    SubElement(element, "driver", name="qemu", type="qcow2", error_policy="stop", rerror_policy="stop")
    SubElement(element, "source", file=overlay)
    return element
