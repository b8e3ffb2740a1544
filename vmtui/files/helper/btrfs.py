"""btrfs, on one volume or several; its subvolumes are folders, as they are when the top one is mounted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dissect.btrfs.btrfs import Btrfs as Volume
from dissect.btrfs.btrfs import INode
from dissect.btrfs.c_btrfs import c_btrfs
from dissect.btrfs.stream import ExtentStream

from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.node import Content, Facts, Run, UnreadableError, kind_of

_PART_LIMIT = 128 << 10
"""A compressed extent is never longer, unpacked or not [bytes]."""


@dataclass(frozen=True, slots=True)
class _Stub:
    """What a snapshot has where its source has another subvolume: an empty folder, as Linux shows it."""

    folder: INode
    """Where it is."""
    name: str

    @property
    def inode(self) -> str:
        """Tells it apart."""
        return f"{self.folder.subvolume.objectid}.{self.folder.inum}/{self.name}"


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

    def children(self, folder: INode | _Stub) -> Iterator[tuple[str, INode | _Stub]]:
        """The entries of a folder."""
        if isinstance(folder, _Stub):
            return
        cursor = folder.subvolume.tree.cursor()
        for _, data in cursor.iter(folder.inum, c_btrfs.BTRFS_DIR_INDEX_KEY, 0, ignore_offset=True):
            item = c_btrfs.btrfs_dir_item(data)
            name: str = item.name.decode(errors="surrogateescape")
            if name not in (".", "..", ""):
                yield name, self._child(folder, name, item)

    def _child(self, folder: INode, name: str, item: Any) -> INode | _Stub:
        number = item.location.objectid
        if item.location.type == c_btrfs.BTRFS_INODE_ITEM_KEY:
            return folder.subvolume.inode(number, item.type, folder)
        if item.location.type != c_btrfs.BTRFS_ROOT_ITEM_KEY:
            raise UnreadableError(f"its entry {name!r} is of an unknown kind")
        if self._is_home(folder, name, number):
            return self._fs.open_subvolume(number, folder).root
        return _Stub(folder, name)

    def _is_home(self, folder: INode, name: str, subvolume: int) -> bool:
        """Whether a subvolume lives here; a snapshot has the entries of those in its source, which may long be gone."""
        cursor = self._fs._root_tree.cursor()  # noqa: SLF001  # nothing public tells
        for _, data in cursor.iter(folder.subvolume.objectid, c_btrfs.BTRFS_ROOT_REF_KEY, subvolume):
            reference = c_btrfs.btrfs_root_ref(data)
            return bool(reference.dirid == folder.inum and reference.name == name.encode(errors="surrogateescape"))
        return False

    def facts(self, node: INode | _Stub) -> Facts:
        """What an inode says."""
        if isinstance(node, _Stub):
            return Facts("folder", 0o755, 0, 0, 0, node.folder.mtime_ns, 1, node.inode)
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

    def glance(self, node: INode | _Stub) -> tuple[str, str]:
        """Kind and inode."""
        if isinstance(node, _Stub):
            return "folder", node.inode
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
