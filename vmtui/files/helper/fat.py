"""FAT12, FAT16 and FAT32."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from dissect.fat.exceptions import EmptyDirectoryError, LastEmptyDirectoryError
from dissect.fat.fat import FATFS, DirectoryEntry
from dissect.util.stream import RunlistStream

from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.node import Content, Facts, Run, UnreadableError, checked

_LOWER_BASE = 0x08
_LOWER_EXTENSION = 0x10
"""Windows NT and Linux keep in these bits that a short name was written in small letters."""
_LAST = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}
_FOLDER_LIMIT = 1 << 26


class Fat:
    """One FAT volume."""

    folds_case = True
    note = "its times are local times of the guest, shown as UTC"

    def __init__(self, file: DiskFile) -> None:
        self._fs = FATFS(file)
        self.kind = f"fat{self._fs.fat.bits_per_entry}"
        self._clusters = self._fs.data_stream.size // self._fs.cluster_size
        label = self._fs.volume_label
        self.label = "" if label == "NO NAME" else label

    def root(self) -> Any:
        """The topmost folder."""
        return self._fs.root

    def children(self, folder: Any) -> Iterator[tuple[str, DirectoryEntry]]:
        """The entries of a folder."""
        if folder is self._fs.root and self._fs.fat.bits_per_entry < 32:
            stream: Any = folder.open()
        else:
            stream = self._chain(folder.cluster, None)
        while True:
            try:
                node = DirectoryEntry(self._fs, stream, folder)
            except EmptyDirectoryError:
                continue
            except (LastEmptyDirectoryError, EOFError):
                return
            if not node.is_volume_id() and node.name not in (".", ".."):
                yield _name(node), node

    def facts(self, node: Any) -> Facts:
        """What an entry says; FAT has no owners and no modes."""
        if node is self._fs.root:
            return Facts("folder", 0o755, 0, 0, 0, 0, 1, "root")
        folder = node.is_directory()
        mode = 0o755 if folder else 0o444 if node.is_readonly() else 0o644
        stamp = node.mtime.replace(tzinfo=UTC).timestamp() if node.dirent.DIR_WrtDate else 0
        size = 0 if folder else node.size
        return Facts("folder" if folder else "file", mode, size, 0, 0, int(stamp) * 10**9, 1, str(node.cluster))

    def glance(self, node: Any) -> tuple[str, str]:
        """Kind and first cluster; both are in the folder."""
        facts = self.facts(node)
        return facts.kind, facts.inode

    def link(self, node: Any) -> str:
        """FAT has no links."""
        raise UnreadableError("FAT has no links")

    def content(self, node: Any) -> Content:
        """A file's bytes."""
        stream: Content = self._chain(node.cluster, node.size)
        return stream

    def _chain(self, first: int, size: int | None) -> RunlistStream:
        """The stream of a chain of clusters.

        Followed here: dissect joins a cluster with the one before it on the disk, and follows circles for ever.

        Args:
            first: Its first cluster.
            size: Of the file; of a folder it is not known.
        """
        limit = _FOLDER_LIMIT if size is None else size
        runs: list[Run] = []
        clusters = 0
        last = _LAST[self._fs.fat.bits_per_entry]
        cluster = first
        while clusters * self._fs.cluster_size < limit and not (cluster == 0 and clusters == 0):
            if not 2 <= cluster < self._clusters + 2:
                raise UnreadableError(f"its chain of clusters leads to {cluster}, which is not on the volume")
            if clusters > self._clusters:
                raise UnreadableError("its chain of clusters goes in circles")
            place = cluster - 2
            if runs and runs[-1][0] is not None and runs[-1][0] + runs[-1][1] == place:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((place, 1))
            clusters += 1
            cluster = self._fs.fat.get(cluster)
            if cluster >= last:
                break
        length = clusters * self._fs.cluster_size
        if size is not None and size > length:
            raise UnreadableError("its chain of clusters ends before it does")
        return RunlistStream(
            self._fs.data_stream, checked(runs, self._clusters), length if size is None else size, self._fs.cluster_size
        )

    def runs(self, content: Any) -> tuple[list[Run], int]:
        """FAT has no holes."""
        return [], 0


def _name(node: DirectoryEntry) -> str:
    """The name as it was written."""
    name = str(node.name)
    if node.ldirents:
        return name
    bits = node.dirent.DIR_NTRes
    base, dot, extension = name.partition(".")
    base = base.lower() if bits & _LOWER_BASE else base
    return base + dot + (extension.lower() if bits & _LOWER_EXTENSION else extension)
