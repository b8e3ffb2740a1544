"""Pictures of every view, from the program itself over a fresh practice lab; ids and places are made the same each time."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from vmtui import config
from vmtui.lab import down, up
from vmtui.tui.app import Look, VmtuiApp
from vmtui.tui.screens.base import TableView

OUT = Path("screenshots")
NOON = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)
SIZE = (110, 30)


def run(path: str, *words: str) -> None:
    """Run a command of the program."""
    subprocess.run(
        [sys.executable, "-m", "vmtui", "--config", path, "--quiet", *words], check=True, stdout=subprocess.DEVNULL
    )


async def take(settings: Any) -> None:
    """Walk through the views and picture each."""
    app = VmtuiApp(settings, Look(guard_s=0.0))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: len(app.picture.rows) > 3 and bool(app.picture.catalogue.points))
        app.clear_notifications()
        for name, keys in (
            ("pulse", "1"),
            ("vms", "2"),
            ("points", "3"),
            ("jobs", "4"),
            ("hosts", "5"),
            ("repository", "6"),
            ("log", "8"),
            ("help", "2 question_mark"),
            ("explain", "escape e"),
            ("vm", "escape slash w e b enter enter"),
            ("point", "enter"),
            ("options", "escape o"),
        ):
            await press(pilot, keys)
            if name == "options":
                await until(
                    pilot, lambda: bool(app.screen.query("#plan")) and "What it would do" in plain(app, "#plan")
                )
            save(app, name)
        await press(pilot, "escape r")
        for number, name in enumerate(("point", "target", "mapping", "plan", "confirm"), 1):
            if name == "target":
                await press(pilot, "j enter down enter")
            if name in ("mapping", "plan"):
                await until(pilot, lambda: getattr(app.screen, "plan", None) is not None)
            save(app, f"restore-{number}-{name}")
            await press(pilot, "y" if name == "confirm" else "right_square_bracket")
        await until(pilot, lambda: "evidence" in plain(app, "#text"))
        app.clear_notifications()
        await pilot.pause(0.5)
        save(app, "restore-6-evidence")


def plain(app: VmtuiApp, widget: str) -> str:
    """The text of a widget, if it is there."""
    found = app.screen.query(widget)
    return str(getattr(found.first(), "plain", "")) if found else ""


async def press(pilot: Pilot[Any], keys: str) -> None:
    """Press keys, and let the screen settle after each."""
    for key in keys.split():
        await pilot.press(key)
        await pilot.pause(0.2)


async def until(pilot: Pilot[Any], condition: Callable[[], bool], seconds: float = 90) -> None:
    """Wait for the program to have heard something."""
    for _ in range(int(seconds / 0.1)):
        if condition():
            await pilot.pause(0.3)
            return
        await pilot.pause(0.1)
    raise TimeoutError("the picture never came")


_IDS: dict[str, str] = {}


def save(app: VmtuiApp, name: str) -> None:
    """Export what is seen, with ids, places and times made the same each time."""
    if isinstance(app.screen, TableView):
        app.screen.table.clock = lambda: datetime.now(UTC)
    text = app.export_screenshot(title="vmtui")
    shift = NOON - datetime.now(UTC)
    text = re.sub(r"/[a-z]+/[A-Za-z0-9_.-]+/lab\b|/[a-z]+/vl-[a-z0-9_]+", "/srv/lab", text)  # the lab's own folders
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:2222", text)
    text = re.sub(
        r"\b01[0-9a-hjkmnp-tv-z]{14}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b", _same, text
    )
    text = re.sub(r"(\d{4}-\d\d-\d\d)((?: |&#160;))(\d\d:\d\d:\d\d)", lambda match: _moved(match, shift), text)
    text = re.sub(r"terminal-\d+", "terminal", text)
    (OUT / f"{name}.svg").write_text(text, encoding="utf-8")


def _same(match: re.Match[str]) -> str:
    found = match[0]
    _IDS.setdefault(
        found,
        f"{len(_IDS) + 1:0{len(found)}d}" if "-" not in found else f"00000000-0000-4000-8000-{len(_IDS) + 1:012d}",
    )
    return _IDS[found]


def _moved(match: re.Match[str], shift: timedelta) -> str:
    moved = datetime.fromisoformat(f"{match[1]} {match[3]}").astimezone() + shift
    return f"{moved:%Y-%m-%d}{match[2]}{moved:%H:%M:%S}"


def main() -> None:
    """Bring a lab up, give it a history, take the pictures, take it down."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vmtui-pictures-") as folder:
        root = Path(folder) / "lab"
        try:
            lab = up(root, lambda text: print(text, file=sys.stderr))
            run(lab.config, "repo", "init")
            for words in (
                ["backup", "web1"],
                ["backup", "db1"],
                ["backup", "mail1"],
                ["backup", "web1"],
                ["verify", "web1@latest"],
            ):
                run(lab.config, *words)
            asyncio.run(take(config.load(Path(lab.config))))
        finally:
            down(root)


if __name__ == "__main__":
    main()
