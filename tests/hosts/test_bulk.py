"""What is sent and received in bulk arrives whole and in order, whatever was negotiated, with a small window and new keys on the way."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import paramiko
import pytest

from vmtui.hosts.channels import BulkChannel, ChannelStream, HostTransport, _Chunks
from vmtui.hosts.packets import Data

GCM, CTR = "aes128-gcm@openssh.com", "aes128-ctr"
CONTENT = random.Random(2).randbytes(5 << 20)
_WAIT_S = 20.0


class Permissive(paramiko.ServerInterface):
    """A server that lets everybody in."""

    def check_auth_none(self, _username: str) -> int:
        return int(paramiko.AUTH_SUCCESSFUL)

    def check_channel_request(self, _kind: str, _number: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)


@dataclass
class Pair:
    """Both ends of a login, with one channel."""

    client: HostTransport
    server: paramiko.Transport
    stream: ChannelStream
    far_end: paramiko.Channel
    packets: list[int] = field(default_factory=list)
    """Size of the data of each packet that the server got."""

    def receive(self, size: int) -> bytes:
        """What the server gets; at most `size` bytes."""
        self.far_end.settimeout(_WAIT_S)
        got = bytearray()
        while len(got) < size and (data := self.far_end.recv(1 << 20)):
            got += data
        return bytes(got)


def bulk(client: HostTransport) -> paramiko.Channel:
    """A channel to the server, which knows no sockets."""
    channel = client.open_session(timeout=_WAIT_S)
    channel.__class__ = BulkChannel
    channel.in_buffer = _Chunks()
    return channel


@contextlib.contextmanager
def login(cipher: str, *, compression: str = "none", window: int = 2 << 20) -> Iterator[Pair]:
    """A login over a pair of sockets.

    Args:
        cipher: The only one that the server offers.
        compression: The only one that the server offers.
        window: Of the server [bytes].
    """
    ours, theirs = socket.socketpair()
    server = paramiko.Transport(theirs, default_window_size=window, default_max_packet_size=32768)
    options = server.get_security_options()
    options.ciphers = (cipher,)
    options.compression = (compression,)
    server.add_server_key(paramiko.ECDSAKey.generate())
    client = HostTransport(ours)
    if compression != "none":
        client.get_security_options().compression = (compression,)
    try:
        ready = threading.Event()
        server.start_server(ready, Permissive())
        client.start_client(timeout=_WAIT_S)
        client.auth_none("anybody")
        stream = ChannelStream(bulk(client), _WAIT_S)
        far_end = server.accept(_WAIT_S)
        assert far_end is not None
        pair = Pair(client, server, stream, far_end)
        feed = far_end.in_buffer.feed

        def noted(data: bytes) -> None:
            pair.packets.append(len(data))
            feed(data)

        far_end.in_buffer.feed = noted
        yield pair
    finally:
        client.close()
        server.close()


def echoed(pair: Pair, content: bytes) -> bytes:
    """What comes back of `content` when the server sends it."""
    sender = threading.Thread(target=pair.far_end.sendall, args=(content,))
    sender.start()
    got = bytearray(len(content))
    view = memoryview(got)
    while view:
        size = pair.stream.recv_into(view)
        assert size
        view = view[size:]
    sender.join(_WAIT_S)
    return bytes(got)


def sent_and_received(pair: Pair, content: bytes) -> bytes:
    """What arrives of `content`."""
    sender = threading.Thread(target=pair.stream.sendall, args=(memoryview(content),))
    sender.start()
    got = pair.receive(len(content))
    sender.join(_WAIT_S)
    return got


@pytest.mark.parametrize(
    ("cipher", "compression"), [(GCM, "none"), ("aes256-gcm@openssh.com", "none"), (CTR, "none"), (GCM, "zlib")]
)
def test_all_arrives_in_order_whatever_was_negotiated(cipher: str, compression: str) -> None:
    with login(cipher, compression=compression) as pair:
        assert pair.client.local_cipher == cipher
        assert pair.client.local_compression == compression
        assert sent_and_received(pair, CONTENT) == CONTENT
        assert max(pair.packets) == 32768
        assert echoed(pair, CONTENT) == CONTENT


@pytest.mark.parametrize("size", [*range(1, 40), 32767, 32768, 32769, 262144, 262145])
def test_each_size_is_padded_right(size: int, gcm: Pair) -> None:
    assert sent_and_received(gcm, CONTENT[:size]) == CONTENT[:size]
    assert echoed(gcm, CONTENT[:size]) == CONTENT[:size]


@pytest.fixture(scope="module")
def gcm() -> Iterator[Pair]:
    with login(GCM) as pair:
        yield pair


@pytest.mark.parametrize("window", [32768, 40_000, 100_001])
def test_a_small_window_is_kept(window: int) -> None:
    with login(GCM, window=window) as pair:
        sender = threading.Thread(target=pair.stream.sendall, args=(CONTENT,))
        sender.start()
        sender.join(0.3)
        assert sum(pair.packets) == window  # nobody has read yet
        assert pair.receive(len(CONTENT)) == CONTENT
        sender.join(_WAIT_S)
        assert not sender.is_alive()


@pytest.mark.parametrize("cipher", [GCM, CTR])
def test_new_keys_are_made_in_the_middle(cipher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with login(cipher) as pair:
        renewals: list[int] = []
        renew = pair.client._send_kex_init

        def noted() -> None:
            renewals.append(1)
            renew()

        monkeypatch.setattr(pair.client, "_send_kex_init", noted)
        pair.client.packetizer.REKEY_BYTES = 1 << 20
        assert sent_and_received(pair, CONTENT) == CONTENT
        sent = len(renewals)
        assert sent >= 2
        assert echoed(pair, CONTENT) == CONTENT
        assert len(renewals) >= sent + 2


def test_a_host_that_agrees_on_no_new_keys_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with login(GCM) as pair:
        monkeypatch.setattr(pair.client, "_send_kex_init", lambda: None)
        pair.client.packetizer.REKEY_BYTES = 1 << 20
        pair.client.packetizer.REKEY_BYTES_OVERFLOW_MAX = 1 << 20
        threading.Thread(target=lambda: _quietly(pair.far_end.sendall, CONTENT), daemon=True).start()
        got = 0
        buffer = memoryview(bytearray(1 << 20))
        while size := pair.stream.recv_into(buffer):
            got += size
        assert (2 << 20) - 65536 <= got < len(CONTENT)
        assert "new keys" in str(pair.client.get_exception())


def _quietly(action: Callable[[bytes], None], content: bytes) -> None:
    with contextlib.suppress(OSError, EOFError):
        action(content)


@pytest.mark.parametrize(
    "fields", [b"", b"1234567", b"\0\0\0\1" + b"\0\0\0\5" + b"1234", b"\0\0\0\1" + b"\0\0\0\3" + b"1234"]
)
def test_data_of_another_length_than_said_is_refused(fields: bytes) -> None:
    with pytest.raises(paramiko.SSHException, match="length"):
        Data(memoryview(fields))


def test_a_flipped_bit_ends_the_login() -> None:
    with login(GCM) as pair:
        read_all = pair.client.packetizer.read_all

        def flipped(size: int, check_rekey: bool = False) -> bytes:
            data = bytearray(read_all(size, check_rekey))
            if size > 1000:
                data[500] ^= 1
            return bytes(data)

        pair.client.packetizer.read_all = flipped
        threading.Thread(target=lambda: _quietly(pair.far_end.sendall, CONTENT[:5000]), daemon=True).start()
        assert pair.stream.recv_into(memoryview(bytearray(5000))) == 0
        assert not pair.client.is_active()


def test_others_may_send_meanwhile() -> None:
    """Two channels and small requests on one login: each gets its own bytes."""
    with login(GCM) as pair:
        other = ChannelStream(bulk(pair.client), _WAIT_S)
        far = pair.server.accept(_WAIT_S)
        assert far is not None
        words = [f"word {number} ".encode() for number in range(2000)]

        def speak() -> None:
            for word in words:
                other.sendall(word)
                pair.client.send_ignore(10)

        speaker = threading.Thread(target=speak)
        speaker.start()
        assert sent_and_received(pair, CONTENT) == CONTENT
        speaker.join(_WAIT_S)
        expected = b"".join(words)
        far.settimeout(_WAIT_S)
        heard = b""
        while len(heard) < len(expected):
            heard += far.recv(65536)
        assert heard == expected


@pytest.mark.parametrize("end", ["channel", "login"])
def test_the_end_of_the_other_side_is_an_error(end: str) -> None:
    with login(GCM, window=32768) as pair:
        failures: list[BaseException] = []

        def send() -> None:
            try:
                pair.stream.sendall(CONTENT)
            except (OSError, EOFError) as error:
                failures.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        sender.join(0.2)
        if end == "channel":
            pair.far_end.close()
        else:
            pair.server.close()
        sender.join(_WAIT_S)
        assert len(failures) == 1


def test_a_host_that_takes_nothing_is_an_error_after_a_while() -> None:
    with login(GCM, window=32768) as pair:
        pair.stream._channel.settimeout(0.3)
        with pytest.raises(TimeoutError):
            pair.stream.sendall(CONTENT)
