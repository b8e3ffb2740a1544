"""Small objects that carry their own proof: configuration, key slots, manifests, events, sessions and the like.

    magic (8) | salt (32) | payload | SHA-256 (32) of the object's name, a zero, and all before

The payload is zstd of JSON in UTF-8, sealed in an encrypted repository. The name is part of the digest
and bound to the seal, so that two objects cannot swap places unseen.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import zstandard

from vmtui.repository.keys import PLAIN, SALT_SIZE, Keys, new_salt
from vmtui.repository.store import damaged

_DIGEST = 32
_MAGIC = {
    "config": b"vmtuiCF",
    "keys": b"vmtuiKY",
    "points": b"vmtuiPT",
    "events": b"vmtuiEV",
    "sessions": b"vmtuiSE",
    "garbage": b"vmtuiGB",
    "quarantine": b"vmtuiQU",
}
_HEAD = 8 + SALT_SIZE
_LIMIT = 256 << 20
"""No manifest is longer when unpacked [bytes]."""


def seal(namespace: str, name: str, value: Any, keys: Keys = PLAIN) -> bytes:
    """Frame a JSON value as the object `namespace/name`."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    salt = new_salt()
    payload = zstandard.ZstdCompressor(level=9).compress(text)
    body = _MAGIC[namespace] + keys.version + salt + keys.box(salt).seal(0, payload, _full(namespace, name))
    return body + _digest(namespace, name, body)


def unseal(namespace: str, name: str, data: bytes, keys: Keys = PLAIN) -> Any:
    """The JSON value of an object.

    Raises:
        DamageError: The bytes are not those that were written under this name.
    """
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if len(data) < _HEAD + _DIGEST or _digest(namespace, name, body) != digest:
        raise damaged(namespace, name, "its digest does not match")
    if not body.startswith(_MAGIC[namespace] + keys.version):
        raise damaged(namespace, name, "it is of another kind or version, or not encrypted as this repository is")
    payload = keys.box(body[8:_HEAD]).open(0, body[_HEAD:], _full(namespace, name))
    if payload is None:
        raise damaged(namespace, name, "it was not sealed with this repository's key")
    try:
        text = zstandard.ZstdDecompressor().decompress(payload, max_output_size=_LIMIT)
        return json.loads(text)
    except (zstandard.ZstdError, ValueError) as error:
        raise damaged(namespace, name, str(error)) from error


def _full(namespace: str, name: str) -> bytes:
    return f"{namespace}/{name}".encode()


def _digest(namespace: str, name: str, body: bytes) -> bytes:
    return hashlib.sha256(_full(namespace, name) + b"\0" + body).digest()
