"""Encryption, garbage collection, verification, repair and copies as an operator says them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.alone import LonelyClient
from tests.support.client import Client
from tests.support.repositories import BLOCK, backup, noise
from vmtui.model.ids import JobId
from vmtui.repository import PointName, Repository
from vmtui.repository.store import PACKS

PHRASE = "open sesame, please"
DISK = noise(1, 40)


class SealedClient(LonelyClient):
    """A client whose repository is encrypted; its passphrase is in a file."""

    def open(self) -> Repository:
        return Repository(f"file://{self.repository}", self.state / "cache", lambda: PHRASE)


@pytest.fixture
def new_client(tmp_path: Path) -> Iterator[Callable[..., LonelyClient]]:
    made: list[Client] = []

    def make(kind: type[LonelyClient] = LonelyClient, **changes: Any) -> LonelyClient:
        made.append(kind(tmp_path / f"{len(made)}", tiers={"standard": {"last": 1}}, **changes))
        return made[-1]  # type: ignore[return-value]

    yield make
    for client in made:
        client.stop()


def phrase_file(folder: Path, text: str = PHRASE) -> Path:
    path = folder / f"phrase-{len(text)}"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def damage(client: Client, name: str | None = None) -> str:
    """Flip a bit in the middle of a pack."""
    packs = sorted(path for path in (client.repository / PACKS).rglob("*") if path.is_file())
    path = next((path for path in packs if path.name == name), packs[0])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return path.name


def export(client: Client, name: PointName, folder: Path, *options: str) -> bytes:
    target = folder / f"{name.id}.raw"
    client.ok("export", name.id, "vda", str(target), *options)
    return target.read_bytes()


def test_a_sealed_repository_is_used_like_any_other(new_client: Callable[..., LonelyClient], tmp_path: Path) -> None:
    file = phrase_file(tmp_path)
    client = new_client(SealedClient, passphrase_file=str(file))
    assert client.ok("repo", "init", "--json").json["encrypted"]
    name = backup(client.open(), DISK, 0)
    assert client.ok("points", "--json").json[0]["id"] == name.id
    assert export(client, name, tmp_path) == DISK
    assert client.ok("verify", "--all", "--json").json["damage"] == []
    pid = client.worker_pid
    for where in ("cmdline", "environ"):
        assert PHRASE.encode() not in Path(f"/proc/{pid}/{where}").read_bytes()
    for path in (path for path in client.state.rglob("*") if path.is_file()):
        assert PHRASE.encode() not in path.read_bytes(), path


def test_without_its_passphrase_it_stays_closed(new_client: Callable[..., LonelyClient], tmp_path: Path) -> None:
    file = phrase_file(tmp_path)
    client = new_client(SealedClient, passphrase_file=str(file))
    file.chmod(0o644)
    assert (client.run("points").code, client.run("points", "--json").json["error"]["id"]) == (2, "REPO-LOCKED")
    file.chmod(0o600)
    file.write_text("something else\n")
    assert client.run("points", "--json").json["error"]["id"] == "REPO-PASSPHRASE-WRONG"
    file.unlink()
    assert client.run("points", "--json").json["error"]["id"] == "REPO-LOCKED"


def test_the_passphrase_is_changed_and_found_again_on_paper(
    new_client: Callable[..., LonelyClient], tmp_path: Path
) -> None:
    file = phrase_file(tmp_path)
    client = new_client(SealedClient, passphrase_file=str(file))
    backup(client.open(), DISK, 0)
    paper = client.ok("key", "export").out
    assert "▀" in client.ok("key", "export", "--qr").out
    client.ok("key", "change", "--new-passphrase-file", str(phrase_file(tmp_path, "a new one")))
    assert client.run("points", "--json").json["error"]["id"] == "REPO-PASSPHRASE-WRONG"
    file.write_text("a new one\n")
    assert len(client.ok("points", "--json").json) == 1
    client.ok("key", "add", "--label", "anna", "--new-passphrase-file", str(phrase_file(tmp_path, "anna's")))
    slots = client.ok("key", "list", "--json").json
    assert [slot["label"] for slot in slots] == ["first", "anna"]
    assert client.run("key", "remove", slots[0]["id"]).code == 5
    client.ok("key", "remove", slots[0]["id"], "--yes")
    assert client.run("points").code == 2
    (tmp_path / "paper.txt").write_text(paper)
    lost = str(phrase_file(tmp_path, "found again by paper"))
    client.ok("key", "import", str(tmp_path / "paper.txt"), "--new-passphrase-file", lost)
    file.write_text("found again by paper\n")
    assert len(client.ok("points", "--json").json) == 1
    assert client.run("key", "import", str(file)).code == 2


def test_what_no_point_needs_is_freed(new_client: Callable[..., LonelyClient], tmp_path: Path) -> None:
    client = new_client()
    first = backup(client.open(), noise(2, 40), 0)
    last = backup(client.open(), DISK, 1)
    assert client.ok("gc", "--dry-run", "--json").json["named"] == 0
    client.ok("prune", "--yes")
    assert client.run("show", first.id).code == 2
    assert client.ok("gc", "--dry-run", "--json").json["named"] == 1
    before = client.ok("repo", "stats", "--json").json["stored_bytes"]
    assert client.run("gc", "--read-only").code == 5
    freed = client.ok("gc", "--json").json
    assert (freed["deleted"], freed["waiting_for"]) == (1, [])
    assert before - client.ok("repo", "stats", "--json").json["stored_bytes"] > 39 * BLOCK
    assert export(client, last, tmp_path) == DISK
    assert client.ok("gc", "--json").json["deleted"] == 0


def test_what_a_running_backup_may_need_waits(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client()
    backup(client.open(), noise(2, 40), 0)
    backup(client.open(), DISK, 1)
    session = client.open().session(JobId("01kdye0yr800run1"))
    session.begin(datetime.now(UTC))
    client.ok("prune", "--yes")
    result = client.ok("gc")
    assert "0 packs deleted" in result.out
    assert "01kdye0yr800run1" in result.out
    session.close(datetime.now(UTC))
    assert client.ok("gc", "--json").json["deleted"] == 1


def test_damage_is_found_repaired_and_healed(new_client: Callable[..., LonelyClient], tmp_path: Path) -> None:
    client = new_client()
    good = backup(client.open(), noise(2, 40), 0)
    packs = {path.name for path in (client.repository / PACKS).rglob("*") if path.is_file()}
    bad = backup(client.open(), DISK, 1)
    (pack,) = {path.name for path in (client.repository / PACKS).rglob("*") if path.is_file()} - packs
    damage(client, pack)
    assert client.ok("repo", "check", "--json").json["damage"] == []  # it looks at sizes and directories
    found = client.run("verify", "--all", "--json")
    assert found.code == 3
    assert {point for item in found.json["damage"] for point in item["points"]} == {bad.id}
    assert client.run("repo", "repair").code == 3
    assert export(client, good, tmp_path) == noise(2, 40)
    assert client.run("export", bad.id, "vda", str(tmp_path / "bad.raw")).code == 3
    again = backup(client.open(), DISK, 2)
    assert client.ok("verify", "--all", "--json").json["damage"] == []
    for name in (bad, again):
        assert export(client, name, tmp_path) == DISK
    assert client.ok("gc", "--json").json["deleted"] == 1


def test_what_is_lost_for_good_is_given_up(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client()
    good = backup(client.open(), noise(2, 40), 0)
    packs = {path.name for path in (client.repository / PACKS).rglob("*") if path.is_file()}
    backup(client.open(), DISK, 1)
    (pack,) = {path.name for path in (client.repository / PACKS).rglob("*") if path.is_file()} - packs
    next(client.repository.rglob(pack)).unlink()
    assert client.run("gc").code == 3
    assert client.run("repo", "repair", "--give-up").code == 5
    client.ok("repo", "repair", "--give-up", "--yes")
    assert [point["id"] for point in client.ok("points", "--json").json] == [good.id]
    client.ok("gc")


def test_a_copy_is_a_whole_repository(new_client: Callable[..., LonelyClient], tmp_path: Path) -> None:
    file = phrase_file(tmp_path)
    place = tmp_path / "second"
    client = new_client(
        SealedClient, passphrase_file=str(file), copies={"second": {"url": f"file://{place}", "limit": "100M"}}
    )
    name = backup(client.open(), DISK, 0)
    sent = client.ok("repo", "sync", "second", "--json").json
    assert (sent["points"], sent["packs"], sent["damage"]) == (1, 1, [])
    assert client.ok("repo", "sync", "second", "--json").json["packs"] == 0
    assert client.run("repo", "sync", "secnd", "--json").json["error"]["id"] == "NAME-UNKNOWN"
    shutil.rmtree(client.repository)
    client.settings["repository"] = f"file://{place}"
    client.save()
    assert client.ok("verify", "--all", "--json").json["damage"] == []
    assert export(client, name, tmp_path) == DISK


def test_reading_everything_again_leaves_out_what_was_read(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client()
    backup(client.open(), DISK, 0)
    assert client.ok("verify", "--all", "--json").json["skipped"] == 0
    assert client.ok("verify", "--all", "--json", "--not-since", "1d").json["skipped"] == 1
    assert client.ok("verify", "--all", "--json", "--limit", "10M").json["skipped"] == 0
    assert client.run("verify", "--all", "--limit", "much").code == 2
    before = sorted(path.name for path in (client.repository / "events").iterdir())
    client.ok("verify", "--all", "--read-only")
    assert sorted(path.name for path in (client.repository / "events").iterdir()) == before


def test_a_plain_repository_has_no_keys(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client()
    assert client.run("key", "export", "--json").json["error"]["id"] == "REPO-NOT-ENCRYPTED"
