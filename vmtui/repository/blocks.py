"""Blobs: blocks of disks and nodes of disk maps, and the form in which they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import zstandard

ID_SIZE = 32
ZERO_ID = bytes(ID_SIZE)
"""Stands for a block, or a whole subtree, of zeroes; never stored."""


class Kind(IntEnum):
    """What a blob is."""

    BLOCK = 0
    NODE = 1


class Codec(IntEnum):
    """How a blob is stored."""

    RAW = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob in its stored form."""

    id: bytes
    kind: Kind
    codec: Codec
    size: int
    """Unpacked length [bytes]."""
    payload: Any
    """Bytes-like."""


class Packer:
    """Compresses blobs. Belongs to one thread.

    Args:
        level: zstd level.
    """

    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False)

    def pack(self, ids: Sequence[bytes], kind: Kind, datas: Sequence[Any]) -> list[Blob]:
        """Compress many blobs with one release of the interpreter's lock; what does not shrink stays raw."""
        if not datas:
            return []
        packed = self._compressor.multi_compress_to_buffer(list(datas), threads=1)
        blobs = []
        for index, data in enumerate(datas):
            segment = packed[index]
            if len(segment) < len(data):
                blobs.append(Blob(ids[index], kind, Codec.ZSTD, len(data), segment.tobytes()))
            else:
                blobs.append(Blob(ids[index], kind, Codec.RAW, len(data), bytes(data)))
        return blobs


class Unpacker:
    """Decompresses blobs. Belongs to one thread."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor()

    def unpack(self, codec: int, payload: bytes | memoryview, size: int) -> bytes | None:
        """The blob's bytes; None when the payload cannot be of that size."""
        if codec == Codec.RAW:
            return bytes(payload) if len(payload) == size else None
        if codec != Codec.ZSTD:
            return None
        try:
            data: bytes = self._decompressor.decompress(payload, max_output_size=size)
        except zstandard.ZstdError:
            return None
        return data if len(data) == size else None
