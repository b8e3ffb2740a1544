"""A folder of this machine.

borgstore's file backend flushes a file before it renames it into place, but not the folder that got the
new name, so after a power cut a committed object could be missing. `flush` closes that gap.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from borgstore.backends.errors import BackendDoesNotExist
from borgstore.backends.posixfs import PosixFS

from vmtui.model.errors import UnreachableError
from vmtui.repository.places.base import Changed, ObjectInfo, Place, objects_below


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
        if not self._begun(names):
            PosixFS(self._folder).create()
        for name in names:
            (self._folder / name).mkdir(exist_ok=True)
        _sync(str(self._folder))
        _sync(str(self._folder.parent))

    def _begun(self, namespaces: Iterable[str]) -> bool:
        """Whether there is nothing but what an earlier try left that was broken off before it put an object."""
        names = set(namespaces)
        left = list(self._folder.iterdir()) if self._folder.is_dir() else []
        return bool(left) and all(item.name in names and item.is_dir() and not any(item.iterdir()) for item in left)

    def check(self) -> None:
        if not self._folder.is_dir():
            raise BackendDoesNotExist(f"there is no folder {self._folder}")
        next(self._folder.iterdir(), None)

    def free_bytes(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

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
