"""What a repository's ids and seals are made with.

An encrypted repository has two secrets. The *id key* keys BLAKE3, so that ids tell nobody who lacks it
which known file is on a disk. From the *data key* every object derives a key of its own:

    object key = BLAKE3 keyed with the data key of the object's salt (32 random bytes)

Inside one object each part has its own number, which is the nonce. So a pair of key and nonce is used
once: the parts of an object never share a number, and two objects never share a salt.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from functools import cached_property

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vmtui.repository.blocks import Kind

KEY_SIZE = 32
SECRET_SIZE = 2 * KEY_SIZE
SALT_SIZE = 32
SEAL_SIZE = 16
"""What sealing adds to a part [bytes]."""
LAST_PART = 0xFFFFFFFF
"""The number of a pack's directory; no blob of a pack has it."""

_NODE_CONTEXT = "vmtui repository format 1, disk map node"
_NONCE = struct.Struct("<I8x")


def new_salt() -> bytes:
    """32 random bytes; every pack, segment and sealed frame gets its own."""
    return secrets.token_bytes(SALT_SIZE)


@dataclass(frozen=True)
class Keys:
    """The secrets of one repository; without them, ids are plain BLAKE3 and nothing is sealed."""

    secret: bytes = b""
    """Data key and id key, one after the other; empty when the repository is not encrypted."""

    @classmethod
    def generate(cls) -> Keys:
        """Secrets for a new repository."""
        return cls(secrets.token_bytes(SECRET_SIZE))

    def __repr__(self) -> str:
        return f"Keys(sealed={self.sealed})"

    @property
    def sealed(self) -> bool:
        """Whether objects are encrypted."""
        return bool(self.secret)

    @property
    def version(self) -> bytes:
        """The last byte of an object's magic: 1 for plain, 2 for sealed."""
        return b"\x02" if self.sealed else b"\x01"

    @cached_property
    def _id_key(self) -> bytes:
        return self.secret[KEY_SIZE:]

    @cached_property
    def _node_key(self) -> bytes:
        return blake3(self._id_key, derive_key_context=_NODE_CONTEXT).digest()

    def check(self, repository: str) -> str:
        """Tells whether a key is a repository's own, and nothing else about it [hex]."""
        return blake3(f"key check of {repository}".encode(), key=self._id_key).hexdigest()[:32]

    def block_id(self, data: bytes | bytearray | memoryview) -> bytes:
        """BLAKE3-256 of a block's bytes."""
        return blake3(data, key=self._id_key).digest() if self.sealed else blake3(data).digest()

    def node_id(self, data: bytes) -> bytes:
        """BLAKE3-256 of a map node, in a domain of its own: no block can pass for a node."""
        if self.sealed:
            return blake3(data, key=self._node_key).digest()
        return blake3(data, derive_key_context=_NODE_CONTEXT).digest()

    def blob_id(self, kind: Kind, data: bytes) -> bytes:
        """The id of a blob of either kind."""
        return self.block_id(data) if kind is Kind.BLOCK else self.node_id(data)

    def box(self, salt: bytes) -> Box:
        """What seals and opens the parts of the object that has this salt."""
        if not self.sealed:
            return Box(None)
        return Box(AESGCM(blake3(salt, key=self.secret[:KEY_SIZE]).digest()))


class Box:
    """Seals and opens the numbered parts of one object; of a plain repository, it leaves them as they are."""

    def __init__(self, cipher: AESGCM | None) -> None:
        self._cipher = cipher

    @property
    def overhead(self) -> int:
        """What sealing adds to a part [bytes]."""
        return 0 if self._cipher is None else SEAL_SIZE

    def seal(self, number: int, data: bytes | memoryview, bound: bytes) -> bytes | memoryview:
        """A part in its stored form.

        Args:
            number: Of this part; never used twice in one object.
            data: Its bytes.
            bound: Bytes that are not stored with it and must be the same when it is opened.
        """
        if self._cipher is None:
            return data
        return self._cipher.encrypt(_NONCE.pack(number), data, bound)

    def open(self, number: int, data: bytes | memoryview, bound: bytes) -> bytes | memoryview | None:
        """The inverse of `seal`; None when the part is not what was sealed."""
        if self._cipher is None:
            return data
        try:
            return self._cipher.decrypt(_NONCE.pack(number), data, bound)
        except InvalidTag:
            return None


PLAIN = Keys()
"""Of a repository that is not encrypted."""
