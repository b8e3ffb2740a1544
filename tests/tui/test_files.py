"""The files of a point on the screens: a real point, opened, walked through, searched, taken from."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.support import images
from tests.support.browsing import store
from tests.support.pictures import CONFIG, NOW, StillApp, example, running, settings, shown
from tests.tui.test_snapshots import SIZES, compare
from vmtui.model.point import PointStatus
from vmtui.overview.points import load_view
from vmtui.tui import clock
from vmtui.tui.screens.files import FilesPage

_PATIENCE_S = 60.0
_WHEN = 1_770_000_000
TREE = {
    "etc/hosts": b"127.0.0.1 localhost\n10.0.0.1 db1\n",
    "etc/ssh/sshd_config": b"Port 22\nPermitRootLogin no\n",
    "etc/[b]odd[/b]\x1b[2J": b"x",
    "srv/backup.bin": bytes(range(256)) * 300,
    "srv/empty": b"",
}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock stands, in UTC."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A disk with two partitions, one of which cannot be browsed."""
    folder = tmp_path_factory.mktemp("disks")
    tree = images.write_tree(folder / "tree", TREE)
    (tree / "localtime").symlink_to("/etc/hosts")
    for path in sorted(tree.rglob("*"), reverse=True):
        path.chmod(0o755 if path.is_dir() else 0o640) if not path.is_symlink() else None
        os.utime(path, (_WHEN, _WHEN), follow_symlinks=False)
    os.utime(tree, (_WHEN, _WHEN))
    images.ext4(folder / "root", tree, 8 * images.MIB, "-L", "system")
    shown_paths = ("/lost+found", "/etc/hosts", "/etc/ssh", "/etc/[b]odd[")
    fields = (f"mtime @{_WHEN}", "uid 0", "gid 0")
    changes = [f"set_inode_field {path} {field}\n" for path in shown_paths for field in fields]
    images.run("debugfs", "-w", "-f", "-", folder / "root", stdin="".join(changes))
    luks = images.blank(folder / "luks", 2 * images.MIB)
    luks.write_bytes(b"LUKS\xba\xbe" + luks.read_bytes()[6:])
    return [images.disk(folder / "vda", "gpt", [folder / "root", luks])]


@asynccontextmanager
async def opened(folder: Path, disks: list[Path], size: tuple[int, int]) -> AsyncIterator[tuple[StillApp, Pilot[Any]]]:
    """The page, after the point was opened from the list of points."""
    repository, name = store(folder, disks)
    picture = example()
    points = (load_view(repository, name, PointStatus()),)
    app = StillApp(folder, replace(picture, catalogue=replace(picture.catalogue, points=points)))
    app.settings = settings(folder, CONFIG.replace("/tmp/none", str(folder)))
    async with running(app, size) as pilot:
        await pilot.press("3", "m")
        await until(pilot, lambda: isinstance(app.screen, FilesPage) and bool(app.screen.volumes))
        yield app, pilot


async def until(pilot: Pilot[Any], true: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never came"
        await pilot.pause(0.02)
    await pilot.pause()


def page_of(app: StillApp) -> FilesPage:
    assert isinstance(app.screen, FilesPage)
    return app.screen


async def go(app: StillApp, pilot: Pilot[Any], *keys: str, to: str) -> FilesPage:
    """Press keys, and wait for a folder to be shown."""
    page = page_of(app)
    await pilot.press(*keys)
    await until(pilot, lambda: str(page.place) == to and not page._said)
    return page


def play(
    folder: Path, disks: list[Path], script: Callable[[StillApp, Pilot[Any]], Any], size: tuple[int, int] = (120, 36)
) -> None:
    """Run a script on the opened page."""

    async def run() -> None:
        async with opened(folder, disks, size) as (app, pilot):
            await script(app, pilot)

    asyncio.run(run())


def test_inside_a_volume_whose_journal_was_not_empty_it_says_so(tmp_path: Path) -> None:
    disk = tmp_path / "vda"
    images.ext4(disk, images.write_tree(tmp_path / "tree", {"a/b": b"c"}), 8 * images.MIB)
    images.run("debugfs", "-w", "-R", "feature needs_recovery", disk)

    async def script(app: StillApp, pilot: Pilot[Any]) -> None:
        page = page_of(app)
        await pilot.press("enter")
        await until(pilot, lambda: str(page.place) == "/vda")
        await until(pilot, lambda: "its journal was not empty" in "".join(shown(app)))

    play(tmp_path, [disk], script)


def test_through_volumes_and_folders_with_the_keys(tmp_path: Path, disks: list[Path]) -> None:
    async def script(app: StillApp, pilot: Pilot[Any]) -> None:
        page = page_of(app)
        assert [(item.name, item.kind) for item in page.volumes] == [("vda1", "ext4"), ("vda2", "luks")]
        await go(app, pilot, "enter", to="/vda1")
        assert [row.shown for row in page.right.rows] == ["etc", "lost+found", "srv", "localtime -> /etc/hosts"]
        await go(app, pilot, "enter", to="/vda1/etc")
        assert "\x1b" not in "".join(shown(app))
        await go(app, pilot, "backspace", to="/vda1")
        assert page.right.current is not None
        assert page.right.current.shown == "etc"
        await go(app, pilot, "end", "enter", to="/vda1/etc")  # a link to a file shows the folder that it is in
        await pilot.press("tab", "end", "enter")
        await until(pilot, lambda: "LUKS" in page._said)
        assert str(page.place) == "/vda1/etc"
        await pilot.press("escape")
        assert not isinstance(app.screen, FilesPage)

    play(tmp_path, disks, script)


def test_a_file_is_previewed_and_opened(tmp_path: Path, disks: list[Path]) -> None:
    async def script(app: StillApp, pilot: Pilot[Any]) -> None:
        await go(app, pilot, "enter", to="/vda1")
        page = await go(app, pilot, "enter", to="/vda1/etc")
        page.right.go_to("/vda1/etc/hosts")
        await until(pilot, lambda: any("10.0.0.1 db1" in line for line in shown(app)))
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, FilesPage))
        assert any("127.0.0.1 localhost" in line for line in shown(app))

    play(tmp_path, disks, script)


def test_search_and_take(tmp_path: Path, disks: list[Path]) -> None:
    async def script(app: StillApp, pilot: Pilot[Any]) -> None:
        page = page_of(app)
        await pilot.press("f", *"*s*", "enter")
        await until(pilot, lambda: page._search == "*s*" and not page._said)
        assert {row.shown for row in page.right.rows} >= {"vda1/etc/hosts", "vda1/etc/ssh/sshd_config"}
        page.right.go_to("/vda1/etc/hosts")
        await pilot.press("space")
        page.right.go_to("/vda1/etc/ssh")
        await pilot.press("space", "w")
        await pilot.press("ctrl+u", *str(tmp_path / "taken"), "enter")
        await until(pilot, lambda: not app.takes and any("2 files" in text for text in app.said))
        assert (tmp_path / "taken" / "hosts").read_bytes() == TREE["etc/hosts"]
        assert (tmp_path / "taken" / "ssh" / "sshd_config").read_bytes() == TREE["etc/ssh/sshd_config"]
        assert any("2 files" in entry.text for entry in app.picture.log)

    play(tmp_path, disks, script)


def test_a_take_can_be_stopped(tmp_path: Path, disks: list[Path]) -> None:
    async def script(app: StillApp, pilot: Pilot[Any]) -> None:
        await pilot.press("c")
        assert any("no files are being taken" in text for text in app.said)
        await pilot.press("w", "ctrl+u", *str(tmp_path / "taken"), "enter")
        await until(pilot, lambda: bool(app.takes))
        await pilot.press("c")
        await until(pilot, lambda: not app.takes)
        assert any("Stopped" in text or "files" in text for text in app.said)

    play(tmp_path, disks, script)


def test_a_take_that_is_ended_is_named_at_the_end(tmp_path: Path, disks: list[Path]) -> None:
    async def script(app: StillApp, pilot: Pilot[Any]) -> None:
        from vmtui.files.entries import Place
        from vmtui.tui.browsing import Take, Wanted

        wanted = Wanted(page_of(app).point, (Place("vda1"),), "/srv/taken")
        app.takes.append(Take(app.settings, wanted, app.mailbox, lambda *_: None, lambda *_: None))
        app.quit_now()
        await pilot.pause()
        assert "ended: taking /vda1 into /srv/taken" in (app.return_value or "")

    play(tmp_path, disks, script)


def test_putting_is_refused_in_read_only_mode(tmp_path: Path, disks: list[Path]) -> None:
    async def script(app: StillApp, pilot: Pilot[Any]) -> None:
        await go(app, pilot, "enter", to="/vda1")
        app.make_read_only()
        await pilot.press("end", "u")
        assert any("read-only" in text for text in app.said)
        assert isinstance(app.screen, FilesPage)

    play(tmp_path, disks, script)


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x36"])
@pytest.mark.parametrize("colour", [True, False], ids=["dark", "no-colour"])
def test_picture(
    tmp_path: Path, disks: list[Path], monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], colour: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")

    async def script(app: StillApp, pilot: Pilot[Any]) -> None:
        await go(app, pilot, "enter", to="/vda1")
        page = await go(app, pilot, "enter", to="/vda1/etc")
        page.right.go_to("/vda1/etc/hosts")
        await until(pilot, lambda: any("10.0.0.1 db1" in line for line in shown(app)))
        await pilot.press("space")
        await until(pilot, lambda: any("10.0.0.1 db1" in line for line in shown(app)))
        name = f"files-{size[0]}x{size[1]}"
        svg = re.sub(r"terminal-\d+", "terminal", app.export_screenshot(title="vmtui"))
        compare(f"{name}-{'dark' if colour else 'no-colour'}.svg", svg)
        if colour:
            compare(f"{name}.txt", "\n".join(shown(app)) + "\n")

    play(tmp_path, disks, script, size)
