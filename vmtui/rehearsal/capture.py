"""What a record of the isolated network shows. Pure.

The file is what QEMU's filter-dump writes: libpcap's classic format, Ethernet frames, both directions.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = 0xA1B2C3D4
_HEADER = 24
_RECORD = struct.Struct("<IIII")
_INSIDE = ipaddress.ip_network("10.0.2.0/24")
"""The addresses that QEMU's user-mode stack plays by itself."""
_IPV4, _ARP = 0x0800, 0x0806
_TCP = 6
_RESET = 0x04
_LIMIT = 1 << 16
"""Longest frame that is believed [bytes]."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was on the wire."""

    sent: int
    """Frames from the guest."""
    outside: tuple[str, ...]
    """Addresses outside of the stack's own that the guest asked for, sorted."""
    tries: int
    """Frames of the guest to them, questions for their hardware address included."""
    refused: int
    """Connections that QEMU itself refused in their name."""
    answered: int
    """Frames that came from outside. Anything but 0 would mean that something got out."""


def read_capture(data: bytes, mac: str) -> Traffic:
    """Count what was on the wire.

    Args:
        data: The record.
        mac: Of the guest's interface.

    Raises:
        ValueError: It is no such record.
    """
    guest = bytes.fromhex(mac.replace(":", ""))
    sent = tries = refused = answered = 0
    outside: set[str] = set()
    for frame in _frames(data):
        source, target = _addresses(frame)
        if frame[6:12] == guest:
            sent += 1
            if target is not None and _is_outside(target):
                tries += 1
                outside.add(str(target))
        elif source is not None and _is_outside(source):
            if _is_reset(frame):
                refused += 1
            else:
                answered += 1
    return Traffic(sent, tuple(sorted(outside)), tries, refused, answered)


def _frames(data: bytes) -> Iterator[bytes]:
    if len(data) < _HEADER or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise ValueError("it is not a record of packets")
    place = _HEADER
    while place + _RECORD.size <= len(data):
        _, _, length, _ = _RECORD.unpack_from(data, place)
        place += _RECORD.size
        if length > _LIMIT or place + length > len(data):
            return  # QEMU was ended while it wrote
        yield data[place : place + length]
        place += length


def _addresses(frame: bytes) -> tuple[ipaddress.IPv4Address | None, ipaddress.IPv4Address | None]:
    """(from, to) of an IPv4 packet, or of a question or answer of ARP."""
    if len(frame) < 34:
        return None, None
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _IPV4:
        return ipaddress.IPv4Address(frame[26:30]), ipaddress.IPv4Address(frame[30:34])
    if kind == _ARP and len(frame) >= 42:
        return ipaddress.IPv4Address(frame[28:32]), ipaddress.IPv4Address(frame[38:42])
    return None, None


def _is_outside(address: ipaddress.IPv4Address) -> bool:
    return address not in _INSIDE and not (
        address.is_multicast or address.is_unspecified or address == ipaddress.IPv4Address("255.255.255.255")
    )


def _is_reset(frame: bytes) -> bool:
    """Whether it is a TCP reset: the stack's way to say no, in the name of whoever was asked."""
    if frame[23] != _TCP:
        return False
    start = 14 + 4 * (frame[14] & 0x0F)
    return len(frame) > start + 13 and bool(frame[start + 13] & _RESET)
