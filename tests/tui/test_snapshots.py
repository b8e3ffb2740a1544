"""Pictures of every view, compared with those kept in tests/tui/snapshots.

After a change that is meant, look at the difference, then: VMTUI_UPDATE_SNAPSHOTS=1 pytest tests/tui/test_snapshots.py
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pictures import NOW, StillApp, example, running, shown
from vmtui.tui import clock
from vmtui.tui.screens.base import TABS

KEPT = Path(__file__).parent / "snapshots"
UPDATE = bool(os.environ.get("VMTUI_UPDATE_SNAPSHOTS"))
SIZES = [(80, 24), (120, 36)]
PAGES = [(view, [key]) for view, key, _ in TABS] + [
    ("vm", ["2", "slash", *"web1", "enter", "enter"]),
    ("host", ["5", "enter"]),
    ("job", ["4", "enter"]),
    ("evidence", ["4", "slash", *"restore", "enter", "enter"]),
    ("explain", ["2", "e"]),
    ("confirm", ["4", "c"]),
    ("rehearse", ["3", "w"]),
    ("help", ["3", "question_mark"]),
]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock stands, in UTC."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def look(folder: Path, keys: list[str], size: tuple[int, int]) -> tuple[list[str], str]:
    """What is seen, as lines and as SVG."""

    async def play() -> tuple[list[str], str]:
        app = StillApp(folder, example())
        async with running(app, size) as pilot:
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            await pilot.pause(0.1)
            return shown(app), re.sub(r"terminal-\d+", "terminal", app.export_screenshot(title="vmtui"))

    return asyncio.run(play())


def compare(name: str, text: str) -> None:
    """The text is what was kept."""
    path = KEPT / name
    if UPDATE:
        KEPT.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path} was never made"
    assert path.read_text(encoding="utf-8") == text, f"{name} is not what was kept"


@pytest.mark.parametrize(("name", "keys"), PAGES, ids=[name for name, _ in PAGES])
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x36"])
@pytest.mark.parametrize("colour", [True, False], ids=["dark", "no-colour"])
def test_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, keys: list[str], size: tuple[int, int], colour: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    lines, svg = look(tmp_path, keys, size)
    compare(f"{name}-{size[0]}x{size[1]}-{'dark' if colour else 'no-colour'}.svg", svg)
    if colour:
        compare(f"{name}-{size[0]}x{size[1]}.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize(("name", "keys"), PAGES, ids=[name for name, _ in PAGES])
def test_colour_adds_nothing_that_words_do_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, keys: list[str]
) -> None:
    coloured, _ = look(tmp_path / "a", keys, (120, 36))
    monkeypatch.setenv("NO_COLOR", "1")
    plain, _ = look(tmp_path / "b", keys, (120, 36))
    assert name
    assert coloured == plain
