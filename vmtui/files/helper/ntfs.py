"""NTFS."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from dissect.ntfs.attr import Attribute
from dissect.ntfs.c_ntfs import ATTRIBUTE_TYPE_CODE, FILE_NAME_DOS
from dissect.ntfs.index import Index, IndexEntry
from dissect.ntfs.mft import MftRecord
from dissect.ntfs.ntfs import NTFS
from dissect.ntfs.util import segment_reference
from dissect.util.stream import RunlistStream

from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.node import Content, Facts, Run, UnreadableError

_SYSTEM_RECORDS = 16
"""The first records hold the file system's own files ($MFT, $LogFile …) and the root."""
_LOG_FILE = 2
"""Record of $LogFile."""
_RESTART_PAGE = 4096
"""Its first two pages say where to start again; the newer one counts."""
_RESTART_MAGIC = (b"RSTR", b"CHKD")
_RESTART_AREA = struct.Struct("<QHHHH")
"""LSN, number of clients, first free one, first one in use, flags."""
_NO_CLIENT = 0xFFFF
_WAS_CLOSED = 0x2
_DEPTH = 16
_READ_ONLY = 0x1
_ENCRYPTED = 0x4000


class Node:
    """A record, looked up when it is needed.

    Args:
        record: It, when it is known.
        entry: Else the entry in a folder that leads to it.
    """

    def __init__(self, record: MftRecord | None, entry: IndexEntry | None) -> None:
        self._record = record
        self.entry = entry

    @property
    def record(self) -> MftRecord:
        """The record."""
        if self._record is None and self.entry is not None:
            self._record = self.entry.dereference()
        return self._record


class Ntfs:
    """One NTFS volume."""

    kind = "ntfs"
    folds_case = True

    def __init__(self, file: DiskFile) -> None:
        self._fs = NTFS(file)
        self.label: str = self._fs.volume_name or ""
        if not self._fs.mft.root.is_dir():
            raise UnreadableError("its root is not a folder")
        self.note = (
            "it was in use, its log was not closed: the last seconds before the point may be missing"
            if self._log_is_open()
            else ""
        )

    def _log_is_open(self) -> bool:
        """Whether $LogFile may hold changes that are nowhere else; what is no log, as mkntfs leaves it, holds none."""
        with self._fs.mft.get(_LOG_FILE).open() as log:
            begin = log.read(2 * _RESTART_PAGE)
        newest = (-1, False)
        for page in (begin[:_RESTART_PAGE], begin[_RESTART_PAGE:]):
            if page[:4] not in _RESTART_MAGIC:
                continue
            area = int.from_bytes(page[24:26], "little")
            if area > len(page) - _RESTART_AREA.size:
                return True
            lsn, _, _, clients, flags = _RESTART_AREA.unpack_from(page, area)
            newest = max(newest, (lsn, clients != _NO_CLIENT and not flags & _WAS_CLOSED))
        return newest[1]

    def root(self) -> Node:
        """The topmost folder."""
        return Node(self._fs.mft.root, None)

    def children(self, folder: Node) -> Iterator[tuple[str, Node]]:
        """The entries of a folder.

        The tree is walked here: dissect reads all blocks of the index one after the other, also those that are
        free, and leaves out those that are damaged.
        """
        index = folder.record.index("$I30")
        for entry in _walk(index, index.root.entries(), _DEPTH, set()):
            name = entry.attribute
            if name is None or name.flags == FILE_NAME_DOS:
                continue
            if segment_reference(entry.header.FileReference) >= _SYSTEM_RECORDS:
                yield name.file_name, Node(None, entry)

    def glance(self, node: Node) -> tuple[str, str]:
        """Kind and record, from the entry of the folder."""
        if node.entry is None:
            return "folder", str(node.record.segment)
        name = node.entry.attribute
        kind = "link" if name.is_symlink() or name.is_mount_point() else "folder" if name.is_dir() else "file"
        return kind, str(segment_reference(node.entry.header.FileReference))

    def facts(self, thing: Node) -> Facts:
        """What a record says. NTFS has owners of another kind; they are left out."""
        node = thing.record
        standard = node.attributes.STANDARD_INFORMATION
        kind = "folder" if node.is_dir() else "file"
        if node.is_symlink() or node.is_mount_point():
            kind = "link"
        mode = 0o777 if kind != "file" else 0o666
        if standard.file_attributes & _READ_ONLY and kind == "file":
            mode &= 0o444
        return Facts(
            kind=kind,
            mode=mode,
            size=node.size() if kind == "file" and node.has_stream() else 0,
            uid=0,
            gid=0,
            mtime_ns=standard.last_modification_time_ns,
            links=_names(node),
            inode=str(node.segment),
        )

    def link(self, node: Node) -> str:
        """Where a symbolic link or a junction points, with slashes."""
        return str(node.record.reparse_point_name).replace("\\", "/")

    def content(self, thing: Node) -> Content:
        """A file's bytes; zero beyond what was ever written to it."""
        node = thing.record
        if node.is_reparse_point():
            raise UnreadableError("Windows keeps its bytes elsewhere (compressed by the system, or in a cloud)")
        if not node.has_stream():
            return _Head(None, 0, 0)
        first = sorted(
            (item for item in node.attributes.find("", ATTRIBUTE_TYPE_CODE.DATA) if not item.resident), key=_vcn
        )
        stream = node.open()
        if not first:
            return _Head(stream, stream.size, stream.size)
        header = first[0].header
        if header.flags & _ENCRYPTED:
            raise UnreadableError("it is encrypted (EFS)")
        return _Head(stream, stream.size, header.header.Form.Nonresident.ValidDataLength)

    def runs(self, content: Any) -> tuple[list[Run], int]:
        """Where a file's blocks are; not known for a compressed file."""
        stream = content.stream
        return (stream.runlist, stream.block_size) if type(stream) is RunlistStream else ([], 0)


class _Head:
    """A stream of which only the first bytes were ever written."""

    def __init__(self, stream: Any, size: int, written: int) -> None:
        self.stream = stream
        self.size = size
        self._written = min(size, written)
        self._position = 0

    def seek(self, position: int) -> None:
        """Set the position."""
        self._position = position

    def read(self, length: int) -> bytes:
        """Bytes from the position on."""
        length = max(0, min(length, self.size - self._position))
        there = max(0, min(length, self._written - self._position))
        data = b""
        if there:
            self.stream.seek(self._position)
            data = self.stream.read(there)
            if len(data) < there:
                raise UnreadableError("its blocks end before it does")
        self._position += length
        return data + bytes(length - there)


def _walk(index: Index, entries: Iterator[IndexEntry], depth: int, seen: set[int]) -> Iterator[IndexEntry]:
    """The entries of an index in order."""
    if depth == 0:
        raise UnreadableError("a damaged folder: its index is too deep")
    for entry in entries:
        if entry.is_node:
            if entry.node_vcn in seen:
                raise UnreadableError("a damaged folder: its index goes in circles")
            seen.add(int(entry.node_vcn))
            yield from _walk(index, index.index_buffer(entry.node_vcn).entries(), depth - 1, seen)
        if entry.is_end:
            return
        yield entry


def _names(node: MftRecord) -> int:
    """Hard links, without the short names of DOS."""
    return sum(item.flags != FILE_NAME_DOS for item in node.attributes.FILE_NAME)


def _vcn(item: Attribute) -> int:
    return int(item.header.lowest_vcn)
