from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.repositories import (
    BLOCK,
    START,
    commit_disk,
    create,
    noise,
    read_disk,
    reopen,
    store_disk,
    store_map,
)
from vmtui.model.errors import UnreachableError
from vmtui.model.progress import SilentWatch
from vmtui.repository import ID_SIZE, Repository
from vmtui.repository.store import INDEX, PACKS
from vmtui.repository.verify import verify_point


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return create(tmp_path, sealed=request.param)


def test_blocks_stored_by_many_threads_are_all_there(repository: Repository, tmp_path: Path) -> None:
    stretches = [noise(seed % 13, 16) for seed in range(60)]  # most of them several times
    writer = repository.writer(1)
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda data: writer.store_blocks(memoryview(data)), stretches))
    writer.settle()
    writer.close()
    assert sum(item.new for item in stored) == 13 * 16 * BLOCK
    reader = reopen(tmp_path).reader()
    for data, item in zip(stretches, stored, strict=True):
        ids = [item.ids[start : start + ID_SIZE] for start in range(0, len(item.ids), ID_SIZE)]
        assert b"".join(block or b"" for block in reader.blocks(ids)) == data


def test_known_blocks_are_not_stored_again(repository: Repository) -> None:
    commit_disk(repository, noise(1, 40))
    writer = repository.writer(1)
    assert writer.store_blocks(memoryview(noise(1, 40))).stored == 0
    writer.close()


def test_zero_blocks_are_never_stored(repository: Repository) -> None:
    writer = repository.writer(1)
    stored = writer.store_blocks(memoryview(bytes(8 * BLOCK)))
    writer.settle()
    writer.close()
    assert (stored.ids, stored.new, stored.stored) == (bytes(8 * ID_SIZE), 0, 0)
    assert repository.store.list(PACKS) == []


@pytest.mark.parametrize("place", [0, 1, BLOCK // 2, BLOCK - 1])
def test_a_block_with_one_byte_is_not_zero(repository: Repository, tmp_path: Path, place: int) -> None:
    data = bytearray(BLOCK)
    data[place] = 1
    name = commit_disk(repository, bytes(data))
    root = repository.points.load(name).disks[0].root
    assert read_disk(reopen(tmp_path), root, BLOCK) == data


@pytest.mark.parametrize("damage", ["gone", "cut"])
@pytest.mark.parametrize("cache", ["this machine", "another machine"])
def test_blocks_of_a_vanished_pack_are_stored_anew(
    repository: Repository, tmp_path: Path, damage: str, cache: str
) -> None:
    data = noise(1, 300)
    old = commit_disk(repository, data)
    for item in repository.store.list(PACKS):
        if damage == "gone":
            repository.store.delete(PACKS, item.name)
        else:
            repository.store.put(PACKS, item.name, repository.store.get(PACKS, item.name)[: item.size // 2])
    new = commit_disk(Repository(repository.store.url, tmp_path / "cache"), data, 1)
    seen = repository if cache == "this machine" else reopen(tmp_path)
    for name in (new, old):
        assert read_disk(seen, seen.points.load(name).disks[0].root, len(data)) == data
    assert verify_point(seen, new, SilentWatch(), START).damage == []


def test_a_failed_upload_fails_the_run_and_leaves_no_index_entry(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = repository.writer(1)

    def refuse(namespace: str, name: str, data: bytes) -> None:
        raise UnreachableError("REPO-UNREACHABLE", "no")

    monkeypatch.setattr(repository.store, "put", refuse)
    writer.store_blocks(memoryview(noise(1, 4)))
    with pytest.raises(UnreachableError):
        writer.settle()
    with pytest.raises(UnreachableError):
        writer.settle()
    writer.close()
    monkeypatch.undo()
    assert reopen(tmp_path).index.all_packs() == []


@pytest.mark.parametrize("broken", ["put", "flush"])
def test_an_index_write_that_failed_once_hides_nothing(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whoever goes on with the same writer is told that his blocks are stored already; so they must be found."""
    writer = repository.writer(1)
    first = writer.store_blocks(memoryview(noise(1, 4))).ids
    real = getattr(repository.store, broken)
    calls: list[object] = []

    def once(*arguments: object) -> None:
        calls.append(arguments)
        index_put = broken == "put" and arguments[0] == INDEX
        if index_put or (broken == "flush" and len(calls) == 2):
            monkeypatch.setattr(repository.store, broken, real)
            raise UnreachableError("REPO-UNREACHABLE", "no")
        real(*arguments)

    monkeypatch.setattr(repository.store, broken, once)
    with pytest.raises(UnreachableError):
        writer.settle()
    assert writer.store_blocks(memoryview(noise(1, 4))).new == 0
    second = writer.store_blocks(memoryview(noise(2, 4))).ids
    writer.settle()
    writer.close()
    ids = [(first + second)[start : start + ID_SIZE] for start in range(0, 8 * ID_SIZE, ID_SIZE)]
    for seen in (repository, reopen(tmp_path)):
        assert None not in seen.index.find(ids)
        assert b"".join(block or b"" for block in seen.reader().blocks(ids)) == noise(1, 4) + noise(2, 4)


def test_what_was_not_settled_is_not_found(repository: Repository, tmp_path: Path) -> None:
    writer = repository.writer(1)
    ids = writer.store_blocks(memoryview(noise(1, 1))).ids
    writer.close()
    assert reopen(tmp_path).index.find([ids]) == [None]


def test_maps_are_stored_once(repository: Repository) -> None:
    writer = repository.writer(1)
    root = store_disk(writer, noise(1, 600))
    writer.settle()
    before = repository.index.count()
    ids = [repository.reader().map(root, 600).block(number) for number in range(600)]
    assert store_map(writer, ids) == root
    writer.settle()
    writer.close()
    assert repository.index.count() == before


_BIG = """
import os, resource, sys
from pathlib import Path
from vmtui.repository import Repository
repository = Repository.create("file://" + sys.argv[1] + "/r", Path(sys.argv[1]) / "c", block_size=1 << 16)
put = repository.store.put
repository.store.put = lambda kind, name, data: None if kind == "packs" else put(kind, name, data)
writer = repository.writer(1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
for number in range(1024):
    data = bytearray(os.urandom(1 << 16) * 16)
    for place in range(16):
        data[place << 16 : (place << 16) + 8] = (number * 16 + place).to_bytes(8, "big")
    writer.store_blocks(memoryview(data))
    if number == 200:
        early = peak()
writer.close()
print(early, peak())
"""


@pytest.mark.alone
def test_memory_does_not_grow_with_what_is_stored(tmp_path: Path) -> None:
    """1 GiB of different blocks; packs are dropped in place of the disk, which is not what is measured."""
    done = subprocess.run(
        [sys.executable, "-c", _BIG, str(tmp_path)], capture_output=True, text=True, timeout=300, check=True
    )
    early, late = map(int, done.stdout.split())
    assert late - early < 64, f"{early} MiB after 200 MiB, {late} MiB after 1 GiB"
