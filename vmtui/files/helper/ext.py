"""ext2, ext3 and ext4."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import Any

from dissect.extfs.c_ext import c_ext
from dissect.extfs.extfs import ExtFS, INode
from dissect.util.stream import RunlistStream

from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.ext_map import extent_runs, pointer_runs
from vmtui.files.helper.node import Content, Facts, Run, UnreadableError, checked, kind_of

_ENTRY = struct.Struct("<IHBB")
"""inode, length of the entry, length of the name, type; on old volumes the type is the length's high byte."""
_RECOVER = 0x4
_META_BG = 0x10
_KINDS = {1: stat.S_IFREG, 2: stat.S_IFDIR, 7: stat.S_IFLNK}
"""Types in a folder's entries; of others the inode tells."""
_ENCRYPTED = 0x800
_SHORT_LINK = 60
"""A link shorter than this is in its inode [bytes]."""
_LINK_LIMIT = 65536
_FOLDER_LIMIT = 1 << 30
"""A folder of more bytes is not believed."""


class Ext:
    """One ext2, ext3 or ext4 volume."""

    folds_case = False

    def __init__(self, file: DiskFile) -> None:
        self._fs = ExtFS(file)
        incompatible = self._fs.sb.s_feature_incompat
        if incompatible & _META_BG:
            raise UnreadableError("ext4 with meta_bg, which is not supported")
        self.kind = f"ext{self._fs.type}"
        self.label: str = self._fs.volume_name
        self.note = (
            "its journal was not empty: the last seconds before the point may be missing"
            if incompatible & _RECOVER
            else ""
        )

    def root(self) -> INode:
        """The topmost folder."""
        return self._fs.root

    def children(self, folder: INode) -> Iterator[tuple[str, INode]]:
        """The entries of a folder.

        Read here, as dissect leaves out the last inode of a volume and an entry at the very end of a folder.
        """
        if folder.inode.i_flags & c_ext.EXT4_INLINE_DATA_FL:
            raise UnreadableError("a folder with inline data, which is not supported")
        if folder.size > _FOLDER_LIMIT:
            raise UnreadableError(f"a folder of {folder.size} bytes")
        stream = self.content(folder)
        block_size = self._fs.block_size
        for _ in range(-(-folder.size // block_size)):
            yield from self._entries(stream.read(block_size))

    def _entries(self, block: bytes) -> Iterator[tuple[str, INode]]:
        typed = self._fs._dirtype is c_ext.ext2_dir_entry_2  # noqa: SLF001  # nothing public tells
        offset = 0
        while offset + _ENTRY.size <= len(block):
            inode, length, name_length, high = _ENTRY.unpack_from(block, offset)
            length = 65536 if length in (0, 65535) and len(block) == 65536 else length
            if not typed:
                name_length += high << 8
            if length < _ENTRY.size or offset + _ENTRY.size + name_length > len(block):
                raise UnreadableError("a damaged folder")
            name = block[offset + _ENTRY.size : offset + _ENTRY.size + name_length]
            if inode and name not in (b".", b"..", b""):
                if inode > self._fs.sb.s_inodes_count:
                    raise UnreadableError(f"a damaged folder: it names inode {inode}")
                kind = _KINDS.get(high) if typed else None
                yield name.decode(errors="surrogateescape"), INode(self._fs, inode, filetype=kind)
            offset += length

    def facts(self, node: INode) -> Facts:
        """What an inode says."""
        inode = node.inode
        return Facts(
            kind=kind_of(inode.i_mode),
            mode=inode.i_mode & 0o7777,
            size=node.size,
            uid=inode.i_uid | inode.i_uid_high << 16,
            gid=inode.i_gid | inode.i_gid_high << 16,
            mtime_ns=node.mtime_ns,
            links=inode.i_links_count,
            inode=str(node.inum),
        )

    def glance(self, node: INode) -> tuple[str, str]:
        """Kind and inode."""
        return kind_of(node.filetype), str(node.inum)

    def link(self, node: INode) -> str:
        """Where a link points."""
        stream = node.open() if node.size < _SHORT_LINK else self.content(node)
        return bytes(stream.read(_LINK_LIMIT)).decode(errors="surrogateescape")

    def content(self, node: INode) -> Content:
        """A file's bytes."""
        root = bytes(node.inode.i_block)
        if node.inode.i_flags & c_ext.EXT4_INLINE_DATA_FL:
            if node.size > len(root):
                raise UnreadableError("a file with inline data beside its inode, which is not supported")
            inline: Content = node.open()
            return inline
        if node.inode.i_flags & _ENCRYPTED:
            raise UnreadableError("it is encrypted")
        blocks = -(-node.size // self._fs.block_size)
        if node.inode.i_flags & c_ext.EXT4_EXTENTS_FL:
            runs = extent_runs(root, self._block, blocks)
        else:
            runs = pointer_runs(root, self._block, self._fs.block_size, blocks)
        stream: Content = RunlistStream(
            self._fs.fh, checked(runs, self._fs.block_count), node.size, self._fs.block_size
        )
        return stream

    def _block(self, number: int) -> bytes:
        if number >= self._fs.block_count:
            raise UnreadableError(f"it names block {number}, which is not on the volume")
        self._fs.fh.seek(number * self._fs.block_size)
        return bytes(self._fs.fh.read(self._fs.block_size))

    def runs(self, content: Any) -> tuple[list[Run], int]:
        """Where a file's blocks are."""
        return (content.runlist, content.block_size) if isinstance(content, RunlistStream) else ([], 0)
