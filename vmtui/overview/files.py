"""Files of a point in words and as JSON."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from vmtui.overview.words import local, size

if TYPE_CHECKING:
    from vmtui.files import Entry, Volume
    from vmtui.files.entries import Place

_TYPES = {
    "file": stat.S_IFREG,
    "folder": stat.S_IFDIR,
    "link": stat.S_IFLNK,
    "device": stat.S_IFBLK,
    "pipe": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}


def mode_words(entry: Entry) -> str:
    """`-rw-r--r--`, as ls has it."""
    return stat.filemode(_TYPES.get(entry.kind, 0) | entry.mode)


def changed_words(entry: Entry) -> str:
    """The time of its last change, local."""
    return "?" if entry.changed is None else local(entry.changed)


def name_words(entry: Entry) -> str:
    """Its name, and where it points or what is wrong with it."""
    if entry.problem:
        return f"{entry.name}  ! {entry.problem}"
    return f"{entry.name} -> {entry.target}" if entry.kind == "link" else entry.name


def entry_cells(entry: Entry) -> tuple[str, ...]:
    """Mode, owner, size, time, name."""
    shown = size(entry.size) if entry.kind == "file" else ""
    return (mode_words(entry), f"{entry.uid}:{entry.gid}", shown, changed_words(entry), name_words(entry))


def entry_json(place: Place, entry: Entry) -> dict[str, Any]:
    """An entry for programs; bytes of its name that are no UTF-8 are written as escapes."""
    return {
        "path": safe(str(place)),
        "kind": str(entry.kind),
        "mode": f"{entry.mode:04o}",
        "size": entry.size,
        "uid": entry.uid,
        "gid": entry.gid,
        "changed": None if entry.changed is None else entry.changed.isoformat(),
        "links": entry.links,
        "target": safe(entry.target) or None,
        "problem": safe(entry.problem) or None,
    }


def volume_cells(volume: Volume) -> tuple[str, ...]:
    """Name, size, file system, label, what to know."""
    return (volume.name, size(volume.size), volume.kind, volume.label, volume.reason or volume.note)


def volume_json(volume: Volume) -> dict[str, Any]:
    """A volume for programs."""
    return {
        "name": safe(volume.name),
        "size": volume.size,
        "kind": volume.kind,
        "label": safe(volume.label),
        "note": volume.note or None,
        "reason": safe(volume.reason) or None,
    }


def safe(text: str) -> str:
    """Text without halves of characters, which no output could encode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
