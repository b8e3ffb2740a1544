"""What was typed in the screens, handed to the worker over a private socket, from memory to memory."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from vmtui import keyring

_SOCKET = "worker.sock"
_LIMIT = 1 << 20
_PATIENCE_S = 2.0


def listen(state: Path) -> None:
    """Take what clients of the same user hand over; on a daemon thread, for the life of the worker."""
    path = state / _SOCKET
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(state) as folder:
        server.bind(f"{folder}/{_SOCKET}")
    path.chmod(0o600)
    server.listen(4)
    threading.Thread(target=_serve, args=(server,), name="handover", daemon=True).start()


def _serve(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(_PATIENCE_S)
            with contextlib.suppress(OSError, ValueError, AttributeError):
                if _peer(connection) == os.getuid():
                    _take(connection)


def _peer(connection: socket.socket) -> int:
    """The user at the other end, as the kernel says."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", data)
    return int(uid)


def _take(connection: socket.socket) -> None:
    data = b""
    while len(data) < _LIMIT and (piece := connection.recv(65536)):
        data += piece
    for host, secret in json.loads(data).items():
        keyring.keep(str(host), str(secret))
    connection.sendall(b"taken")


def hand_over(state: Path) -> bool:
    """Give the worker all that was typed here.

    Returns:
        Whether it took it, or there was nothing to give.
    """
    known = keyring.everything()
    if not known:
        return True
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_PATIENCE_S)
            with _short(state) as folder:
                client.connect(f"{folder}/{_SOCKET}")
            client.sendall(json.dumps(known).encode())
            client.shutdown(socket.SHUT_WR)
            return client.recv(16) == b"taken"
    except OSError:
        return False


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A folder by a descriptor: the path of a unix socket is limited to 107 bytes."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
