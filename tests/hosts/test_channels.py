"""Channels bring exactly the bytes that came, wake their reader once, and never wait for more than will come."""

from __future__ import annotations

import random
import socket
import threading
import time
from typing import Any

import pytest

from vmtui.hosts.channels import WINDOW, ChannelStream, _Chunks, _ReadAhead

CONTENT = random.Random(1).randbytes(3 << 20)


class FakeChannel:
    """The part of a channel that a stream uses."""

    def __init__(self) -> None:
        self.in_buffer = _Chunks()

    def settimeout(self, timeout: float | None) -> None: ...

    def _check_add_window(self, size: int) -> int:
        return 0


def fed(content: bytes, packet: int, *, close: bool = True) -> FakeChannel:
    """A channel whose host sends `content` in packets from a thread of its own."""
    channel = FakeChannel()

    def feed() -> None:
        for start in range(0, len(content), packet):
            channel.in_buffer.feed(content[start : start + packet])
        if close:
            channel.in_buffer.close()

    threading.Thread(target=feed, daemon=True).start()
    return channel


def stream_of(channel: Any, silence_s: float | None = 5.0, *, whole: bool = False) -> ChannelStream:
    return ChannelStream(channel, silence_s, whole=whole)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("packet", "step"), [(32768, 1 << 20), (1000, 4096), (262144, 777)])
def test_a_stream_brings_the_bytes_that_came(packet: int, step: int, whole: bool) -> None:
    stream = stream_of(fed(CONTENT, packet), whole=whole)
    got = bytearray()
    buffer = memoryview(bytearray(step))
    while size := stream.recv_into(buffer):
        got += buffer[:size]
    assert got == CONTENT


def test_a_whole_receive_fills_its_buffer_however_the_packets_fall() -> None:
    stream = stream_of(fed(CONTENT, 999), whole=True)
    buffer = bytearray(1 << 20)
    assert stream.recv_into(memoryview(buffer)) == len(buffer)
    assert buffer == CONTENT[: len(buffer)]


def test_a_whole_receive_ends_with_the_stream() -> None:
    stream = stream_of(fed(CONTENT[:5000], 999), whole=True)
    assert stream.recv_into(memoryview(bytearray(1 << 20))) == 5000
    assert stream.recv_into(memoryview(bytearray(1 << 20))) == 0


def test_a_plain_receive_does_not_wait_for_more_than_there_is() -> None:
    channel = FakeChannel()
    channel.in_buffer.feed(b"abc")
    assert stream_of(channel).recv_into(memoryview(bytearray(100))) == 3


def test_no_receive_waits_for_more_than_the_host_may_send() -> None:
    channel = FakeChannel()
    for _ in range(0, WINDOW // 2, 1 << 20):
        channel.in_buffer.feed(bytes(1 << 20))
    assert stream_of(channel, whole=True).recv_into(memoryview(bytearray(2 * WINDOW))) >= WINDOW // 4


@pytest.mark.parametrize("whole", [False, True])
def test_silence_is_an_error(whole: bool) -> None:
    stream = stream_of(FakeChannel(), 0.05, whole=whole)
    with pytest.raises(TimeoutError):
        stream.recv_into(memoryview(bytearray(100)))


def test_silence_in_the_middle_of_a_whole_receive_is_an_error() -> None:
    stream = stream_of(fed(CONTENT[:5000], 999, close=False), 0.2, whole=True)
    with pytest.raises(TimeoutError):
        stream.recv_into(memoryview(bytearray(1 << 20)))


def test_slow_is_not_silent() -> None:
    """The limit counts from the last packet, not from the begin of the receive."""
    channel = FakeChannel()

    def feed() -> None:
        for _ in range(8):
            time.sleep(0.1)
            channel.in_buffer.feed(b"x")

    threading.Thread(target=feed, daemon=True).start()
    assert stream_of(channel, 0.5, whole=True).recv_into(memoryview(bytearray(8))) == 8


# -- reading ahead -------------------------------------------------------------------------------


class WithoutRecvInto:
    """A jump host's channel: it receives, but into nothing of ours."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def recv(self, size: int) -> bytes:
        return self._sock.recv(size)


@pytest.mark.parametrize("wrap", [lambda sock: sock, WithoutRecvInto])
def test_reading_ahead_brings_the_same_bytes(wrap: Any) -> None:
    ours, theirs = socket.socketpair()

    def send() -> None:
        theirs.sendall(CONTENT)
        theirs.close()

    with ours, theirs:
        threading.Thread(target=send, daemon=True).start()
        ahead = _ReadAhead(wrap(ours))
        got = bytearray()
        while part := ahead.recv(random.randrange(1, 100_000)):
            got += part
    assert got == CONTENT


def test_reading_ahead_keeps_the_sockets_timeout() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ahead = _ReadAhead(ours)
        ahead.settimeout(0.05)
        with pytest.raises(TimeoutError):
            ahead.recv(16)
        theirs.sendall(b"later")
        assert ahead.recv(16) == b"later"
