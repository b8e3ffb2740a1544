"""A read-only NBD server.

It serves streams, whatever carries them; nothing listens here. What a client sends is bounded before it
is believed: a hostile or broken client ends in an end of its own connection.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from vmtui.model.errors import VmtuiError
from vmtui.model.stream import Stream
from vmtui.nbd import wire
from vmtui.nbd.exports import Export
from vmtui.nbd.negotiation import Agreed, Negotiation, ProtocolError
from vmtui.nbd.wire import HOLE, ZERO, Chunk, Command

_LOG = logging.getLogger(__name__)

_WORKERS = 4
"""Requests of one connection that are answered at once."""
_IN_FLIGHT = 64
"""Requests of one connection that are taken before the first is answered."""
_BYTES_IN_FLIGHT = 64 << 20
"""Data that one connection may have in memory [bytes]; one longest request always goes."""
_MAX_CONNECTIONS = 16
"""At least; a client may hold two for each export."""
_MAX_DESCRIPTORS = 4096
"""Of one block status answer; a client asks on where it ended."""
_MAX_PIECES = 32
"""Chunks of data and holes in one answer; a range with more borders is sent as data."""

Trouble = Callable[[str, int, int, Exception], None]
"""Told (export, offset, length, error) of every read that failed; from several threads."""


class NbdServer:
    """Serves exports to any number of connections, up to a bound.

    Args:
        exports: By name.
        trouble: Told of every read that failed.
    """

    def __init__(self, exports: Mapping[str, Export], trouble: Trouble | None = None) -> None:
        self._exports = dict(exports)
        self._most = max(_MAX_CONNECTIONS, 2 * len(self._exports) + 4)
        self._trouble = trouble or _ignore
        self._lock = threading.Lock()
        self._open: set[Stream] = set()
        self._closed = False

    def serve(self, stream: Stream) -> None:
        """Serve one connection until it ends. Blocks; each connection has a thread of its own.

        Args:
            stream: Connected; owned from now on.
        """
        with self._lock:
            taken = not self._closed and len(self._open) < self._most
            if taken:
                self._open.add(stream)
        try:
            if taken:
                _Connection(self._exports, stream, self._trouble).run()
        except (ProtocolError, OSError, EOFError) as error:
            _LOG.info("an NBD connection ended: %s", error)
        finally:
            with self._lock:
                self._open.discard(stream)
            stream.close()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        with self._lock:
            return len(self._open)

    def close(self) -> None:
        """End all connections and take no more; safe to repeat."""
        with self._lock:
            self._closed = True
            streams = list(self._open)
        for stream in streams:
            stream.close()


class _Connection:
    """One client."""

    def __init__(self, exports: Mapping[str, Export], stream: Stream, trouble: Trouble) -> None:
        self._exports = exports
        self._stream = stream
        self._trouble = trouble
        self._sending = threading.Lock()
        self._budget = _Budget()

    def run(self) -> None:
        """Shake hands and answer requests.

        Raises:
            ProtocolError: The client does not keep to the protocol.
            OSError: The connection ended without a goodbye.
        """
        agreed = Negotiation(self._exports, self._take, self._send).run()
        if agreed is None:
            return
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix=f"nbd {agreed.name}")
        left = False
        try:
            while self._request(agreed, pool):
                pass
            left = True
        finally:
            pool.shutdown(wait=True, cancel_futures=not left)  # who says goodbye still gets all answers

    def _request(self, agreed: Agreed, pool: ThreadPoolExecutor) -> bool:
        """Take one request; False at the client's goodbye."""
        magic, flags, kind, handle, offset, length = wire.REQUEST.unpack(self._take(wire.REQUEST.size))
        if magic != wire.REQUEST_MAGIC:
            raise ProtocolError("a request without its magic")
        if kind == Command.DISCONNECT:
            return False
        answer = _Answer(self._send, agreed.structured, handle)
        fault = self._fault(agreed, kind, flags, offset, length)
        if fault:
            answer.error(fault)
            return True
        held = length if kind == Command.READ else 0
        self._budget.take(held)
        pool.submit(self._answer, agreed, kind, answer, flags, offset, length).add_done_callback(
            lambda _: self._budget.give(held)
        )
        return True

    def _fault(self, agreed: Agreed, kind: int, flags: int, offset: int, length: int) -> int:
        """Why a request cannot be answered, as an error number; 0 when it can."""
        if kind == Command.WRITE:
            self._skip(length)
        if kind in (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES):
            return errno.EPERM
        allowed = wire.REQ_ONE if kind == Command.BLOCK_STATUS else 0
        known = kind == Command.READ or (kind == Command.BLOCK_STATUS and agreed.allocation)
        inside = length > 0 and offset + length <= agreed.export.size
        if not known or flags & ~allowed or not inside:
            return errno.EINVAL
        if kind == Command.READ and length > wire.MAX_PAYLOAD:
            return errno.EOVERFLOW
        return 0

    def _answer(self, agreed: Agreed, kind: int, answer: _Answer, flags: int, offset: int, length: int) -> None:
        """Answer one request. Runs in the pool."""
        try:
            try:
                if kind == Command.READ:
                    parts = list(_parts(agreed, offset, length))
                else:
                    status = list(_descriptors(agreed.export, offset, length, 1 if flags & wire.REQ_ONE else None))
            except Exception as error:  # noqa: BLE001  # the edge of this thread: the client is told, and whoever serves
                try:
                    self._trouble(agreed.name, offset, length, error)
                finally:  # a request without an answer would hang in the guest for ever
                    answer.error(errno.EIO, error.cause if isinstance(error, VmtuiError) else "")
                return
            if kind == Command.READ:
                answer.data(parts)
            else:
                answer.status(status)
        except (OSError, EOFError):
            self._stream.close()  # it cannot be told any more; the reader of requests meets the end

    # -- the stream ------------------------------------------------------------------------------

    def _take(self, size: int) -> bytes:
        buffer = bytearray(size)
        self._take_into(memoryview(buffer))
        return bytes(buffer)

    def _skip(self, size: int) -> None:
        """Take the data of a write that is refused."""
        if size > wire.MAX_PAYLOAD:
            raise ProtocolError(f"a write of {size} bytes")
        scratch = memoryview(bytearray(min(size, 1 << 20)))
        while size:
            step = min(size, len(scratch))
            self._take_into(scratch[:step])
            size -= step

    def _take_into(self, view: memoryview) -> None:
        while view:
            size = self._stream.recv_into(view)
            if size == 0:
                raise EOFError("the client went away")
            view = view[size:]

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._stream.sendall(data)


class _Answer:
    """The reply to one request, in the form that was agreed on; each is sent in one piece."""

    def __init__(self, send: Callable[[bytes], None], structured: bool, handle: int) -> None:
        self._send = send
        self._structured = structured
        self._handle = handle

    def error(self, number: int, text: str = "") -> None:
        """It failed; nothing of it was sent before."""
        if self._structured:
            words = text.encode()[:1000]
            body = wire.ERROR_CHUNK.pack(number, len(words)) + words
            self._send(self._head(wire.CHUNK_ERROR_PLAIN, len(body), last=True) + body)
        else:
            self._send(wire.SIMPLE_REPLY_MAGIC.to_bytes(4, "big") + wire.SIMPLE_REPLY.pack(number, self._handle))

    def data(self, parts: list[tuple[int, int, bytes | bytearray | memoryview | None]]) -> None:
        """(offset, length, data or None for zeroes) of the parts of a range, in order."""
        if not self._structured:
            head = wire.SIMPLE_REPLY_MAGIC.to_bytes(4, "big") + wire.SIMPLE_REPLY.pack(0, self._handle)
            self._send(b"".join([head, *(bytes(length) if data is None else data for _, length, data in parts)]))
            return
        pieces: list[bytes | bytearray | memoryview] = []
        for number, (offset, length, data) in enumerate(parts, 1):
            last = number == len(parts)
            if data is None:
                pieces.append(self._head(Chunk.OFFSET_HOLE, wire.HOLE_CHUNK.size, last=last))
                pieces.append(wire.HOLE_CHUNK.pack(offset, length))
            else:
                pieces.append(self._head(Chunk.OFFSET_DATA, wire.OFFSET.size + length, last=last))
                pieces += (wire.OFFSET.pack(offset), data)
        self._send(b"".join(pieces))

    def status(self, descriptors: list[tuple[int, int]]) -> None:
        """(length, flags) of stretches of base:allocation."""
        body = wire.CONTEXT_ID.pack(1) + b"".join(wire.DESCRIPTOR.pack(*item) for item in descriptors)
        self._send(self._head(Chunk.BLOCK_STATUS, len(body), last=True) + body)

    def _head(self, kind: int, length: int, *, last: bool) -> bytes:
        done = wire.CHUNK_DONE if last else 0
        magic = wire.STRUCTURED_REPLY_MAGIC.to_bytes(4, "big")
        return magic + wire.STRUCTURED_REPLY.pack(done, kind, self._handle, length)


class _Budget:
    """Bounds what one connection has in flight: requests, and bytes of their answers."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._count = 0
        self._bytes = 0

    def take(self, size: int) -> None:
        """Wait until there is room. One request always has."""
        with self._free:
            self._free.wait_for(
                lambda: self._count == 0 or (self._count < _IN_FLIGHT and self._bytes + size <= _BYTES_IN_FLIGHT)
            )
            self._count += 1
            self._bytes += size

    def give(self, size: int) -> None:
        """A request was answered."""
        with self._free:
            self._count -= 1
            self._bytes -= size
            self._free.notify_all()


def _parts(
    agreed: Agreed, offset: int, length: int
) -> Iterator[tuple[int, int, bytes | bytearray | memoryview | None]]:
    """A range as data and holes; as data alone where that is shorter to say."""
    export = agreed.export
    pieces = list(_merged(export, offset, length, _MAX_PIECES + 1)) if agreed.structured else []
    if not pieces or len(pieces) > _MAX_PIECES:
        pieces = [(length, False)]
    for size, zero in pieces:
        data = None if zero else export.read(offset, size)
        if data is not None and len(data) != size:
            raise OSError(errno.EIO, f"{len(data)} bytes instead of {size}")
        yield offset, size, data
        offset += size


def _descriptors(export: Export, offset: int, length: int, limit: int | None) -> Iterator[tuple[int, int]]:
    for size, zero in _merged(export, offset, length, limit or _MAX_DESCRIPTORS):
        yield size, HOLE | ZERO if zero else 0


def _merged(export: Export, offset: int, length: int, limit: int) -> Iterator[tuple[int, bool]]:
    """Extents with equal neighbours made one; up to `limit` of them, or the whole range.

    Raises:
        OSError: The extents do not make up the range.
    """
    given = 0
    covered = 0
    size, alike = 0, False
    for step, zero in export.extents(offset, length):
        covered += step
        if step <= 0 or covered > length:
            break
        if size and zero != alike:
            yield size, alike
            given += 1
            if given == limit:
                return
            size = 0
        size, alike = size + step, zero
    if covered != length:
        raise OSError(errno.EIO, f"extents of {covered} bytes for a range of {length}")
    yield size, alike


def _ignore(export: str, offset: int, length: int, error: Exception) -> None:
    _LOG.warning("%s: %d bytes at %d could not be read: %s", export, length, offset, error)
