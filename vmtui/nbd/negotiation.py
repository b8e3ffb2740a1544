"""The server's side of the handshake: which export a client wants, and what of the protocol it speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vmtui.nbd import wire
from vmtui.nbd.exports import Export
from vmtui.nbd.wire import ExportFlag, GlobalFlag, Info, Option, Reply

_MAX_OPTIONS = 256
"""Options of one handshake; honest clients send a handful."""
_FLAGS = ExportFlag.HAS_FLAGS | ExportFlag.READ_ONLY | ExportFlag.CAN_MULTI_CONN
_PREFERRED_BLOCK = 64 << 10
_CONTEXT = 1
"""Number of base:allocation on the wire."""


class ProtocolError(Exception):
    """The client broke the protocol; its connection ends."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a handshake led to."""

    name: str
    export: Export
    structured: bool
    allocation: bool
    """Whether block status of base:allocation may be asked for."""


class Negotiation:
    """One handshake.

    Args:
        exports: What is offered, by name.
        take: Receives exactly so many bytes.
        send: Sends everything.
    """

    def __init__(
        self, exports: Mapping[str, Export], take: Callable[[int], bytes], send: Callable[[bytes], None]
    ) -> None:
        self._exports = exports
        self._take = take
        self._send = send
        self._structured = False
        self._context_of: str | None = None
        """The export that base:allocation was agreed for."""

    def run(self) -> Agreed | None:
        """Shake hands.

        Returns:
            None when the client said goodbye.

        Raises:
            ProtocolError: It does not keep to the protocol, or asks without end.
            OSError: The connection ended.
        """
        flags = GlobalFlag.FIXED_NEWSTYLE | GlobalFlag.NO_ZEROES
        self._send(wire.GREETING.pack(wire.NBD_MAGIC, wire.OPTION_MAGIC, flags))
        answer = int.from_bytes(self._take(4), "big")
        if answer & ~flags or not answer & GlobalFlag.FIXED_NEWSTYLE:
            raise ProtocolError(f"client flags {answer:#x}")
        for _ in range(_MAX_OPTIONS):
            magic, option, length = wire.OPTION.unpack(self._take(wire.OPTION.size))
            if magic != wire.OPTION_MAGIC or length > wire.MAX_OPTION_REPLY:
                raise ProtocolError("a malformed option")
            data = self._take(length)
            if option == Option.ABORT:
                self._reply(option, Reply.ACK)
                return None
            if option == Option.EXPORT_NAME:
                return self._old_start(data, padded=not answer & GlobalFlag.NO_ZEROES)
            agreed = self._option(option, data)
            if agreed is not None:
                return agreed
        raise ProtocolError("too many options")

    def _option(self, option: int, data: bytes) -> Agreed | None:
        if option == Option.STRUCTURED_REPLY and not data:
            self._structured = True
            self._reply(option, Reply.ACK)
        elif option == Option.LIST and not data:
            for name in self._exports:
                text = name.encode()
                self._reply(option, Reply.SERVER, len(text).to_bytes(4, "big") + text)
            self._reply(option, Reply.ACK)
        elif option in (Option.INFO, Option.GO):
            return self._info(option, data)
        elif option in (Option.LIST_META_CONTEXT, Option.SET_META_CONTEXT):
            self._contexts(option, data)
        elif option in (Option.STRUCTURED_REPLY, Option.LIST):
            self._reply(option, wire.INVALID)
        else:
            self._reply(option, wire.UNSUPPORTED)
        return None

    def _old_start(self, data: bytes, *, padded: bool) -> Agreed:
        """EXPORT_NAME has no way to say no but to hang up."""
        name = _text(data)
        export = self._exports.get(name) if name is not None else None
        if name is None or export is None:
            raise ProtocolError("no such export")
        zeroes = bytes(wire.EXPORT_NAME_ZEROES if padded else 0)
        self._send(wire.EXPORT_INFO.pack(0, export.size, _FLAGS)[2:] + zeroes)
        return self._agreed(name, export)

    def _info(self, option: int, data: bytes) -> Agreed | None:
        parts = _Parts(data)
        name = parts.text()
        for _ in range(parts.number(2)):
            parts.number(2)  # kinds of information: all that we have is told anyway
        if name is None or not parts.done:
            self._reply(option, wire.INVALID)
            return None
        export = self._exports.get(name)
        if export is None:
            self._reply(option, wire.UNKNOWN_EXPORT)
            return None
        self._reply(option, Reply.INFO, wire.EXPORT_INFO.pack(Info.EXPORT, export.size, _FLAGS))
        sizes = wire.BLOCK_SIZE_INFO.pack(Info.BLOCK_SIZE, 1, _PREFERRED_BLOCK, wire.MAX_PAYLOAD)
        self._reply(option, Reply.INFO, sizes)
        self._reply(option, Reply.ACK)
        return self._agreed(name, export) if option == Option.GO else None

    def _contexts(self, option: int, data: bytes) -> None:
        parts = _Parts(data)
        name = parts.text()
        queries = [parts.text() for _ in range(min(parts.number(4), len(data)))]
        if name is None or None in queries or not parts.done or not self._structured:
            self._reply(option, wire.INVALID)
            return
        if name not in self._exports:
            self._reply(option, wire.UNKNOWN_EXPORT)
            return
        listing = option == Option.LIST_META_CONTEXT
        granted = wire.BASE_ALLOCATION in queries or (listing and (not queries or "base:" in queries))
        if not listing:
            self._context_of = name if granted else None
        if granted:
            number = wire.CONTEXT_ID.pack(0 if listing else _CONTEXT)
            self._reply(option, Reply.META_CONTEXT, number + wire.BASE_ALLOCATION.encode())
        self._reply(option, Reply.ACK)

    def _agreed(self, name: str, export: Export) -> Agreed:
        return Agreed(name, export, self._structured, self._structured and self._context_of == name)

    def _reply(self, option: int, kind: int, data: bytes = b"") -> None:
        self._send(wire.OPTION_REPLY.pack(wire.OPTION_REPLY_MAGIC, option, kind, len(data)) + data)


class _Parts:
    """Takes an option's data apart; what is not there reads as 0 or None, and `done` is then False."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def done(self) -> bool:
        """Whether everything was taken, and nothing was missing."""
        return self._at == len(self._data)

    def number(self, size: int) -> int:
        part = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(part, "big") if len(part) == size else 0

    def text(self) -> str | None:
        size = self.number(4)
        part = self._data[self._at : self._at + size]
        self._at += size
        return _text(part) if len(part) == size else None


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
