"""Servers that lie, stop or talk nonsense end in an error of ours: never in a wrong byte, another exception or a hang."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import scripted_nbd as fake
from tests.support.scripted_nbd import EXPORT, Answering, Script
from vmtui.model.errors import FailedError
from vmtui.nbd import BASE_ALLOCATION, Extent, NbdClient, NbdLostError, wire
from vmtui.nbd.wire import Chunk, Option, Reply

SIZE = 64
CONTENT = bytes(range(1, SIZE + 1))
BITMAP = "qemu:dirty-bitmap:x"
CONTEXTS = [(BASE_ALLOCATION, 5), (BITMAP, 9)]


def read(said: bytes, ranges: tuple[tuple[int, int], ...] = ((0, SIZE),), depth: int = 8) -> dict[int, bytes]:
    client = NbdClient(Script(fake.greeting(SIZE) + said), EXPORT)
    return {offset: bytes(data) for offset, data in client.read(ranges, depth=depth)}


def walk(said: bytes) -> list[Extent]:
    names = [name for name, _ in CONTEXTS]
    return list(NbdClient(Script(fake.greeting(SIZE, CONTEXTS) + said), EXPORT, names).extents(names))


GOOD = {
    "one chunk": fake.data(1, 0, CONTENT),
    "chunks in any order": fake.data(1, 32, CONTENT[32:], done=False) + fake.data(1, 0, CONTENT[:32]),
    "an end without data": fake.data(1, 0, CONTENT, done=False) + fake.chunk(Chunk.NONE, 1),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_lawful_form_of_a_reply_is_read(name: str) -> None:
    assert read(GOOD[name]) == {0: CONTENT}


def test_a_hole_reads_as_zeroes() -> None:
    said = fake.hole(1, 0, 32, done=False) + fake.data(1, 32, CONTENT[32:])
    assert read(said) == {0: bytes(32) + CONTENT[32:]}


BAD = {
    "the same half twice": fake.data(1, 0, CONTENT[:32], done=False) + fake.data(1, 0, CONTENT[:32]),
    "overlapping chunks": fake.data(1, 0, CONTENT[:40], done=False) + fake.data(1, 24, CONTENT[24:48]),
    "a hole over data": fake.data(1, 0, CONTENT[:32], done=False) + fake.hole(1, 0, 32),
    "more than asked": fake.data(1, 0, CONTENT, done=False) + fake.data(1, 0, CONTENT[:1]),
    "less than asked": fake.data(1, 0, CONTENT[:-1]),
    "nothing at all": fake.chunk(Chunk.NONE, 1),
    "a chunk before the range": fake.data(1, (1 << 64) - 1, b"x"),
    "a chunk past the range": fake.data(1, SIZE - 1, b"xy"),
    "a hole past the range": fake.hole(1, SIZE - 1, 2),
    "an empty hole": fake.hole(1, 0, 0),
    "a chunk without data": fake.data(1, 0, b""),
    "an oversize length": fake.chunk(Chunk.OFFSET_DATA, 1, bytes(8) + CONTENT, length=0xFFFFFFFF),
    "a length too short for its offset": fake.chunk(Chunk.OFFSET_DATA, 1, b"1234567"),
    "an oversize hole": fake.chunk(Chunk.OFFSET_HOLE, 1, b"", length=0xFFFFFFFF),
    "an oversize error": fake.chunk(wire.CHUNK_ERROR | 1, 1, b"", length=0xFFFFFFFF),
    "an error cut short": fake.chunk(wire.CHUNK_ERROR | 1, 1, b"12345"),
    "an error of number zero": fake.error(1, 0) + fake.data(1, 0, CONTENT),
    "another handle": fake.data(2, 0, CONTENT),
    "handle zero": fake.data(0, 0, CONTENT),
    "another magic": fake.chunk(Chunk.NONE, 1, magic=0x12345678),
    "a simple reply": fake.simple(1) + CONTENT,
    "a block status": fake.status(1, 5, [(SIZE, 0)]),
    "an unknown kind": fake.chunk(77, 1, b"x"),
    "an empty chunk that is not the last": fake.chunk(Chunk.NONE, 1, done=False) + fake.data(1, 0, CONTENT),
    "endless empty chunks": fake.chunk(Chunk.NONE, 1, done=False) * 1000,
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_reply_is_a_broken_protocol(name: str) -> None:
    with pytest.raises(FailedError) as caught:
        read(BAD[name])
    assert caught.value.id == "NBD-PROTOCOL"


@pytest.mark.parametrize("number", [5, 22, 28, 0xFFFFFFFF])
@pytest.mark.parametrize("form", [fake.error, fake.simple])
def test_any_error_number_is_told(number: int, form: Callable[[int, int], bytes]) -> None:
    with pytest.raises(FailedError) as caught:
        read(form(1, number))
    assert caught.value.id == "DISK-UNREADABLE"
    assert (caught.value.facts["offset"], caught.value.facts["errno"]) == (0, number)


def test_the_servers_own_words_are_told() -> None:
    with pytest.raises(FailedError, match="disk on fire"):
        read(fake.error(1, 5, "disk on fire"))


@pytest.mark.parametrize("said", [fake.error(1, 0), fake.error(1, 5), fake.simple(1, 5), fake.data(1, 0, b"x")])
def test_a_write_that_was_not_acknowledged_is_an_error(said: bytes) -> None:
    client = NbdClient(Script(fake.greeting(SIZE) + said), EXPORT)
    with pytest.raises(FailedError):
        list(client.write([(0, b"x" * 10)]))


@pytest.mark.parametrize("said", [fake.error(1, 5), fake.simple(1, 5), fake.simple(2)])
def test_a_flush_that_failed_is_an_error(said: bytes) -> None:
    with pytest.raises(FailedError):
        NbdClient(Script(fake.greeting(SIZE) + said), EXPORT).flush()


def test_a_flush_on_the_way_that_failed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmtui.nbd.client._FLUSH_EVERY", 20)
    acknowledged = fake.simple(1) + fake.simple(2)
    client = NbdClient(Script(fake.greeting(SIZE) + acknowledged + fake.simple(3, 28)), EXPORT)
    with pytest.raises(FailedError, match="FLUSH") as caught:
        list(client.write([(0, b"x" * 10), (10, b"y" * 10)]))
    assert caught.value.id == "WRITE-FAILED"


def test_long_writing_is_flushed_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmtui.nbd.client._FLUSH_EVERY", 20)
    acknowledged = b"".join(fake.simple(number) for number in range(1, 8))
    client = NbdClient(Script(fake.greeting(SIZE) + acknowledged), EXPORT)
    assert list(client.write([(place, b"x" * 10) for place in range(0, 50, 10)])) == [10, 10, 0, 10, 10, 0, 10]


def test_a_stream_that_ends_anywhere_is_a_lost_connection() -> None:
    said = fake.greeting(SIZE, CONTEXTS) + fake.status(1, 5, [(SIZE, 0)], done=False) + fake.status(1, 9, [(SIZE, 1)])
    said += fake.data(2, 0, CONTENT[:30], done=False) + fake.data(2, 30, CONTENT[30:])
    names = [name for name, _ in CONTEXTS]

    def use(said: bytes) -> bytes:
        client = NbdClient(Script(said), EXPORT, names)
        assert list(client.extents(names)) == [Extent(0, SIZE, (0, 1))]
        return b"".join(bytes(data) for _, data in client.read([(0, SIZE)]))

    assert use(said) == CONTENT
    for length in range(len(said)):
        with pytest.raises(NbdLostError):
            use(said[:length])


@settings(max_examples=300)
@given(st.data())
def test_a_flipped_byte_gives_an_error_of_ours_or_what_the_wire_says(data: st.DataObject) -> None:
    greeting = fake.greeting(SIZE, CONTEXTS)
    said = bytearray(greeting + fake.data(1, 0, CONTENT[:30], done=False) + fake.data(1, 30, CONTENT[30:]))
    place = data.draw(st.integers(0, len(said) - 1))
    said[place] ^= data.draw(st.integers(1, 255))
    try:
        client = NbdClient(Script(bytes(said)), EXPORT, [name for name, _ in CONTEXTS])
        got = [bytes(part) for _, part in client.read([(0, SIZE)])] if client.max_block >= SIZE else [CONTENT]
    except (FailedError, NbdLostError):
        return
    different = [index for index in range(SIZE) if got[0][index] != CONTENT[index]]
    assert len(different) <= 1  # a byte of the data itself; TCP and SSH guard those


@settings(max_examples=300)
@given(st.binary(max_size=300), st.booleans())
def test_noise_is_an_error_of_ours(noise: bytes, greeted: bool) -> None:
    try:
        NbdClient(Script(fake.greeting(SIZE) + noise if greeted else noise), EXPORT).flush()
    except (FailedError, NbdLostError):
        return
    assert noise[:4] in (
        wire.REPLY_MAGIC.pack(wire.SIMPLE_REPLY_MAGIC),
        wire.REPLY_MAGIC.pack(wire.STRUCTURED_REPLY_MAGIC),
    )


GREETINGS = {
    "another magic": b"XXXMAGIC" + fake.greeting(SIZE)[8:],
    "oldstyle": wire.NBD_MAGIC + (0x420281861253).to_bytes(8, "big") + bytes(200),
    "not fixed newstyle": wire.GREETING.pack(wire.NBD_MAGIC, wire.OPTION_MAGIC, 0),
    "a reply to another option": fake.greeting(SIZE)[:18] + fake.option_reply(Option.GO, Reply.ACK),
    "a reply with another magic": fake.greeting(SIZE)[:18] + fake.option_reply(8, Reply.ACK, magic=1),
    "an oversize reply": fake.greeting(SIZE)[:18] + wire.OPTION_REPLY.pack(wire.OPTION_REPLY_MAGIC, 8, 3, 0xFFFFFFFF),
    "endless replies": fake.greeting(SIZE)[:18] + fake.option_reply(8, Reply.INFO) * 1000,
    "no size": fake.greeting(SIZE)[:38] + fake.option_reply(Option.GO, Reply.ACK),
    "structured replies refused": fake.greeting(SIZE)[:18] + fake.option_reply(8, wire.REPLY_ERROR | 1, b"\xff no"),
    "an unknown refusal": fake.greeting(SIZE)[:18] + fake.option_reply(8, wire.REPLY_ERROR | 4711),
}


@pytest.mark.parametrize("name", GREETINGS)
def test_a_broken_greeting_is_an_error_and_closes_the_stream(name: str) -> None:
    stream = Script(GREETINGS[name])
    with pytest.raises(FailedError) as caught:
        NbdClient(stream, EXPORT)
    assert caught.value.id == "NBD-PROTOCOL"
    assert stream.closed


@given(st.data())
def test_block_status_short_and_unaligned(data: st.DataObject) -> None:
    """Two contexts with borders of their own, answers of any length: no gap, no overlap, and each byte's words."""
    size = data.draw(st.integers(1, 300))
    words = [data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)) for _ in CONTEXTS]
    source = random.Random(data.draw(st.integers()))

    def answer(command: int, handle: int, offset: int, length: int) -> bytes:
        said = b""
        for (_, number), flags in zip(CONTEXTS, words, strict=True):
            pieces: list[tuple[int, int]] = []
            position = offset
            wanted = min(size, offset + source.randint(1, length + 20))
            while position < wanted:
                step = 1
                while position + step < wanted and flags[position + step] == flags[position] and source.random() < 0.95:
                    step += 1
                pieces.append((step, flags[position]))
                position += step
            if source.random() < 0.2:
                pieces.insert(source.randint(0, len(pieces)), (0, 3))
            said += fake.status(handle, number, pieces, done=False)
        return said + fake.chunk(Chunk.NONE, handle)

    names = [name for name, _ in CONTEXTS]
    client = NbdClient(Answering(fake.greeting(size, CONTEXTS), answer), EXPORT, names)
    position = 0
    for extent in client.extents(names):
        assert extent.offset == position
        assert extent.length > 0
        for place in range(position, position + extent.length):
            assert extent.flags == (words[0][place], words[1][place])
        position += extent.length
    assert position == size


STATUS = {
    "no answer": fake.chunk(Chunk.NONE, 1),
    "one context only": fake.status(1, 5, [(SIZE, 0)]),
    "an answer of length zero": fake.status(1, 5, [(SIZE, 0)], done=False) + fake.status(1, 9, [(0, 1)]),
    "no descriptors": fake.status(1, 5, [], done=False) + fake.status(1, 9, [(SIZE, 0)]),
    "a context twice": fake.status(1, 5, [(SIZE, 0)], done=False) * 2 + fake.status(1, 9, [(SIZE, 0)]),
    "an unknown context": fake.status(1, 4, [(SIZE, 0)], done=False) + GOOD["one chunk"],
    "half a descriptor": fake.chunk(Chunk.BLOCK_STATUS, 1, bytes(4 + 12)),
    "an oversize answer": fake.chunk(Chunk.BLOCK_STATUS, 1, b"", length=0xFFFFFFFC),
    "data instead": fake.data(1, 0, CONTENT),
    "a simple reply": fake.simple(1),
}


@pytest.mark.parametrize("name", STATUS)
def test_a_broken_block_status_is_a_broken_protocol(name: str) -> None:
    with pytest.raises(FailedError) as caught:
        walk(STATUS[name])
    assert caught.value.id == "NBD-PROTOCOL"
