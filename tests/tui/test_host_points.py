"""A host's page: what is kept, what has changed since, and what is brought back after its plan."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.hostpoint.test_diff import NETWORK, part, state
from tests.support.pictures import NOW, StillApp, example, running, shown
from vmtui.hostpoint import HostRestoreRequest, compare, make_plan
from vmtui.hostpoint.plan import HostPlan
from vmtui.model.hostpoint import PartKind
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Confirm
from vmtui.tui.dialogs.pick import Pick
from vmtui.tui.screens.host import HostPage
from vmtui.tui.verbs import host_points
from vmtui.tui.verbs.backups import Wish
from vmtui.tui.verbs.registry import Focus

LAN = part(PartKind.NETWORK, "lan [1]", NETWORK.replace(b"lan", b"lan [1]"), active=True, autostart=True)
POOL = part(PartKind.POOL, "images", b"<pool type='dir'><name>images</name></pool>", active=True, autostart=True)


def play(folder: Path, script: Any, size: tuple[int, int] = (120, 36)) -> Any:
    async def run() -> Any:
        app = StillApp(folder, example())
        async with running(app, size) as pilot:
            return await script(app, pilot)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands."""
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> list[Wish]:
    """Jobs that would have been put into the queue."""
    made: list[Wish] = []
    monkeypatch.setattr(host_points, "enqueue", lambda _app, items: made.extend(items))
    return made


def test_b_keeps_the_host_under_the_cursor(tmp_path: Path, wishes: list[Wish]) -> None:
    async def script(_app: StillApp, pilot: Any) -> None:
        await pilot.press("5", "b")
        await pilot.pause()

    play(tmp_path, script)
    (wish,) = wishes
    assert (wish.kind.value, wish.host) == ("host backup", "kvm1")


def test_a_read_only_host_is_not_kept(tmp_path: Path, wishes: list[Wish]) -> None:
    async def script(app: StillApp, pilot: Any) -> None:
        await pilot.press("5", "down", "b")
        await pilot.pause()
        assert any("read-only" in text for text in app.said)

    play(tmp_path, script)
    assert wishes == []


def test_enter_opens_the_page_with_the_points_of_this_host(tmp_path: Path) -> None:
    async def script(app: StillApp, pilot: Any) -> list[str]:
        await pilot.press("5", "enter")
        await pilot.pause()
        assert isinstance(app.screen, HostPage)
        return shown(app)

    text = "\n".join(play(tmp_path, script))
    assert "host point 5h" in text
    assert "2 networks, 1 pool, 1 file" in text
    assert "not held: /etc/libvirt/auth.conf, this login may not read it" in text


def test_points_of_hosts_are_not_among_those_of_vms(tmp_path: Path) -> None:
    async def script(app: StillApp, pilot: Any) -> list[str]:
        await pilot.press("3")
        await pilot.pause()
        return shown(app)

    assert "host configuration" not in "\n".join(play(tmp_path, script))


def planned(point: Any) -> HostPlan:
    request = HostRestoreRequest("kvm1", point.uuid, point.id)
    return make_plan(request, state(LAN, POOL), state())


def test_a_part_is_chosen_and_asked_about(tmp_path: Path, wishes: list[Wish]) -> None:
    async def script(app: StillApp, pilot: Any) -> list[str]:
        await pilot.press("5", "enter")
        await pilot.pause()
        point = app.picture.catalogue.host_points[0]
        host_points.choose_parts(app, point, planned(point))
        await pilot.pause(0.2)
        assert isinstance(app.screen, Pick)
        await pilot.press(*"lan", "enter")
        await pilot.pause(0.2)
        assert isinstance(app.screen, Confirm)
        seen = shown(app)
        await pilot.press("r")
        await pilot.pause()
        assert wishes == [], "the key that opened it does not confirm"
        await pilot.press("y")
        await pilot.pause()
        return seen

    text = "\n".join(play(tmp_path, script))
    assert "network:lan [1]" in text
    assert "Nothing that is there is stopped or replaced" in text
    (wish,) = wishes
    assert wish.request.only == ("network:lan [1]",)
    assert wish.request.replace == ()


def test_no_is_no(tmp_path: Path, wishes: list[Wish]) -> None:
    async def script(app: StillApp, pilot: Any) -> None:
        point = app.picture.catalogue.host_points[0]
        host_points.confirm(app, point, planned(point), list(planned(point).todo))
        await pilot.pause(0.2)
        await pilot.press("enter")
        await pilot.pause()
        assert not isinstance(app.screen, Confirm)

    play(tmp_path, script)
    assert wishes == []


def test_changes_are_said_in_lines() -> None:
    lines = host_points.change_lines(compare(state(LAN, POOL), state(POOL)))
    text = ["".join(piece for piece, _ in line) for line in lines]
    assert text[0] == "1 removed"
    assert "- network lan [1]" in text


def test_why_nothing_can_be_done(tmp_path: Path) -> None:
    app = StillApp(tmp_path, example())
    assert host_points.no_restore(app, Focus("host"))
    assert host_points.no_keeping(app, Focus("hosts"))
    kept = app.picture.catalogue.host_points[:1]
    assert host_points.no_restore(app, Focus("host", points=kept)) == ""
