"""Signs of life over the isolated network: an SSH banner, an HTTP status."""

from __future__ import annotations

import re

from vmtui.hosts import HostSession
from vmtui.model.errors import UnreachableError
from vmtui.model.stream import Stream
from vmtui.rehearsal.markers import Marker, MarkerKind

_SILENCE_S = 3.0
_LINE = 512
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


def answers(session: HostSession, port: int, marker: Marker) -> str:
    """Ask once.

    Args:
        session: The host.
        port: On the host's loopback address; it leads to the marker's port in the guest.
        marker: What counts.

    Returns:
        What answered, in words; empty when nothing did, or not what counts.
    """
    try:
        stream = session.dial(port, _SILENCE_S)
    except UnreachableError:
        if not session.alive:
            raise
        return ""
    try:
        if marker.kind is MarkerKind.HTTP:
            stream.sendall(f"GET {marker.path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return _status(_line(stream), marker)
        banner = _line(stream)
        return banner.decode("ascii", "replace").strip() if banner.startswith(b"SSH-") else ""
    except OSError:
        return ""  # nobody listens in the guest yet
    finally:
        stream.close()


def _status(line: bytes, marker: Marker) -> str:
    found = _STATUS.match(line)
    if found is None:
        return ""
    status = int(found[1])
    fits = status == marker.status if marker.status else status < 400
    return f"HTTP {status}" if fits else ""


def _line(stream: Stream) -> bytes:
    """The first line, or as much of it as is believed."""
    data = bytearray()
    buffer = memoryview(bytearray(_LINE))
    while b"\n" not in data and len(data) < _LINE:
        size = stream.recv_into(buffer[: _LINE - len(data)])
        if size == 0:
            break
        data += buffer[:size]
    return bytes(data)
