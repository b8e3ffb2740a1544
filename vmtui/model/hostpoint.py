"""A host point: what a host itself is made of, part by part, beside the VMs that run there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from vmtui.model.point import LeftOut

HOST_NAME = "host configuration"
"""Stands where a point of a VM has the VM's name."""
LATEST = "latest"
GOOD = "good"
"""After an @: the newest, and the newest without known damage."""


class PartKind(StrEnum):
    """What a part is; those that libvirt defines come first, in the order in which they need each other."""

    SECRET = "secret"  # noqa: S105  # libvirt's word
    NWFILTER = "nwfilter"
    NETWORK = "network"
    POOL = "pool"
    SECRET_VALUE = "secret value"  # noqa: S105
    INTERFACE = "interface"
    NODE_DEVICE = "node device"
    DOMAIN = "domain"
    FILE = "file"
    LINK = "link"
    """A symbolic link among the files."""
    PACKAGE = "package"
    RECORD = "record"
    """What the host says of itself: capabilities, addresses, versions."""

    @property
    def xml(self) -> bool:
        """Whether the content is libvirt's XML."""
        return self in (*RESTORABLE, PartKind.INTERFACE, PartKind.NODE_DEVICE)

    @property
    def hidden(self) -> bool:
        """Whether the content is never shown."""
        return self is PartKind.SECRET_VALUE


RESTORABLE = (PartKind.SECRET, PartKind.NWFILTER, PartKind.NETWORK, PartKind.POOL)
"""Kinds that can be defined again, in this order."""

Key = tuple[PartKind, str]
"""Names a part within a host."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A part without its content, as a point lists it."""

    kind: PartKind
    name: str
    """A secret's UUID, a file's path, else libvirt's name."""
    digest: str
    """SHA-256 [hex] of what counts of it: volatile fields, spaces and the order of attributes do not."""
    stream: bool = False
    """Whether there is content besides."""
    active: bool | None = None
    """Whether it was started; None where nothing is started."""
    autostart: bool | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """UUID, mode and owner of a file, a version, a usage."""

    @property
    def key(self) -> Key:
        """Names it."""
        return self.kind, self.name


@dataclass(frozen=True, slots=True)
class Part:
    """A part with its content."""

    entry: Entry
    content: bytes = b""

    @property
    def key(self) -> Key:
        """Names it."""
        return self.entry.key

    @property
    def text(self) -> str:
        """The content as text; what is no text is replaced."""
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class HostState:
    """A host's parts at one instant: in a point, or as they are now."""

    host: str
    time: datetime
    parts: Mapping[Key, Part]
    left_out: tuple[LeftOut, ...]
    """What could not be read, or must not be stored here, with the reason."""

    def of(self, kind: PartKind) -> list[Part]:
        """Parts of a kind, sorted by name."""
        return [part for key, part in sorted(self.parts.items()) if key[0] is kind]
