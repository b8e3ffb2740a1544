"""A local unix socket whose other end is a unix socket on the host, inside the SSH login."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmtui.model.stream import Stream

_CHUNK = 256 << 10


class Forward:
    """Accepts local connections and pumps each through a stream of its own.

    Args:
        connect: Opens the stream to the host; its errors close the local connection.
    """

    def __init__(self, connect: Callable[[], Stream]) -> None:
        self._connect = connect
        self._folder = tempfile.mkdtemp(prefix="vmtui-")  # 0700: nobody else may use our login
        self.path = str(Path(self._folder) / "s")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(8)
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        self._closed = False
        self.error: Exception | None = None
        """Why the last connection could not be made."""
        threading.Thread(target=self._accept, name="forward", daemon=True).start()

    def hide(self) -> None:
        """Remove the socket, as whoever it was for has connected: nothing is left behind, however we end."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Close all connections and remove the socket; safe to repeat."""
        with self._lock:
            self._closed = True
            ends, self._open = list(self._open), set()
        self._listener.close()
        for end in ends:
            _close(end)
        self.hide()

    def _accept(self) -> None:
        while True:
            try:
                local, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                remote = self._connect()
            except Exception as error:  # noqa: BLE001  # the edge of this thread: whoever connected asks for the reason
                self.error = error
                local.close()
                continue
            with self._lock:
                if self._closed:
                    _close(local)
                    _close(remote)
                    return
                self._open.update((local, remote))
            for source, sink in ((_receiver(local), remote), (_receiver(remote), local)):
                threading.Thread(
                    target=self._pump, args=(source, sink, local, remote), name="pump", daemon=True
                ).start()

    def _pump(self, receive: Callable[[memoryview], int], sink: Any, local: Any, remote: Any) -> None:
        buffer = memoryview(bytearray(_CHUNK))
        try:
            while size := receive(buffer):
                sink.sendall(buffer[:size])
        except (OSError, EOFError):
            pass  # either end went away; both are closed below
        finally:
            with self._lock:
                self._open.discard(local)
                self._open.discard(remote)
            _close(local)
            _close(remote)


def _receiver(end: Any) -> Callable[[memoryview], int]:
    return end.recv_into  # type: ignore[no-any-return]  # sockets and streams share this call


def _close(end: Any) -> None:
    """Close a socket or stream so that the other pump wakes up."""
    if isinstance(end, socket.socket):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more
    end.close()


def fits_socket_path(path: str) -> bool:
    """Whether a path is short enough for a unix socket (107 bytes and a zero)."""
    return len(os.fsencode(path)) <= 107
