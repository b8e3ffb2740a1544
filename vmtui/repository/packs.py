r"""Packs: many blobs in one object, with a directory at the end.

    magic "vmtuiPK" and version (8) | salt (32)
    blobs, one after the other
    directory: zstd of entries, 44 bytes each:
        id (32) | kind u8 | codec u8 | zero u16 | stored length u32 | unpacked length u32
    trailer (48): directory length u32 | entry count u32 | SHA-256 of the directory (32) | "\x01KPiutmv" (8)

In an encrypted repository each blob is sealed with the number of its entry, and the directory as well.
Integers are little endian. A pack is named by the SHA-256 of its bytes, so any store can check it without
a key; its random salt makes sure that two packs never have the same name. An entry's offset is the sum of
the stored lengths before it, plus 40.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from vmtui.repository.blocks import ID_SIZE, Blob, Codec, Kind
from vmtui.repository.keys import LAST_PART, SALT_SIZE, Box, Keys, new_salt
from vmtui.repository.store import PACKS, ObjectStore, damaged, missing

MAGIC = b"vmtuiPK"
HEAD_SIZE = 8 + SALT_SIZE
END_MAGIC = b"\x01KPiutmv"
TARGET_SIZE = 32 << 20
"""A pack is closed when it has grown to this [bytes]."""

ENTRY = struct.Struct(f"<{ID_SIZE}sBBHII")
_TRAILER = struct.Struct("<II32s8s")
_BOUND = struct.Struct(f"<{ID_SIZE}sBBI")
_MAX_ENTRIES = 4 << 20
_KINDS = frozenset(Kind)
_CODECS = frozenset(Codec)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a blob is in its pack."""

    number: int
    """Its place in the directory."""
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
    salt: bytes
    size: int
    entries: tuple[Entry, ...]


class PackBuilder:
    """Collects blobs in memory until there are enough for a pack.

    Args:
        keys: Of the repository.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._salt = new_salt()
        self._box = keys.box(self._salt)
        self._blobs: list[Blob] = []
        self._size = HEAD_SIZE

    def __len__(self) -> int:
        return self._size

    @property
    def empty(self) -> bool:
        """Whether no blob was added yet."""
        return not self._blobs

    def add(self, blob: Blob) -> None:
        """Append a blob, whose payload must not change any more."""
        self._blobs.append(blob)
        self._size += len(blob.payload) + self._box.overhead

    def finish(self) -> tuple[PackInfo, bytes]:
        """Close the pack: seal, join, and name it."""
        parts: list[bytes | memoryview] = [MAGIC + self._keys.version + self._salt]
        entries = []
        offset = HEAD_SIZE
        for number, blob in enumerate(self._blobs):
            part = self._box.seal(number, blob.payload, bound(blob.id, blob.kind, blob.codec, blob.size))
            entries.append(Entry(number, blob.id, blob.kind, blob.codec, offset, len(part), blob.size))
            offset += len(part)
            parts.append(part)
        packed = zstandard.ZstdCompressor(level=1).compress(pack_entries(entries))
        directory = self._box.seal(LAST_PART, packed, MAGIC)
        parts += [
            directory,
            _TRAILER.pack(len(directory), len(entries), hashlib.sha256(directory).digest(), END_MAGIC),
        ]
        data = b"".join(parts)
        return PackInfo(hashlib.sha256(data).hexdigest(), self._salt, len(data), tuple(entries)), data


def bound(blob_id: bytes, kind: int, codec: int, size: int) -> bytes:
    """What is bound to a blob's seal."""
    return _BOUND.pack(blob_id, kind, codec, size)


def open_blob(box: Box, entry: Entry, stored: bytes | memoryview) -> bytes | memoryview | None:
    """A blob's payload, still compressed; None when it is not what was sealed."""
    return box.open(entry.number, stored, bound(entry.id, entry.kind, entry.codec, entry.size))


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """Entries in their binary form."""
    return b"".join(ENTRY.pack(item.id, item.kind, item.codec, 0, item.length, item.size) for item in entries)


def unpack_entries(data: bytes) -> tuple[Entry, ...]:
    """The inverse of `pack_entries`; offsets are summed up from the start of the pack.

    Raises:
        ValueError: Not a whole number of entries, or one that no writer makes.
    """
    if len(data) % ENTRY.size:
        raise ValueError("not a whole number of entries")
    offset = HEAD_SIZE
    entries = []
    for number, (blob_id, kind, codec, zero, length, size) in enumerate(ENTRY.iter_unpack(data)):
        if zero or kind not in _KINDS or codec not in _CODECS:
            raise ValueError(f"entry {number} is not as written")
        entries.append(Entry(number, blob_id, kind, codec, offset, length, size))
        offset += length
    return tuple(entries)


def read_directory(store: ObjectStore, name: str, keys: Keys) -> PackInfo:
    """Read a pack's head, trailer and directory, and check all three; the blobs are not read.

    Raises:
        DamageError: The pack is missing, cut, or one of the three is not as written.
    """
    size = store.size(PACKS, name)
    if size is None:
        raise missing(PACKS, name)
    if size < HEAD_SIZE + _TRAILER.size:
        raise damaged(PACKS, name, "it is cut short")
    head = store.get(PACKS, name, 0, HEAD_SIZE)
    trailer = store.get(PACKS, name, size - _TRAILER.size, _TRAILER.size)
    length = int.from_bytes(trailer[:4], "little")
    if length > size - HEAD_SIZE - _TRAILER.size:
        raise damaged(PACKS, name, "its trailer is not as written")
    end = store.get(PACKS, name, size - _TRAILER.size - length, length + _TRAILER.size)
    return parse_ends(name, size, head, end, keys)


def parse_ends(name: str, size: int, head: bytes, end: bytes, keys: Keys) -> PackInfo:
    """Check and parse head, directory and trailer.

    Args:
        name: The pack.
        size: Its size [bytes].
        head: Its first 40 bytes.
        end: Its last bytes: exactly directory and trailer.
        keys: Of the repository.

    Raises:
        DamageError: They are not as written.
    """
    if not head.startswith(MAGIC + keys.version):
        raise damaged(PACKS, name, "its head is not that of a pack of this repository")
    if len(head) < HEAD_SIZE or len(end) < _TRAILER.size:
        raise damaged(PACKS, name, "it is cut short")
    length, count, digest, magic = _TRAILER.unpack(end[-_TRAILER.size :])
    directory = end[: -_TRAILER.size]
    if magic != END_MAGIC or length != len(directory) or count > _MAX_ENTRIES:
        raise damaged(PACKS, name, "its trailer is not as written")
    if hashlib.sha256(directory).digest() != digest:
        raise damaged(PACKS, name, "its directory is not as written")
    salt = head[8:HEAD_SIZE]
    packed = keys.box(salt).open(LAST_PART, directory, MAGIC)
    if packed is None:
        raise damaged(PACKS, name, "it was not sealed with this repository's key")
    try:
        data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=max(1, count * ENTRY.size))
        entries = unpack_entries(data)
    except (zstandard.ZstdError, ValueError) as error:
        raise damaged(PACKS, name, f"its directory cannot be read: {error}") from error
    stored = sum(item.length for item in entries)
    if len(entries) != count or HEAD_SIZE + stored + length + _TRAILER.size != size:
        raise damaged(PACKS, name, "its parts do not add up to its size")
    return PackInfo(name, salt, size, entries)


def check_whole(name: str, data: bytes, keys: Keys) -> PackInfo:
    """Check every byte of a pack by its name, then parse its directory.

    Raises:
        DamageError: It is not as written.
    """
    check_name(name, data)
    return parse_whole(name, data, keys)


def check_name(name: str, data: bytes) -> None:
    """Return if the bytes are those that the name stands for.

    Raises:
        DamageError: They are not.
    """
    if hashlib.sha256(data).hexdigest() != name:
        raise damaged(PACKS, name, "its bytes do not match its name")


def parse_whole(name: str, data: bytes, keys: Keys) -> PackInfo:
    """Parse the directory of a pack that was read as a whole; its blobs are not checked.

    Raises:
        DamageError: Head, directory or trailer are not as written.
    """
    length = int.from_bytes(data[-_TRAILER.size :][:4], "little")
    return parse_ends(name, len(data), data[:HEAD_SIZE], data[-_TRAILER.size - length :], keys)
