"""What a file system driver gives: nodes with plain facts, the same for all kinds."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from vmtui.files.helper.disk import PieceLost

Run = tuple[int | None, int]
"""(first block, or None for a hole; number of blocks)"""

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


class UnreadableError(Exception):
    """The file system, or this driver, does not allow to read that; the text says why."""


@contextmanager
def parsing() -> Iterator[None]:
    """A damaged or hostile volume may break a parser in any way; whatever comes of it is one error.

    Raises:
        UnreadableError: That cannot be read; the other volumes and entries still can.
        PieceLost: A piece of the disk cannot be had.
    """
    try:
        yield
    except (PieceLost, UnreadableError):
        raise
    except Exception as error:
        raise UnreadableError(f"{type(error).__name__}: {error}"[:200]) from error


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file system says of one thing in it."""

    kind: str
    """file, folder, link, device, pipe, socket or unknown."""
    mode: int
    """Permission bits."""
    size: int
    """[bytes]"""
    uid: int
    gid: int
    mtime_ns: int
    """Time of the last change of its bytes, since 1970 [ns]."""
    links: int
    """Names that it has; more than one for hard links."""
    inode: str
    """Tells things of one file system apart."""


def kind_of(mode: int) -> str:
    """The kind in a POSIX mode."""
    return _KINDS.get(stat.S_IFMT(mode), "unknown")


class Content(Protocol):
    """A file's bytes."""

    size: int

    def seek(self, position: int, /) -> Any:
        """Set the position."""

    def read(self, length: int, /) -> bytes:
        """Bytes from the position on."""


class Driver(Protocol):
    """One open file system. A node is whatever the driver wants it to be."""

    kind: str
    """ext4, xfs, btrfs, ntfs, fat32 …"""
    label: str
    note: str
    """What one should know of it; usually empty."""
    folds_case: bool
    """Whether names that differ in case are the same."""

    def root(self) -> Any:
        """The topmost folder."""

    def children(self, folder: Any) -> Iterator[tuple[str, Any]]:
        """(name, node) of what is in a folder, without `.` and `..`, in the order of the file system."""

    def facts(self, node: Any) -> Facts:
        """What is said of a node."""

    def glance(self, node: Any) -> tuple[str, str]:
        """(kind, what tells it apart), from the folder alone where the file system allows it."""

    def link(self, node: Any) -> str:
        """Where a link points."""

    def content(self, node: Any) -> Content:
        """A file's bytes."""

    def runs(self, content: Any) -> tuple[Sequence[Run], int]:
        """(where a file's blocks are, block size [bytes]); empty when that is not known."""


def checked(runs: Sequence[Run], blocks: int) -> list[Run]:
    """The same runs.

    Args:
        runs: From a file system.
        blocks: What the volume has.

    Raises:
        UnreadableError: They go backwards or beyond the end: the file system is damaged.
    """
    for first, count in runs:
        if count < 0 or (first is not None and not 0 <= first <= blocks - count):
            raise UnreadableError(f"its blocks {first} + {count} are not on the volume, which has {blocks}")
    return list(runs)
