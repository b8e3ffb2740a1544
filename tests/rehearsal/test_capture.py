from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.rehearsal.capture import Traffic, read_capture

MAC = "52:54:00:01:02:03"
GUEST = bytes.fromhex("525400010203")
QEMU = bytes.fromhex("52550a000202")
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65536, 1)


def ip(source: str, target: str, *, above: bytes = bytes(20), protocol: int = 6, from_guest: bool = True) -> bytes:
    head = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]) + socket.inet_aton(source) + socket.inet_aton(target)
    ends = QEMU + GUEST if from_guest else GUEST + QEMU
    return ends + b"\x08\x00" + head + above


def record(*frames: bytes) -> bytes:
    return HEADER + b"".join(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)


RESET = bytes(13) + b"\x14" + bytes(6)


def test_tries_refusals_and_answers_are_told_apart() -> None:
    data = record(
        ip("10.0.2.15", "192.0.2.1"),
        ip("10.0.2.15", "192.0.2.1", protocol=17),
        ip("10.0.2.15", "10.0.2.2"),
        ip("10.0.2.15", "224.0.0.1", protocol=17),
        ip("192.0.2.1", "10.0.2.15", above=RESET, from_guest=False),
        ip("10.0.2.2", "10.0.2.15", from_guest=False),
    )
    assert read_capture(data, MAC) == Traffic(sent=4, outside=("192.0.2.1",), tries=2, refused=1, answered=0)


@pytest.mark.parametrize("protocol", [1, 6, 17])
def test_an_answer_from_outside_is_seen(protocol: int) -> None:
    data = record(ip("192.0.2.1", "10.0.2.15", protocol=protocol, from_guest=False))
    assert read_capture(data, MAC).answered == 1


def test_a_record_that_was_broken_off_is_read_as_far_as_it_goes() -> None:
    data = record(ip("10.0.2.15", "192.0.2.1"), ip("10.0.2.15", "192.0.2.1"))
    assert read_capture(data[:-7], MAC).sent == 1


@given(st.binary(max_size=400))
def test_foreign_bytes_do_no_harm(data: bytes) -> None:
    read_capture(HEADER + data, MAC)
    with pytest.raises(ValueError, match="no"):
        read_capture(b"\0" + data, MAC)
    read_capture(record(data[:100]), MAC)
