"""Pictures of screens as PNG, whatever QEMU made of them. Pure."""

from __future__ import annotations

import re
import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PPM = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s")
_PIXELS = 1 << 26
LIMIT = 2 << 20
"""Largest picture that is kept [bytes]."""


def as_png(data: bytes) -> bytes:
    """A picture as PNG.

    Args:
        data: PNG, or the PPM of older libvirt.

    Raises:
        ValueError: It is neither.
    """
    if data.startswith(_SIGNATURE):
        return data
    head = _PPM.match(data)
    if head is None:
        raise ValueError("it is no picture that is known here")
    width, height = int(head[1]), int(head[2])
    pixels = memoryview(data)[head.end() :]
    if not 0 < width * height <= _PIXELS or len(pixels) < width * height * 3:
        raise ValueError("it is broken off")
    rows = b"".join(b"\0" + pixels[row * width * 3 : (row + 1) * width * 3] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a PNG [pixels]; (0, 0) when it is none."""
    if not data.startswith(_SIGNATURE) or len(data) < 24:
        return 0, 0
    width, height = struct.unpack_from(">II", data, 16)
    return int(width), int(height)
