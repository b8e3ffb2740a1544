"""An NBD client with requests in flight.

One client is one connection and belongs to one thread. Every length that the server names is checked
against what was asked, so a broken or hostile server ends in an error, never in a wrong byte.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from vmtui.model.errors import FailedError, UnreachableError
from vmtui.model.stream import Stream
from vmtui.nbd import wire
from vmtui.nbd.wire import Chunk, Command, ExportFlag, Option, Reply

_STATUS_SPAN = (4 << 30) - (1 << 20)
"""Bytes that one block status request covers; lengths are 32 bits on the wire."""

_DEFAULT_DEPTH = 8
_FLUSH_EVERY = 64 << 20
"""Bytes written until they are flushed, while the next are on their way: a flush at the end alone would be waited for."""
_MAX_ERRORS = 1024
"""Error chunks that are taken for one request."""


class NbdLostError(UnreachableError):
    """The connection ended; the caller may connect anew if the export still stands."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A range that is alike in every context asked for."""

    offset: int
    length: int
    flags: tuple[int, ...]
    """One word per context, in the order asked."""


@dataclass(slots=True)
class _Pending:
    """A request without its final reply."""

    command: Command
    offset: int
    length: int
    buffer: bytearray | None = None
    received: list[tuple[int, int]] = field(default_factory=list)
    """(start, end) of each part of the buffer that arrived."""
    status: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    error: int = 0
    errors: int = 0
    """Error chunks so far."""
    message: str = ""


class NbdClient:
    """One connection to one export.

    Args:
        stream: Connected; the client owns it from now on.
        export: Name of the export.
        contexts: Meta contexts to negotiate.

    Raises:
        FailedError: The server has no such export, or breaks the protocol.
        NbdLostError: The connection ended.
    """

    def __init__(self, stream: Stream, export: str, contexts: Sequence[str] = ()) -> None:
        self._stream = stream
        self._handles = count(1)
        self._pending: dict[int, _Pending] = {}
        self.export = export
        self.size = 0
        """Size of the export [bytes]."""
        self.flags = ExportFlag(0)
        self.min_block = 1
        self.max_block = 32 << 20
        """Largest payload that the server takes in one request [bytes]."""
        self.contexts: dict[str, int] = {}
        """Granted contexts with their ids."""
        try:
            self._handshake(contexts)
        except BaseException:
            stream.close()
            raise

    # -- reading ---------------------------------------------------------------------------------

    def read(
        self, ranges: Iterable[tuple[int, int]], *, depth: int = _DEFAULT_DEPTH
    ) -> Iterator[tuple[int, bytearray]]:
        """Read many ranges, keeping up to `depth` requests in flight.

        Args:
            ranges: (offset, length) [bytes], each at most `max_block` long and inside the export.
            depth: Requests in flight; when half of them are answered, they are filled up with one packet.

        Yields:
            (offset, data) in the order in which the server finishes them.

        Raises:
            FailedError: The server reports an error or breaks the protocol.
            NbdLostError: The connection ended.
        """
        source = iter(ranges)
        exhausted = False
        while True:
            if not exhausted and len(self._pending) <= depth // 2:
                wanted = list(islice(source, depth - len(self._pending)))
                exhausted = not wanted
                self._request_reads(wanted)
            if not self._pending:
                return
            done = self._next_done()
            if done.buffer is None or not _covers(done.received, done.length):
                raise self._broken(
                    f"a read of {done.length} bytes at {done.offset} left some out or brought them twice"
                )
            yield done.offset, done.buffer

    def _request_reads(self, ranges: Sequence[tuple[int, int]]) -> None:
        headers = []
        for offset, length in ranges:
            self._check_range(offset, length)
            headers.append(self._note_request(_Pending(Command.READ, offset, length, bytearray(length))))
        if headers:
            self._send(b"".join(headers))

    def extents(self, contexts: Sequence[str], start: int = 0, end: int | None = None) -> Iterator[Extent]:
        """Walk the export's block status without gap and without overlap.

        Contexts may have different borders and answers may be short; what is yielded is their
        intersection, in order, and ends exactly at `end`.

        Args:
            contexts: Negotiated contexts; their words come in this order.
            start: First byte.
            end: One past the last byte; the export's size by default.

        Raises:
            FailedError: A context was not granted, or an answer is empty or malformed.
            NbdLostError: The connection ended.
        """
        missing = [name for name in contexts if name not in self.contexts]
        if missing:
            raise FailedError(
                "DISK-CONTEXT-MISSING",
                f"The export {self.export} does not offer {', '.join(missing)}.",
                export=self.export,
            )
        ids = [self.contexts[name] for name in contexts]
        end = self.size if end is None else end
        position = start
        while position < end:
            answer = self._block_status(position, min(_STATUS_SPAN, end - position))
            for length, flags in _intersect([answer[context] for context in ids], end - position):
                yield Extent(position, length, flags)
                position += length

    def _block_status(self, offset: int, length: int) -> dict[int, list[tuple[int, int]]]:
        self._request(_Pending(Command.BLOCK_STATUS, offset, length))
        done = self._next_done()
        for context in self.contexts.values():
            if not any(size for size, _ in done.status.get(context, ())):
                raise self._broken(f"no block status at {offset}")
        return done.status

    # -- writing ---------------------------------------------------------------------------------

    def write(
        self, pieces: Iterable[tuple[int, bytes | bytearray | memoryview]], *, depth: int = _DEFAULT_DEPTH
    ) -> Iterator[int]:
        """Write many pieces, keeping up to `depth` requests in flight.

        Args:
            pieces: (offset, data), each at most `max_block` long and inside the export.
            depth: Requests in flight.

        Yields:
            The length of each piece once the server has acknowledged it, and 0 now and then; all of it is durable only
            after `flush`.

        Raises:
            FailedError: The server reports an error.
            NbdLostError: The connection ended.
        """
        unflushed = 0
        for offset, data in pieces:
            self._check_range(offset, len(data))
            while len(self._pending) >= depth:
                yield self._next_done().length
            self._request(_Pending(Command.WRITE, offset, len(data)), data)
            unflushed += len(data)
            if unflushed >= _FLUSH_EVERY and ExportFlag.SEND_FLUSH in self.flags:
                self._request(_Pending(Command.FLUSH, 0, 0))
                unflushed = 0
        while self._pending:
            yield self._next_done().length

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a range read as zeroes, with a hole where the image can have one.

        Raises:
            FailedError: The server cannot, or reports an error.
            NbdLostError: The connection ended.
        """
        if ExportFlag.SEND_WRITE_ZEROES not in self.flags:
            raise self._broken("the export cannot write zeroes")
        self._check_bounds(offset, length)
        while length:
            step = min(length, _STATUS_SPAN)
            self._request(_Pending(Command.WRITE_ZEROES, offset, step))
            self._next_done()
            offset += step
            length -= step

    def flush(self) -> None:
        """Make all acknowledged writes durable.

        Raises:
            FailedError: The server cannot, or reports an error.
            NbdLostError: The connection ended.
        """
        if ExportFlag.SEND_FLUSH not in self.flags:
            raise self._broken("the export cannot flush")
        self._request(_Pending(Command.FLUSH, 0, 0))
        self._next_done()

    def close(self) -> None:
        """Say goodbye and close; safe to repeat."""
        try:
            self._stream.sendall(wire.REQUEST.pack(wire.REQUEST_MAGIC, 0, Command.DISCONNECT, 0, 0, 0))
        except (OSError, EOFError):
            pass  # the other side went first; nothing is lost by that
        self._stream.close()

    # -- handshake -------------------------------------------------------------------------------

    def _handshake(self, contexts: Sequence[str]) -> None:
        magic, option_magic, flags = wire.GREETING.unpack(self._take(wire.GREETING.size))
        if magic != wire.NBD_MAGIC or option_magic != wire.OPTION_MAGIC:
            raise self._broken("this is not a newstyle NBD server")
        if not flags & wire.GlobalFlag.FIXED_NEWSTYLE:
            raise self._broken("the server is not fixed newstyle")
        answer = flags & (wire.GlobalFlag.FIXED_NEWSTYLE | wire.GlobalFlag.NO_ZEROES)
        self._send(answer.to_bytes(4, "big"))
        self._option(Option.STRUCTURED_REPLY, b"")
        if contexts:
            self._set_contexts(contexts)
        self._go()

    def _option(self, option: Option, data: bytes) -> list[tuple[int, bytes]]:
        """Send one option and collect its replies up to the acknowledgement."""
        self._send(wire.OPTION.pack(wire.OPTION_MAGIC, option, len(data)) + data)
        replies: list[tuple[int, bytes]] = []
        while True:
            magic, of, kind, length = wire.OPTION_REPLY.unpack(self._take(wire.OPTION_REPLY.size))
            if magic != wire.OPTION_REPLY_MAGIC or of != option or length > wire.MAX_OPTION_REPLY:
                raise self._broken("a malformed option reply")
            payload = self._take(length)
            if kind & wire.REPLY_ERROR:
                reason = wire.REPLY_ERRORS.get(kind, f"error {kind & ~wire.REPLY_ERROR}")
                text = payload.decode("utf-8", "replace")
                raise self._broken(f"{option.name} was refused: {reason}{': ' + text if text else ''}")
            if kind == Reply.ACK:
                return replies
            if len(replies) >= 256:
                raise self._broken("too many option replies")
            replies.append((kind, payload))

    def _set_contexts(self, contexts: Sequence[str]) -> None:
        name = self.export.encode()
        data = len(name).to_bytes(4, "big") + name + len(contexts).to_bytes(4, "big")
        for context in contexts:
            query = context.encode()
            data += len(query).to_bytes(4, "big") + query
        for kind, payload in self._option(Option.SET_META_CONTEXT, data):
            if kind == Reply.META_CONTEXT and len(payload) > wire.CONTEXT_ID.size:
                (number,) = wire.CONTEXT_ID.unpack_from(payload)
                self.contexts[payload[wire.CONTEXT_ID.size :].decode("utf-8", "replace")] = number

    def _go(self) -> None:
        name = self.export.encode()
        data = len(name).to_bytes(4, "big") + name + (1).to_bytes(2, "big") + wire.Info.BLOCK_SIZE.to_bytes(2, "big")
        sized = False
        for kind, payload in self._option(Option.GO, data):
            if kind != Reply.INFO or len(payload) < 2:
                continue
            info = int.from_bytes(payload[:2], "big")
            if info == wire.Info.EXPORT and len(payload) == wire.EXPORT_INFO.size:
                _, self.size, flags = wire.EXPORT_INFO.unpack(payload)
                self.flags = ExportFlag(flags)
                sized = True
            elif info == wire.Info.BLOCK_SIZE and len(payload) == wire.BLOCK_SIZE_INFO.size:
                _, self.min_block, _, self.max_block = wire.BLOCK_SIZE_INFO.unpack(payload)
        if not sized:
            raise self._broken("the export's size was not told")

    # -- requests and replies --------------------------------------------------------------------

    def _request(self, pending: _Pending, payload: bytes | bytearray | memoryview = b"") -> None:
        self._send(b"".join((self._note_request(pending), payload)))

    def _note_request(self, pending: _Pending) -> bytes:
        """Expect the replies to a request; gives its header."""
        handle = next(self._handles)
        self._pending[handle] = pending
        return wire.REQUEST.pack(wire.REQUEST_MAGIC, 0, pending.command, handle, pending.offset, pending.length)

    def _next_done(self) -> _Pending:
        """Receive chunks until one request is finished."""
        while True:
            (magic,) = wire.REPLY_MAGIC.unpack(self._take(wire.REPLY_MAGIC.size))
            if magic == wire.STRUCTURED_REPLY_MAGIC:
                flags, kind, handle, length = wire.STRUCTURED_REPLY.unpack(self._take(wire.STRUCTURED_REPLY.size))
                pending = self._known(handle)
                self._chunk(pending, kind, length)
                finished = bool(flags & wire.CHUNK_DONE)
                if kind == Chunk.NONE and not finished:
                    raise self._broken("an empty chunk that is not the last")
            elif magic == wire.SIMPLE_REPLY_MAGIC:
                pending, handle = self._simple()
                finished = True
            else:
                raise self._broken("a reply without its magic")
            if finished:
                del self._pending[handle]
                self._raise_error(pending)
                return pending

    def _simple(self) -> tuple[_Pending, int]:
        error, handle = wire.SIMPLE_REPLY.unpack(self._take(wire.SIMPLE_REPLY.size))
        pending = self._known(handle)
        if pending.command in (Command.READ, Command.BLOCK_STATUS) and not error:
            raise self._broken("a simple reply where a structured one is needed")
        pending.error = error
        return pending, handle

    def _known(self, handle: int) -> _Pending:
        pending = self._pending.get(handle)
        if pending is None:
            raise self._broken("a reply to nothing that was asked")
        return pending

    def _chunk(self, pending: _Pending, kind: int, length: int) -> None:
        if kind == Chunk.OFFSET_DATA:
            self._data_chunk(pending, length)
        elif kind == Chunk.OFFSET_HOLE:
            self._hole_chunk(pending, length)
        elif kind == Chunk.BLOCK_STATUS:
            self._status_chunk(pending, length)
        elif kind & wire.CHUNK_ERROR:
            self._error_chunk(pending, length)
        elif kind != Chunk.NONE or length:
            raise self._broken(f"an unknown chunk of kind {kind}")

    def _data_chunk(self, pending: _Pending, length: int) -> None:
        length -= wire.OFFSET.size
        if length <= 0 or pending.buffer is None:
            raise self._broken("a malformed data chunk")
        (offset,) = wire.OFFSET.unpack(self._take(wire.OFFSET.size))
        start = self._within(pending, offset, length)
        self._take_into(memoryview(pending.buffer)[start : start + length])

    def _hole_chunk(self, pending: _Pending, length: int) -> None:
        if length != wire.HOLE_CHUNK.size or pending.buffer is None:
            raise self._broken("a malformed hole chunk")
        offset, size = wire.HOLE_CHUNK.unpack(self._take(length))
        self._within(pending, offset, size)  # the buffer is made of zeroes

    def _within(self, pending: _Pending, offset: int, length: int) -> int:
        start = offset - pending.offset
        if start < 0 or length <= 0 or start + length > pending.length:
            raise self._broken("a chunk outside of what was asked")
        pending.received.append((start, start + length))
        if len(pending.received) > pending.length:
            raise self._broken("more chunks than bytes that were asked for")
        return start

    def _status_chunk(self, pending: _Pending, length: int) -> None:
        size = length - wire.CONTEXT_ID.size
        if pending.command is not Command.BLOCK_STATUS or size < wire.DESCRIPTOR.size:
            raise self._broken("a malformed block status")
        if size % wire.DESCRIPTOR.size or size > wire.MAX_DESCRIPTORS:
            raise self._broken("a malformed block status")
        (context,) = wire.CONTEXT_ID.unpack(self._take(wire.CONTEXT_ID.size))
        if context in pending.status or context not in self.contexts.values():
            raise self._broken("a block status that was not asked for")
        pending.status[context] = list(wire.DESCRIPTOR.iter_unpack(self._take(size)))

    def _error_chunk(self, pending: _Pending, length: int) -> None:
        if not wire.ERROR_CHUNK.size <= length <= wire.MAX_OPTION_REPLY:
            raise self._broken("a malformed error")
        payload = self._take(length)
        error, size = wire.ERROR_CHUNK.unpack_from(payload)
        if not error or pending.errors >= _MAX_ERRORS:
            raise self._broken("a malformed error")
        pending.error = error
        pending.errors += 1
        text = payload[wire.ERROR_CHUNK.size : wire.ERROR_CHUNK.size + size]
        pending.message = text.decode("utf-8", "replace")

    def _raise_error(self, pending: _Pending) -> None:
        if not pending.error:
            return
        error_id = (
            "WRITE-FAILED"
            if pending.command in (Command.WRITE, Command.WRITE_ZEROES, Command.FLUSH)
            else "DISK-UNREADABLE"
        )
        known = os.strerror(pending.error) if pending.error in errno.errorcode else f"error {pending.error}"
        reason = f"{pending.message} ({known})" if pending.message else known
        raise FailedError(
            error_id,
            f"QEMU answered {reason!r} to {pending.command.name} of {pending.length} bytes at {pending.offset} of {self.export}.",
            export=self.export,
            offset=pending.offset,
            errno=pending.error,
        )

    def _check_range(self, offset: int, length: int) -> None:
        if length > self.max_block:
            raise ValueError(f"{length} bytes in one request, the server takes {self.max_block}")
        self._check_bounds(offset, length)

    def _check_bounds(self, offset: int, length: int) -> None:
        if offset < 0 or length <= 0 or offset + length > self.size:
            raise FailedError(
                "DISK-UNREADABLE",
                f"Bytes {offset} to {offset + length} are outside of the disk {self.export} of {self.size} bytes.",
                export=self.export,
            )

    # -- the stream ------------------------------------------------------------------------------

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._stream.sendall(data)
        except (OSError, EOFError) as error:
            raise self._lost(error) from error

    def _take(self, size: int) -> bytes:
        buffer = bytearray(size)
        self._take_into(memoryview(buffer))
        return bytes(buffer)

    def _take_into(self, view: memoryview) -> None:
        while view:
            try:
                size = self._stream.recv_into(view)
            except (OSError, EOFError) as error:
                raise self._lost(error) from error
            if size == 0:
                raise self._lost(None)
            view = view[size:]

    def _lost(self, error: Exception | None) -> NbdLostError:
        reason = f": {error}" if error is not None and str(error) else ""
        return NbdLostError(
            "NBD-LOST", f"The connection to the export {self.export} ended{reason}.", export=self.export
        )

    def _broken(self, what: str) -> FailedError:
        return FailedError("NBD-PROTOCOL", f"NBD export {self.export}: {what}.", export=self.export)


def _covers(parts: list[tuple[int, int]], length: int) -> bool:
    """Whether the parts make up the whole, each byte once."""
    position = 0
    for start, end in sorted(parts):
        if start != position:
            return False
        position = end
    return position == length


def _intersect(answers: Sequence[Sequence[tuple[int, int]]], limit: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Cut several descriptor lists at all their borders, up to the shortest and to `limit` [bytes]."""
    remaining = min(limit, *(sum(length for length, _ in answer) for answer in answers))
    cursors = [iter(answer) for answer in answers]
    heads = [(0, 0)] * len(answers)
    while remaining > 0:
        for index, cursor in enumerate(cursors):
            while heads[index][0] == 0:
                heads[index] = next(cursor)
        step = min(remaining, *(length for length, _ in heads))
        yield step, tuple(flags for _, flags in heads)
        heads = [(length - step, flags) for length, flags in heads]
        remaining -= step
