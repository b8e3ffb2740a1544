"""XFS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dissect.util.stream import RunlistStream
from dissect.xfs.c_xfs import c_xfs
from dissect.xfs.xfs import XFS, INode, fsb_to_bb

from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.node import Content, Facts, Run, UnreadableError, checked, kind_of
from vmtui.files.helper.xfs_log import unreplayed

_REALTIME = 0x1
_FOLDER_LIMIT = 1 << 30


class Xfs:
    """One XFS volume."""

    kind = "xfs"
    folds_case = False

    def __init__(self, file: DiskFile) -> None:
        self._fs = XFS(file)
        if self._fs.sb.sb_dirblklog:
            raise UnreadableError("xfs with folder blocks of several blocks (mkfs -n size), which is not supported")
        self.label: str = self._fs.name
        self.note = self._log_note(file)

    def _log_note(self, file: DiskFile) -> str:
        """What one should know of its log."""
        superblock = self._fs.sb
        if not superblock.sb_logstart:
            return "its log is on another device: the last changes before the point may be missing or wrong"
        group, place = fsb_to_bb(superblock.sb_logstart, superblock.sb_agblklog)
        start = (group * superblock.sb_agblocks + place) * self._fs.block_size
        if not unreplayed(file, superblock, start):
            return ""
        return "its log was not empty: changes of the last minute before the point may be missing or wrong"

    def root(self) -> INode:
        """The topmost folder."""
        return self._fs.root

    def children(self, folder: INode) -> Iterator[tuple[str, INode]]:
        """The entries of a folder."""
        if folder.size > _FOLDER_LIMIT:
            raise UnreadableError(f"a folder of {folder.size} bytes")
        for node in folder.iterdir():
            if node.filename not in (None, ".", "..", ""):
                yield node.filename, node

    def facts(self, node: INode) -> Facts:
        """What an inode says."""
        inode = node.inode
        return Facts(
            kind=kind_of(inode.di_mode),
            mode=inode.di_mode & 0o7777,
            size=node.size,
            uid=inode.di_uid,
            gid=inode.di_gid,
            mtime_ns=node.mtime_ns,
            links=inode.di_nlink,
            inode=str(node.inum),
        )

    def glance(self, node: INode) -> tuple[str, str]:
        """Kind and inode."""
        return kind_of(node.filetype), str(node.inum)

    def link(self, node: INode) -> str:
        """Where a link points."""
        return str(node.link)

    def content(self, node: INode) -> Content:
        """A file's bytes.

        Blocks that were allocated and never written are holes; dissect would give what lies in them.
        """
        if node.inode.di_flags & _REALTIME:
            raise UnreadableError("it is on a realtime volume, which is not supported")
        if node.inode.di_format == c_xfs.xfs_dinode_fmt.XFS_DINODE_FMT_LOCAL:
            local: Content = node.open()
            return local
        stream: Content = RunlistStream(self._fs.fh, self._runs(node), node.size, self._fs.block_size)
        return stream

    def _runs(self, node: INode) -> list[Run]:
        runs: list[Run] = []
        position = 0
        for offset, block, count, unwritten in node._iter_blocks():  # noqa: SLF001  # the public one forgets the mark
            if offset < position:
                raise UnreadableError("its extents are not in order")
            if offset > position:
                runs.append((None, offset - position))
            group, place = fsb_to_bb(block, self._fs.sb.sb_agblklog)
            runs.append((None if unwritten else group * self._fs.sb.sb_agblocks + place, count))
            position = offset + count
        blocks = -(-node.size // self._fs.block_size)
        if position < blocks:
            runs.append((None, blocks - position))
        return checked(runs, self._fs.sb.sb_dblocks)

    def runs(self, content: Any) -> tuple[list[Run], int]:
        """Where a file's blocks are."""
        return (content.runlist, content.block_size) if isinstance(content, RunlistStream) else ([], 0)
