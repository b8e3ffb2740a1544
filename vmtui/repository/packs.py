r"""Packs: many blobs in one object, with a directory at the end.

    magic "vmtuiPK\x01" (8)
    blobs, one after the other
    directory: zstd of entries, 44 bytes each:
        id (32) | kind u8 | codec u8 | zero u16 | stored length u32 | unpacked length u32
    trailer (48): directory length u32 | entry count u32 | first 32 bytes of SHA-256 of the directory | "\x01KPiutmv"

Integers are little endian. A pack is named by the SHA-256 of its bytes, so any store can check it. An
entry's offset is the sum of the lengths before it, plus 8.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import zstandard

from vmtui.repository.blocks import ID_SIZE, Blob
from vmtui.repository.store import PACKS, ObjectStore, damaged, missing

MAGIC = b"vmtuiPK\x01"
END_MAGIC = b"\x01KPiutmv"
TARGET_SIZE = 32 << 20
"""A pack is closed when it has grown to this [bytes]."""

ENTRY = struct.Struct(f"<{ID_SIZE}sBBHII")
_TRAILER = struct.Struct("<II32s8s")
_MAX_ENTRIES = 4 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a blob is in its pack."""

    id: bytes
    kind: int
    codec: int
    offset: int
    length: int
    """Stored length [bytes]."""
    size: int
    """Unpacked length [bytes]."""


@dataclass(frozen=True, slots=True)
class PackInfo:
    """A finished pack."""

    name: str
    size: int
    entries: tuple[Entry, ...]


class PackBuilder:
    """Collects blobs in memory until there are enough for a pack."""

    def __init__(self) -> None:
        self._data = bytearray(MAGIC)
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._data)

    @property
    def empty(self) -> bool:
        """Whether no blob was added yet."""
        return not self._entries

    def add(self, blob: Blob) -> None:
        """Append a blob."""
        length = len(blob.payload)
        self._entries.append(Entry(blob.id, blob.kind, blob.codec, len(self._data), length, blob.size))
        self._data += blob.payload

    def finish(self) -> tuple[PackInfo, memoryview]:
        """Close the pack and name it; its bytes are not copied, so nothing can be added any more."""
        directory = zstandard.ZstdCompressor(level=1).compress(pack_entries(self._entries))
        self._data += directory
        self._data += _TRAILER.pack(len(directory), len(self._entries), hashlib.sha256(directory).digest(), END_MAGIC)
        data = memoryview(self._data)
        return PackInfo(hashlib.sha256(data).hexdigest(), len(data), tuple(self._entries)), data


def pack_entries(entries: list[Entry] | tuple[Entry, ...]) -> bytes:
    """Entries in their binary form."""
    return b"".join(ENTRY.pack(item.id, item.kind, item.codec, 0, item.length, item.size) for item in entries)


def unpack_entries(data: bytes) -> tuple[Entry, ...]:
    """The inverse of `pack_entries`; offsets are summed up from the start of the pack.

    Raises:
        ValueError: Not a whole number of entries, or a reserved field that is not zero.
    """
    if len(data) % ENTRY.size:
        raise ValueError("not a whole number of entries")
    offset = len(MAGIC)
    entries = []
    for blob_id, kind, codec, zero, length, size in ENTRY.iter_unpack(data):
        if zero:
            raise ValueError("a reserved field is not zero")
        entries.append(Entry(blob_id, kind, codec, offset, length, size))
        offset += length
    return tuple(entries)


def read_directory(store: ObjectStore, name: str) -> PackInfo:
    """Read a pack's head, trailer and directory, and check all three; the blobs are not read.

    Raises:
        DamageError: The pack is missing, cut, or one of the three is not as written.
    """
    size = store.size(PACKS, name)
    if size is None:
        raise missing(PACKS, name)
    if size < len(MAGIC) + _TRAILER.size:
        raise damaged(PACKS, name, "it is cut short")
    if store.get(PACKS, name, 0, len(MAGIC)) != MAGIC:
        raise damaged(PACKS, name, "its head is not a pack's")
    trailer = store.get(PACKS, name, size - _TRAILER.size, _TRAILER.size)
    length = int.from_bytes(trailer[:4], "little")
    if length > size - len(MAGIC) - _TRAILER.size:
        raise damaged(PACKS, name, "its trailer is not as written")
    return parse_end(name, size, store.get(PACKS, name, size - _TRAILER.size - length, length + _TRAILER.size))


def parse_end(name: str, size: int, end: bytes) -> PackInfo:
    """Check and parse directory and trailer.

    Args:
        name: The pack.
        size: Its size [bytes].
        end: Its last bytes: exactly directory and trailer.

    Raises:
        DamageError: They are not as written.
    """
    if len(end) < _TRAILER.size:
        raise damaged(PACKS, name, "it is cut short")
    length, count, digest, magic = _TRAILER.unpack(end[-_TRAILER.size :])
    directory = end[: -_TRAILER.size]
    if magic != END_MAGIC or length != len(directory) or count > _MAX_ENTRIES:
        raise damaged(PACKS, name, "its trailer is not as written")
    if hashlib.sha256(directory).digest() != digest:
        raise damaged(PACKS, name, "its directory is not as written")
    try:
        data = zstandard.ZstdDecompressor().decompress(directory, max_output_size=max(1, count * ENTRY.size))
        entries = unpack_entries(data)
    except (zstandard.ZstdError, ValueError) as error:
        raise damaged(PACKS, name, f"its directory cannot be read: {error}") from error
    stored = sum(item.length for item in entries)
    if len(entries) != count or len(MAGIC) + stored + length + _TRAILER.size != size:
        raise damaged(PACKS, name, "its parts do not add up to its size")
    return PackInfo(name, size, entries)


def check_whole(name: str, data: bytes) -> PackInfo:
    """Check every byte of a pack by its name, then parse its directory.

    Raises:
        DamageError: It is not as written.
    """
    if hashlib.sha256(data).hexdigest() != name:
        raise damaged(PACKS, name, "its bytes do not match its name")
    length = int.from_bytes(data[-_TRAILER.size :][:4], "little")
    return parse_end(name, len(data), data[-_TRAILER.size - length :])
