"""What backups say, and whether what they say is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.client import Client
from tests.support.site import Site
from tests.support.vms import TestVm

INCREMENTAL = ("incremental", None)


def kinds(document: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Target: (kind, reason) of a backup's disks."""
    return {disk["name"]: (disk["kind"], disk["reason"]) for disk in document["disks"]}


def check_point(client: Client, vm: TestVm, site: Site, folder: Path, *options: str) -> dict[str, Any]:
    """Back up, restore elsewhere, compare with an independent copy of what the disks hold now."""
    document = client.backup(vm, *options)
    expected = vm.contents(folder / document["point"])
    client.assert_restores(document["point"], site, expected, folder)
    return document


def checkpoint_of(client: Client, point: str) -> str | None:
    """Name of the checkpoint that a point names."""
    shown: dict[str, str | None] = client.ok("show", point, "--json").json
    return shown["checkpoint"]
