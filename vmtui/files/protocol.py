"""What the program and its helper say to each other, over one socket.

A message is a head of two numbers, 32 bits each, big-endian: the length of its text and the length of its
bytes; then the text (a JSON object, ASCII) and the bytes. Only one side speaks at a time:

    program                                        helper
    {"op": "open", "disks": [["vda", 4194304]]} ->
                                                <- {"want": ["vda", 0], "count": 1}    pieces of a disk
    {"given": true, "bad": []} + bytes          ->                                     any number of times
                                                <- {"volumes": [...]}                  or {"error": "...", "kind": "..."}

Operations: `open`, `list` (a part of a folder), `look` (one thing), `read` (a part of a file),
`small` (several small files of a folder). A helper
asks for pieces while it works on an operation, and ends it with one answer. `bad` are ranges of the bytes
given that are damaged in the repository; they are zero, and a helper that came upon one says so in its
answer, {"lost": ["vda", 0]}, whatever else it answers. When the repository cannot be read a piece is answered with
{"given": false}. In both cases the program does not believe the answer of that operation.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

PIECE = 1 << 20
"""Disks are read in pieces of this size, the last one shorter [bytes]."""
MAX_PIECES = 4
"""Pieces in one message."""
MAX_READ = 1 << 20
"""Longest part of a file in one answer [bytes]."""
SMALL = 128 << 10
"""Files up to this size may come several in one answer [bytes]."""
PAGE = 2000
"""Most entries of a folder in one answer."""
_HEAD = struct.Struct(">II")
_MAX_TEXT = 32 << 20
_MAX_BYTES = MAX_PIECES * PIECE


class ProtocolError(Exception):
    """The other side does not keep to the protocol."""


class Channel:
    """One end of the socket. Blocks; a time-out of the socket passes through as TimeoutError.

    Args:
        end: A connected stream socket.
    """

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    def send(self, message: Mapping[str, Any], data: bytes | memoryview = b"") -> None:
        """Send a message.

        Raises:
            OSError: The other side is gone.
        """
        text = json.dumps(message).encode("ascii")
        self.socket.sendall(_HEAD.pack(len(text), len(data)) + text)
        if data:
            self.socket.sendall(data)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Wait for a message.

        Raises:
            EOFError: The other side is gone.
            ProtocolError: It is not a message.
        """
        text_length, data_length = _HEAD.unpack(self._exactly(_HEAD.size))
        if text_length > _MAX_TEXT or data_length > _MAX_BYTES:
            raise ProtocolError(f"a message of {text_length} + {data_length} bytes")
        text = self._exactly(text_length)
        data = self._exactly(data_length)
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"not JSON: {error}") from error
        if not isinstance(message, dict):
            raise ProtocolError("not an object")
        return message, data

    def _exactly(self, length: int) -> bytes:
        buffer = bytearray(length)
        view = memoryview(buffer)
        while view:
            count = self.socket.recv_into(view)
            if count == 0:
                raise EOFError
            view = view[count:]
        return bytes(buffer)
