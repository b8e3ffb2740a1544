"""A byte stream to a host, whatever carries it."""

from __future__ import annotations

from typing import Protocol


class Stream(Protocol):
    """A socket, or an SSH channel that acts like one."""

    def recv_into(self, buffer: memoryview) -> int:
        """Receive at most `len(buffer)` bytes; 0 at the end of the stream.

        Raises:
            OSError: The connection broke, or was silent for too long.
        """

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything.

        Raises:
            OSError: The connection broke.
        """

    def close(self) -> None:
        """Close; safe to repeat."""
