r"""Index segments: which pack holds which blob.

    magic "vmtuiIX\x01" (8) | zstd of, for each pack:
        SHA-256 of the pack (32) | size u64 | entry count u32 | entries as in a pack's directory

A segment is named by the SHA-256 of its bytes. Segments are written after the packs they name are
durable, never changed, and hold nothing that the packs' own directories do not hold, so the index can
always be made again from the packs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import zstandard

from vmtui.repository.packs import ENTRY, PackInfo, pack_entries, unpack_entries
from vmtui.repository.store import INDEX, ObjectStore, damaged

MAGIC = b"vmtuiIX\x01"
_HEAD = struct.Struct("<32sQI")
_LIMIT = 1 << 30
"""No segment is longer when unpacked [bytes]."""


def build(packs: Sequence[PackInfo]) -> tuple[str, bytes]:
    """Name and bytes of a segment."""
    body = b"".join(
        _HEAD.pack(bytes.fromhex(pack.name), pack.size, len(pack.entries)) + pack_entries(pack.entries)
        for pack in packs
    )
    data = MAGIC + zstandard.ZstdCompressor(level=1).compress(body)
    return hashlib.sha256(data).hexdigest(), data


def read(store: ObjectStore, name: str) -> list[PackInfo]:
    """Load, check and parse a segment.

    Raises:
        DamageError: It is missing or not as written.
    """
    data = store.get(INDEX, name)
    check_name(name, data)
    if not data.startswith(MAGIC):
        raise damaged(INDEX, name, "it is of another kind or version")
    try:
        body = zstandard.ZstdDecompressor().decompress(data[len(MAGIC) :], max_output_size=_LIMIT)
        return _parse(body)
    except (zstandard.ZstdError, ValueError, struct.error) as error:
        raise damaged(INDEX, name, str(error)) from error


def check_name(name: str, data: bytes) -> None:
    """Return if the bytes are those that the name stands for.

    Raises:
        DamageError: They are not.
    """
    if hashlib.sha256(data).hexdigest() != name:
        raise damaged(INDEX, name, "its bytes do not match its name")


def _parse(body: bytes) -> list[PackInfo]:
    packs = []
    position = 0
    while position < len(body):
        pack, size, count = _HEAD.unpack_from(body, position)
        position += _HEAD.size
        end = position + count * ENTRY.size
        if end > len(body):
            raise ValueError("cut short")
        packs.append(PackInfo(pack.hex(), size, unpack_entries(body[position:end])))
        position = end
    return packs
