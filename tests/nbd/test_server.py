"""The server against QEMU's tools, libnbd's tools and our own client; and against clients that mean harm."""

from __future__ import annotations

import json
import random
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.nbd_servers import Patchwork, connect, ours
from vmtui.model.errors import FailedError
from vmtui.nbd import BASE_ALLOCATION, HOLE, ZERO, Export, NbdServer, wire
from vmtui.nbd.wire import Chunk, Command, ExportFlag, GlobalFlag, Option

MIB = 1 << 20
BLOCK = 4096


def patchy(size: int, seed: int = 1) -> bytes:
    """Data and zeroes in turn, in stretches of many lengths."""
    source = random.Random(seed)
    content = bytearray()
    while len(content) < size:
        length = BLOCK * source.randint(1, 60)
        content += source.randbytes(length) if source.random() < 0.5 else bytes(length)
    return bytes(content[:size])


CONTENT = patchy(6 * MIB)


def tool(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- others' clients -----------------------------------------------------------------------------


def test_qemu_img_copies_the_bytes_and_finds_the_holes(tmp_path: Path) -> None:
    with ours(tmp_path / "s", NbdServer({"vda": Patchwork(CONTENT)})) as at:
        url = f"nbd+unix:///vda?socket={at}"
        tool("qemu-img", "convert", "-f", "raw", "-O", "raw", url, str(tmp_path / "copy"))
        found = json.loads(tool("qemu-img", "map", "--output=json", "-f", "raw", url))
    assert (tmp_path / "copy").read_bytes() == CONTENT
    for item in found:
        part = CONTENT[item["start"] : item["start"] + item["length"]]
        assert item["zero"] == (not any(part)) or not item["zero"], item
    assert sum(item["length"] for item in found if item["zero"]) > MIB


def test_libnbd_copies_over_several_connections(tmp_path: Path) -> None:
    with ours(tmp_path / "s", NbdServer({"vda": Patchwork(CONTENT)})) as at:
        url = f"nbd+unix:///vda?socket={at}"
        tool("nbdcopy", "--connections=4", "--requests=16", url, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_libnbd_lists_all_exports_with_what_they_can_do(tmp_path: Path) -> None:
    exports: dict[str, Export] = {"vda": Patchwork(CONTENT), "vd b/ü": Patchwork(bytes(BLOCK))}
    with ours(tmp_path / "s", NbdServer(exports)) as at:
        listed: Any = json.loads(tool("nbdinfo", "--list", "--json", f"nbd+unix:///?socket={at}"))
    found = {item["export-name"]: item for item in listed["exports"]}
    assert set(found) == set(exports)
    assert found["vda"]["export-size"] == len(CONTENT)
    assert found["vda"]["is_read_only"]
    assert found["vda"]["can_multi_conn"]
    assert found["vda"]["contexts"] == [BASE_ALLOCATION]
    assert listed["structured"]


@pytest.mark.parametrize("name", ["vdb", "", "vda\n"])
def test_another_export_is_refused(tmp_path: Path, name: str) -> None:
    with (
        ours(tmp_path / "s", NbdServer({"vda": Patchwork(CONTENT)})) as at,
        pytest.raises(FailedError, match="no such export"),
    ):
        connect(at, name)


# -- our client ----------------------------------------------------------------------------------


def test_many_reads_in_flight_bring_the_bytes(tmp_path: Path) -> None:
    ranges = [(at, min(100_003, len(CONTENT) - at)) for at in range(0, len(CONTENT), 100_003)]
    with ours(tmp_path / "s", NbdServer({"vda": Patchwork(CONTENT)})) as at, closing(connect(at, "vda")) as client:
        got = dict(client.read(ranges, depth=200))
    assert b"".join(bytes(got[start]) for start, _ in ranges) == CONTENT


@pytest.mark.parametrize("block", [512, 4096, 65536])
def test_block_status_is_the_truth(tmp_path: Path, block: int) -> None:
    export = Patchwork(CONTENT, block)
    with (
        ours(tmp_path / "s", NbdServer({"vda": export})) as at,
        closing(connect(at, "vda", [BASE_ALLOCATION])) as client,
    ):
        position = 0
        for extent in client.extents([BASE_ALLOCATION]):
            assert extent.offset == position
            position += extent.length
            zero = extent.flags[0] == HOLE | ZERO
            assert zero or extent.flags[0] == 0
            if zero:
                assert not any(CONTENT[extent.offset : extent.offset + extent.length])
    assert position == len(CONTENT)


def test_zeroes_are_never_read_from_the_source(tmp_path: Path) -> None:
    export = Patchwork(bytes(MIB) + b"x" * BLOCK + bytes(MIB))
    with ours(tmp_path / "s", NbdServer({"vda": export})) as at, closing(connect(at, "vda")) as client:
        ((_, data),) = client.read([(0, export.size)])
    assert export.reads == [(MIB, BLOCK)]
    assert bytes(data) == bytes(MIB) + b"x" * BLOCK + bytes(MIB)


def test_a_bad_block_fails_its_own_request_and_is_told(tmp_path: Path) -> None:
    troubles: list[tuple[str, int, int, Exception]] = []
    content = random.Random(3).randbytes(16 * BLOCK)
    server = NbdServer({"vda": Patchwork(content, broken=frozenset({BLOCK}))}, lambda *what: troubles.append(what))
    with ours(tmp_path / "s", server) as at, closing(connect(at, "vda")) as client:
        with pytest.raises(FailedError, match="The block at 4096 is damaged") as caught:
            list(client.read([(0, 2 * BLOCK)]))
        ((_, good),) = client.read([(2 * BLOCK, 3 * BLOCK)])
    assert caught.value.facts["errno"] == 5
    assert bytes(good) == content[2 * BLOCK : 5 * BLOCK]
    assert [(name, offset, length) for name, offset, length, _ in troubles] == [("vda", 0, 2 * BLOCK)]


class Lying(Patchwork):
    """Gives less than was asked for."""

    def read(self, offset: int, length: int) -> bytes:
        return super().read(offset, length)[:-1]


def test_a_request_is_answered_whatever_becomes_of_the_word_of_its_trouble(tmp_path: Path) -> None:
    """A request without an answer would hang in the guest for ever."""

    def deaf(*_: object) -> None:
        raise RuntimeError("nobody listens")

    content = bytes(range(1, 17)) * (BLOCK // 16) * 2
    server = NbdServer({"vda": Patchwork(content, broken=frozenset({BLOCK}))}, deaf)
    with ours(tmp_path / "s", server) as at, closing(connect(at, "vda")) as client, pytest.raises(FailedError):
        list(client.read([(BLOCK, BLOCK)]))


def test_a_source_that_gives_too_little_is_an_error(tmp_path: Path) -> None:
    server = NbdServer({"vda": Lying(b"x" * BLOCK)})
    with (
        ours(tmp_path / "s", server) as at,
        closing(connect(at, "vda")) as client,
        pytest.raises(FailedError, match="READ of 4096"),
    ):
        list(client.read([(0, BLOCK)]))


def test_no_more_than_so_many_connections_are_taken(tmp_path: Path) -> None:
    with ours(tmp_path / "s", NbdServer({"vda": Patchwork(CONTENT)})) as at:
        clients = [connect(at, "vda") for _ in range(16)]
        with pytest.raises(Exception, match="ended"):
            connect(at, "vda")
        for client in clients:
            client.close()


# -- clients that mean harm ----------------------------------------------------------------------

SMALL = bytes(range(256)) * 16 + bytes(BLOCK)


class Client:
    """A stream that says what a test wants and keeps what is answered."""

    def __init__(self, said: bytes) -> None:
        self._said = memoryview(said)
        self.heard = bytearray()
        self.closed = False

    def recv_into(self, buffer: memoryview) -> int:
        size = min(len(buffer), len(self._said), 1000)
        buffer[:size] = self._said[:size]
        self._said = self._said[size:]
        return size

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        self.heard += data

    def close(self) -> None:
        self.closed = True


def option(number: int, data: bytes = b"", *, length: int | None = None) -> bytes:
    return wire.OPTION.pack(wire.OPTION_MAGIC, number, len(data) if length is None else length) + data


def text(name: str) -> bytes:
    return len(name.encode()).to_bytes(4, "big") + name.encode()


FLAGS = int(GlobalFlag.FIXED_NEWSTYLE | GlobalFlag.NO_ZEROES).to_bytes(4, "big")
GO = option(Option.GO, text("vda") + bytes(2))
STATUS = option(Option.SET_META_CONTEXT, text("vda") + (1).to_bytes(4, "big") + text(BASE_ALLOCATION))
HELLO = FLAGS + option(Option.STRUCTURED_REPLY) + STATUS + GO


def request(kind: int, offset: int, length: int, flags: int = 0, handle: int = 7) -> bytes:
    return wire.REQUEST.pack(wire.REQUEST_MAGIC, flags, kind, handle, offset, length)


BYE = request(Command.DISCONNECT, 0, 0)


def said(words: bytes) -> Client:
    client = Client(words)
    NbdServer({"vda": Patchwork(SMALL)}).serve(client)
    assert client.closed
    return client


def errors(client: Client, after: bytes) -> list[int]:
    """Error numbers of the structured replies that follow a handshake."""
    rest = memoryview(client.heard)[len(said(after).heard) :]
    found = []
    while rest:
        _, kind, _, length = wire.STRUCTURED_REPLY.unpack_from(rest, 4)
        body = rest[4 + wire.STRUCTURED_REPLY.size :]
        found.append(wire.ERROR_CHUNK.unpack_from(body)[0] if kind & wire.CHUNK_ERROR else 0)
        rest = body[length:]
    return found


REFUSED = {
    "past the end": (request(Command.READ, len(SMALL) - 1, 2), 22),
    "far past the end": (request(Command.READ, (1 << 64) - 1, 0xFFFFFFFF), 22),
    "nothing": (request(Command.READ, 0, 0), 22),
    "flags": (request(Command.READ, 0, 1, flags=1 << 4), 22),
    "no such command": (request(99, 0, 1), 22),
    "a write": (request(Command.WRITE, 0, 5) + b"12345", 1),
    "a discard": (request(Command.TRIM, 0, 5), 1),
    "zeroes": (request(Command.WRITE_ZEROES, 0, 5), 1),
    "status past the end": (request(Command.BLOCK_STATUS, 0, len(SMALL) + 1), 22),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_is_refused_and_the_connection_lives(name: str) -> None:
    words, number = REFUSED[name]
    client = said(HELLO + words + request(Command.READ, 0, 1) + BYE)
    assert sorted(errors(client, HELLO)) == [0, number]


def test_more_than_a_request_may_ask_for_is_refused() -> None:
    client = Client(HELLO + request(Command.READ, 0, (32 << 20) + 1) + BYE)
    NbdServer({"vda": Patchwork(bytes(33 << 20))}).serve(client)
    quiet = Client(HELLO + BYE)
    NbdServer({"vda": Patchwork(bytes(33 << 20))}).serve(quiet)
    assert wire.ERROR_CHUNK.unpack_from(client.heard, len(quiet.heard) + 20)[0] == 75


ENDS = {
    "silence": b"",
    "half a flag": FLAGS[:2],
    "unknown flags": b"\xff\xff\xff\xff" + GO,
    "oldstyle": bytes(4) + GO,
    "an option without its magic": FLAGS + b"x" * 64,
    "an option of 4 GiB": FLAGS + option(Option.GO, length=0xFFFFFFFF),
    "an option without end": FLAGS + option(Option.LIST) * 300,
    "a request without its magic": HELLO + b"x" * 64,
    "a write of 4 GiB": HELLO + request(Command.WRITE, 0, 0xFFFFFFFF),
    "an old start at no export": FLAGS + option(Option.EXPORT_NAME, b"vdb"),
    "an old start at no text": FLAGS + option(Option.EXPORT_NAME, b"\xff\xfe"),
    "half a request": HELLO + BYE[:20],
}


@pytest.mark.parametrize("name", ENDS)
def test_nonsense_ends_the_connection(name: str) -> None:
    said(ENDS[name])


BAD_OPTIONS = {
    "a start without a name": option(Option.GO),
    "a name longer than its option": option(Option.GO, (1000).to_bytes(4, "big") + b"vda" + bytes(2)),
    "a start with a tail": option(Option.GO, text("vda") + bytes(3)),
    "a list with data": option(Option.LIST, b"x"),
    "4 billion contexts": option(Option.SET_META_CONTEXT, text("vda") + b"\xff\xff\xff\xff"),
    "contexts of no export": option(Option.SET_META_CONTEXT, text("vdb") + bytes(4)),
    "no such option": option(77, b"abc"),
    "TLS": option(5),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_a_bad_option_is_answered_and_the_handshake_goes_on(name: str) -> None:
    start = FLAGS + option(Option.STRUCTURED_REPLY)
    quiet = said(start + option(Option.ABORT))
    client = said(start + BAD_OPTIONS[name] + option(Option.ABORT))
    place = len(quiet.heard) - wire.OPTION_REPLY.size
    assert wire.OPTION_REPLY.unpack_from(client.heard, place)[2] & wire.REPLY_ERROR
    assert client.heard[-4:] == bytes(4), "the goodbye was not answered"


def test_block_status_without_its_context_is_refused() -> None:
    start = FLAGS + option(Option.STRUCTURED_REPLY) + GO
    assert errors(said(start + request(Command.BLOCK_STATUS, 0, 512) + BYE), start) == [22]


def test_a_context_of_another_export_is_not_granted() -> None:
    exports: dict[str, Export] = {"vda": Patchwork(SMALL), "vdb": Patchwork(SMALL)}
    start = FLAGS + option(Option.STRUCTURED_REPLY) + STATUS + option(Option.GO, text("vdb") + bytes(2))
    client, quiet = Client(start + request(Command.BLOCK_STATUS, 0, 512) + BYE), Client(start + BYE)
    for item in (client, quiet):
        NbdServer(exports).serve(item)
    kind = wire.STRUCTURED_REPLY.unpack_from(client.heard, len(quiet.heard) + 4)[1]
    assert kind & wire.CHUNK_ERROR


def test_an_old_client_gets_simple_replies_and_the_zeroes_it_expects() -> None:
    flags = int(GlobalFlag.FIXED_NEWSTYLE).to_bytes(4, "big")
    client = said(flags + option(Option.EXPORT_NAME, b"vda") + request(Command.READ, 1, 300) + BYE)
    head = wire.GREETING.size
    size, features = int.from_bytes(client.heard[head : head + 8], "big"), client.heard[head + 8 : head + 10]
    assert size == len(SMALL)
    assert int.from_bytes(features, "big") & ExportFlag.READ_ONLY
    assert client.heard[head + 10 : head + 134] == bytes(124)
    reply = client.heard[head + 134 :]
    assert reply[:4] == wire.SIMPLE_REPLY_MAGIC.to_bytes(4, "big")
    assert wire.SIMPLE_REPLY.unpack_from(reply, 4) == (0, 7)
    assert reply[16:] == SMALL[1:301]


def test_one_extent_is_given_to_who_asks_for_one() -> None:
    client = said(HELLO + request(Command.BLOCK_STATUS, 0, len(SMALL), flags=wire.REQ_ONE) + BYE)
    body = client.heard[len(said(HELLO + BYE).heard) + 4 + wire.STRUCTURED_REPLY.size :]
    assert body == wire.CONTEXT_ID.pack(1) + wire.DESCRIPTOR.pack(BLOCK, 0)
    assert wire.STRUCTURED_REPLY.unpack_from(client.heard, len(said(HELLO + BYE).heard) + 4)[1] == Chunk.BLOCK_STATUS


@given(st.binary(max_size=300), st.sampled_from([b"", FLAGS, HELLO, FLAGS + option(Option.STRUCTURED_REPLY)]))
@settings(deadline=None)
def test_no_bytes_whatever_break_the_server(noise: bytes, before: bytes) -> None:
    said(before + noise)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*map(int, Command), 5, 77]),
            st.integers(0, 2 * len(SMALL)),
            st.integers(0, 2 * len(SMALL)),
            st.sampled_from([0, 0, 0, 8, 1]),
        ),
        max_size=12,
    )
)
@settings(deadline=None)
def test_every_request_gets_one_answer_and_only_true_bytes(asked: list[tuple[int, int, int, int]]) -> None:
    words = b""
    count = 0
    for number, (kind, offset, length, flags) in enumerate(asked):
        if kind == Command.DISCONNECT:
            continue
        words += request(kind, offset, length, flags, number) + (bytes(length) if kind == Command.WRITE else b"")
        count += 1
    client = said(HELLO + words + BYE)
    rest = memoryview(client.heard)[len(said(HELLO + BYE).heard) :]
    answered = 0
    while rest:
        flags, kind, _, length = wire.STRUCTURED_REPLY.unpack_from(rest, 4)
        body = bytes(rest[4 + wire.STRUCTURED_REPLY.size :][:length])
        rest = rest[4 + wire.STRUCTURED_REPLY.size + length :]
        answered += flags & wire.CHUNK_DONE
        if kind == Chunk.OFFSET_DATA:
            (at,) = wire.OFFSET.unpack_from(body)
            assert body[8:] == SMALL[at : at + len(body) - 8]
        elif kind == Chunk.OFFSET_HOLE:
            at, size = wire.HOLE_CHUNK.unpack(body)
            assert not any(SMALL[at : at + size])
    assert answered == count
