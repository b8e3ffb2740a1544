from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.repositories import BLOCK, create, noise
from vmtui.model.errors import DamageError
from vmtui.repository import ID_SIZE, ZERO_ID, Repository
from vmtui.repository.keys import PLAIN
from vmtui.repository.store import PACKS


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return create(tmp_path, sealed=request.param)


def store(repository: Repository, data: bytes) -> list[bytes]:
    writer = repository.writer(1)
    ids = writer.store_blocks(memoryview(data)).ids
    writer.settle()
    writer.close()
    return [ids[start : start + ID_SIZE] for start in range(0, len(ids), ID_SIZE)]


def test_blocks_come_in_the_order_asked_and_as_often(repository: Repository) -> None:
    data = noise(1, 400)
    ids = [*store(repository, data), ZERO_ID]
    order = random.Random(1).choices(range(401), k=900)
    expected = [None if place == 400 else data[place * BLOCK : (place + 1) * BLOCK] for place in order]
    assert repository.reader().blocks([ids[place] for place in order]) == expected


def test_a_node_is_no_block_and_a_block_no_node(repository: Repository) -> None:
    writer = repository.writer(1)
    node = writer.store_node(b"n" * 64)
    block = writer.store_blocks(memoryview(noise(1, 1))).ids
    writer.settle()
    writer.close()
    with pytest.raises(DamageError):
        repository.reader().blocks([node])
    with pytest.raises(DamageError):
        repository.reader().node(block)


def test_an_unknown_block_is_damage(repository: Repository) -> None:
    with pytest.raises(DamageError) as caught:
        repository.reader().blocks([PLAIN.block_id(b"never stored")])
    assert caught.value.id == "REPO-OBJECT-MISSING"


def test_a_flipped_bit_of_a_block_is_never_handed_out(repository: Repository) -> None:
    data = noise(1, 1)
    ids = store(repository, data)
    (pack,) = repository.store.list(PACKS)
    whole = repository.store.get(PACKS, pack.name)
    for place in range(40, 40 + BLOCK, 97):
        bad = bytearray(whole)
        bad[place] ^= 1
        repository.store.put(PACKS, pack.name, bytes(bad))
        with pytest.raises(DamageError):
            repository.reader().blocks(ids)
