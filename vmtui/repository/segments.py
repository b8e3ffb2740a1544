r"""Index segments: which pack holds which blob.

    magic "vmtuiIX" and version (8) | salt (32) | zstd, sealed in an encrypted repository, of, for each pack:
        SHA-256 of the pack (32) | salt of the pack (32) | size u64 | entry count u32 | entries as in a pack's directory

A segment is named by the SHA-256 of its bytes. Segments are written after the packs they name are
durable, never changed, and hold nothing that the packs' own directories do not hold, so the index can
always be made again from the packs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import zstandard

from vmtui.repository.keys import SALT_SIZE, Keys, new_salt
from vmtui.repository.packs import ENTRY, PackInfo, pack_entries, unpack_entries
from vmtui.repository.store import INDEX, ObjectStore, damaged

MAGIC = b"vmtuiIX"
_HEAD = struct.Struct(f"<32s{SALT_SIZE}sQI")
_LIMIT = 1 << 30
"""No segment is longer when unpacked [bytes]."""


def build(packs: Sequence[PackInfo], keys: Keys) -> tuple[str, bytes]:
    """Name and bytes of a segment."""
    salt = new_salt()
    body = b"".join(
        _HEAD.pack(bytes.fromhex(pack.name), pack.salt, pack.size, len(pack.entries)) + pack_entries(pack.entries)
        for pack in packs
    )
    payload = keys.box(salt).seal(0, zstandard.ZstdCompressor(level=1).compress(body), MAGIC)
    data = MAGIC + keys.version + salt + payload
    return hashlib.sha256(data).hexdigest(), data


def read(store: ObjectStore, name: str, keys: Keys) -> list[PackInfo]:
    """Load, check and parse a segment.

    Raises:
        DamageError: It is missing or not as written.
    """
    data = store.get(INDEX, name)
    check_name(name, data)
    start = len(MAGIC) + 1
    if not data.startswith(MAGIC + keys.version):
        raise damaged(INDEX, name, "it is of another kind or version, or not encrypted as this repository is")
    payload = keys.box(data[start : start + SALT_SIZE]).open(0, data[start + SALT_SIZE :], MAGIC)
    if payload is None:
        raise damaged(INDEX, name, "it was not sealed with this repository's key")
    try:
        body = zstandard.ZstdDecompressor().decompress(payload, max_output_size=_LIMIT)
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
        pack, pack_salt, size, count = _HEAD.unpack_from(body, position)
        position += _HEAD.size
        end = position + count * ENTRY.size
        if end > len(body):
            raise ValueError("cut short")
        packs.append(PackInfo(pack.hex(), pack_salt, size, unpack_entries(body[position:end])))
        position = end
    return packs
