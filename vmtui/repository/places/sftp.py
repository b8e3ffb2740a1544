"""A folder of a host that is reached by SSH."""

from __future__ import annotations

import builtins
import errno
import posixpath
import secrets
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from borgstore.backends.errors import BackendAlreadyExists, BackendDoesNotExist, ObjectNotFound
from borgstore.constants import TMP_SUFFIX

from vmtui.model.errors import UnreachableError
from vmtui.repository.places.base import Changed, ObjectInfo, Place, Trouble

_PASSING = ("HOST-UNREACHABLE", "HOST-TIMEOUT")


class SftpFiles(Protocol):
    """Files of a host. Safe to use from several threads.

    Its methods raise OSError, FileNotFoundError where nothing is at the path, ConnectionError when the login ended.
    """

    def info(self, path: str) -> tuple[int, bool] | None:
        """Size [bytes] of what is there, and whether it is a folder; None when nothing is."""

    def list(self, folder: str) -> builtins.list[tuple[str, int, bool]]:
        """Name, size and whether it is a folder, of everything in a folder."""

    def read(self, path: str, offset: int, size: int | None) -> bytes:
        """Bytes of a file; fewer where it ends before."""

    def write_new(self, path: str, data: bytes | memoryview) -> None:
        """Make a file that is not there; its bytes are durable where the host can do that."""

    def replace(self, old: str, new: str) -> None:
        """Rename in one step over whatever file is there."""

    def remove(self, path: str) -> None:
        """Remove a file."""

    def make_folder(self, path: str) -> None:
        """Make a folder (0700)."""

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable where the host can do that."""

    def free_bytes(self, folder: str) -> int | None:
        """Space left [bytes], where the host says it."""

    def close(self) -> None:
        """End the login."""


OpenSftp = Callable[[str], SftpFiles]
"""Logs in to a host of the configuration, by its name."""


class Sftp(Place):
    """Objects are files below a folder of a host.

    Args:
        host: Its name in the configuration.
        folder: The absolute path there.
        open_sftp: Logs in.
    """

    exact_listings: bool = True

    def __init__(self, host: str, folder: str, open_sftp: OpenSftp) -> None:
        self._host = host
        self._folder = folder
        self._open = open_sftp
        self._lock = threading.Lock()
        self._kept: SftpFiles | None = None
        self._changed = Changed()

    def create(self, namespaces: Iterable[str]) -> None:
        with self._login() as files:
            self._make(files, self._folder)
            if files.list(self._folder):
                raise BackendAlreadyExists(f"{self._folder} is not empty")
            for name in namespaces:
                files.make_folder(posixpath.join(self._folder, name))
            files.sync_folder(self._folder)
            files.sync_folder(posixpath.dirname(self._folder))

    def check(self) -> None:
        with self._login() as files:
            found = files.info(self._folder)
        if found is None or not found[1]:
            raise BackendDoesNotExist(f"there is no folder {self._folder} on {self._host}")

    def free_bytes(self) -> int | None:
        with self._login() as files:
            return files.free_bytes(self._folder)

    def store(self, path: str, data: bytes | memoryview) -> None:
        target = posixpath.join(self._folder, path)
        folder = posixpath.dirname(target)
        beside = posixpath.join(folder, secrets.token_hex(8) + TMP_SUFFIX)
        with self._login() as files:
            try:
                self._write(files, beside, data)
            except FileNotFoundError:
                if files.info(self._folder) is None:
                    raise BackendDoesNotExist(f"there is no folder {self._folder} on {self._host}") from None
                self._make(files, folder)
                self._write(files, beside, data)
            try:
                files.replace(beside, target)
            except OSError:
                _remove_quietly(files, beside)
                raise
        self._changed.add(folder, posixpath.dirname(folder))

    def load(self, path: str, offset: int, size: int | None) -> bytes:
        with self._login() as files, _absent(path):
            return files.read(posixpath.join(self._folder, path), offset, size)

    def size(self, path: str) -> int | None:
        with self._login() as files:
            found = files.info(posixpath.join(self._folder, path))
        return None if found is None else found[0]

    def list(self, namespace: str) -> builtins.list[ObjectInfo]:
        with self._login() as files, _absent(namespace):
            return list(self._below(files, posixpath.join(self._folder, namespace)))

    def delete(self, path: str) -> None:
        target = posixpath.join(self._folder, path)
        with self._login() as files, _absent(path):
            files.remove(target)
        self._changed.add(posixpath.dirname(target))

    def flush(self) -> None:
        with self._login() as files:
            self._changed.flush(files.sync_folder)

    def judge(self, error: Exception) -> Trouble:
        if isinstance(error, UnreachableError):
            return Trouble.PASSING if error.id in _PASSING else Trouble.BROKEN
        if isinstance(error, ConnectionError | TimeoutError):
            return Trouble.PASSING
        if isinstance(error, PermissionError):
            return Trouble.DENIED
        return super().judge(error)

    # -- inside ----------------------------------------------------------------------------------

    def _login(self) -> _Using:
        with self._lock:
            if self._kept is None:
                self._kept = self._open(self._host)
                weakref.finalize(self, self._kept.close)
            return _Using(self, self._kept)

    def drop(self, dead: SftpFiles) -> None:
        """Forget a login that ended; the next call makes a new one."""
        with self._lock:
            if self._kept is dead:
                self._kept = None
        dead.close()

    def _write(self, files: SftpFiles, path: str, data: bytes | memoryview) -> None:
        try:
            files.write_new(path, data)
        except FileNotFoundError:
            raise
        except ConnectionError:
            raise
        except OSError as error:
            _remove_quietly(files, path)
            free = files.free_bytes(self._folder) if error.errno is None else None
            if free is not None and free < len(data):  # SFTP has no word for a full disk
                raise OSError(errno.ENOSPC, "no space left") from error
            raise

    @staticmethod
    def _make(files: SftpFiles, folder: str) -> None:
        """Make a folder and those above it where they are missing."""
        if folder == "/" or files.info(folder) is not None:
            return
        Sftp._make(files, posixpath.dirname(folder))
        try:
            files.make_folder(folder)
        except OSError:
            if files.info(folder) is None:  # else another thread made it
                raise

    @staticmethod
    def _below(files: SftpFiles, folder: str) -> Iterator[ObjectInfo]:
        for name, size, is_folder in files.list(folder):
            if not is_folder:
                if not name.endswith(TMP_SUFFIX):
                    yield ObjectInfo(name, size)
                continue
            try:
                yield from Sftp._below(files, posixpath.join(folder, name))
            except FileNotFoundError:
                continue  # it went away in between


class _Using:
    """A login in use; one that broke is forgotten."""

    def __init__(self, place: Sftp, files: SftpFiles) -> None:
        self._place = place
        self._files = files

    def __enter__(self) -> SftpFiles:
        return self._files

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ConnectionError | TimeoutError):
            self._place.drop(self._files)


class _absent:  # noqa: N801  # reads as the function that it acts as
    """Says that an object is not there in borgstore's words."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise ObjectNotFound(self._path) from error


def _remove_quietly(files: SftpFiles, path: str) -> None:
    try:
        files.remove(path)
    except OSError:
        pass  # what is left is never listed, and what went wrong before matters more
