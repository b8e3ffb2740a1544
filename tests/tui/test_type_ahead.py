"""Keys that come in one burst mean what they would mean one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.screen import Screen

from tests.support.client import PROGRAM, Client
from tests.support.pictures import StillApp, example, running
from tests.support.terminal import Terminal
from vmtui.tui.dialogs.base import Confirm
from vmtui.tui.widgets.field import Field

_NAMES = {" ": "space", "/": "slash", ":": "colon", "\r": "enter", "\x1b": "escape", "?": "question_mark"}


def key(character: str) -> events.Key:
    name = _NAMES.get(character, character)
    return events.Key(name, character if character.isprintable() else None)


async def burst(app: StillApp, text: str) -> None:
    """All keys at once, as a terminal hands over what was pasted into it."""
    driver = app._driver
    assert driver is not None
    for character in text:
        event = key(character)
        event.set_sender(app)
        driver.send_message(event)


async def settled(app: StillApp, pilot: Pilot[str]) -> None:
    """Wait until all keys were handled and nothing has followed from them for a while."""
    quiet = 0
    for _ in range(400):
        await pilot.pause(0.05)
        quiet = quiet + 1 if app._typed.empty() and not app._in_turn else 0
        if quiet == 6:
            return
    raise AssertionError("the keys are still being handled")


def after(folder: Path, text: str, *, guard_s: float = 0.0) -> tuple[StillApp, Any]:
    """Where a burst leads; gives the application and the text of the prompt."""

    async def play() -> tuple[StillApp, Any]:
        app = StillApp(folder, example(), guard_s=guard_s)
        async with running(app) as pilot:
            await burst(app, text)
            await settled(app, pilot)
            page = app.page
            assert page is not None
            prompt = page.query_one("#prompt", Field)
            return app, {
                "view": app.current_mode,
                "prompt": None if prompt.has_class("hidden") else prompt.value,
                "filter": getattr(page, "filter_text", ""),
                "screens": len(app.screen_stack),
                "dialog": app.screen if isinstance(app.screen, Confirm) else None,
            }

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("text", "view", "prompt", "kept"),
    [
        ("2/web", "vms", "web", "web"),
        ("2/web\r", "vms", None, "web"),
        ("2/web\r3/db\r", "points", None, "db"),
        ("23456821", "pulse", None, ""),
        ("4:bac", "jobs", "bac", ""),
        ("2/web\x1b3", "points", None, ""),
    ],
)
def test_a_burst_leads_where_single_keys_lead(
    tmp_path: Path, text: str, view: str, prompt: str | None, kept: str
) -> None:
    _, found = after(tmp_path, text)
    assert (found["view"], found["prompt"], found["filter"]) == (view, prompt, kept)


def test_letters_behind_a_slash_run_no_command(tmp_path: Path) -> None:
    app, found = after(tmp_path, "2/bcrvxu q")
    assert found["prompt"] == "bcrvxu q"
    assert found["screens"] == 1
    assert app.said == []


def test_letters_behind_a_question_are_not_its_answer(tmp_path: Path) -> None:
    """A cold backup asks before it stops a VM; what came with its key was not typed at that question."""
    app, found = after(tmp_path, "2/archive1\rby", guard_s=0.3)
    assert found["dialog"] is not None, app.said


def test_a_paste_keeps_its_place_between_keys(tmp_path: Path) -> None:
    async def play() -> str:
        app = StillApp(tmp_path, example())
        async with running(app) as pilot:
            await burst(app, "2/")
            assert app._driver is not None
            app._driver.send_message(events.Paste("we"))
            await burst(app, "b1")
            await settled(app, pilot)
            assert app.page is not None
            return app.page.query_one("#prompt", Field).value

    assert asyncio.run(play()) == "web1"


def test_a_click_behind_keys_waits_for_them(tmp_path: Path) -> None:
    """The place that is clicked belongs to the view that the keys have opened."""

    async def play() -> str:
        app = StillApp(tmp_path, example())
        async with running(app) as pilot:
            await burst(app, "2345")
            assert app._driver is not None
            x = "".join(app.page.lines_shown()[0]).index("3 Points") if app.page else 0
            for kind in (events.MouseDown, events.MouseUp):
                event = kind(None, x + 2, 0, 0, 0, 1, False, False, False, x + 2, 0)
                event.set_sender(app)
                app._driver.send_message(event)
            await settled(app, pilot)
            return app.current_mode

    assert asyncio.run(play()) == "points"


class Slow(Screen[None]):
    """A screen that is left while its key is still being handled."""

    async def on_key(self, _event: events.Key) -> None:
        self.app.pop_screen()
        await asyncio.sleep(0.2)


def test_a_screen_that_ends_with_its_key_holds_up_nobody(tmp_path: Path) -> None:
    async def play() -> str:
        app = StillApp(tmp_path, example())
        async with running(app) as pilot:
            await app.push_screen(Slow())
            await burst(app, "x2/web")
            await settled(app, pilot)
            assert app.page is not None
            return f"{app.current_mode} {app.page.query_one('#prompt', Field).value}"

    assert asyncio.run(play()) == "vms web"


@pytest.mark.parametrize("words", [["2", "/web"], ["2/", "zz"]])
def test_a_burst_in_a_terminal(client: Client, words: Sequence[str]) -> None:
    terminal = Terminal([*PROGRAM, "--config", str(client.config)])
    try:
        terminal.wait_for("vmtui", "Pulse")
        terminal.type("".join(words))
        terminal.wait_for("[2 VMs]", f"filter {words[-1].lstrip('/')}")
    finally:
        terminal.close()
