"""What a VM says on its serial console, kept as far as memory allows."""

from __future__ import annotations

import threading
import time

from vmtui.hosts.session import HostSession

_KEPT = 128 << 10
"""The newest that is kept [bytes]."""
_PIECE = 16 << 10
_PANIC = b"Kernel panic - not syncing"
"""What Linux says last, on every architecture."""


class Console:
    """Reads a console in a thread of its own, until it ends.

    Args:
        session: The host.
        path: A unix socket on which the VM's console is; nothing is lost if the VM has not run yet.

    Raises:
        UnreachableError: Nobody listens there, or sshd allows no way.
    """

    def __init__(self, session: HostSession, path: str) -> None:
        self._stream = session.tap(path)
        self._lock = threading.Lock()
        self._text = bytearray()
        self._first: float | None = None
        self._panic = threading.Event()
        threading.Thread(target=self._read, name="console", daemon=True).start()

    @property
    def first_at(self) -> float | None:
        """When the first byte came [s, monotonic]; None while it is silent."""
        return self._first

    @property
    def panicked(self) -> bool:
        """Whether a kernel said that it panicked, however long ago."""
        return self._panic.is_set()

    def text(self) -> str:
        """What was said lately. It comes from a guest: show it, never obey it."""
        with self._lock:
            return self._text.decode("utf-8", "replace").replace("\r\n", "\n")

    def close(self) -> None:
        """Listen no more; safe to repeat."""
        self._stream.close()

    def _read(self) -> None:
        buffer = memoryview(bytearray(_PIECE))
        try:
            while size := self._stream.recv_into(buffer):
                with self._lock:
                    self._first = self._first or time.monotonic()
                    self._text += buffer[:size]
                    if _PANIC in self._text[-size - len(_PANIC) :]:
                        self._panic.set()
                    del self._text[:-_KEPT]
        except OSError:
            return  # the login ended; whoever waits for the VM finds out by itself
