"""An encrypted repository through its life with a VM: increments, prune, collection, a copy, a changed passphrase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.client import Client
from tests.support.points import INCREMENTAL, check_point, kinds
from tests.support.site import Site
from tests.support.vms import MIB, TestVm

PHRASE = "open sesame, please"


def test_an_encrypted_repository_lives_through_prune_collection_and_copy(
    new_client: Callable[..., Client], vm: TestVm, north: Site, tmp_path: Path
) -> None:
    file = tmp_path / "phrase"
    file.write_text(PHRASE)
    file.chmod(0o600)
    client = new_client(
        passphrase_command=["cat", str(file)],
        default_tier="one",
        tiers={"one": {"rpo": "1d", "keep": {"last": 1}}},
        rules=[],
        copies={"second": {"url": f"file://{tmp_path / 'second'}"}},
    )
    client.init()
    vm.write(0x11, 0, 8 * MIB)
    check_point(client, vm, north, tmp_path)
    vm.write(0x22, 0, 6 * MIB)
    second = check_point(client, vm, north, tmp_path)
    assert kinds(second) == {"vda": INCREMENTAL}
    client.ok("repo", "sync", "second")
    assert client.ok("prune", "--yes", "--json").json["deleted"] == 1
    assert client.ok("gc", "--json").json["deleted"] > 0
    vm.write(0x33, 3 * MIB, MIB)
    third = check_point(client, vm, north, tmp_path)
    assert kinds(third) == {"vda": INCREMENTAL}
    assert client.ok("verify", "--all", "--json").json["damage"] == []
    assert client.ok("repo", "sync", "second", "--json").json["damage"] == []
    client.settings["repository"] = f"file://{tmp_path / 'second'}"
    client.save()
    assert len(client.points(vm)) == 3
    assert client.ok("verify", "--all", "--json").json["damage"] == []
    fourth = check_point(client, vm, north, tmp_path)
    assert kinds(fourth) == {"vda": INCREMENTAL}
    stored = [path for path in (tmp_path / "second").rglob("*") if path.is_file()]
    assert stored
    for path in stored:
        data = path.read_bytes()
        assert vm.name.encode() not in data
        assert b"<domain" not in data
