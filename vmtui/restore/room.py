"""Room on the target: what is asked of each of its file systems, and what they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vmtui.hosts import HostSession, storage

MARGIN = 64 << 20
"""What a restore leaves free on each file system [bytes]."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is asked of one file system."""

    folders: tuple[str, ...]
    need: int
    """Bytes, with the margin that is left free."""
    free: int

    @property
    def enough(self) -> bool:
        """Whether it has what is asked of it."""
        return self.free >= self.need


def rooms(session: HostSession, needed: Mapping[str, int]) -> tuple[Room, ...]:
    """Add up what is needed in several folders by the file system that they are on. Blocks.

    Args:
        session: The host.
        needed: Bytes by folder.

    Returns:
        One for each file system; a folder that is not there is in none of them.
    """
    found: dict[str, Room] = {}
    for folder, size in needed.items():
        device, free = storage.file_system(session, folder), storage.free_bytes(session, folder)
        if device is None or free is None:
            continue
        before = found.get(device, Room((), MARGIN, free))
        found[device] = replace(before, folders=(*before.folders, folder), need=before.need + size)
    return tuple(found.values())
