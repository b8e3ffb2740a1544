"""One behaviour, five kinds of stores: real programs on the loopback, the same promises."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import paramiko
import pytest
from paramiko.sftp import CMD_CLOSE, CMD_EXTENDED, CMD_OPEN

from tests.support.faults import Fault, Faults, without_pauses
from tests.support.repositories import START, VM, commit_disk, noise, read_disk
from tests.support.small import small_file_system
from tests.support.stores import (
    APPEND_ONLY,
    BUCKET,
    KEY_ID,
    KINDS,
    SECRET,
    Bucket,
    StorePlace,
    Vault,
    bucket,
    in_folder,
    rclone,
    rest,
    vault,
)
from vmtui.model.errors import DamageError, FailedError, RefusedError, UnreachableError, UsageError
from vmtui.model.ids import JobId
from vmtui.model.progress import SilentWatch
from vmtui.repository import Repository
from vmtui.repository.patience import PATIENCE_S
from vmtui.repository.sessions import sessions
from vmtui.repository.store import (
    EVENTS,
    GARBAGE,
    INDEX,
    KEYS,
    NAMESPACES,
    PACKS,
    POINTS,
    QUARANTINE,
    SESSIONS,
    ObjectInfo,
)
from vmtui.repository.verify import verify_point

NAME = "ab" * 32
OTHER = "cd" * 32


@pytest.fixture(scope="module")
def the_vault() -> Iterator[Vault]:
    with vault() as running:
        yield running


@pytest.fixture(scope="module")
def the_bucket() -> Iterator[Bucket]:
    with bucket() as running:
        yield running


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorePlace]:
    """A place of each kind where nothing is yet."""
    folder = tmp_path / "objects"
    if request.param == "file":
        yield in_folder("file", f"file://{folder}", folder)
    elif request.param == "sftp":
        yield request.getfixturevalue("the_vault").place()
    elif request.param == "s3":
        yield request.getfixturevalue("the_bucket").place()
    elif request.param == "rclone":
        yield rclone(folder)
    else:
        with rest(folder) as served:
            yield served


# -- every store ---------------------------------------------------------------------------------


def test_a_place_is_made_once(place: StorePlace) -> None:
    store = place.store()
    with pytest.raises(UsageError) as caught:
        store.check_reachable()
    assert caught.value.id == "REPO-NOT-INITIALISED"
    store.create()
    store.check_reachable()
    assert [store.list(name) for name in NAMESPACES] == [[]] * len(NAMESPACES)
    store.put(PACKS, NAME, b"mine")
    with pytest.raises(RefusedError) as refused:
        place.store().create()
    assert refused.value.id == "TARGET-EXISTS"
    assert place.store().get(PACKS, NAME) == b"mine"


def test_objects_come_back_as_they_were_put(place: StorePlace) -> None:
    store = place.store()
    store.create()
    names = {name: f"{'0a' * 16}.{name}-1_x" for name in NAMESPACES}
    for namespace, name in names.items():
        store.put(namespace, name, b"0123456789")
    store.flush()
    again = place.store()
    for namespace, name in names.items():
        assert again.get(namespace, name) == b"0123456789"
        assert again.get(namespace, name, 3, 4) == b"3456"
        assert again.get(namespace, name, 7) == b"789"
        assert again.get(namespace, name, 4, 0) == b""
        assert again.size(namespace, name) == 10
        assert again.list(namespace) == [ObjectInfo(name, 10)]


def test_an_object_can_be_replaced_emptied_and_deleted(place: StorePlace) -> None:
    store = place.store()
    store.create()
    for data in (b"first", memoryview(b"second, longer"), b""):
        store.put(POINTS, NAME, data)
        assert store.get(POINTS, NAME) == bytes(data)
        assert store.list(POINTS) == [ObjectInfo(NAME, len(data))]
    store.delete(POINTS, NAME)
    store.delete(POINTS, NAME)
    store.flush()
    assert store.list(POINTS) == []
    assert place.store().size(POINTS, NAME) is None


def test_an_object_that_is_not_there_is_missing_and_a_cut_one_is_damage(place: StorePlace) -> None:
    store = place.store()
    store.create()
    store.put(PACKS, NAME, b"0123456789")
    assert store.size(PACKS, OTHER) is None
    for stretch in ((0, None), (2, 2)):
        with pytest.raises(DamageError) as caught:
            store.get(PACKS, OTHER, *stretch)
        assert caught.value.id == "REPO-OBJECT-MISSING"
    place.write_raw(f"{PACKS}/{NAME[:2]}/{NAME}", b"01234")
    for offset, size in ((3, 4), (5, 1), (9, 1), (100, 1), (0, 6)):
        with pytest.raises(DamageError) as caught:
            store.get(PACKS, NAME, offset, size)
        assert caught.value.id == "REPO-OBJECT-BAD"
    assert store.size(PACKS, NAME) == 5


def test_a_large_object_and_any_stretch_of_it(place: StorePlace) -> None:
    store = place.store()
    store.create()
    data = noise(5, 1280)
    name = hashlib.sha256(data).hexdigest()
    store.put(PACKS, name, memoryview(data))
    assert store.get(PACKS, name) == data
    for offset, size in ((0, 1), (1, 32768), (32767, 70001), (len(data) - 3, 3), (3_000_000, 2_000_000)):
        assert store.get(PACKS, name, offset, size) == data[offset : offset + size]


def test_many_threads_use_it_at_once(place: StorePlace) -> None:
    store = place.store()
    store.create()
    objects = {hashlib.sha256(bytes([number])).hexdigest(): bytes([number]) * 9000 for number in range(40)}

    def work(name: str) -> bool:
        store.put(PACKS, name, objects[name])
        return store.get(PACKS, name, 10, 8990) == objects[name][10:]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, objects))
    assert {item.name for item in place.store().list(PACKS)} == set(objects)


def test_a_repository_lives_there(place: StorePlace, tmp_path: Path) -> None:
    """Made, written, committed, and read by another machine with an empty cache."""
    first = noise(1, 300)
    second = first[: 100 * 4096] + noise(2, 60) + bytes(140 * 4096)
    written = [commit_disk(place.create(tmp_path / "cache"), first)]
    written.append(commit_disk(place.open(tmp_path / "cache"), second, 1))
    fresh = place.open(tmp_path / "other cache")
    fresh.sync()
    assert sorted(fresh.points.names()) == sorted(written)
    for name, data in zip(written, (first, second), strict=True):
        assert read_disk(fresh, fresh.points.load(name).disks[0].root, len(data)) == data
        assert verify_point(fresh, name, SilentWatch(), START).damage == []
    stats = fresh.stats()
    assert stats.points == 2
    objects = {path: data for path, data in place.read_all().items() if path != "reserve"}
    assert stats.stored_bytes == sum(len(data) for data in objects.values())
    assert stats.free_bytes is None or stats.free_bytes > 0


def test_a_session_is_renewed_and_ends(place: StorePlace, tmp_path: Path) -> None:
    repository = place.create(tmp_path / "cache")
    session = repository.session(JobId("run-1"))
    session.begin(START)
    session.begin(START)
    assert session.declare([], None) == ()
    session.renew(START)
    session.require(START)
    session.close(START)
    with pytest.raises(FailedError):
        session.require(START)


# -- trouble -------------------------------------------------------------------------------------


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_pauses(monkeypatch)


@pytest.fixture
def distant(tmp_path: Path) -> Callable[..., Repository]:
    """A repository whose store has faults, and is looked at as one that others serve."""

    def make(faults: Faults) -> Repository:
        folder = tmp_path / "objects"
        repository = in_folder("file", f"file://{folder}", folder).create(tmp_path / "cache")
        faults.into(repository.store)
        repository.store._place.checked = True
        return repository

    return make


@pytest.mark.parametrize("fault", [Fault.BLIP, Fault.LOST_ANSWER])
def test_what_passes_is_tried_again(distant: Callable[..., Repository], fault: Fault, pauses: list[float]) -> None:
    repository = distant(Faults(dict.fromkeys((0, 1, 3, 5, 7, 9), fault)))
    repository.store.put(EVENTS, NAME, b"x")
    repository.store.flush()
    assert repository.store.get(EVENTS, NAME) == b"x"
    assert repository.store.list(EVENTS) == [ObjectInfo(NAME, 1)]
    repository.store.delete(EVENTS, NAME)
    assert pauses
    assert max(pauses) < 2


def test_trying_again_ends_within_a_minute(distant: Callable[..., Repository], pauses: list[float]) -> None:
    repository = distant(Faults(every=Fault.BLIP))
    for action in (lambda: repository.store.put(EVENTS, NAME, b"x"), lambda: repository.store.list(EVENTS)):
        pauses.clear()
        with pytest.raises(UnreachableError) as caught:
            action()
        assert caught.value.id == "REPO-UNREACHABLE"
        assert len(pauses) > 4
        assert sum(pauses) <= PATIENCE_S
        assert pauses[-1] > 4 * pauses[0], "the pauses do not grow"


def test_what_lasts_is_not_tried_again(distant: Callable[..., Repository], pauses: list[float]) -> None:
    faults = Faults(every=Fault.FAIL)
    repository = distant(faults)
    with pytest.raises(UnreachableError):
        repository.store.get(EVENTS, NAME)
    assert (len(faults.calls), pauses) == (1, [])


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_store_that_keeps_half_of_an_object_is_found_out(distant: Callable[..., Repository], size: int) -> None:
    repository = distant(Faults({0: Fault.PARTIAL}))
    with pytest.raises(FailedError) as caught:
        repository.store.put(PACKS, NAME, bytes(size))
    assert caught.value.id == "REPO-NOT-KEPT"


def test_a_store_that_alters_a_small_object_is_found_out(
    distant: Callable[..., Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = distant(Faults())
    below = repository.store._place
    real = below.store
    monkeypatch.setattr(below, "store", lambda path, data: real(path, bytes(len(data))))
    with pytest.raises(FailedError) as caught:
        repository.store.put(INDEX, NAME, b"segment")
    assert caught.value.id == "REPO-NOT-KEPT"


def test_a_run_with_blips_at_every_other_call_makes_a_whole_point(
    distant: Callable[..., Repository], pauses: list[float], tmp_path: Path
) -> None:
    repository = distant(Faults(dict.fromkeys(range(0, 1000, 2), Fault.LOST_ANSWER)))
    data = noise(3, 40)
    name = commit_disk(repository, data)
    fresh = Repository(repository.store.url, tmp_path / "other cache")
    fresh.sync()
    assert read_disk(fresh, fresh.points.load(name).disks[0].root, len(data)) == data
    assert pauses


def test_a_lost_login_is_made_anew(the_vault: Vault) -> None:
    place = the_vault.place()
    store = place.store()
    store.create()
    store.put(PACKS, NAME, b"before")
    store._place._kept._login.transport.close()  # type: ignore[attr-defined]
    assert store.get(PACKS, NAME) == b"before"


def test_an_rclone_that_died_is_started_anew_and_ends_with_us(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from vmtui.repository.store import ObjectStore\n"
        "store = ObjectStore(sys.argv[1]); store.create(); store.put('events', 'one', b'1')\n"
        "daemon = store._place._kept; os.killpg(daemon.process.pid, signal.SIGKILL)\n"
        "assert store.get('events', 'one') == b'1'\n"
        "print(store._place._kept.process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"rclone::local:{tmp_path}/objects"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip(), done.stderr
    group = int(done.stdout)
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail("rclone outlived us")


def test_a_listing_of_many_pages_is_whole(the_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmtui.repository.places.s3._PAGE", 3)
    store = the_bucket.place().store()
    store.create()
    names = [hashlib.sha256(bytes([number])).hexdigest() for number in range(9)]
    for name in names:
        store.put(PACKS, name, b"x")
        store.put(EVENTS, name, b"x")
    for namespace in (PACKS, EVENTS):
        assert store.list(namespace) == [ObjectInfo(name, 1) for name in sorted(names)]
    assert store.list(INDEX) == []


def test_what_was_put_by_sftp_is_flushed_with_its_folder(the_vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = paramiko.SFTPClient._request

    def request(client: paramiko.SFTPClient, kind: int, *arguments: object) -> object:
        asked.append(
            str(arguments[0]) if kind == CMD_EXTENDED else {CMD_OPEN: "open", CMD_CLOSE: "close"}.get(kind, "")
        )
        return real(client, kind, *arguments)

    place = the_vault.place()
    store = place.store()
    store.create()
    monkeypatch.setattr(paramiko.SFTPClient, "_request", request)
    store.put(PACKS, NAME, b"x")
    put = [what for what in asked if what]
    assert put.index("fsync@openssh.com") < put.index("posix-rename@openssh.com")
    asked.clear()
    store.flush()
    assert [what for what in asked if what] == ["open", "fsync@openssh.com", "close"] * 2, "a server without it?"


def test_a_server_that_is_away_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    with rest(tmp_path / "objects") as place:
        store = place.store()
        store.create()
        store.put(EVENTS, NAME, b"before")
    done = threading.Event()

    def come_back() -> None:
        done.wait(1.0)
        with rest(tmp_path / "objects", port=int(place.url.rpartition(":")[2])):
            done.wait(60)

    server = threading.Thread(target=come_back)
    server.start()
    try:
        store.put(EVENTS, OTHER, b"after")
        assert [item.name for item in store.list(EVENTS)] == [NAME, OTHER]
    finally:
        done.set()
        server.join()


def test_a_quota_is_told_before_and_when_it_is_reached(tmp_path: Path) -> None:
    with rest(tmp_path / "objects", quota=1 << 20) as place:
        store = place.store()
        store.create()
        store.put(PACKS, OTHER, bytes(1 << 19))
        assert 0 < (store.free_bytes() or 0) <= 1 << 19
        with pytest.raises(FailedError) as caught:
            store.put(PACKS, NAME, bytes(1 << 20))
        assert caught.value.id == "REPO-FULL"


@pytest.mark.parametrize("kind", ["sftp", "rclone"])
def test_a_full_store_is_said_at_once(kind: str, tmp_path: Path, pauses: list[float]) -> None:
    with ExitStack() as stack:
        if kind == "sftp":
            place = stack.enter_context(vault(small=4 << 20)).place()
        else:
            folder = stack.enter_context(small_file_system(tmp_path / "small", 4 << 20))
            place = rclone(folder / "objects")
        store = place.store()
        store.create()
        store.put(PACKS, OTHER, b"before")
        with pytest.raises(FailedError) as caught:
            store.put(PACKS, NAME, noise(1, 1500))
        assert caught.value.id == "REPO-FULL"
        assert store.size(PACKS, NAME) is None
        assert store.list(PACKS) == [ObjectInfo(OTHER, 6)]
        assert store.get(PACKS, OTHER) == b"before"
        del store
        gc.collect()
    assert pauses == []


def test_a_missing_rclone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError) as caught:
        rclone(tmp_path / "objects").store().check_reachable()
    assert "Install rclone" in caught.value.next_step


# -- logins and secrets --------------------------------------------------------------------------


def test_s3_takes_its_login_from_wherever_it_is(
    the_bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = the_bucket.place()
    place.store().create()
    without = replace(place, password_command=())
    secret = SECRET.replace("/", "%2F").replace("+", "%2B")
    replace(without, url=place.url.replace("s3:", f"s3:{KEY_ID}:{secret}@")).store().check_reachable()
    files = tmp_path / "credentials"
    files.write_text(f"[vault]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files))
    replace(without, url=place.url.replace("s3:", "s3:vault@")).store().check_reachable()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    without.store().check_reachable()


@pytest.mark.parametrize("kind", ["s3", "rest"])
def test_a_refused_login_is_told_at_once_and_without_the_secret(
    kind: str, the_bucket: Bucket, tmp_path: Path, pauses: list[float]
) -> None:
    def refused(place: StorePlace, url: str) -> None:
        store = replace(place, url=url, password_command=()).store()
        with pytest.raises(UnreachableError) as caught:
            store.list(PACKS)
        assert caught.value.id == "REPO-LOGIN-REFUSED"
        told = f"{caught.value.to_json()} {store.url}"
        assert "hidden-word" not in told
        assert "somebody" in told

    if kind == "s3":
        place = the_bucket.place()
        refused(place, place.url.replace("s3:", "s3:somebody:hidden-word@"))
    else:
        with rest(tmp_path / "objects") as place:
            refused(place, place.url.replace("//", "//somebody:hidden-word@"))
    assert pauses == []


def test_a_password_command_that_fails_is_told(the_bucket: Bucket) -> None:
    for command in (["false"], ["printf", "no colon"], ["/nowhere/at/all"]):
        with pytest.raises(UnreachableError) as caught:
            replace(the_bucket.place(), password_command=command).store().list(PACKS)
        assert caught.value.id == "REPO-LOGIN-REFUSED"


def test_a_bucket_that_is_not_there_holds_no_repository(the_bucket: Bucket) -> None:
    place = the_bucket.place()
    with pytest.raises(UsageError) as caught:
        replace(place, url=place.url.replace(BUCKET, "no-such-bucket")).store().check_reachable()
    assert caught.value.id == "REPO-NOT-INITIALISED"


# -- append only ---------------------------------------------------------------------------------


def test_an_append_only_server_takes_points_and_gives_nothing_away(tmp_path: Path) -> None:
    """A client that is in other hands tries everything; what was committed stays, byte for byte."""
    data = noise(1, 300)
    with rest(tmp_path / "objects", APPEND_ONLY) as place:
        repository = place.create(tmp_path / "cache")
        session = repository.session(JobId("run-1"))
        session.begin(START)
        session.declare([], None)
        name = commit_disk(repository, data)
        session.renew(START + timedelta(hours=1))
        session.require(START + timedelta(hours=1))
        session.close(START + timedelta(hours=1))
        assert [item.ended(START) for item in sessions(repository.records)] == [True]
        before = place.read_all()
        store = repository.store
        for path in before:
            namespace, _, _ = path.partition("/")
            object_name = path.rpartition("/")[2]
            with pytest.raises(RefusedError) as caught:
                store.delete(namespace, object_name)
            assert caught.value.id == "REPO-DENIED"
            for wrong in (b"", before[path][:-1], bytes(len(before[path])), before[path] + b"x"):
                with pytest.raises(RefusedError):
                    store.put(namespace, object_name, wrong)
            store.put(namespace, object_name, before[path])
        _try_the_servers_own_calls(place, before)
        assert place.read_all() == before
        second = commit_disk(place.open(tmp_path / "cache"), data[: 200 * 4096] + noise(2, 100), 1)
        fresh = place.open(tmp_path / "other cache")
        fresh.sync()
        assert read_disk(fresh, fresh.points.load(name).disks[0].root, len(data)) == data
        assert verify_point(fresh, second, SilentWatch(), START).damage == []
        assert before.items() <= place.read_all().items()


def test_an_append_only_server_that_knows_sessions_lets_them_end(tmp_path: Path) -> None:
    with rest(tmp_path / "objects", APPEND_ONLY | {"sessions": "lrwWD"}) as place:
        repository = place.create(tmp_path / "cache")
        session = repository.session(JobId("run-1"))
        session.begin(START)
        session.renew(START + timedelta(hours=20))
        session.require(START + timedelta(hours=40))
        session.close(START + timedelta(hours=40))
        assert [item.ended(START) for item in sessions(repository.records)] == [True]
        assert len(repository.store.list(SESSIONS)) == 1


def _try_the_servers_own_calls(place: StorePlace, before: object) -> None:
    """What vmtui never asks for, and somebody with its password could."""
    import requests
    from borgstore.backends.errors import BackendError
    from borgstore.backends.rest import REST

    backend = REST(place.url.removeprefix("rest:"), username=KEY_ID, password=SECRET, reconnect_tries=0)
    with pytest.raises(BackendError):
        backend.destroy()
    assert isinstance(before, dict)
    with backend:
        for path in before:
            other = next(item for item in before if item != path)
            with pytest.raises((BackendError, requests.RequestException)):
                backend.move(path, f"{path}.gone")
            with pytest.raises((BackendError, requests.RequestException)):
                backend.move(other, path)
            with pytest.raises((BackendError, requests.RequestException)):
                backend.defrag([(other, 0, 1)], target=path)
            with pytest.raises((BackendError, requests.RequestException)):
                backend.rmdir(path.rpartition("/")[0])


# -- a folder of before --------------------------------------------------------------------------


def test_a_repository_from_before_the_newer_namespaces_takes_them(tmp_path: Path) -> None:
    place = in_folder("file", f"file://{tmp_path}/objects", tmp_path / "objects")
    name = commit_disk(place.create(tmp_path / "cache"), noise(1, 10))
    for namespace in (KEYS, GARBAGE, QUARANTINE):
        (tmp_path / "objects" / namespace).rmdir()
    repository = place.open(tmp_path / "cache")
    assert repository.stats().points == 1
    for namespace in (KEYS, GARBAGE, QUARANTINE):
        assert repository.store.list(namespace) == []
        repository.store.put(namespace, NAME, b"x")
        assert repository.store.list(namespace) == [ObjectInfo(NAME, 1)]
    repository.store.flush()
    assert repository.points.load(name).vm_uuid == VM
