"""Points of real guests are booted in isolation: the verdicts are right, and nothing is left of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.rehearsals import SILENT, Guest, throw_away
from tests.support.site import Site


@pytest.fixture
def new_guest(north: Site) -> Iterator[Callable[..., Guest]]:
    """Makes real guests; they are taken away afterwards."""
    made: list[Guest] = []

    def make(site: Site = north, **options: str) -> Guest:
        made.append(Guest(site, **options))
        return made[-1]

    yield make
    for guest in made:
        guest.remove()


def test_good_guest(client: Client, new_guest: Callable[..., Guest], tmp_path: Path) -> None:
    guest = new_guest()
    point = client.backup(guest.path, "--mode", "cold")["point"]
    picture = tmp_path / "screen.png"
    result = client.run("rehearse", point, "--check", "cat /proc/version", "--json", "--keep-screenshot", str(picture))
    print(result)
    assert result.json["verdict"] == "bootable"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert throw_away(guest.site) == []
