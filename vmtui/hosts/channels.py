"""SSH channels that act like sockets, and the kind of channel that paramiko has no call for.

`direct-streamlocal@openssh.com` (OpenSSH's PROTOCOL, section 2.4) connects to a unix socket on the
host inside the login: no port is opened there. `streamlocal-forward@openssh.com` is the other direction:
the host's sshd listens at a unix socket and hands each connection to us.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.common import cMSG_CHANNEL_OPEN, cMSG_CHANNEL_OPEN_SUCCESS

from vmtui.hosts.packets import Batch, Data, Packetizer

WINDOW = 32 << 20
"""Bytes that the host may send before we acknowledge; more than one round trip's worth."""
PACKET = 1 << 18
"""Largest packet that OpenSSH sends."""

_FORWARDED = "forwarded-streamlocal@openssh.com"
"""Kind of the channels that bring connections made to a socket of ours on the host."""
_BATCH = 256 << 10
"""Bytes that are sent at once; several packets."""
_AHEAD = 256 << 10
"""Bytes taken from a login's socket at once; many packets."""

_GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""One pass for encryption and integrity, in hardware on every machine of interest."""


class _Chunks:
    """Incoming data of a channel as a queue of whole packets, without paramiko's copying buffer.

    It has the methods of paramiko's BufferedPipe that a channel uses.
    """

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._chunks: deque[memoryview] = deque()
        self._size = 0
        self._wanted = 1
        """Bytes that the reader waits for; it is not woken for less."""
        self._closed = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take one packet from the transport's thread."""
        with self._ready:
            self._chunks.append(memoryview(data))
            self._size += len(data)
            if self._size >= self._wanted:
                self._ready.notify_all()

    def take_into(self, view: memoryview, wanted: int, timeout: float | None) -> int:
        """Fill `view` with what is there; waits until that are `wanted` bytes, or the end; 0 at the end.

        A deadline counts from the last time that anything came.
        """
        with self._ready:
            self._wanted = wanted
            while self._size < wanted and not self._closed:
                before = self._size
                if not self._ready.wait(timeout) and self._size == before:
                    raise TimeoutError("the host was silent for too long")
            filled = 0
            while self._chunks and filled < len(view):
                chunk = self._chunks[0]
                size = min(len(chunk), len(view) - filled)
                view[filled : filled + size] = chunk[:size]
                filled += size
                if size == len(chunk):
                    self._chunks.popleft()
                else:
                    self._chunks[0] = chunk[size:]
            self._size -= filled
            return filled

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """BufferedPipe's reading call."""
        buffer = bytearray(min(nbytes, max(self._size, 1)))
        size = self.take_into(memoryview(buffer), 1, timeout)
        return bytes(buffer[:size])

    def read_ready(self) -> bool:
        """Whether a read would return at once."""
        with self._ready:
            return bool(self._chunks)

    def set_event(self, event: threading.Event) -> None:
        """Part of the interface; nobody selects on our channels."""

    def empty(self) -> bytes:
        """Take all that is there."""
        with self._ready:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._size = 0
            return data

    def close(self) -> None:
        """No more data will come."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def __len__(self) -> int:
        return self._size


class BulkChannel(paramiko.Channel):
    """A channel with a cheap receive path."""

    def __init__(self, chanid: int) -> None:
        super().__init__(chanid)
        self.in_buffer = _Chunks()

    def _feed(self, m: Any) -> None:
        """Take one packet's data from the transport's thread."""
        self.in_buffer.feed(m.content if isinstance(m, Data) else m.get_binary())


class ChannelStream:
    """A channel as an `nbd.Stream`.

    Args:
        channel: Open, with chunks for its buffer; owned from now on.
        silence_s: A receive that waits longer than this raises TimeoutError [s]; None waits for ever.
        whole: A receive waits until its buffer is full, as far as the window allows. For protocols whose
            reader only asks for what must come; it is woken once for many packets.
    """

    def __init__(self, channel: paramiko.Channel, silence_s: float | None, *, whole: bool = False) -> None:
        self._channel = channel
        self._whole = whole
        self._silence_s = silence_s
        channel.settimeout(silence_s)

    def recv_into(self, buffer: memoryview) -> int:
        """Receive at most `len(buffer)` bytes; 0 at the end of the stream."""
        wanted = min(len(buffer), WINDOW // 4) if self._whole else 1
        chunks: Any = self._channel.in_buffer
        size: int = chunks.take_into(buffer, wanted, self._silence_s)
        self._acknowledge(size)
        return size

    def _acknowledge(self, size: int) -> None:
        """Give the host its window back, as Channel.recv does."""
        channel = self._channel
        credit = channel._check_add_window(size)
        if credit > 0:
            message = paramiko.Message()
            message.add_byte(paramiko.common.cMSG_CHANNEL_WINDOW_ADJUST)
            message.add_int(channel.remote_chanid)
            message.add_int(credit)
            channel.transport._send_user_message(message)

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything.

        Raises:
            OSError: The channel is closed, or nothing could be sent for `silence_s`.
        """
        channel = self._channel
        view = memoryview(data)
        while view:
            size = self._granted(min(len(view), _BATCH))
            channel.transport._send_user_message(Batch(channel, view[:size]))
            view = view[size:]

    def _granted(self, wanted: int) -> int:
        """Take a part of the window for what is to be sent; waits until there is one. Gives its size [bytes]."""
        channel = self._channel
        with channel.lock:
            if channel.closed:
                raise OSError("the channel is closed")
            first: int = channel._wait_for_send_window(wanted)  # at most one packet
            if first == 0:
                raise OSError("the channel was closed by the host")
            more: int = min(wanted - first, channel.out_window_size)
            channel.out_window_size -= more
            return first + more

    def close(self) -> None:
        """Close; safe to repeat, also when the login is gone."""
        try:
            self._channel.close()
        except (OSError, EOFError):
            pass  # the host cannot be told any more


class ChannelSocket:
    """A channel of paramiko's own kind as a `Stream`, for a few words.

    Args:
        channel: Open; owned from now on.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def recv_into(self, buffer: memoryview) -> int:
        """Receive at most `len(buffer)` bytes; 0 at the end of the stream."""
        data = self._channel.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything.

        Raises:
            OSError: The channel is closed.
        """
        self._channel.sendall(bytes(data))

    def close(self) -> None:
        """Close; safe to repeat."""
        self._channel.close()


class _ReadAhead:
    """A socket that is read many packets at a time: each call into the kernel costs a switch of threads.

    Only the transport's thread receives.

    Args:
        sock: A socket, or a jump host's channel; everything but receiving is its own.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._buffer = bytearray(_AHEAD)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._receive = getattr(sock, "recv_into", None) or self._receive_copy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """Receive at most `size` bytes, as a socket does."""
        if self._start == self._end:
            self._end = self._receive(self._view)
            self._start = 0
        start = self._start
        self._start = min(self._end, start + size)
        return bytes(self._view[start : self._start])

    def _receive_copy(self, view: memoryview) -> int:
        data = self._sock.recv(len(view))
        view[: len(data)] = data
        return len(data)


class HostTransport(paramiko.Transport):
    """A transport that also opens unix sockets on the host."""

    def __init__(self, sock: Any) -> None:
        super().__init__(
            _ReadAhead(sock),
            default_window_size=WINDOW,
            default_max_packet_size=PACKET,
            packetizer_class=Packetizer,
        )
        options = self.get_security_options()
        options.ciphers = tuple(dict.fromkeys([c for c in _GCM if c in options.ciphers] + list(options.ciphers)))
        self._listeners: dict[str, Callable[[paramiko.Channel], None]] = {}

    def open_unix(self, path: str, timeout: float) -> paramiko.Channel:
        """Connect to a unix socket on the host.

        Raises:
            paramiko.ChannelException: The host refuses, or nobody listens there.
            paramiko.SSHException: The login ended, or the host did not answer in time.
        """
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_OPEN)
        message.add_string("direct-streamlocal@openssh.com")
        with self.lock:
            number = self._next_channel()
            message.add_int(number)
            message.add_int(self.default_window_size)
            message.add_int(self.default_max_packet_size)
            message.add_string(path)
            message.add_string("")  # reserved
            message.add_int(0)  # reserved
            channel = BulkChannel(number)
            self._channels.put(number, channel)
            opened = threading.Event()
            self.channel_events[number] = opened
            self.channels_seen[number] = True
            channel._set_transport(self)
            channel._set_window(self.default_window_size, self.default_max_packet_size)
        self._send_user_message(message)
        self._wait_opened(opened, timeout)
        if self._channels.get(number) is not channel:
            raise self.get_exception() or paramiko.SSHException("the host did not open the channel")
        return channel

    def _wait_opened(self, opened: threading.Event, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not opened.wait(0.1):
            if not self.active:
                raise self.get_exception() or paramiko.SSHException("the login ended")
            if time.monotonic() > deadline:
                raise paramiko.SSHException("the host did not open the channel in time")

    def open_command(self, command: str, timeout: float) -> paramiko.Channel:
        """Run a command whose input and output are the stream.

        Raises:
            paramiko.SSHException: The login ended or the host refuses.
        """
        channel = self.open_session(timeout=timeout)
        channel.in_buffer = _Chunks()  # before any data can come
        channel.exec_command(command)
        return channel  # it now has what a BulkChannel has

    # -- the other direction ---------------------------------------------------------------------

    def listen_unix(self, path: str, serve: Callable[[paramiko.Channel], None]) -> bool:
        """Let sshd listen at a unix socket on the host, for as long as this login lasts.

        Args:
            path: Must not be there; sshd makes it for this account alone (0600) and never removes it.
            serve: Called with each connection, on a thread of its own.

        Returns:
            Whether sshd does so.
        """
        self._listeners[path] = serve
        if self.global_request("streamlocal-forward@openssh.com", (path,)) is None:
            del self._listeners[path]
            return False
        return True

    def _parse_channel_open(self, m: Any) -> None:
        """Take a connection that came to a socket of ours; paramiko knows the other kinds."""
        if m.get_text() != _FORWARDED:
            m.rewind()
            super()._parse_channel_open(m)
            return
        theirs, window, packet, path = m.get_int(), m.get_int(), m.get_int(), m.get_text()
        serve = self._listeners.get(path)
        if serve is None:
            m.rewind()
            super()._parse_channel_open(m)  # refuses what it does not know
            return
        with self.lock:
            number = self._next_channel()
            channel = BulkChannel(number)
            self._channels.put(number, channel)
            self.channels_seen[number] = True
            channel._set_transport(self)
            channel._set_window(self.default_window_size, self.default_max_packet_size)
            channel._set_remote_channel(theirs, window, packet)
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_OPEN_SUCCESS)
        for value in (theirs, number, self.default_window_size, self.default_max_packet_size):
            message.add_int(value)
        self._send_message(message)
        threading.Thread(target=serve, args=(channel,), name=f"serve {path}", daemon=True).start()
