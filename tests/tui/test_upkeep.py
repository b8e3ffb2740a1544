"""The repository's own commands by keys: passphrase, check, free space, send, mend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, StillApp, example, running, shown
from tests.support.repositories import PASSPHRASE, commit_disk, create, noise
from tests.tui.test_views import Recorder
from vmtui import keyring
from vmtui.model.errors import UsageError
from vmtui.model.job import JobKind
from vmtui.model.settings import Copy
from vmtui.repository import repository as opened
from vmtui.tui import clock
from vmtui.tui.feeds import CatalogueFeed
from vmtui.tui.picture import CatalogueView


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(keyring, "_kept", {})


def press(app: StillApp, *keys: str, until: Callable[[], object] = lambda: True) -> list[str]:
    """Press keys in the repository's view; gives what is seen when `until` is true."""

    async def play() -> list[str]:
        async with running(app) as pilot:
            for key in ("6", *keys):
                await pilot.press(key)
                await pilot.pause(0.05)
            for _ in range(200):
                if until():
                    break
                await asyncio.sleep(0.02)
            assert until()
            return shown(app)

    return asyncio.run(play())


def app_with(folder: Path, asked: list[Any], error: dict[str, Any] | None = None, **changes: Any) -> StillApp:
    picture = example()
    app = StillApp(folder, replace(picture, catalogue=replace(picture.catalogue, error=error)))
    app.settings = replace(app.settings, **changes)
    app.client = Recorder(asked)  # type: ignore[assignment]
    return app


@pytest.mark.parametrize(
    ("keys", "kind"),
    [(("c",), JobKind.VERIFY), (("s",), JobKind.SYNC), (("m", "y"), JobKind.REPAIR)],
    ids=["check", "send", "mend"],
)
def test_a_key_makes_the_job(tmp_path: Path, keys: tuple[str, ...], kind: JobKind) -> None:
    asked: list[Any] = []
    app = app_with(tmp_path, asked, copies={"second": Copy("second", "file:///second")})
    press(app, *keys, until=lambda: asked)
    assert [wish[0] for wish in asked] == [kind]


def test_freeing_counts_first_and_wants_its_word(tmp_path: Path) -> None:
    repository = create(tmp_path / "made")
    gone = commit_disk(repository, noise(1, 20))
    commit_disk(repository, noise(2, 20), 1)
    repository.points.delete(gone, NOW)
    asked: list[Any] = []

    async def play(word: str) -> str:
        app = app_with(tmp_path / word, asked, repository=repository.store.url)
        async with running(app) as pilot:
            await pilot.press("6", "g")
            await _until(pilot, lambda: "1 packs with" in "\n".join(shown(app)))
            text = "\n".join(shown(app))
            await pilot.press(*word, "enter")
            await pilot.pause(0.2)
            return text

    assert "needed by no restore point" in asyncio.run(play("no"))
    assert asked == []
    asyncio.run(play("gc"))
    assert [wish[0] for wish in asked] == [JobKind.GC]


def test_mending_asks_first(tmp_path: Path) -> None:
    asked: list[Any] = []
    text = "\n".join(press(app_with(tmp_path, asked), "m"))
    assert "Repair the repository?" in text
    press(app_with(tmp_path / "again", asked), "m", "escape")
    assert asked == []


def test_without_a_copy_nothing_is_sent(tmp_path: Path) -> None:
    asked: list[Any] = []
    app = app_with(tmp_path, asked)
    press(app, "s", until=lambda: app.said)
    assert "names no copy" in app.said[0]
    assert asked == []


def test_read_only_does_none_of_it(tmp_path: Path) -> None:
    asked: list[Any] = []
    app = app_with(tmp_path, asked, read_only=True, copies={"second": Copy("second", "file:///second")})
    press(app, "g", "s", "m", until=lambda: len(app.said) == 3)
    assert asked == []


def test_a_locked_repository_asks_for_its_passphrase_and_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = create(tmp_path / "made", sealed=True)
    commit_disk(repository, noise(1, 2))
    monkeypatch.setattr(opened, "_unlocked", {})
    asked: list[Any] = []
    app = app_with(tmp_path, asked, repository=repository.store.url)
    app.picture = replace(app.picture, catalogue=CatalogueView())
    app.catalogue_feed = CatalogueFeed(app.settings, app.mailbox, app.picture.catalogue)
    app.catalogue_feed.look()

    def seen() -> bool:
        return "Passphrase of the repository" in "\n".join(shown(app))

    async def play() -> None:
        async with running(app) as pilot:
            await _until(pilot, seen)
            await pilot.press(*"wrong", "enter")
            await _until(pilot, lambda: keyring.kept(keyring.REPOSITORY) == "wrong")
            app.catalogue_feed.look()
            await _until(pilot, seen)
            await pilot.press(*(character if character != " " else "space" for character in PASSPHRASE), "enter")
            await _until(pilot, lambda: keyring.kept(keyring.REPOSITORY) == PASSPHRASE)
            app.catalogue_feed.look()
            await _until(pilot, lambda: app.picture.catalogue.error is None and app.picture.catalogue.as_of is not None)

    asyncio.run(play())
    assert len(app.picture.catalogue.points) == 1
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSPHRASE.encode() not in path.read_bytes()


async def _until(pilot: Any, condition: Callable[[], object]) -> None:
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError("it did not happen")


def test_an_open_repository_needs_no_passphrase(tmp_path: Path) -> None:
    app = app_with(tmp_path, [])
    press(app, "u", until=lambda: app.said)
    assert "is open" in app.said[0]
    error = UsageError("REPO-LOCKED", "locked").to_json()
    text = "\n".join(press(app_with(tmp_path / "locked", [], error), "u"))
    assert "Passphrase of the repository" in text
