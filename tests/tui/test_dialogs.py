"""No slip of the finger confirms anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events

from tests.support.pictures import StillApp, example, running
from vmtui.tui.dialogs.base import Confirm, Typed, TypedInput, word_to_type
from vmtui.tui.dialogs.notice import Alarm


class Answers:
    """What a dialog was left with."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def __call__(self, answer: Any) -> None:
        self.all.append(answer)


def ask(
    folder: Path, dialog: Callable[[], Any], keys: list[str], guard_s: float = 0.0, pause: float = 0.2
) -> tuple[list[Any], bool]:
    """Open a dialog, press keys at once; gives the answers and whether it is still open."""

    async def play() -> tuple[list[Any], bool]:
        app = StillApp(folder, example(), guard_s=guard_s)
        answers = Answers()
        async with running(app) as pilot:
            opened = dialog()
            app.push_screen(opened, answers)
            await pilot.pause(pause)
            await pilot.press(*keys)
            await pilot.pause()
            return answers.all, app.screen is opened

    return asyncio.run(play())


def confirm() -> Confirm:
    return Confirm("Stop web1?", [[("It stops.", "")]], opened_by=("c",))


def typed() -> Typed:
    return Typed("Replace db2?", [[("Its disks are replaced.", "")]], word="db2", opened_by=("r",))


@pytest.mark.parametrize("keys", [["n"], ["escape"], ["enter"], ["tab", "tab", "enter"]])
def test_no_is_the_default(tmp_path: Path, keys: list[str]) -> None:
    assert ask(tmp_path, confirm, keys) == ([None], False)


@pytest.mark.parametrize("keys", [["y"], ["tab", "enter"], ["right", "enter"]])
def test_yes_takes_a_step_of_its_own(tmp_path: Path, keys: list[str]) -> None:
    assert ask(tmp_path, confirm, keys) == ([True], False)


def test_the_key_that_opened_it_never_confirms(tmp_path: Path) -> None:
    assert ask(tmp_path, confirm, ["c", "c", "c"]) == ([], True)


@pytest.mark.parametrize("keys", [["y"], ["enter"], ["y", "y", "y", "enter", "y"]])
def test_type_ahead_runs_dry(tmp_path: Path, keys: list[str]) -> None:
    assert ask(tmp_path, confirm, keys, guard_s=5.0) == ([], True)


def test_every_key_begins_the_wait_anew(tmp_path: Path) -> None:
    async def play() -> None:
        app = StillApp(tmp_path, example(), guard_s=1.6)
        async with running(app) as pilot:
            dialog = confirm()
            app.push_screen(dialog)
            await pilot.pause(0.1)
            began = time.monotonic()
            while time.monotonic() - began < 2.4:
                await pilot.press("y")
                await asyncio.sleep(0.2)
                assert not dialog.listens
            await asyncio.sleep(2.0)
            assert dialog.listens

    asyncio.run(play())


def test_typed_name_is_needed(tmp_path: Path) -> None:
    assert ask(tmp_path, typed, ["enter", "d", "b", "enter"]) == ([], True)
    assert ask(tmp_path / "b", typed, ["d", "b", "2", "enter"]) == ([True], False)
    assert ask(tmp_path / "c", typed, ["d", "b", "2", "escape"]) == ([None], False)
    assert ask(tmp_path / "d", typed, ["y"]) == ([], True)


def test_typed_name_is_not_pasted(tmp_path: Path) -> None:
    async def play() -> None:
        app = StillApp(tmp_path, example())
        async with running(app) as pilot:
            dialog = typed()
            app.push_screen(dialog)
            await pilot.pause(0.2)
            field = dialog.query_one("#word", TypedInput)
            field.post_message(events.Paste("db2"))
            await pilot.pause()
            assert field.value == ""

    asyncio.run(play())


@pytest.mark.parametrize(
    ("name", "word"), [("db2", "db2"), ("x" * 40, "01234567"), ("虚拟机", "01234567"), ("a\u202eb", "01234567")]
)
def test_what_must_be_typed_can_be_typed(name: str, word: str) -> None:
    assert word_to_type(name, "01234567-89ab") == word


def test_an_alarm_can_only_be_closed(tmp_path: Path) -> None:
    def alarm() -> Alarm:
        return Alarm("The SSH key of kvm1 has CHANGED", [[("Somebody may stand in between.", "bad")]])

    for number, key in enumerate(("y", "a", "t", "right")):
        assert ask(tmp_path / str(number), alarm, [key]) == ([], True)
    assert ask(tmp_path / "enter", alarm, ["enter"]) == ([None], False)
