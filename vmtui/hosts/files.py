"""Files on a host, by SFTP."""

from __future__ import annotations

import posixpath
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import paramiko

from vmtui.calls import recorded
from vmtui.hosts.channels import HostTransport
from vmtui.model.errors import FailedError, UnreachableError

_PART = ".part"
"""Ends the name of a file that is not whole yet."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What matters of a file."""

    size: int
    regular: bool
    folder: bool
    changed: int = 0
    """When it was written last [s since 1970]."""


class Files:
    """SFTP calls with deadlines and our errors; one at a time.

    Args:
        transport: The login.
        host: Names it in errors.
        deadline_s: For each call.
    """

    def __init__(self, transport: HostTransport, host: str, deadline_s: float) -> None:
        self._transport = transport
        self._host = host
        self._deadline_s = deadline_s
        self._client: paramiko.SFTPClient | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the SFTP session; safe to repeat."""
        if self._client is not None:
            self._client.close()

    def info(self, path: str) -> FileInfo | None:
        """What is at `path`; None when nothing is."""
        with self._calling("look at", path) as client:
            try:
                attributes = client.stat(path)
            except FileNotFoundError:
                return None
        mode = attributes.st_mode or 0
        return FileInfo(attributes.st_size or 0, stat.S_ISREG(mode), stat.S_ISDIR(mode), attributes.st_mtime or 0)

    def exists(self, path: str) -> bool:
        """Whether anything is at `path`, even a dangling link."""
        with self._calling("look at", path) as client:
            try:
                client.lstat(path)
            except FileNotFoundError:
                return False
            return True

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty when there is no such folder."""
        with self._calling("list", folder) as client:
            try:
                return sorted(client.listdir(folder))
            except FileNotFoundError:
                return []

    def read(self, path: str, limit: int) -> bytes:
        """A file's bytes.

        Raises:
            FailedError: Not there, unreadable, or longer than `limit`.
        """
        with self._calling("read", path) as client, client.open(path, "rb") as file:
            size = file.stat().st_size or 0
            if size > limit:
                raise FailedError("REMOTE-COMMAND", f"{path} on {self._host} has {size} bytes, more than {limit}.")
            file.prefetch(size)
            data: bytes = file.read(limit + 1)
        if len(data) > limit:
            raise FailedError("REMOTE-COMMAND", f"{path} on {self._host} grew beyond {limit} bytes.")
        return data

    def write_new(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Make a new file, whole or not at all; never replaces one.

        Raises:
            FailedError: Something is there already, or the folder cannot be written.
        """
        if self.exists(path):
            raise FailedError("TARGET-EXISTS", f"{path} on {self._host} is already there.", host=self._host)
        part = path + _PART
        try:
            with self._calling("write", path) as client:
                with client.open(part, "wb") as file:
                    file.chmod(mode)
                    file.write(data)  # not pipelined: paramiko would drop the answer that says that the disk is full
                client.rename(part, path)
        except FailedError:
            self.remove(part)
            raise

    def rename(self, old: str, new: str) -> None:
        """Rename; refuses when `new` is there."""
        if self.exists(new):
            raise FailedError("TARGET-EXISTS", f"{new} on {self._host} is already there.", host=self._host)
        with self._calling("rename", old) as client:
            client.posix_rename(old, new)

    def remove(self, path: str) -> bool:
        """Remove a file; False when it was not there."""
        with self._calling("remove", path) as client:
            try:
                client.remove(path)
            except FileNotFoundError:
                return False
            return True

    def remove_new(self, path: str) -> None:
        """Remove what `write_new` made, or what one that died in it began. Safe to repeat."""
        self.remove(path)
        self.remove(path + _PART)

    def make_folder(self, path: str) -> None:
        """Make a folder (0700) that must not be there."""
        with self._calling("make", path) as client:
            client.mkdir(path, 0o700)

    def make_folders(self, path: str) -> None:
        """Make a folder and those above it (0700) where they are missing."""
        if path in ("", "/") or self.info(path) is not None:
            return
        self.make_folders(posixpath.dirname(path))
        self.make_folder(path)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder; nothing happens when it is not there."""
        with self._calling("remove", path) as client:
            try:
                client.rmdir(path)
            except FileNotFoundError:
                return

    @contextmanager
    def _calling(self, doing: str, path: str) -> Iterator[paramiko.SFTPClient]:
        with self._lock, recorded(self._host, "file", f"{doing} {path}"):
            try:
                yield self._open()
            except (paramiko.SSHException, EOFError, TimeoutError) as error:
                self._client = None
                raise UnreachableError(
                    "HOST-UNREACHABLE", f"{self._host}: the login ended at {path}: {error}.", host=self._host
                ) from error
            except OSError as error:
                reason = error.strerror or str(error) or "refused"
                raise FailedError(
                    "REMOTE-COMMAND",
                    f"could not {doing} {path} on {self._host}: {reason}",
                    host=self._host,
                    path=path,
                ) from error

    def _open(self) -> paramiko.SFTPClient:
        if self._client is None:
            channel = self._transport.open_session(timeout=self._deadline_s)
            channel.settimeout(self._deadline_s)
            channel.invoke_subsystem("sftp")
            self._client = paramiko.SFTPClient(channel)
        return self._client


def beside(path: str, name: str) -> str:
    """Path of a file in the same folder."""
    return posixpath.join(posixpath.dirname(path), name)
