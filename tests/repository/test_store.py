from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.repositories import create
from vmtui.model.errors import DamageError, FailedError, RefusedError, UnreachableError, UsageError
from vmtui.repository.store import EVENTS, INDEX, NAMESPACES, PACKS, POINTS, ObjectInfo, ObjectStore

NAME = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return create(tmp_path).store


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is flushed, by path."""
    seen: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def folder_of(store: ObjectStore, name: str) -> Path:
    return next(Path(store.url.removeprefix("file://")).rglob(f"{name}*")).parent


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_put_object_comes_back_whole_and_in_parts(store: ObjectStore, namespace: str) -> None:
    store.put(namespace, NAME, b"0123456789")
    assert store.get(namespace, NAME) == b"0123456789"
    assert store.get(namespace, NAME, 3, 4) == b"3456"
    assert store.size(namespace, NAME) == 10
    assert ObjectInfo(NAME, 10) in store.list(namespace)


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(store: ObjectStore) -> None:
    store.put(PACKS, NAME, b"x")
    store.delete(PACKS, NAME)
    store.delete(PACKS, NAME)
    assert store.size(PACKS, NAME) is None
    with pytest.raises(DamageError) as caught:
        store.get(PACKS, NAME)
    assert caught.value.id == "REPO-OBJECT-MISSING"


@pytest.mark.parametrize(("offset", "size"), [(8, 4), (10, 1), (100, 1), (0, 11)])
def test_a_range_past_the_end_is_damage(store: ObjectStore, offset: int, size: int) -> None:
    store.put(PACKS, NAME, b"0123456789")
    with pytest.raises(DamageError):
        store.get(PACKS, NAME, offset, size)


@pytest.mark.parametrize("namespace", [PACKS, INDEX, POINTS, EVENTS])
def test_flush_makes_the_file_and_its_folder_durable(store: ObjectStore, synced: list[str], namespace: str) -> None:
    store.put(namespace, NAME, b"x")
    folder = folder_of(store, NAME)
    assert any(Path(path).parent == folder for path in synced), "the file was not flushed"
    synced.clear()
    store.flush()
    assert str(folder) in synced
    assert str(folder.parent) in synced, "a folder that is new itself was not flushed into its parent"


def test_flush_makes_a_deletion_durable(store: ObjectStore, synced: list[str]) -> None:
    store.put(PACKS, NAME, b"x")
    folder = folder_of(store, NAME)
    store.flush()
    synced.clear()
    store.delete(PACKS, NAME)
    store.flush()
    assert str(folder) in synced


def test_a_failed_flush_is_tried_again(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(POINTS, NAME, b"x")
    folder = str(folder_of(store, NAME))
    synced: list[str] = []
    real, failures = os.fsync, [OSError(5, "Input/output error")]

    def fsync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UnreachableError):
        store.flush()
    store.flush()
    assert folder in synced


def test_making_it_flushes_its_own_folder_into_the_parent(tmp_path: Path, synced: list[str]) -> None:
    ObjectStore(f"file://{tmp_path}/new").create()
    assert {str(tmp_path), f"{tmp_path}/new"} <= set(synced)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Callable[[ObjectStore], None]]:
    """Takes the space away: for root the file system is full, for others a file may not grow."""
    if os.geteuid() == 0:
        place = tmp_path / "repository"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], check=True)
        yield lambda _: None
        subprocess.run(["umount", str(place)], check=True)
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_file_system_is_said_and_leaves_no_part_of_the_object(
    tmp_path: Path, full: Callable[[ObjectStore], None]
) -> None:
    store = create(tmp_path).store
    store.put(PACKS, "cd" * 32, b"before")
    full(store)
    with pytest.raises(FailedError) as caught:
        store.put(PACKS, NAME, bytes(1 << 20))
    assert caught.value.id == "REPO-FULL"
    assert store.size(PACKS, NAME) is None
    assert store.get(PACKS, "cd" * 32) == b"before"


def test_a_place_that_went_away_is_unreachable_not_damaged(store: ObjectStore) -> None:
    store.put(PACKS, NAME, b"x")
    place = Path(store.url.removeprefix("file://"))
    place.rename(place.with_name("elsewhere"))
    for action in (lambda: store.put(PACKS, NAME, b"y"), lambda: store.list(PACKS), store.check_reachable):
        with pytest.raises((UnreachableError, UsageError)):
            action()


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("x")
    with pytest.raises(RefusedError):
        ObjectStore(f"file://{tmp_path}/mine").create()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["diary.txt"]


def test_a_stranger_may_not_read_what_is_stored(store: ObjectStore) -> None:
    store.put(POINTS, NAME, b"x")
    place = Path(store.url.removeprefix("file://"))
    file = next(place.rglob(f"{NAME}*"))
    closed = [
        path
        for path in (file, *file.parents)
        if path.is_relative_to(place) and not stat.S_IMODE(path.stat().st_mode) & 0o007
    ]
    assert closed, "definitions with passwords can be read by everybody"


@pytest.mark.parametrize("url", ["", "/srv/x", "file:relative", "file://host/x", "sftp://a/b"])
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        ObjectStore(url)


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    store = create(tmp_path).store
    code = (
        "import sys, hashlib; from vmtui.repository.store import ObjectStore\n"
        "store = ObjectStore(sys.argv[1])\n"
        "for n in range(40):\n"
        "    data = b'%d' % n * 1000; store.put('packs', hashlib.sha256(data).hexdigest(), data)\n"
        "store.flush()\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, store.url]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    assert len(store.list(PACKS)) == 40
