"""What an NBD server serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Export(Protocol):
    """Bytes that can be read, from several threads at once.

    A failure to read is a `VmtuiError` or `OSError`; the client gets an I/O error for that request alone.
    """

    @property
    def size(self) -> int:
        """Length [bytes]."""

    def read(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        """Exactly `length` bytes at `offset`, which are inside."""

    def extents(self, offset: int, length: int) -> Iterable[tuple[int, bool]]:
        """(length [bytes], whether it reads as zeroes) of the stretches that make up a range, in order."""
