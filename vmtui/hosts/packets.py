"""The packets of a login, when there are many.

OpenSSH takes and sends no packet of a channel longer than 32 KiB, so an image is some ten thousand of them. They are built,
encrypted and given to the kernel many at a time, and what is received is not copied more than it must.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_DATA
from paramiko.packet import Packetizer as PlainPacketizer

_DATA_HEAD = struct.Struct(">BII")
"""Head of a packet with a channel's data: kind, channel, length (RFC 4254, section 5.2)."""
_DATA_FIELDS = struct.Struct(">II")
"""What of that is before the data in a message that was received."""
_PACKET_HEAD = struct.Struct(">IB")
"""Head of every packet: length, and length of the padding (RFC 4253, section 6)."""
_CIPHER_BLOCK = 16


class Batch:
    """Data of a channel, as the packets that carry it. Goes where paramiko expects a message.

    Args:
        channel: Whose window has room for all of it.
        data: Must not change until it was sent.
    """

    def __init__(self, channel: paramiko.Channel, data: memoryview) -> None:
        self._channel: int = channel.remote_chanid
        self._longest: int = channel.out_max_packet_size
        self._data = data

    def payloads(self) -> list[tuple[bytes, memoryview]]:
        """(head, data) of each packet."""
        parts = [self._data[start : start + self._longest] for start in range(0, len(self._data), self._longest)]
        return [(_DATA_HEAD.pack(MSG_CHANNEL_DATA, self._channel, len(part)), part) for part in parts]


class Data:
    """A received packet with a channel's data, which is not copied. It has what is asked of such a message.

    Args:
        fields: Channel, length and data (RFC 4254, section 5.2).

    Raises:
        paramiko.SSHException: They do not fit together.
    """

    def __init__(self, fields: memoryview) -> None:
        channel, length = _DATA_FIELDS.unpack_from(fields) if len(fields) >= _DATA_FIELDS.size else (0, None)
        self.content = fields[_DATA_FIELDS.size :]
        if length != len(self.content):
            raise paramiko.SSHException("a packet whose data has another length than it says")
        self._channel: int = channel

    def get_int(self) -> int:
        """The channel."""
        return self._channel

    def get_binary(self) -> bytes:
        """A copy of the data, for channels of paramiko's own kind."""
        return bytes(self.content)


class Packetizer(PlainPacketizer):
    """Sends the packets of a batch with one call into the kernel, and one switch of threads; receives with few copies.

    It has the name of the class that it extends, so that private names of both are the same attributes. Both ways are
    for AES-GCM, where the length stands before what is encrypted (RFC 5647, section 7); anything else goes paramiko's.
    """

    __aead_in: bool
    __aead_out: bool
    __block_engine_in: Any
    __block_engine_out: Any
    __compress_engine_in: Any
    __compress_engine_out: Any
    __iv_in: bytes
    __iv_out: bytes
    __mac_size_in: int
    __received_bytes: int
    __received_bytes_overflow: int
    __received_packets: int
    __received_packets_overflow: int
    __sent_bytes: int
    __sent_packets: int
    __sequence_number_in: int
    __sequence_number_out: int
    __write_lock: Any

    def send_message(self, data: Any) -> None:
        """Send a message, or all of a batch.

        Raises:
            EOFError: The connection ended.
        """
        if not isinstance(data, Batch):
            super().send_message(data)
        elif self.__aead_out and self.__compress_engine_out is None:
            with self.__write_lock:
                self._send_sealed(data)
        else:
            for head, part in data.payloads():
                message = paramiko.Message()
                message.add_bytes(head + part)
                super().send_message(message)

    def read_message(self) -> tuple[int, Any]:
        """Receive a message; blocks. Only the transport's thread does.

        Raises:
            EOFError: The connection ended.
            paramiko.SSHException: The host breaks the protocol.
        """
        if not self.__aead_in or self.__compress_engine_in is not None:
            received: tuple[int, Any] = super().read_message()
            return received
        head = self.read_all(4, check_rekey=True)
        size = int.from_bytes(head, "big")
        sealed = self.read_all(size + self.__mac_size_in)
        plain = self.__block_engine_in.decrypt(self.__iv_in, sealed, head)
        self.__iv_in = self._inc_iv_counter(self.__iv_in)
        payload = memoryview(plain)[1 : size - plain[0]]
        if not payload:
            raise paramiko.SSHException("an empty packet")
        kind = payload[0]
        message: Any = Data(payload[1:]) if kind == MSG_CHANNEL_DATA else paramiko.Message(bytes(payload[1:]))
        message.seqno = self.__sequence_number_in
        self.__sequence_number_in = (self.__sequence_number_in + 1) & 0xFFFFFFFF
        self._count_received(len(head) + len(sealed))
        return kind, message

    def _count_received(self, size: int) -> None:
        """See to it that new keys are made in time, and that the host takes part in that."""
        self.__received_bytes += size
        self.__received_packets += 1
        if self.need_rekey():
            self.__received_bytes_overflow += size
            self.__received_packets_overflow += 1
            if (
                self.__received_packets_overflow >= self.REKEY_PACKETS_OVERFLOW_MAX
                or self.__received_bytes_overflow >= self.REKEY_BYTES_OVERFLOW_MAX
            ):
                raise paramiko.SSHException("the host does not agree on new keys")
        elif self.__received_packets >= self.REKEY_PACKETS or self.__received_bytes >= self.REKEY_BYTES:
            self._ask_for_new_keys()

    def _ask_for_new_keys(self) -> None:
        self.__received_bytes_overflow = self.__received_packets_overflow = 0
        self._trigger_rekey()

    def _send_sealed(self, batch: Batch) -> None:
        out = []
        for head, part in batch.payloads():
            size = len(head) + len(part)
            padding = 4 + -(1 + size + 4) % _CIPHER_BLOCK
            start = _PACKET_HEAD.pack(1 + size + padding, padding)
            length = start[:4]
            plain = b"".join((start[4:], head, part, os.urandom(padding)))
            out += [length, self.__block_engine_out.encrypt(self.__iv_out, plain, length)]
            self.__iv_out = self._inc_iv_counter(self.__iv_out)
            self.__sequence_number_out = (self.__sequence_number_out + 1) & 0xFFFFFFFF
            self.__sent_packets += 1
        sealed = b"".join(out)
        self.write_all(sealed)
        self.__sent_bytes += len(sealed)
        due = self.__sent_packets >= self.REKEY_PACKETS or self.__sent_bytes >= self.REKEY_BYTES
        if due and not self.need_rekey():
            self._ask_for_new_keys()
