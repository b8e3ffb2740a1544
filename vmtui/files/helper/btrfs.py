"""btrfs, on one volume or several; its subvolumes are folders, as they are when the top one is mounted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dissect.btrfs.btrfs import Btrfs as Volume
from dissect.btrfs.btrfs import INode
from dissect.btrfs.stream import ExtentStream

from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.node import Content, Facts, Run, UnreadableError, kind_of

_PART_LIMIT = 128 << 10
"""A compressed extent is never longer, unpacked or not [bytes]."""


class Btrfs:
    """One btrfs file system.

    Args:
        files: All its volumes.
    """

    kind = "btrfs"
    folds_case = False

    def __init__(self, files: Sequence[DiskFile]) -> None:
        self._fs = Volume(list(files))
        missing = self._fs.sb.num_devices - len(files)
        if missing > 0:
            raise UnreadableError(
                f"{missing} of the {self._fs.sb.num_devices} volumes of this btrfs are not in the point"
            )
        self.label: str = self._fs.label
        self.note = (
            ""
            if self._fs.sb.log_root == 0
            else "its log was not empty: the last seconds before the point may be missing"
        )

    def root(self) -> INode:
        """The topmost folder, of the top subvolume."""
        return self._fs.fs_tree.root

    def children(self, folder: INode) -> Iterator[tuple[str, INode]]:
        """The entries of a folder."""
        for name, node in folder.iterdir():
            if name not in (".", "..", ""):
                yield name, node

    def facts(self, node: INode) -> Facts:
        """What an inode says."""
        return Facts(
            kind=kind_of(node.mode),
            mode=node.mode & 0o7777,
            size=node.size,
            uid=node.uid,
            gid=node.gid,
            mtime_ns=node.mtime_ns,
            links=node.inode.nlink,
            inode=f"{node.subvolume.objectid}.{node.inum}",
        )

    def glance(self, node: INode) -> tuple[str, str]:
        """Kind and inode."""
        return kind_of(node.type), f"{node.subvolume.objectid}.{node.inum}"

    def link(self, node: INode) -> str:
        """Where a link points."""
        return str(node.link)

    def content(self, node: INode) -> Content:
        """A file's bytes."""
        stream: Content = node.open()
        if isinstance(stream, ExtentStream):
            for extent in stream.extents:
                if extent.encryption or (extent.compression and extent.disk_length > _PART_LIMIT):
                    raise UnreadableError("it is encrypted, or its extents are damaged")
        return stream

    def runs(self, content: Any) -> tuple[list[Run], int]:
        """Where a file's blocks are; only whether they are holes is right."""
        if not isinstance(content, ExtentStream):
            return [], 0
        return [(extent.disk_offset or None, extent.length) for extent in content.extents], 1
