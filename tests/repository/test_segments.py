from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import zstandard

from tests.repository.test_packs import pack
from tests.support.repositories import create
from vmtui.model.errors import DamageError
from vmtui.repository import segments
from vmtui.repository.keys import PLAIN
from vmtui.repository.store import INDEX


def test_a_segment_gives_its_packs_back(tmp_path: Path) -> None:
    store = create(tmp_path).store
    packs = [pack([b"one", b"two" * 100])[0], pack([b"three"])[0]]
    name, data = segments.build(packs, PLAIN)
    store.put(INDEX, name, data)
    assert segments.read(store, name, PLAIN) == packs


def test_a_flipped_byte_or_a_cut_anywhere_is_found(tmp_path: Path) -> None:
    store = create(tmp_path).store
    name, data = segments.build([pack([b"one", b"two" * 100])[0]], PLAIN)
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x80
        for bad in (bytes(flipped), data[:place]):
            store.put(INDEX, name, bad)
            with pytest.raises(DamageError):
                segments.read(store, name, PLAIN)


def test_a_body_cut_before_it_was_named_is_found(tmp_path: Path) -> None:
    store = create(tmp_path).store
    body = zstandard.ZstdDecompressor().decompress(segments.build([pack([b"one", b"two"])[0]], PLAIN)[1][40:])
    for length in range(1, len(body)):
        data = segments.MAGIC + PLAIN.version + bytes(32) + zstandard.ZstdCompressor().compress(body[:length])
        name = hashlib.sha256(data).hexdigest()
        store.put(INDEX, name, data)
        with pytest.raises(DamageError):
            segments.read(store, name, PLAIN)


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamageError):
        segments.read(create(tmp_path).store, "00" * 32, PLAIN)
