"""An encrypted repository: nothing readable outside, one key for each object, and every way to open it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.repositories import PASSPHRASE, START, commit_disk, create, noise, phrase, read_disk, reopen
from vmtui.model.errors import DamageError, UsageError
from vmtui.model.progress import SilentWatch
from vmtui.repository import Repository, frame, slots
from vmtui.repository import repository as opened
from vmtui.repository.keys import PLAIN, SALT_SIZE, Keys
from vmtui.repository.records import Records
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import EVENTS, GARBAGE, INDEX, KEYS, NAMESPACES, PACKS, POINTS, SESSIONS, ObjectStore

TEXT = b"the secret plans of the company, on the first disk of it " * 80


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = create(tmp_path, sealed=True)
    commit_disk(made, (TEXT + bytes(4096))[:4096] + noise(1, 20))
    return made


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sealed repository as a fresh process sees it, which has opened nothing yet."""
    commit_disk(create(tmp_path, sealed=True), noise(1, 3))
    monkeypatch.setattr(opened, "_unlocked", {})
    return tmp_path


def open_with(folder: Path, passphrase: str) -> Repository:
    return Repository(f"file://{folder / 'repository'}", folder / "fresh", lambda: passphrase)


def everything(repository: Repository) -> dict[str, bytes]:
    return {
        f"{namespace}/{item.name}": repository.store.get(namespace, item.name)
        for namespace in NAMESPACES
        for item in repository.store.list(namespace)
    }


def test_nothing_readable_is_outside_of_the_seals(repository: Repository) -> None:
    name = repository.points.names()[0]
    words = [TEXT[:24], b"db [1]", b"north", b"<domain", b"qcow2", b"no guest agent"]
    for key, data in everything(repository).items():
        assert [word for word in words if word in data] == [], key
        assert [word for word in (b"db [1]", b"north", b"db%20") if word in key.encode()] == []
    assert (
        read_disk(repository, repository.points.load(name).disks[0].root, 21 * 4096)[:4096]
        == (TEXT + bytes(4096))[:4096]
    )


def test_ids_tell_nobody_which_known_block_is_on_a_disk(tmp_path: Path) -> None:
    first, second = create(tmp_path / "1", sealed=True), create(tmp_path / "2", sealed=True)
    data = noise(7, 1)
    ids = {PLAIN.block_id(data), first.keys.block_id(data), second.keys.block_id(data)}
    assert len(ids) == 3
    assert first.keys.node_id(data) not in ids | {PLAIN.node_id(data)}


def test_no_two_objects_share_a_salt(repository: Repository) -> None:
    commit_disk(repository, noise(1, 20), 1)
    commit_disk(repository, noise(2, 20), 2)
    salts = [
        data[8 : 8 + SALT_SIZE]
        for key, data in everything(repository).items()
        if key.split("/")[0] in (PACKS, INDEX, POINTS, EVENTS, SESSIONS, GARBAGE)
    ]
    assert len(salts) >= 8
    assert len(set(salts)) == len(salts)


def test_the_same_blobs_never_make_the_same_pack_again(tmp_path: Path) -> None:
    names = set()
    for number in range(3):
        made = create(tmp_path / str(number))
        commit_disk(made, noise(1, 4))
        names |= {item.name for item in made.store.list(PACKS)}
    assert len(names) == 3


@pytest.mark.parametrize("namespace", [POINTS, EVENTS])
def test_an_unsealed_object_is_refused_in_a_sealed_repository(repository: Repository, namespace: str) -> None:
    item = repository.store.list(namespace)[0]
    value = repository.records.get(namespace, item.name)
    repository.store.put(namespace, item.name, frame.seal(namespace, item.name, value, PLAIN))
    with pytest.raises(DamageError):
        repository.records.get(namespace, item.name)
    assert verify_all(repository, SilentWatch(), START).damage


def test_objects_of_another_key_are_refused(repository: Repository, tmp_path: Path) -> None:
    other = create(tmp_path / "other", sealed=True)
    commit_disk(other, noise(1, 20))
    for namespace in (PACKS, INDEX):
        for item in other.store.list(namespace):
            repository.store.put(namespace, item.name, other.store.get(namespace, item.name))
    assert [error.id for error in repository.sync()] == ["REPO-OBJECT-BAD"]
    assert verify_all(repository, SilentWatch(), START).damage


def test_the_wrong_passphrase_opens_nothing(locked: Path) -> None:
    for wrong in ("", PASSPHRASE + " ", PASSPHRASE.upper()):
        with pytest.raises(UsageError) as caught:
            open_with(locked, wrong)
        assert caught.value.id == "REPO-PASSPHRASE-WRONG"
        assert PASSPHRASE not in str(caught.value)
    with pytest.raises(UsageError) as caught:
        Repository(f"file://{locked / 'repository'}", locked / "fresh")
    assert caught.value.id == "REPO-LOCKED"
    assert open_with(locked, PASSPHRASE).points.names()


def test_passphrases_are_added_and_taken_away(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = open_with(locked, PASSPHRASE)
    repository.add_key("another", "anna", START)
    repository.remove_key(repository.key_slot(PASSPHRASE))
    assert [slot.label for slot in repository.key_slots()] == ["anna"]
    monkeypatch.setattr(opened, "_unlocked", {})
    with pytest.raises(UsageError):
        open_with(locked, PASSPHRASE)
    again = open_with(locked, "another")
    again.sync()
    (name,) = again.points.names()
    assert read_disk(again, again.points.load(name).disks[0].root, 3 * 4096) == noise(1, 3)


def test_a_damaged_slot_does_not_keep_the_others_from_opening(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = open_with(locked, PASSPHRASE)
    first = repository.key_slot(PASSPHRASE)
    repository.add_key("another", "", START)
    data = bytearray(repository.store.get(KEYS, first))
    data[len(data) // 2] ^= 1
    repository.store.put(KEYS, first, bytes(data))
    monkeypatch.setattr(opened, "_unlocked", {})
    assert open_with(locked, "another").points.names()
    monkeypatch.setattr(opened, "_unlocked", {})
    with pytest.raises(DamageError):
        open_with(locked, PASSPHRASE)


def test_the_paper_key_opens_what_no_passphrase_does(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = open_with(locked, PASSPHRASE)
    paper = repository.paper_key()
    for slot in repository.key_slots():
        repository.remove_key(slot.id)
    monkeypatch.setattr(opened, "_unlocked", {})
    url = f"file://{locked / 'repository'}"
    untidy = "\n\n" + paper.lower().replace("-", " ") + "\n"
    back = Repository.open_with_paper_key(url, locked / "fresh", untidy)
    back.add_key("new", "", START)
    monkeypatch.setattr(opened, "_unlocked", {})
    assert open_with(locked, "new").points.names()


def test_every_misprint_of_the_paper_key_is_found(locked: Path) -> None:
    repository = open_with(locked, PASSPHRASE)
    paper = repository.paper_key()
    assert slots.read_paper_key(paper, repository.id) == repository.keys
    start = paper.index("1:")
    for place in range(start, len(paper)):
        if paper[place].isalnum():
            wrong = paper[:place] + ("A" if paper[place] != "A" else "B") + paper[place + 1 :]
            with pytest.raises(UsageError):
                slots.read_paper_key(wrong, repository.id)
    with pytest.raises(UsageError):
        slots.read_paper_key(paper, "0" * 32)
    with pytest.raises(UsageError):
        slots.read_paper_key("\n".join(paper.splitlines()[:-1]), repository.id)


def test_another_key_is_not_adopted(locked: Path) -> None:
    repository = open_with(locked, PASSPHRASE)
    other = slots.paper_key(repository.id, Keys.generate())
    with pytest.raises(UsageError):
        Repository.open_with_paper_key(f"file://{locked / 'repository'}", locked / "fresh", other)
    assert "secret" not in repr(repository.keys)


def test_a_sealed_repository_is_whole_on_another_machine(repository: Repository, tmp_path: Path) -> None:
    del repository
    assert verify_all(reopen(tmp_path), SilentWatch(), START).damage == []
    assert phrase() == PASSPHRASE


@pytest.mark.parametrize("field", ["iterations", "lanes", "memory_kib"])
def test_a_slot_that_would_take_for_ever_is_refused(locked: Path, field: str) -> None:
    """Slots are not sealed; whoever can write to the store can write one."""
    records = Records(ObjectStore(f"file://{locked / 'repository'}"), PLAIN)
    for item in records.list(KEYS):
        records.put(KEYS, item.name, records.get(KEYS, item.name) | {field: 1 << 30})
    with pytest.raises(DamageError, match="key derivation"):
        open_with(locked, PASSPHRASE)
