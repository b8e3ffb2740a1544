"""A point's disks at a unix socket on a host, for as long as somebody stands by them.

The host's QEMU connects to the socket, its sshd hands the connection through our login, and we answer
from the repository. When the login breaks, a new one takes the same socket over; QEMU connects again by
itself at its next request. What it asked for meanwhile fails there: a VM on top must pause on errors
(`back_by_offer` sees to that), and whoever started it must resume it.
"""

from __future__ import annotations

import contextlib
import logging
import posixpath
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from vmtui.hosts import HostSession, reverse
from vmtui.model.errors import FailedError, VmtuiError
from vmtui.nbd import Export, NbdServer
from vmtui.repository import Repository
from vmtui.repository.disk_view import DiskView

_LOG = logging.getLogger(__name__)

_LOOK_S = 0.5
"""How often the login is looked at [s]."""
_PAUSE_S = (0.2, 1.0, 2.0, 5.0)
"""Waits between tries to log in again [s]; the last one for ever."""
_NAME_BYTES = 6


class Stored(Protocol):
    """A disk in the repository: one of a point, or of a plan that was made from it."""

    @property
    def virtual_size(self) -> int:
        """[bytes]"""

    @property
    def root(self) -> str:
        """Of its map."""


@dataclass(frozen=True, slots=True)
class OfferedDisk:
    """Where a disk can be read on the host."""

    target: str
    """The VM's name of the disk, and the name of the export."""
    socket: str
    """Unix socket on the host."""
    size: int
    """[bytes]"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A read that failed; QEMU got an I/O error for it and nothing else."""

    target: str
    offset: int
    """[bytes]"""
    length: int
    error: Exception


def new_folder(session: HostSession) -> str:
    """A name for the folder of an offer's socket on the host; nothing is made."""
    return posixpath.join(reverse.base_folder(session), f"vmtui-{secrets.token_hex(_NAME_BYTES)}")


class Offer:
    """The disks of a point, readable on a host. A context manager; leaving it ends the offer.

    Several threads of its own serve and stand by; they end with it.

    Args:
        log_in: A new login to the host, owned from now on; it carries the disks and nothing else.
        folder: On the host, for the socket (`new_folder`); the same one takes over from a predecessor.
        repository: In step (`sync`).
        disks: What to offer, by target.
        keep: Leave the folder on the host behind at the end, as somebody will take over.
        failed: Told of every read that failed; from several threads.

    Raises:
        FailedError: The folder on the host cannot be used.
        UnreachableError: The host does not answer, or its sshd does not listen for us.
        DamageError: A disk's root is not one.
    """

    def __init__(
        self,
        log_in: Callable[[], HostSession],
        folder: str,
        repository: Repository,
        disks: Mapping[str, Stored],
        *,
        keep: bool = False,
        failed: Callable[[Failure], None] | None = None,
    ) -> None:
        self._log_in = log_in
        self._folder = folder
        self._keep = keep
        self._failed = failed or (lambda _: None)
        socket = reverse.socket_in(folder)
        self.disks = {name: OfferedDisk(name, socket, disk.virtual_size) for name, disk in disks.items()}
        views: dict[str, Export] = {
            name: DiskView(repository, name, disk.virtual_size, disk.root) for name, disk in disks.items()
        }
        self._server = NbdServer(views, self._trouble)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._session: HostSession | None = None
        self._logins = 0
        self.trouble: VmtuiError | None = None
        """Why it cannot be reached at the moment."""
        self._thread = threading.Thread(target=self._stand_by, name=f"offer {folder}", daemon=True)

    def __enter__(self) -> Self:
        self._connect()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; safe to repeat."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._server.close()
        with self._lock:
            session, self._session = self._session, None
        if session is None:
            return
        if not self._keep:
            with contextlib.suppress(VmtuiError):  # an empty folder; the next one makes its own
                reverse.remove(session, self._folder)
        session.close()

    @property
    def standing(self) -> bool:
        """Whether the disks can be read now, as far as is known."""
        with self._lock:
            return self._session is not None and self._session.alive

    @property
    def logins(self) -> int:
        """How often the host was logged in to so far; a higher number than before means that there was a gap."""
        with self._lock:
            return self._logins

    # -- inside ----------------------------------------------------------------------------------

    def _connect(self) -> None:
        session = self._log_in()
        try:
            reverse.listen(session, self._folder, self._server.serve)
        except BaseException:
            session.close()
            raise
        with self._lock:
            self._session = session
            self._logins += 1
        self.trouble = None

    def _stand_by(self) -> None:
        """Log in again whenever the login has broken."""
        while not self._stop.wait(_LOOK_S):
            if self.standing:
                continue
            with self._lock:
                broken, self._session = self._session, None
            if broken is not None:
                broken.close()
            self._reconnect()

    def _reconnect(self) -> None:
        tries = 0
        while not self._stop.is_set():
            try:
                self._connect()
                return
            except VmtuiError as error:
                self.trouble = error
            except Exception as error:  # noqa: BLE001  # the edge of this thread: without it the VM has no disks for good
                _LOG.exception("the disks at %s are not offered", self._folder)
                self.trouble = FailedError("INTERNAL", f"{type(error).__name__}: {error}")
            self._stop.wait(_PAUSE_S[min(tries, len(_PAUSE_S) - 1)])
            tries += 1

    def _trouble(self, export: str, offset: int, length: int, error: Exception) -> None:
        self._failed(Failure(export, offset, length, error))
