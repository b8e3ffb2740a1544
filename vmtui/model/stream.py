"""A byte stream to a host, whatever carries it."""

from __future__ import annotations

from typing import Protocol


class Stream(Protocol):
    """A socket, or an SSH channel that acts like one."""

    def recv_into(self, buffer: memoryview, nbytes: int = 0, flags: int = 0, /) -> int:
        """Receive at most `len(buffer)` bytes; 0 at the end of the stream.

        Args:
            buffer: Where to.
            nbytes: At most so many; 0 stands for all of the buffer.
            flags: `socket.MSG_WAITALL` waits until all of it is there, or the stream ends.

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
