"""The sheet of backup options: modes, what a backup would read and why, and what is then asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, example
from tests.support.playing import Play, play, preview_of, words
from vmtui.model.errors import UnreachableError
from vmtui.model.point import Mode
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Confirm
from vmtui.tui.dialogs.options import BackupOptions
from vmtui.tui.verbs import sheets

DOWN = {Mode.HOT: 0, Mode.PAUSED: 1, Mode.COLD: 2}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(sheets, "_preview", lambda _app, _focus, chosen: preview_of(chosen.mode, full=chosen.full))


async def opened(hands: Play, name: str = "web1") -> BackupOptions:
    await hands.press("2", "slash", *words(name), "enter", "o")
    sheet = await hands.dialog(BackupOptions)
    assert isinstance(sheet, BackupOptions)
    return sheet


async def choose(hands: Play, mode: Mode) -> None:
    """From the button that leaves, round to the modes."""
    await hands.press("tab", "tab", *["down"] * DOWN[mode], "space")


def asked(folder: Path, script: Any) -> list[tuple[Any, ...]]:
    return play(folder, script).asked


def test_what_would_be_read_and_why(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        sheet = await opened(hands)
        await hands.until(lambda: "What it would do" in hands.text)
        for line in (
            "vda    incremental: about 700.0 MiB changed",
            "vdb    full (raw): at most 5.0 GiB",
            "sda    not held: a physical disk",
            "the point will be crash-consistent",
        ):
            assert line in hands.text
        await choose(hands, Mode.COLD)
        await hands.until(lambda: "vda    full (tracking off): at most 20.0 GiB" in hands.text)
        assert "The guest is off from its shutdown (at most 5m00s) until" in " ".join(
            hands.text.replace("█", " ").split()
        )
        assert sheet.chosen.mode is Mode.COLD
        await hands.press("tab", "space")
        await hands.until(lambda: "vda    full (forced): at most 20.0 GiB" in hands.text)
        assert sheet.chosen.full

    assert asked(tmp_path, script) == []


@pytest.mark.parametrize("mode", Mode)
def test_the_chosen_mode_is_asked_for(tmp_path: Path, mode: Mode) -> None:
    async def script(hands: Play) -> None:
        await opened(hands)
        await choose(hands, mode)
        assert hands.text.count("(●)") == 1
        assert f"(●) {mode}" in hands.text
        await hands.press("shift+tab", "enter")
        if mode is not Mode.HOT:
            await hands.dialog(Confirm)
            seen = "is paused for a moment" if mode is Mode.PAUSED else "is shut down"
            assert seen in hands.text
            assert not hands.queue.asked
            await hands.press("y")
        await hands.until(lambda: hands.queue.asked)

    ((kind, host, name, request),) = asked(tmp_path, script)
    assert (kind, host, name) == ("backup", "kvm1", "web1")
    assert (request.mode, request.full) == (mode, False)


def test_full_is_asked_for(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await opened(hands)
        await hands.press("tab", "tab", "tab", "space")
        assert "[x] read every disk in full" in hands.text
        await hands.press("tab", "tab", "enter")
        await hands.until(lambda: hands.queue.asked)

    ((*_, request),) = asked(tmp_path, script)
    assert (request.mode, request.full) == (Mode.HOT, True)


def test_it_begins_with_the_mode_of_the_tier_and_leaves_without_a_job(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        sheet = await opened(hands, "archive1")
        assert sheet.chosen.mode is Mode.COLD
        assert "(●) cold" in hands.text
        assert sheet.focused is sheet.query_one("#no")
        await hands.press("o", "enter")
        assert hands.app.screen is not sheet

    assert asked(tmp_path, script) == []


def test_a_host_that_cannot_be_asked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise UnreachableError("HOST-UNREACHABLE", "kvm1 does not answer.", next_step="Try ssh by hand.")

    monkeypatch.setattr(sheets, "_preview", away)

    async def script(hands: Play) -> None:
        await opened(hands)
        await hands.until(lambda: "kvm1 does not answer." in hands.text)
        assert "[HOST-UNREACHABLE]" in hands.text

    assert asked(tmp_path, script) == []


def test_several_vms_get_one_mode(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("2", "slash", *words("state:running"), "enter", "asterisk", "o")
        await hands.dialog(BackupOptions)
        assert "Back up 3 VMs" in hands.text
        await choose(hands, Mode.PAUSED)
        await hands.press("shift+tab", "enter")
        await hands.dialog(Confirm)
        await hands.press("y")
        await hands.until(lambda: len(hands.queue.asked) == 3)

    made = asked(tmp_path, script)
    assert {name for _, _, name, _ in made} == {"web1", "db1", "archive1"}
    assert {request.mode for *_, request in made} == {Mode.PAUSED}


def test_in_ascii_as_well(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await opened(hands)
        await hands.until(lambda: "(o) hot" in hands.text)
        assert "( ) cold" in hands.text

    picture = replace(example(), log=())
    assert play(tmp_path, script, picture=picture, ascii=True).asked == []
