"""Numbers and layouts of the NBD protocol, as in its specification (doc/proto.md of the NBD project)."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

GREETING = struct.Struct(">8s8sH")
NBD_MAGIC = b"NBDMAGIC"
OPTION_MAGIC = b"IHAVEOPT"
OPTION = struct.Struct(">8sII")
OPTION_REPLY = struct.Struct(">QIII")
OPTION_REPLY_MAGIC = 0x0003E889045565A9
REQUEST = struct.Struct(">IHHQQI")
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = struct.Struct(">I")
SIMPLE_REPLY_MAGIC = 0x67446698
SIMPLE_REPLY = struct.Struct(">IQ")
STRUCTURED_REPLY_MAGIC = 0x668E33EF
STRUCTURED_REPLY = struct.Struct(">HHQI")
EXPORT_INFO = struct.Struct(">HQH")
BLOCK_SIZE_INFO = struct.Struct(">HIII")
OFFSET = struct.Struct(">Q")
HOLE_CHUNK = struct.Struct(">QI")
ERROR_CHUNK = struct.Struct(">IH")
CONTEXT_ID = struct.Struct(">I")
DESCRIPTOR = struct.Struct(">II")

BASE_ALLOCATION = "base:allocation"
"""The context that tells holes and zeroes."""

HOLE = 1
"""base:allocation: not allocated."""
ZERO = 2
"""base:allocation: reads as zeroes."""
DIRTY = 1
"""qemu:dirty-bitmap:…: written since the checkpoint."""

MAX_OPTION_REPLY = 64 << 10
"""No honest option reply is longer [bytes]."""
MAX_PAYLOAD = 32 << 20
"""Longest data of one request that servers take without being asked [bytes]."""
EXPORT_NAME_ZEROES = 124
"""Follow the answer to EXPORT_NAME unless both sides do without [bytes]."""
MAX_DESCRIPTORS = 64 << 20
"""Longest block status answer that is taken [bytes]."""


class GlobalFlag(IntFlag):
    """Handshake flags."""

    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class Option(IntEnum):
    """Options of the handshake that we use."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


class Reply(IntEnum):
    """Option replies."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4


REPLY_ERROR = 1 << 31
UNSUPPORTED = REPLY_ERROR | 1
INVALID = REPLY_ERROR | 3
UNKNOWN_EXPORT = REPLY_ERROR | 6
REPLY_ERRORS = {
    UNSUPPORTED: "not supported",
    REPLY_ERROR | 2: "forbidden by policy",
    INVALID: "invalid request",
    REPLY_ERROR | 5: "TLS is required",
    UNKNOWN_EXPORT: "no such export",
    REPLY_ERROR | 7: "shutting down",
    REPLY_ERROR | 9: "request too big",
}


class Info(IntEnum):
    """Kinds of export information."""

    EXPORT = 0
    BLOCK_SIZE = 3


class ExportFlag(IntFlag):
    """Transmission flags of an export."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    CAN_MULTI_CONN = 1 << 8


class Command(IntEnum):
    """Requests."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7


class Chunk(IntEnum):
    """Kinds of structured reply chunks."""

    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5


CHUNK_DONE = 1
CHUNK_ERROR = 1 << 15
CHUNK_ERROR_PLAIN = CHUNK_ERROR | 1
"""An error of the whole request, without an offset."""

REQ_ONE = 1 << 3
"""Flag of a block status request: one extent is enough."""
