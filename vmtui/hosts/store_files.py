"""Files of a host that keeps a repository: by SFTP over a login of its own, many requests in flight.

paramiko forgets the errors of pipelined writes and reads one answer at a time; both are done here with its
protocol calls, so that no lost write goes unseen and a link with a long delay is used fully.
"""

from __future__ import annotations

import contextlib
import stat
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paramiko
from paramiko.sftp import CMD_DATA, CMD_EXTENDED, CMD_EXTENDED_REPLY, CMD_READ, CMD_STATUS, CMD_WRITE, int64

from vmtui.hosts.login import Login
from vmtui.hosts.trust import TrustStore
from vmtui.model.host import Host

_CHANNELS = 4
"""SFTP sessions in one login; sshd allows ten by default."""
_PIECE = 32 << 10
"""The most that every server takes in one request [bytes]."""
_IN_FLIGHT = 64


class StoreFiles:
    """Files of a host; each call uses one of a few SFTP sessions. Safe to use from several threads.

    Args:
        host: The host.
        trust: Accepted host keys.
        jump: The configured jump host, if any.

    Raises:
        UnreachableError: No answer, an unaccepted key, or a refused identity.
    """

    def __init__(self, host: Host, trust: TrustStore, jump: Host | None = None) -> None:
        self._host = host
        self._login = Login(host, trust, jump)
        self._free = threading.BoundedSemaphore(_CHANNELS)
        self._lock = threading.Lock()
        self._idle: list[paramiko.SFTPClient] = []
        self._can_sync = True

    def close(self) -> None:
        """End the login; safe to repeat."""
        self._login.close()

    def info(self, path: str) -> tuple[int, bool] | None:
        """Size [bytes] of what is at `path`, and whether it is a folder; None when nothing is."""
        with self._session() as client:
            try:
                found = client.stat(path)
            except FileNotFoundError:
                return None
        return found.st_size or 0, stat.S_ISDIR(found.st_mode or 0)

    def list(self, folder: str) -> list[tuple[str, int, bool]]:
        """Name, size and whether it is a folder, of everything in a folder."""
        with self._session() as client:
            found = client.listdir_attr(folder)
        return [(item.filename, item.st_size or 0, stat.S_ISDIR(item.st_mode or 0)) for item in found]

    def read(self, path: str, offset: int, size: int | None) -> bytes:
        """Bytes of a file; fewer where it ends before."""
        with self._session() as client, client.open(path, "rb") as file:
            end = file.stat().st_size or 0
            if size is not None:
                end = min(end, offset + size)
            return b"".join(_pieces(_Pipeline(client), file.handle, offset, end))

    def write_new(self, path: str, data: bytes | memoryview) -> None:
        """Make a file (0600) that is not there, and flush it where the host can do that."""
        with self._session() as client, client.open(path, "wxb") as file:
            file.chmod(0o600)
            pipeline = _Pipeline(client)
            view = memoryview(data)
            for start in range(0, len(view), _PIECE):
                pipeline.send(CMD_WRITE, file.handle, int64(start), bytes(view[start : start + _PIECE]))
                if pipeline.waiting >= _IN_FLIGHT:
                    pipeline.next()
            while pipeline.waiting:
                pipeline.next()
            self._sync(client, file.handle)

    def replace(self, old: str, new: str) -> None:
        """Rename in one step over whatever file is there."""
        with self._session() as client:
            client.posix_rename(old, new)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._session() as client:
            client.remove(path)

    def make_folder(self, path: str) -> None:
        """Make a folder (0700)."""
        with self._session() as client:
            client.mkdir(path, 0o700)

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable where the host can do that; OpenSSH can."""
        if not self._can_sync:
            return
        with self._session() as client:
            try:
                folder = client.open(path, "r")
            except OSError as error:
                if isinstance(error, FileNotFoundError | PermissionError):
                    raise
                return  # a server that opens no folders cannot flush one
            with folder:
                self._sync(client, folder.handle)

    def free_bytes(self, folder: str) -> int | None:
        """Space left for this account [bytes], where the host says it."""
        with self._session() as client:
            try:
                kind, answer = client._request(CMD_EXTENDED, "statvfs@openssh.com", folder)
            except FileNotFoundError:
                raise
            except OSError:
                return None  # not known there
        if kind != CMD_EXTENDED_REPLY:
            return None
        answer.get_int64()  # block size
        unit = answer.get_int64()
        answer.get_int64()  # blocks
        answer.get_int64()  # free ones
        available: int = answer.get_int64()
        return available * int(unit)

    # -- inside ----------------------------------------------------------------------------------

    def _sync(self, client: paramiko.SFTPClient, handle: bytes) -> None:
        if not self._can_sync:
            return
        try:
            client._request(CMD_EXTENDED, "fsync@openssh.com", handle)
        except OSError as error:
            if "unsupported" not in str(error).lower():
                raise
            self._can_sync = False

    @contextmanager
    def _session(self) -> Iterator[paramiko.SFTPClient]:
        with self._free:
            with self._lock:
                client = self._idle.pop() if self._idle else None
            try:
                client = client or self._open()
                yield client
            except (paramiko.SSHException, EOFError, TimeoutError) as error:
                _close(client)
                raise ConnectionError(f"the login to {self._host.name} ended: {error}") from error
            except FileNotFoundError:
                self._give_back(client)
                raise
            except OSError as error:
                _close(client)  # answers may be on their way that belong to nobody
                if self._login.transport.is_active():
                    raise
                raise ConnectionError(f"the login to {self._host.name} ended: {error}") from error
            except BaseException:
                _close(client)
                raise
            self._give_back(client)

    def _give_back(self, client: paramiko.SFTPClient | None) -> None:
        if client is not None:
            with self._lock:
                self._idle.append(client)

    def _open(self) -> paramiko.SFTPClient:
        channel = self._login.transport.open_session(timeout=self._host.deadline_s)
        channel.settimeout(max(self._host.deadline_s, 30.0))
        channel.invoke_subsystem("sftp")
        return paramiko.SFTPClient(channel)


class _Pipeline:
    """Requests of one SFTP session whose answers are taken in the order of the requests."""

    def __init__(self, client: paramiko.SFTPClient) -> None:
        self._client = client
        self._sent: deque[int] = deque()
        self._answers: dict[int, tuple[int, Any]] = {}

    @property
    def waiting(self) -> int:
        """Requests without an answer that was taken."""
        return len(self._sent)

    def send(self, kind: int, *arguments: Any) -> None:
        """Ask without waiting."""
        self._sent.append(self._client._async_request(self, kind, *arguments))

    def next(self) -> tuple[int, Any]:
        """The answer to the oldest request.

        Raises:
            OSError: The server said that it failed.
            EOFError: The file ends before.
        """
        number = self._sent.popleft()
        while number not in self._answers:
            self._client._read_response()
        kind, message = self._answers.pop(number)
        if kind == CMD_STATUS:
            self._client._convert_status(message)
        return kind, message

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Called by paramiko with each answer."""
        self._answers[number] = (kind, message)


def _pieces(pipeline: _Pipeline, handle: bytes, start: int, end: int) -> Iterator[bytes]:
    """A stretch of an open file in its pieces; ends early where the file does."""
    asked: deque[tuple[int, int]] = deque()
    position = start
    while position < end or asked:
        while position < end and len(asked) < _IN_FLIGHT:
            size = min(_PIECE, end - position)
            pipeline.send(CMD_READ, handle, int64(position), size)
            asked.append((position, size))
            position += size
        at, size = asked.popleft()
        piece = _data(pipeline)
        yield piece
        if len(piece) < size:  # a server may give less than was asked for, anywhere
            while pipeline.waiting:
                with contextlib.suppress(EOFError):
                    pipeline.next()
            asked.clear()
            if not piece:
                return
            position = at + len(piece)


def _data(pipeline: _Pipeline) -> bytes:
    try:
        kind, message = pipeline.next()
    except EOFError:
        return b""
    if kind != CMD_DATA:
        raise paramiko.SFTPError("data were expected")
    data: bytes = message.get_string()
    return data


def _close(client: paramiko.SFTPClient | None) -> None:
    if client is not None:
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            client.close()
