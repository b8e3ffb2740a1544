from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.repositories import create
from vmtui.model.errors import DamageError
from vmtui.repository.blocks import Kind, Packer, Unpacker
from vmtui.repository.keys import PLAIN
from vmtui.repository.packs import (
    Entry,
    PackBuilder,
    PackInfo,
    check_whole,
    pack_entries,
    read_directory,
    unpack_entries,
)
from vmtui.repository.store import PACKS


def pack(datas: list[bytes]) -> tuple[PackInfo, bytes]:
    builder = PackBuilder(PLAIN)
    for blob in Packer(3).pack([PLAIN.block_id(data) for data in datas], Kind.BLOCK, datas):
        builder.add(blob)
    info, data = builder.finish()
    return info, bytes(data)


@given(st.lists(st.binary(min_size=1, max_size=2000), min_size=1, max_size=10))
def test_a_pack_gives_its_blobs_back(datas: list[bytes]) -> None:
    info, data = pack(datas)
    found = check_whole(info.name, data, PLAIN)
    assert found == info
    unpacker = Unpacker()
    assert [
        unpacker.unpack(entry.codec, data[entry.offset : entry.offset + entry.length], entry.size)
        for entry in found.entries
    ] == datas


def test_a_flipped_byte_anywhere_is_found() -> None:
    info, data = pack([b"abc" * 30, b"xyz", bytes(range(64))])
    for place in range(len(data)):
        bad = bytearray(data)
        bad[place] ^= 0x40
        with pytest.raises(DamageError):
            check_whole(info.name, bytes(bad), PLAIN)


def test_a_pack_cut_anywhere_is_found() -> None:
    info, data = pack([b"abc" * 30, b"xyz"])
    for length in range(len(data)):
        with pytest.raises(DamageError):
            check_whole(info.name, data[:length], PLAIN)


def test_flipped_directory_bytes_are_found_without_reading_the_blobs(tmp_path: Path) -> None:
    store = create(tmp_path).store
    info, data = pack([b"abc" * 30, b"xyz"])
    blobs_end = info.entries[-1].offset + info.entries[-1].length
    for place in [*range(8), *range(blobs_end, len(data))]:
        bad = bytearray(data)
        bad[place] ^= 0x01
        store.put(PACKS, info.name, bytes(bad))
        with pytest.raises(DamageError):
            read_directory(store, info.name, PLAIN)


def test_a_cut_pack_is_found_without_reading_the_blobs(tmp_path: Path) -> None:
    store = create(tmp_path).store
    info, data = pack([b"abc" * 30, b"xyz"])
    for length in range(0, len(data), 3):
        store.put(PACKS, info.name, data[:length])
        with pytest.raises(DamageError):
            read_directory(store, info.name, PLAIN)


@given(st.binary(max_size=400))
def test_foreign_bytes_named_by_their_hash_are_damage_or_a_pack(data: bytes) -> None:
    with pytest.raises(DamageError):
        check_whole(hashlib.sha256(data).hexdigest(), data, PLAIN)


def test_a_missing_pack_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamageError) as caught:
        read_directory(create(tmp_path).store, "00" * 32, PLAIN)
    assert caught.value.id == "REPO-OBJECT-MISSING"


@given(
    st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 1), st.integers(0, 1 << 20)), max_size=20)
)
def test_entries_read_back_with_summed_offsets(items: list[tuple[bytes, int, int]]) -> None:
    offset, entries = 40, []
    for number, (blob, kind, length) in enumerate(items):
        entries.append(Entry(number, blob, kind, 1, offset, length, length * 2))
        offset += length
    assert unpack_entries(pack_entries(entries)) == tuple(entries)
