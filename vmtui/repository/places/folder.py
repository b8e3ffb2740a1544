"""A folder of this machine.

borgstore's file backend flushes a file before it renames it into place, but not the folder that got the
new name, so after a power cut a committed object could be missing. `flush` closes that gap.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from borgstore.backends.errors import BackendDoesNotExist
from borgstore.backends.posixfs import PosixFS
from borgstore.constants import TMP_SUFFIX

from vmtui.model.errors import UnreachableError
from vmtui.repository.places.base import Changed, ObjectInfo, Place, objects_below

_RESERVE_NAME = "reserve"
_RESERVE = 64 << 20
"""What is set aside at most [bytes], so that points can be deleted and garbage collected on a full disk."""
_RESERVE_PART = 100
"""And at most this part of the disk."""
_RESERVE_ROOM = 2


class Folder(Place):
    """Objects are files below a folder.

    Args:
        folder: Its absolute path.
    """

    checked: bool = False
    exact_listings: bool = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = Changed()
        self._lock = threading.Lock()
        self._backend: PosixFS | None = None
        self._seen: tuple[int, int] | None = None
        """Device and inode of the folder as first seen; an unmounted file system leaves another one behind."""

    def create(self, namespaces: Iterable[str]) -> None:
        names = list(namespaces)
        if not self._is_begun(names):
            PosixFS(self._folder).create()
        for name in names:
            (self._folder / name).mkdir(exist_ok=True)
        self.make_reserve()
        _sync(str(self._folder))
        _sync(str(self._folder.parent))

    def _is_begun(self, namespaces: Sequence[str]) -> bool:
        """Whether all that is there is what an earlier `create` left that did not come to its end."""
        if not self._folder.is_dir():
            return False
        there = {path.name for path in self._folder.iterdir()}
        files = (path for name in there & set(namespaces) for path in (self._folder / name).rglob("*"))
        objects = [path for path in files if path.is_file() and not path.name.endswith(TMP_SUFFIX)]
        return bool(there) and there <= {*namespaces, _RESERVE_NAME} and not objects

    def check(self) -> None:
        if not self._folder.is_dir():
            raise BackendDoesNotExist(f"there is no folder {self._folder}")
        next(self._folder.iterdir(), None)

    def free_bytes(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    def make_reserve(self) -> None:
        status = os.statvfs(self._folder)
        size = min(_RESERVE, status.f_blocks * status.f_frsize // _RESERVE_PART)
        path = self._folder / _RESERVE_NAME
        if path.exists() or self.free_bytes() < _RESERVE_ROOM * size:
            return
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, size))
        except OSError:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def use_reserve(self) -> None:
        path = self._folder / _RESERVE_NAME
        if path.exists() and self.free_bytes() < path.stat().st_size:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def store(self, path: str, data: bytes | memoryview) -> None:
        self._there().store(path, data)
        folder = (self._folder / path).parent
        self._changed.add(str(folder), str(folder.parent))

    def load(self, path: str, offset: int, size: int | None) -> bytes:
        data: bytes = self._there().load(path, offset=offset, size=size)
        return data

    def size(self, path: str) -> int | None:
        info = self._there().info(path)
        return info.size if info.exists else None

    def list(self, namespace: str) -> list[ObjectInfo]:
        return list(objects_below(self._there().list, namespace))

    def delete(self, path: str) -> None:
        self._there().delete(path)
        self._changed.add(str((self._folder / path).parent))

    def flush(self) -> None:
        self._changed.flush(_sync)

    def _there(self) -> PosixFS:
        """The backend, if the folder is the one that was there before: nothing lands below an empty mount point."""
        self.check()
        status = self._folder.stat()
        with self._lock:
            self._seen = self._seen or (status.st_dev, status.st_ino)
            if self._seen != (status.st_dev, status.st_ino):
                raise UnreachableError(
                    "REPO-UNREACHABLE",
                    f"Another folder is at {self._folder} now: the repository's file system went away.",
                )
            if self._backend is None:
                backend = PosixFS(self._folder, do_fsync=True)
                backend.open()
                self._backend = backend
            return self._backend


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
