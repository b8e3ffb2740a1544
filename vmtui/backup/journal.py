"""What a run has already read of a frozen view, on this machine's disk.

Records of 40 bytes: leaf u32 | node id (32) | CRC-32 u32 of both. They are written after the packs and
the index segment that hold the nodes are durable; a torn tail is ignored. A journal is only worth
something while the same libvirt job serves the same frozen view.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

_RECORD = struct.Struct("<I32sI")


class LeafJournal:
    """The finished leaves of one disk.

    Args:
        path: The journal file; None keeps them in memory alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.done: dict[int, bytes] = _load(path) if path is not None else {}
        self._whole = len(self.done) * _RECORD.size
        """Length of the file's part that can be believed [bytes]."""
        self._new: list[tuple[int, bytes]] = []

    def add(self, leaf: int, node: bytes) -> None:
        """Note a finished leaf; not yet written down."""
        self.done[leaf] = node
        self._new.append((leaf, node))

    def write_down(self) -> None:
        """Write new leaves to disk; call it after the repository has settled."""
        if self._path is None or not self._new:
            self._new = []
            return
        data = b"".join(_record(leaf, node) for leaf, node in self._new)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.truncate(self._whole)  # a torn record would hide all that come after it
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._whole += len(data)
        self._new = []

    def forget(self) -> None:
        """Start over: the frozen view is another one, or is read differently."""
        self.done.clear()
        self._whole = 0
        self._new = []
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _record(leaf: int, node: bytes) -> bytes:
    body = struct.pack("<I32s", leaf, node)
    return body + struct.pack("<I", zlib.crc32(body))


def _load(path: Path) -> dict[int, bytes]:
    if not path.is_file():
        return {}
    data = path.read_bytes()
    done = {}
    for start in range(0, len(data) - _RECORD.size + 1, _RECORD.size):
        leaf, node, crc = _RECORD.unpack_from(data, start)
        if zlib.crc32(data[start : start + _RECORD.size - 4]) != crc:
            break
        done[leaf] = node
    return done
