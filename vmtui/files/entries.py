"""What is shown of a point's disks: volumes, and the things on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from vmtui.model.errors import UsageError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What something in a file system is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    DEVICE = "device"
    PIPE = "pipe"
    SOCKET = "socket"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Volume:
    """A partition, logical volume or whole disk."""

    name: str
    """`vda1`, `vda` for a disk without partitions, `vg0-root` for a logical volume."""
    size: int
    """[bytes]"""
    kind: str
    """File system, or what else is there."""
    label: str
    note: str
    """What one should know of it; usually empty."""
    reason: str
    """Why it cannot be browsed; empty when it can."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: a volume and the names from its top on. Without a volume: the list of volumes."""

    volume: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/" + "/".join((self.volume, *self.path)) if self.volume else "/"

    def child(self, name: str) -> Place:
        """Something in it."""
        return Place(self.volume, (*self.path, name)) if self.volume else Place(name)

    @property
    def parent(self) -> Place:
        """Where it is in; the list of volumes is in itself."""
        return Place(self.volume, self.path[:-1]) if self.path else Place("")

    @property
    def name(self) -> str:
        """Its last name."""
        return self.path[-1] if self.path else self.volume

    @classmethod
    def parse(cls, text: str) -> Place:
        """A place by its path, like `/vda1/etc/hosts`; the first slash may be left out.

        Raises:
            UsageError: It leads above the volume.
        """
        parts: list[str] = []
        for part in text.split("/"):
            if part == "..":
                if not parts:
                    raise UsageError("NAME-UNKNOWN", f"{text!r} leads above the list of volumes.")
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        return cls(parts[0], tuple(parts[1:])) if parts else cls("")


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a file system."""

    name: str
    kind: Kind
    mode: int
    """Permission bits."""
    size: int
    """[bytes]"""
    uid: int
    gid: int
    mtime_ns: int
    """Time of the last change of its bytes, since 1970 [ns]."""
    links: int
    inode: str
    """Tells things of one volume apart."""
    target: str
    """Where a link points."""
    problem: str
    """Why its facts cannot be read; usually empty."""

    @property
    def changed(self) -> datetime | None:
        """Time of the last change of its bytes [UTC]; None when no calendar has it."""
        try:
            return datetime.fromtimestamp(self.mtime_ns / 1e9, tz=UTC)
        except (OverflowError, ValueError, OSError):
            return None


def name_bytes(name: str) -> bytes:
    """A name as it is on the disk: bytes that were no UTF-8 come back as they were."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")  # NTFS may hold halves of pairs
