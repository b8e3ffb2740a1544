"""Disks of a rehearsal: a throw-away overlay for each, on the point in the repository."""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

from vmtui.model.errors import FailedError, VmtuiError
from vmtui.rehearsal.context import RehearsalContext
from vmtui.rehearsal.plan import RehearsalRequest
from vmtui.serving import Offer, back_by_offer, create_overlay
from vmtui.serving.offer import Failure


@dataclass(slots=True)
class Served:
    """Disks that can be used while it lasts."""

    disks: dict[str, Element] = field(default_factory=dict)
    """Target: the <disk> with its driver, overlay and chain."""
    failures: list[Failure] = field(default_factory=list)
    """Reads of the repository that failed."""

    def refuse_trouble(self) -> None:
        """Return if everything that the VM asked for could be read.

        Raises:
            DamageError, UnreachableError: What was the matter with the repository.
            FailedError: A fault of another kind.
        """
        for failure in self.failures[:1]:
            if isinstance(failure.error, VmtuiError):
                raise failure.error
            raise FailedError("DISK-UNREADABLE", f"{failure.target} at {failure.offset}: {failure.error}.")


def overlay_path(folder: str, target: str) -> str:
    """Where the overlay of a disk is."""
    return posixpath.join(folder, re.sub(r"[^A-Za-z0-9]", "-", target) + ".qcow2")


@contextlib.contextmanager
def served(context: RehearsalContext, request: RehearsalRequest, folder: str, sockets: str) -> Iterator[Served]:
    """Offer the point's disks to the host and put an overlay on each. End the VM before leaving it.

    Args:
        context: The world.
        request: Which point.
        folder: On the host, for the overlays.
        sockets: On the host, for the offer's socket; made and removed here.

    Raises:
        DamageError: A disk's map cannot be read.
        FailedError: An overlay cannot be made.
        UnreachableError: The host does not answer, or its sshd does not listen for us.
    """
    result = Served()
    disks = {disk.name: disk for disk in context.point(request).disks}
    session = context.session
    with Offer(session.sibling, sockets, context.repository, disks, failed=result.failures.append) as offer:
        for name, offered in offer.disks.items():
            path = overlay_path(folder, name)
            create_overlay(session, path, offered)
            disk = Element("disk")
            SubElement(disk, "driver", cache="unsafe")  # thrown away in any case
            back_by_offer(disk, path, offered)
            result.disks[name] = disk
        yield result
