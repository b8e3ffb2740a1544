"""Hosts in the screens: a new one is written into the configuration, an unknown key is asked about, a changed one is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest
from textual.pilot import Pilot

from tests.support.pictures import CONFIG, StillApp, example, running
from vmtui import config
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.dialogs.base import Confirm, Dialog
from vmtui.tui.dialogs.notice import Alarm
from vmtui.tui.verbs.trust import Shown, _show

KEY = paramiko.ECDSAKey.generate()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the screens to come to something."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # the screens set no event
            await asyncio.sleep(0.02)


async def listening(app: StillApp, pilot: Pilot[object], kind: type[Dialog[Any]]) -> Dialog[Any]:
    """The dialog that is open, once it takes keys."""
    await until(lambda: isinstance(app.screen, kind) and app.screen.listens)
    await pilot.pause()
    assert isinstance(app.screen, kind)
    return app.screen


def asked_about(folder: Path, verdict: str, *keys: str) -> tuple[bool, bool]:
    """Show a key, press keys; gives whether it was accepted, and whether the dialog is still open."""

    async def play() -> tuple[bool, bool]:
        app = StillApp(folder, example())
        async with running(app) as pilot:
            _show(app, "kvm1", Shown("kvm1", 22, KEY, "SHA256:abc", verdict))
            dialog = await listening(app, pilot, Alarm if verdict == "changed" else Confirm)
            await pilot.press(*keys)
            await pilot.pause()
            still_open = app.screen is dialog
            store = app.settings.known_hosts
            if not still_open and keys == ("y",):
                await until(store.exists)
            return store.exists(), still_open

    return asyncio.run(play())


@pytest.mark.parametrize("key", ["y", "t", "a", "right", "tab", "space"])
def test_a_changed_key_cannot_be_accepted(tmp_path: Path, key: str) -> None:
    accepted, _ = asked_about(tmp_path, "changed", key)
    assert not accepted
    assert not asked_about(tmp_path / "again", "changed", key, "enter")[0]


@pytest.mark.parametrize("key", ["n", "escape"])
def test_an_unknown_key_can_be_refused(tmp_path: Path, key: str) -> None:
    assert asked_about(tmp_path, "unknown", key) == (False, False)


def test_enter_may_have_opened_the_question_and_answers_nothing(tmp_path: Path) -> None:
    assert asked_about(tmp_path, "unknown", "enter") == (False, True)


def test_an_unknown_key_is_accepted_by_yes_alone(tmp_path: Path) -> None:
    assert asked_about(tmp_path, "unknown", "y") == (True, False)


def test_a_new_host_leaves_the_rest_of_the_file_alone(tmp_path: Path) -> None:
    async def play() -> tuple[Path, str]:
        app = StillApp(tmp_path, example())
        path = tmp_path / "kept.toml"
        text = "# kept by hand\n" + CONFIG.format(state=tmp_path / "state") + "\n# and this\n"
        path.write_text(text)
        app.settings = config.load(path)
        app.add_feed = lambda _: None  # type: ignore[method-assign,assignment]  # nobody is asked
        async with running(app) as pilot:
            await pilot.press("5", "n")
            for words in ("new-1", "root@192.0.2.7:2222"):
                dialog = await listening(app, pilot, Ask)
                await pilot.press(*words, "enter")
                await until(lambda asked=dialog: app.screen is not asked)  # type: ignore[misc]
            await until(lambda: "new-1" in app.settings.hosts)
        return path, text

    path, before = asyncio.run(play())
    assert path.read_text().startswith(before)
    host = config.load(path).hosts["new-1"]
    assert (host.address, host.user, host.port) == ("192.0.2.7", "root", 2222)
