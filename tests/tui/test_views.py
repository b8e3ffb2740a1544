"""Every view, every key, every name: nothing crashes, nothing foreign is obeyed."""

from __future__ import annotations

import asyncio
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.pictures import NOW, StillApp, example, job, point, running, shown, uuid
from vmtui.model.host import HostState
from vmtui.model.job import JobState
from vmtui.model.vm import DomainState, Vm
from vmtui.overview.journal import LogEntry
from vmtui.tui.picture import HostView, JobsView, Picture
from vmtui.tui.screens.base import TABS
from vmtui.tui.screens.vms import VmsView
from vmtui.tui.verbs.all import REGISTRY
from vmtui.tui.verbs.registry import Danger

VIEWS = [(view, key) for view, key, _ in TABS]


def play(app: StillApp, *keys: str, size: tuple[int, int] = (120, 36)) -> list[str]:
    """Press keys one after the other; gives what is seen in the end."""

    async def press() -> list[str]:
        async with running(app, size) as pilot:
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            return shown(app)

    return asyncio.run(press())


@pytest.mark.parametrize(("view", "key"), VIEWS)
@pytest.mark.parametrize("size", [(120, 36), (80, 24), (60, 20), (30, 8)])
def test_every_view_at_every_size(tmp_path: Path, view: str, key: str, size: tuple[int, int]) -> None:
    lines = play(StillApp(tmp_path, example()), key, size=size)
    assert view
    assert all(len(line) <= size[0] for line in lines)
    assert "vmtui" in lines[0]


@pytest.mark.parametrize(("view", "key"), VIEWS)
def test_every_view_of_nothing_says_why(tmp_path: Path, view: str, key: str) -> None:
    text = "\n".join(play(StillApp(tmp_path, Picture()), key))
    assert view
    assert "Traceback" not in text


@pytest.mark.parametrize(("view", "opener"), VIEWS)
def test_every_command_of_every_view(tmp_path: Path, view: str, opener: str) -> None:
    """Each key of the view in turn, over a row, with every dialog left by esc."""
    for command in REGISTRY.of_view(view):
        for key in command.keys:
            if command.id in ("app.quit", "view.last"):
                continue
            app = StillApp(tmp_path / f"{view}-{command.id}-{len(key)}", example())
            enqueued: list[Any] = []
            app.client = Recorder(enqueued)  # type: ignore[assignment]
            play(app, opener, key, "escape", "escape")
            assert not [item for item in enqueued if command.danger in (Danger.STOPS, Danger.DESTROYS)], command.id


class Recorder:
    """Stands in for the queue: what was asked for."""

    def __init__(self, asked: list[Any]) -> None:
        self.asked = asked

    def enqueue(self, *arguments: Any) -> str:
        self.asked.append(arguments)
        return "0" * 16

    def points_in_use(self) -> dict[Any, str]:
        return {}

    def cancel(self, job_id: str) -> None:
        self.asked.append(("cancel", job_id))

    def again(self, job_id: str) -> str:
        self.asked.append(("again", job_id))
        return "0" * 16


def asked_by(folder: Path, *keys: str, picture: Picture | None = None) -> tuple[list[Any], StillApp]:
    """What reaches the queue when these keys are pressed."""
    app = StillApp(folder, picture or example())
    enqueued: list[Any] = []
    app.client = Recorder(enqueued)  # type: ignore[assignment]

    async def press() -> None:
        async with running(app) as pilot:
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.12)
            for _ in range(100):
                if enqueued:
                    break
                await asyncio.sleep(0.02)

    asyncio.run(press())
    return enqueued, app


def goto(name: str) -> list[str]:
    """Keys to a VM in its view."""
    return ["2", "slash", *name, "enter"]


def test_hot_backup_is_enqueued_at_once(tmp_path: Path) -> None:
    asked, _ = asked_by(tmp_path, *goto("web1"), "b")
    ((kind, host, vm, request),) = asked
    assert (kind, host, vm, request.mode, request.full) == ("backup", "kvm1", "web1", "hot", False)


def test_cold_backup_asks_first(tmp_path: Path) -> None:
    assert asked_by(tmp_path, *goto("archive1"), "b")[0] == []
    assert asked_by(tmp_path / "n", *goto("archive1"), "b", "enter")[0] == []
    assert asked_by(tmp_path / "b", *goto("archive1"), "b", "b", "b")[0] == []
    ((_, _, vm, request),) = asked_by(tmp_path / "y", *goto("archive1"), "b", "y")[0]
    assert (vm, request.mode) == ("archive1", "cold")


def test_many_backups_ask_first(tmp_path: Path) -> None:
    picture = example()
    vms = tuple(Vm("kvm1", f"m{number}", uuid(100 + number), DomainState.RUNNING) for number in range(7))
    picture = replace(picture, hosts={"kvm1": replace(picture.hosts["kvm1"], vms=vms)})
    assert asked_by(tmp_path, "2", "slash", *"state:running", "enter", "asterisk", "b", picture=picture)[0] == []
    asked, _ = asked_by(tmp_path / "y", "2", "slash", *"state:running", "enter", "asterisk", "b", "y", picture=picture)
    assert len(asked) >= 1


@pytest.mark.parametrize(("name", "words"), [("old-crm", "gone"), ("mail1", "kvm2 is set to read-only")])
def test_a_backup_that_cannot_be_says_why(tmp_path: Path, name: str, words: str) -> None:
    asked, app = asked_by(tmp_path, *goto(name), "b")
    assert asked == []
    assert any(words in text for text in app.said), app.said


def test_cancel_asks_first_and_names_the_job(tmp_path: Path) -> None:
    assert asked_by(tmp_path, "4", "c")[0] == []
    assert asked_by(tmp_path / "c", "4", "c", "c", "enter")[0] == []
    ((what, _),) = asked_by(tmp_path / "y", "4", "c", "y")[0]
    assert what == "cancel"


def test_everything_is_verified_from_the_repository_where_nothing_is_chosen(tmp_path: Path) -> None:
    ((kind, host, vm, request),) = asked_by(tmp_path, "6", "v")[0]
    assert (kind, host, vm, request["all"]) == ("verify", "", "", True)


def test_undo_needs_the_name_typed(tmp_path: Path) -> None:
    keys = ["4", "slash", *"restore", "enter", "u"]
    assert asked_by(tmp_path, *keys, "y", "enter")[0] == []
    ((kind, host, vm, request),) = asked_by(tmp_path / "y", *keys, *"web1", "enter")[0]
    assert (kind, host, vm, request.discard) == ("revert", "kvm1", "web1", False)


def test_read_only_refuses_every_change(tmp_path: Path) -> None:
    app = StillApp(tmp_path, example())
    app.settings = replace(app.settings, read_only=True)
    enqueued: list[Any] = []
    app.client = Recorder(enqueued)  # type: ignore[assignment]
    lines = play(app, *goto("web1"), "b", "r", "o", "4", "u")
    assert enqueued == []
    assert "READ-ONLY" in lines[0]
    assert sum("read-only" in text for text in app.said) >= 3


# -- the cursor belongs to the row ---------------------------------------------------------------


def test_cursor_and_marks_stay_with_their_rows(tmp_path: Path) -> None:
    async def press() -> None:
        app = StillApp(tmp_path, example())
        async with running(app) as pilot:
            await pilot.press("2")
            await pilot.pause()
            view = app.screen
            assert isinstance(view, VmsView)
            view.table.go_to("kvm1/" + uuid(1))
            await pilot.press("V", "I")
            await pilot.pause()
            assert view.table.current is not None
            assert view.table.current.name == "web1"
            rest = tuple(row for row in app.picture.rows if row.name != "web1")
            app.picture = replace(app.picture, rows=rest)
            app.repaint()
            assert view.table.is_ghost
            assert view.focus_now().vms == ()
            await pilot.press("g")
            await pilot.pause()
            assert "web1" not in [row.name for row in view.table.rows]

    asyncio.run(press())


def test_filter_keeps_the_rows_when_a_word_is_bad(tmp_path: Path) -> None:
    async def press() -> None:
        app = StillApp(tmp_path, example())
        async with running(app) as pilot:
            await pilot.press("2", "slash", *"web1", "enter")
            await pilot.pause()
            view = app.screen
            assert isinstance(view, VmsView)
            view.set_filter("web1 color:red")
            await pilot.pause()
            assert "there is no color" in shown(app)[1]
            assert [row.name for row in view.table.rows] == ["web1"]

    asyncio.run(press())


def test_escape_leaves_one_thing_after_the_other(tmp_path: Path) -> None:
    async def press() -> None:
        app = StillApp(tmp_path, example())
        async with running(app) as pilot:
            await pilot.press("2", "space", "slash", *"web", "enter", "z")
            await pilot.pause()
            view = app.screen
            assert isinstance(view, VmsView)
            for left in ("zoom", "filter", "marks"):
                await pilot.press("escape")
                await pilot.pause()
                state = (view.has_class("zoomed"), bool(view.filter_text), bool(view.table.marks))
                assert not state[("zoom", "filter", "marks").index(left)]
            await pilot.press("escape", "escape")
            assert app.screen is view

    asyncio.run(press())


# -- names that mean harm ------------------------------------------------------------------------

HARM = st.one_of(
    st.text(min_size=1, max_size=40),
    st.sampled_from(
        [
            "[",
            "[/]",
            "[@click=app.quit]x[/]",
            "[bold red]x",
            "\x1b[31mred",
            "\x1b]0;t\x07",
            "a\nb\tc\rd",
            "\u202egnp",
            "虚拟机" * 9,
            "e\u0301" * 30,
            "\ud800",
            "\x00",
        ]
    ),
)
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def hostile(name: str) -> Picture:
    """A picture in which every foreign text is this one."""
    safe = example()
    return Picture(
        hosts={"kvm1": HostView("kvm1", HostState.UNREACHABLE, NOW, (Vm("kvm1", name, uuid(1), DomainState.RUNNING),), NOW, error={"id": name, "cause": name, "next_step": name})},
        catalogue=replace(safe.catalogue, points=(point(1, name, NOW - NOW, damaged=name, consistency_reason=name, warnings=(name,)),)),
        jobs=JobsView((job(1, JobState.FAILED, vm=name, notes=(name,), error={"id": name, "cause": name, "next_step": name}),), worker=True, as_of=NOW),
        log=(LogEntry(NOW, "error", name, name, name, name),),
    )  # fmt: skip


@given(name=HARM, wide=st.booleans(), ascii_only=st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_foreign_text_is_only_text(tmp_path: Path, name: str, wide: bool, ascii_only: bool) -> None:
    async def look() -> None:
        app = StillApp(tmp_path, hostile(name), ascii=ascii_only)
        async with running(app, (120, 36) if wide else (80, 24)) as pilot:
            for key in (
                "1",
                "2",
                "enter",
                "escape",
                "e",
                "escape",
                "3",
                "d",
                "escape",
                "4",
                "enter",
                "escape",
                "5",
                "8",
                "y",
                "escape",
            ):
                await pilot.press(key)
                await pilot.pause()
                for line in shown(app):
                    assert not [char for char in line if unicodedata.category(char) in HIDDEN], (key, line)
                    assert (
                        not ascii_only
                        or line.isascii()
                        or set(line) - set(map(chr, range(127))) <= set("▁▂▃▄▅▆▇█▀▌▐▎▍▋▊▉ ")
                    )
                for strip in app.screen._compositor.render_strips():  # the cells with their styles
                    assert not [
                        segment for segment in strip if segment.style is not None and "@click" in segment.style.meta
                    ]

    asyncio.run(look())


def test_l_shows_the_log_of_what_is_chosen(tmp_path: Path) -> None:
    app = StillApp(tmp_path, example())

    async def press() -> str:
        async with running(app) as pilot:
            await pilot.press("2")
            await pilot.pause(0.1)
            name = app.page.focus_now().vms[0].name  # type: ignore[union-attr]
            await pilot.press("l")
            await pilot.pause(0.3)
            assert app.current_mode == "log"
            assert app.page.filter_text == f'"{name}"'  # type: ignore[union-attr]
            return name

    assert asyncio.run(press())
