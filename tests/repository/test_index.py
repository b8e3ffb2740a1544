from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repositories import create, noise
from vmtui.repository import Repository, segments
from vmtui.repository.index import Index
from vmtui.repository.keys import PLAIN
from vmtui.repository.packs import Entry, PackInfo
from vmtui.repository.store import INDEX, ObjectStore

_LATER = """
import sys
from pathlib import Path
from vmtui.repository.index import Index
from vmtui.repository.keys import PLAIN
from vmtui.repository.store import ObjectStore
index = Index(Path(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    index.sync(ObjectStore(sys.argv[1]), PLAIN, lambda _: True)
print(len(index.segment_names()), sum(item is not None for item in index.find([bytes.fromhex(i) for i in sys.argv[4:]])))
"""


def blob(number: int) -> bytes:
    return PLAIN.block_id(number.to_bytes(4, "big"))


def made_up_pack(numbers: list[int], salt: str = "") -> PackInfo:
    """A pack that holds these blobs, as a segment names it; its bytes are not needed here."""
    entries = tuple(
        Entry(place, blob(number), 0, 0, 40 + 100 * place, 100, 4096) for place, number in enumerate(numbers)
    )
    name = hashlib.sha256(f"{numbers}{salt}".encode()).hexdigest()
    return PackInfo(name, bytes(32), 40 + 100 * len(numbers) + 48, entries)


def put_segment(store: ObjectStore, *packs: PackInfo) -> str:
    name, data = segments.build(packs, PLAIN)
    store.put(INDEX, name, data)
    return name


def packs_of(index: Index, numbers: list[int]) -> list[str | None]:
    return [place.pack.name if place else None for place in index.find([blob(number) for number in numbers])]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create(tmp_path)


def test_an_added_segment_is_found_after_sync(repository: Repository) -> None:
    pack = made_up_pack([1, 2])
    put_segment(repository.store, pack)
    assert packs_of(repository.index, [1]) == [None]
    repository.sync()
    assert packs_of(repository.index, [1, 2, 3]) == [pack.name, pack.name, None]


def test_blobs_of_a_vanished_segment_are_not_found(repository: Repository) -> None:
    gone, stays = made_up_pack([1, 2]), made_up_pack([3])
    segment = put_segment(repository.store, gone)
    put_segment(repository.store, stays)
    repository.sync()
    repository.store.delete(INDEX, segment)
    repository.sync()
    assert packs_of(repository.index, [1, 2, 3]) == [None, None, stays.name]
    assert [record.name for record in repository.index.all_packs()] == [stays.name]


def test_an_entry_of_a_dead_pack_never_points_into_a_new_one(repository: Repository) -> None:
    segment = put_segment(repository.store, made_up_pack([1, 2]))
    repository.sync()
    repository.store.delete(INDEX, segment)
    repository.sync()
    for salt in "abc":
        put_segment(repository.store, made_up_pack([7, 8], salt))
        repository.sync()
    assert packs_of(repository.index, [1, 2]) == [None, None]


def test_a_blob_of_a_dead_pack_moves_to_the_living_one(repository: Repository) -> None:
    first, second = made_up_pack([1, 2], "first"), made_up_pack([1, 2], "second")
    segment = put_segment(repository.store, first)
    repository.sync()
    repository.store.delete(INDEX, segment)
    repository.sync()
    put_segment(repository.store, second)
    repository.sync()
    assert packs_of(repository.index, [1, 2]) == [second.name] * 2


def test_a_blob_survives_the_segment_that_named_its_other_copy(repository: Repository) -> None:
    one, two = made_up_pack([1], "one"), made_up_pack([1], "two")
    segment_one = put_segment(repository.store, one)
    put_segment(repository.store, two)
    repository.sync()
    repository.store.delete(INDEX, segment_one)
    repository.sync()
    assert packs_of(repository.index, [1]) == [two.name]


def test_several_processes_sync_at_once(repository: Repository, tmp_path: Path) -> None:
    for number in range(30):
        put_segment(repository.store, made_up_pack([number]))
    arguments = [repository.store.url, str(tmp_path / "shared"), "3", *(blob(number).hex() for number in range(30))]
    running = [
        subprocess.Popen([sys.executable, "-c", _LATER, *arguments], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=120)[0].split() for process in running] == [["30", "30"]] * 3


@pytest.mark.parametrize("damage", ["garbage", "empty", "half", "other version", "no file"])
def test_a_damaged_file_is_made_anew(repository: Repository, tmp_path: Path, damage: str) -> None:
    for number in range(30):
        put_segment(repository.store, made_up_pack(list(range(number * 50, number * 50 + 50))))
    cache = tmp_path / "damaged"
    arguments = [sys.executable, "-c", _LATER, repository.store.url, str(cache), "1", blob(1).hex(), blob(1499).hex()]
    assert subprocess.run(arguments, capture_output=True, text=True, timeout=60).stdout.split() == ["30", "2"]
    file = cache / "blobs.lmdb"
    content = file.read_bytes()
    match damage:
        case "garbage":
            file.write_bytes(noise(1, 4))
        case "empty":
            file.write_bytes(b"")
        case "half":
            file.write_bytes(content[: len(content) // 2])
        case "other version":
            (cache / "version").write_bytes(b"0")
        case _:
            file.unlink()
    later = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert later.stdout.split() == ["30", "2"], f"{later.returncode} {later.stderr}"
