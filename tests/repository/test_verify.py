"""Every object of a repository, damaged in every way: found, and the points that it touches are named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repositories import START, commit_disk, copy_repository, create, noise, phrase, read_disk
from vmtui.model.errors import DamageError, UsageError
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository.index import Location
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import CONFIG, EVENTS, INDEX, PACKS, POINTS
from vmtui.repository.verify import Verdict, verify_point

WAYS = ("first byte", "middle byte", "last byte", "cut", "emptied", "deleted", "swapped")


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "sealed"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[PointName, PointName]]:
    """A repository with two points: the second shares half of its blocks with the first."""
    folder = tmp_path_factory.mktemp("built")
    repository = create(folder, sealed=request.param)
    first = commit_disk(repository, noise(1, 300))
    second = commit_disk(repository, noise(1, 150) + noise(2, 150), 1)
    return folder, (first, second)


@pytest.fixture
def copy(built: tuple[Path, tuple[PointName, PointName]], tmp_path: Path) -> Path:
    copy_repository(built[0] / "repository", tmp_path / "repository")
    return tmp_path


def damage(repository: Repository, namespace: str, number: int, way: str) -> None:
    names = [item.name for item in repository.store.list(namespace)]
    name = names[number]
    data = bytearray(repository.store.get(namespace, name))
    if way == "deleted":
        repository.store.delete(namespace, name)
        return
    if way == "swapped":
        data = bytearray(repository.store.get(namespace, names[number - 1]))
    elif way == "cut":
        del data[len(data) // 2 :]
    elif way == "emptied":
        data.clear()
    else:
        data[{"first": 0, "middle": len(data) // 2, "last": len(data) - 1}[way.split(maxsplit=1)[0]]] ^= 0x10
    repository.store.put(namespace, name, bytes(data))


def look(folder: Path, cache: str, verify: Callable[[Repository], Verdict]) -> tuple[bool, set[str]]:
    """Whether damage is found, and the points that are named; with the index of before or one made anew."""
    try:
        repository = Repository(f"file://{folder / 'repository'}", folder / cache, phrase)
        repository.sync()
        verdict = verify(repository)
    except (DamageError, UsageError):
        return True, set()
    return bool(verdict.damage), {point for item in verdict.damage for point in item.points}


CASES = [
    pytest.param(namespace, number, way, id=f"{namespace}-{number}-{way}")
    for (namespace, count), way in itertools.product(((PACKS, 2), (INDEX, 2), (POINTS, 2), (EVENTS, 2)), WAYS)
    for number in range(count)
    if (namespace, way) != (EVENTS, "deleted")  # a point without its history is whole
]


@pytest.mark.parametrize(("namespace", "number", "way"), CASES)
def test_damage_of_any_object_is_found(copy: Path, namespace: str, number: int, way: str) -> None:
    known = Repository(f"file://{copy / 'repository'}", copy / "known", phrase)
    known.sync()
    damage(known, namespace, number, way)
    found, _ = look(copy, "known", lambda repository: verify_all(repository, SilentWatch(), START))
    assert found


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_pack_names_the_points_that_need_it(
    copy: Path, built: tuple[Path, tuple[PointName, PointName]], way: str
) -> None:
    repository = Repository(f"file://{copy / 'repository'}", copy / "known", phrase)
    repository.sync()
    first, second = built[1]
    needs = {name.id: places_of(repository, name) for name in (first, second)}
    for number, item in enumerate(repository.store.list(PACKS)):
        whole = repository.store.get(PACKS, item.name)
        damage(repository, PACKS, number, way)
        _, named = look(copy, "known", lambda repository: verify_all(repository, SilentWatch(), START))
        touched = {point for point, places in needs.items() if any(place.pack.name == item.name for place in places)}
        if way == "middle byte":  # inside of one block; a point that needs others of this pack is whole
            middle = item.size // 2
            touched = {
                point
                for point, places in needs.items()
                if any(
                    place.pack.name == item.name and 0 <= middle - place.entry.offset < place.entry.length
                    for place in places
                )
            }
        assert touched == named
        for name in (first, second):
            found, _ = look(copy, "known", lambda it, name=name: verify_point(it, name, SilentWatch(), START))  # type: ignore[misc]
            assert found is (name.id in touched)
        repository.store.put(PACKS, item.name, whole)


def places_of(repository: Repository, name: PointName) -> list[Location]:
    point = repository.points.load(name)
    reader = repository.reader()
    disk_map = reader.map(bytes.fromhex(point.disks[0].root), 300)
    ids = [disk_map.block(number) for number in range(300)] + disk_map.loaded
    return [place for place in repository.index.find(ids) if place is not None]


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_manifest_names_its_point(
    copy: Path, built: tuple[Path, tuple[PointName, PointName]], way: str
) -> None:
    repository = Repository(f"file://{copy / 'repository'}", copy / "known", phrase)
    damage(repository, POINTS, 0, way)
    _, named = look(copy, "known", lambda repository: verify_all(repository, SilentWatch(), START))
    assert named == {built[1][0].id}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "swapped"])
def test_a_damaged_configuration_is_never_opened(copy: Path, way: str) -> None:
    repository = Repository(f"file://{copy / 'repository'}", copy / "known", phrase)
    damage(repository, CONFIG, 0, way)
    with pytest.raises(DamageError):
        Repository(f"file://{copy / 'repository'}", copy / "other", phrase)


def test_a_whole_repository_has_no_damage(copy: Path, built: tuple[Path, tuple[PointName, PointName]]) -> None:
    repository = Repository(f"file://{copy / 'repository'}", copy / "known", phrase)
    repository.sync()
    verdict = verify_all(repository, SilentWatch(), START)
    assert (verdict.damage, verdict.points) == ([], 2)
    for name in built[1]:
        assert verify_point(repository, name, SilentWatch(), START).damage == []
        assert repository.points.status(name).verified == START
    expected = noise(1, 150) + noise(2, 150)
    assert read_disk(repository, repository.points.load(built[1][1]).disks[0].root, len(expected)) == expected
