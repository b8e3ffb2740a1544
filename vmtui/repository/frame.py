"""Small objects that carry their own proof: configuration, manifests, events, sessions.

    magic (8) | payload (zstd of JSON in UTF-8) | SHA-256 (32) of the object's name, a zero, and all before

The name is part of the digest, so that two objects cannot swap places unseen.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import zstandard

from vmtui.repository.store import damaged

_DIGEST = 32
_MAGIC = {
    "config": b"vmtuiCF\x01",
    "points": b"vmtuiPT\x01",
    "events": b"vmtuiEV\x01",
    "sessions": b"vmtuiSE\x01",
}
_LIMIT = 256 << 20
"""No manifest is longer when unpacked [bytes]."""


def seal(namespace: str, name: str, value: Any) -> bytes:
    """Frame a JSON value as the object `namespace/name`."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    body = _MAGIC[namespace] + zstandard.ZstdCompressor(level=9).compress(text)
    return body + _digest(namespace, name, body)


def unseal(namespace: str, name: str, data: bytes) -> Any:
    """The JSON value of an object.

    Raises:
        DamageError: The bytes are not those that were written under this name.
    """
    magic = _MAGIC[namespace]
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if len(data) < len(magic) + _DIGEST or _digest(namespace, name, body) != digest:
        raise damaged(namespace, name, "its digest does not match")
    if not body.startswith(magic):
        raise damaged(namespace, name, "it is of another kind or version")
    try:
        text = zstandard.ZstdDecompressor().decompress(body[len(magic) :], max_output_size=_LIMIT)
        return json.loads(text)
    except (zstandard.ZstdError, ValueError) as error:
        raise damaged(namespace, name, str(error)) from error


def _digest(namespace: str, name: str, body: bytes) -> bytes:
    return hashlib.sha256(f"{namespace}/{name}".encode() + b"\0" + body).digest()
