"""An NBD server that says exactly what a test wants, right or wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vmtui.nbd import wire
from vmtui.nbd.wire import Chunk, Command, ExportFlag, Info, Option, Reply

EXPORT = "vda"
FLAGS = (
    ExportFlag.HAS_FLAGS | ExportFlag.SEND_FLUSH | ExportFlag.SEND_WRITE_ZEROES
)  # fmt: skip


def option_reply(option: int, kind: int, payload: bytes = b"", *, magic: int = wire.OPTION_REPLY_MAGIC) -> bytes:
    return wire.OPTION_REPLY.pack(magic, option, kind, len(payload)) + payload


def greeting(size: int, contexts: Iterable[tuple[str, int]] | None = None, max_block: int = 32 << 20) -> bytes:
    """All that a server says before the first request."""
    said = wire.GREETING.pack(wire.NBD_MAGIC, wire.OPTION_MAGIC, 3)
    said += option_reply(Option.STRUCTURED_REPLY, Reply.ACK)
    if contexts is not None:
        for name, number in contexts:
            said += option_reply(
                Option.SET_META_CONTEXT, Reply.META_CONTEXT, wire.CONTEXT_ID.pack(number) + name.encode()
            )
        said += option_reply(Option.SET_META_CONTEXT, Reply.ACK)
    said += option_reply(Option.GO, Reply.INFO, wire.EXPORT_INFO.pack(Info.EXPORT, size, FLAGS))
    said += option_reply(Option.GO, Reply.INFO, wire.BLOCK_SIZE_INFO.pack(Info.BLOCK_SIZE, 1, 4096, max_block))
    return said + option_reply(Option.GO, Reply.ACK)


def chunk(
    kind: int,
    handle: int,
    payload: bytes = b"",
    *,
    done: bool = True,
    length: int | None = None,
    magic: int | None = None,
) -> bytes:
    """One structured reply chunk."""
    magic = wire.STRUCTURED_REPLY_MAGIC if magic is None else magic
    size = len(payload) if length is None else length
    return wire.REPLY_MAGIC.pack(magic) + wire.STRUCTURED_REPLY.pack(int(done), kind, handle, size) + payload


def data(handle: int, offset: int, content: bytes, *, done: bool = True) -> bytes:
    return chunk(Chunk.OFFSET_DATA, handle, wire.OFFSET.pack(offset) + content, done=done)


def hole(handle: int, offset: int, length: int, *, done: bool = True) -> bytes:
    return chunk(Chunk.OFFSET_HOLE, handle, wire.HOLE_CHUNK.pack(offset, length), done=done)


def status(handle: int, context: int, descriptors: Iterable[tuple[int, int]], *, done: bool = True) -> bytes:
    words = b"".join(wire.DESCRIPTOR.pack(length, flags) for length, flags in descriptors)
    return chunk(Chunk.BLOCK_STATUS, handle, wire.CONTEXT_ID.pack(context) + words, done=done)


def error(handle: int, number: int, text: str = "", *, done: bool = True) -> bytes:
    words = text.encode()
    return chunk(wire.CHUNK_ERROR | 1, handle, wire.ERROR_CHUNK.pack(number, len(words)) + words, done=done)


def simple(handle: int, number: int = 0) -> bytes:
    return wire.REPLY_MAGIC.pack(wire.SIMPLE_REPLY_MAGIC) + wire.SIMPLE_REPLY.pack(number, handle)


class Script:
    """A stream that brings fixed bytes and then ends."""

    def __init__(self, said: bytes) -> None:
        self._said = memoryview(said)
        self.closed = False

    def recv_into(self, buffer: memoryview) -> int:
        size = min(len(buffer), len(self._said), 4096)
        buffer[:size] = self._said[:size]
        self._said = self._said[size:]
        return size

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Answering:
    """A stream whose other end answers each request by a function of (command, handle, offset, length)."""

    def __init__(self, said: bytes, answer: Callable[[int, int, int, int], bytes]) -> None:
        self._said = bytearray(said)
        self._answer = answer

    def recv_into(self, buffer: memoryview) -> int:
        size = min(len(buffer), len(self._said))
        buffer[:size] = self._said[:size]
        del self._said[:size]
        return size

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) != wire.REQUEST.size:
            return
        magic, _, command, handle, offset, length = wire.REQUEST.unpack(data)
        if magic == wire.REQUEST_MAGIC and command != Command.DISCONNECT:
            self._said += self._answer(command, handle, offset, length)

    def close(self) -> None:
        pass
