"""A disk of a point, read at any place: true bytes and true zeroes, or damage; never something else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.repositories import BLOCK, commit_disk, create, noise
from vmtui.model.errors import DamageError
from vmtui.repository import PointName, Repository
from vmtui.repository.disk_view import DiskView
from vmtui.repository.store import PACKS

LEAF = 256 * BLOCK


def patchy() -> bytes:
    """Three leaves and a bit: data and zeroes in turn, one leaf all zero, a short last block."""
    source = random.Random(5)
    first = b"".join(source.randbytes(BLOCK) if source.random() < 0.5 else bytes(BLOCK) for _ in range(256))
    return first + bytes(LEAF) + noise(6, 300) + bytes(BLOCK) * 20 + noise(7, 1)[:1536]


DATA = patchy()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create(tmp_path)


def view(repository: Repository, data: bytes, recent_bytes: int = 64 << 20) -> DiskView:
    name = commit_disk(repository, data)
    return of_point(repository, name, recent_bytes)


def of_point(repository: Repository, name: PointName, recent_bytes: int = 64 << 20) -> DiskView:
    (disk,) = repository.points.load(name).disks
    repository.sync()
    return DiskView(repository, disk.name, disk.virtual_size, disk.root, recent_bytes)


@pytest.mark.parametrize("recent_bytes", [0, 10 * BLOCK, 64 << 20])
def test_any_range_reads_as_it_was_backed_up(repository: Repository, recent_bytes: int) -> None:
    disk = view(repository, DATA, recent_bytes)
    assert disk.size == len(DATA)
    source = random.Random(1)
    ranges = [(0, len(DATA)), (len(DATA) - 1, 1), (LEAF - 1, 2), (2 * LEAF - 5, BLOCK + 9)]
    ranges += [(at, source.randint(1, len(DATA) - at)) for at in source.choices(range(len(DATA)), k=60)]
    for offset, length in ranges:
        assert disk.read(offset, length) == DATA[offset : offset + length]


def test_extents_are_the_truth_and_leave_nothing_out(repository: Repository) -> None:
    disk = view(repository, DATA)
    source = random.Random(2)
    for offset in [0, 1, LEAF - 7, *source.choices(range(len(DATA)), k=40)]:
        length = len(DATA) - offset if offset < 2 else source.randint(1, len(DATA) - offset)
        position = offset
        for size, zero in disk.extents(offset, length):
            assert size > 0
            part = DATA[position : position + size]
            assert zero == (not any(part))
            position += size
        assert position == offset + length


def test_what_was_read_lately_is_not_read_again(repository: Repository) -> None:
    disk = view(repository, DATA)
    assert disk.read(0, LEAF) == DATA[:LEAF]
    for item in repository.store.list(PACKS):
        repository.store.delete(PACKS, item.name)
    assert disk.read(0, LEAF) == DATA[:LEAF]


def test_a_damaged_block_is_damage_for_its_readers_alone(repository: Repository, tmp_path: Path) -> None:
    good, bad = noise(8, 40), noise(9, 40)
    first, second = commit_disk(repository, good, 1), commit_disk(repository, bad, 2)
    damage_pack_of(tmp_path / "repository", bad)
    disk = of_point(repository, second)
    with pytest.raises(DamageError) as caught:
        disk.read(0, 40 * BLOCK)
    assert caught.value.facts["block"]
    assert caught.value.facts["pack"]
    assert of_point(repository, first).read(0, 40 * BLOCK) == good


def damage_pack_of(folder: Path, data: bytes) -> None:
    """Flip a bit in the stored form of data that does not compress."""
    for path in (folder / "packs").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            at = content.find(data[:64])
            if at >= 0:
                path.chmod(0o600)
                path.write_bytes(content[: at + 5] + bytes([content[at + 5] ^ 1]) + content[at + 6 :])


def test_a_root_that_is_none_is_damage(repository: Repository) -> None:
    with pytest.raises(DamageError):
        DiskView(repository, "vda", BLOCK, "no id")
