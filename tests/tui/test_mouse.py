"""The mouse: tabs, rows, keys of the footer, buttons; and no click that opened a question answers it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.geometry import Region
from textual.widgets import Button

from tests.support.pictures import NOW, shown
from tests.support.playing import Play, play, words
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Confirm, Typed
from vmtui.tui.dialogs.pick import Pick
from vmtui.tui.screens.host import HostPage
from vmtui.tui.screens.vm import VmPage
from vmtui.tui.screens.vms import VmsView


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def place(hands: Play, text: str, *, line: int | None = None) -> tuple[int, int]:
    """Where a text is on the screen."""
    for y, words_ in enumerate(shown(hands.app)):
        if text in words_ and line in (None, y):
            return words_.index(text), y
    raise AssertionError(f"{text} is not seen")


async def click(hands: Play, text: str, *, line: int | None = None, times: int = 1) -> None:
    await hands.pilot.click(offset=place(hands, text, line=line), times=times)
    await hands.pilot.pause()


@pytest.mark.parametrize("size", [(120, 36), (80, 24)])
def test_a_tab(tmp_path: Path, size: tuple[int, int]) -> None:
    async def script(hands: Play) -> None:
        for title, view in (("3 Points", "points"), ("8 Log", "log"), ("1 Pulse", "pulse")):
            await click(hands, title, line=0)
            assert hands.app.current_mode == view

    play(tmp_path, script, size=size)


def test_a_row_gets_the_cursor_and_a_second_click_opens_it(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("2")
        view = hands.app.screen
        assert isinstance(view, VmsView)
        await click(hands, "archive1")
        assert view.table.current is not None
        assert view.table.current.name == "archive1"
        assert hands.app.screen is view
        await click(hands, "archive1", times=2)
        assert isinstance(hands.app.screen, VmPage)
        assert "archive1" in hands.text

    play(tmp_path, script)


def test_a_heading_sorts(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("2")
        view = hands.app.screen
        assert isinstance(view, VmsView)
        await click(hands, "VM", line=2)
        names = [row.name for row in view.table.rows]
        assert names == sorted(names)
        await click(hands, "VM", line=2)
        assert [row.name for row in view.table.rows] == names[::-1]

    play(tmp_path, script)


def test_a_key_of_the_footer_does_what_the_key_does(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("2", "slash", *words("web1"), "enter")
        await click(hands, "b Backup")
        await hands.until(lambda: hands.queue.asked)

    ((kind, host, vm, _),) = play(tmp_path, script).asked
    assert (kind, host, vm) == ("backup", "kvm1", "web1")


def test_enter_of_the_footer_drills_in(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("5")
        await click(hands, "enter Open")
        assert isinstance(hands.app.screen, HostPage)

    play(tmp_path, script)


@pytest.mark.parametrize(("button", "asked"), [("No", 0), ("Cancel it", 1)])
def test_a_button(tmp_path: Path, button: str, asked: int) -> None:
    async def script(hands: Play) -> None:
        await hands.press("4")
        await click(hands, "c Cancel")
        dialog = await hands.dialog(Confirm)
        await hands.pilot.click("#no" if button == "No" else "#yes")
        await hands.until(lambda: hands.app.screen is not dialog and len(hands.queue.asked) >= asked)
        await hands.pilot.pause(0.05)

    assert len(play(tmp_path, script).asked) == asked


def test_the_button_of_a_typed_question_is_closed_until_the_word_is_there(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("4", "slash", *words("restore"), "enter", "u")
        dialog = await hands.dialog(Typed)
        await hands.pilot.click("#yes")
        await hands.pilot.pause()
        assert hands.app.screen is dialog
        await hands.press(*words("web1"))
        await hands.pilot.click("#yes")
        await hands.until(lambda: hands.queue.asked)

    assert len(play(tmp_path, script).asked) == 1


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (60, 20)])
def test_clicks_ahead_run_dry(tmp_path: Path, size: tuple[int, int]) -> None:
    async def script(hands: Play) -> None:
        await hands.press("4", "c")
        await hands.until(lambda: isinstance(hands.app.screen, Confirm) and bool(hands.app.screen.query("#yes")))
        await hands.pilot.click("#yes")
        await hands.pilot.click("#yes")
        await hands.pilot.pause()
        assert isinstance(hands.app.screen, Confirm)

    assert play(tmp_path, script, size=size, guard_s=60.0).asked == []


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (60, 20)])
@pytest.mark.parametrize("corner", ["left", "middle", "right"])
def test_yes_is_never_under_the_pointer_that_opened_it(tmp_path: Path, size: tuple[int, int], corner: str) -> None:
    """Wherever the pointer was: the same click once more, after the dialog listens, does not mean yes."""

    async def script(hands: Play) -> None:
        await hands.press("4", "c")
        region = (await hands.dialog(Confirm)).query_one("#yes", Button).region
        await hands.press("escape")
        pointer = at(region, corner)
        await hands.pilot.hover(offset=pointer)
        await hands.press("c")
        dialog = await hands.dialog(Confirm)
        await hands.pilot.pause(0.1)
        assert not dialog.query_one("#yes", Button).region.contains(*pointer)
        await hands.pilot.click(offset=pointer)
        await hands.pilot.pause(0.05)

    assert play(tmp_path, script, size=size).asked == []


def at(region: Region, corner: str) -> tuple[int, int]:
    return {"left": region.x, "middle": region.x + region.width // 2, "right": region.right - 1}[corner], region.y


def test_a_line_of_a_list(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("2", "slash", *words("archive1"), "enter", "ctrl+p")
        await hands.dialog(Pick)
        await click(hands, "b    Backup")
        await hands.dialog(Confirm)
        assert "Back up kvm1/archive1 cold?" in hands.text

    assert play(tmp_path, script).asked == []
