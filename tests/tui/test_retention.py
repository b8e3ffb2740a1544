"""Holding, releasing and pruning with keys, on a real repository."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, StillApp, example, running, shown, uuid
from tests.support.repositories import create, make_point
from tests.tui.test_views import HIDDEN, Recorder
from vmtui.model.ids import PointId, new_id
from vmtui.model.point import RestorePoint
from vmtui.model.policy import KeepRule
from vmtui.overview.points import load_view
from vmtui.repository import ZERO_ID, PointName, Repository
from vmtui.tui import clock
from vmtui.tui.feeds import CatalogueFeed
from vmtui.tui.mailbox import Mailbox
from vmtui.tui.picture import CatalogueView

DAY = timedelta(days=1)


class Stage:
    """The screens over a repository with points of web1 and db1; two of web1 go by rule."""

    def __init__(self, folder: Path, name: str = "web1") -> None:
        self.repository = create(folder)
        self.web = [self.add(1, name, age) for age in range(4)]
        self.db = [self.add(2, "db1", age) for age in range(3)]
        self.asked: list[Any] = []
        self.said: list[str] = []
        self.folder = folder
        self.read_only = False
        self.app = self.open()

    def open(self) -> StillApp:
        """The screens, opened anew."""
        app = StillApp(self.folder / "app", self.picture())
        tiers = {
            tier.name: replace(tier, keep=KeepRule(last=2)) if tier.name == "standard" else tier
            for tier in app.settings.tiers.values()
        }
        url = self.repository.store.url
        app.settings = replace(app.settings, repository=url, tiers=tiers, read_only=self.read_only)
        app.client = Recorder(self.asked)  # type: ignore[assignment]
        app.said = self.said
        return app

    def title(self) -> str:
        """The second line."""
        return [*shown(self.app), "", ""][1]

    def add(self, number: int, name: str, age: int) -> PointName:
        at = NOW - DAY * age
        point = replace(
            make_point(self.repository, {"vda": (ZERO_ID, 4096)}),
            id=PointId(new_id(at)),
            time=at,
            vm_uuid=uuid(number),
            vm_name=name,
            host="kvm1",
        )
        self.repository.points.commit(point)
        return PointName(point.vm_uuid, point.id)

    def picture(self) -> Any:
        points = [
            load_view(self.repository, name, self.repository.points.status(name))
            for name in sorted(self.repository.points.names(), key=lambda name: name.id, reverse=True)
        ]
        return replace(example(), catalogue=replace(example().catalogue, points=tuple(points)))

    def play(self, *keys: str, until: Callable[[], object] | None = None) -> list[str]:
        """Press keys, each after the screens have come to rest; gives what is seen when `until` is true."""

        self.app = self.open()

        async def press() -> list[str]:
            async with running(self.app) as pilot:
                for key in keys:
                    if key == "…":
                        await self._rest(lambda: "prune of" in self.title())
                    else:
                        await pilot.press(key)
                        await pilot.pause(0.05)
                await self._rest(until or (lambda: True))
                return shown(self.app)

        return asyncio.run(press())

    @staticmethod
    async def _rest(condition: Callable[[], object]) -> None:
        for _ in range(200):
            if condition():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it did not happen")

    def held(self, name: PointName) -> str | None:
        return self.repository.points.status(name).held


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


OPEN_WEB1 = ("2", "slash", *"web1", "enter", "enter")


def test_h_asks_why_and_holds(stage: Stage) -> None:
    stage.play("3", "h", *"upgrade", "enter", until=lambda: stage.said)
    assert any("is held" in text for text in stage.said), stage.said
    newest = max([*stage.web, *stage.db], key=lambda name: name.id)
    assert stage.held(newest) == "upgrade"


def test_esc_holds_nothing(stage: Stage) -> None:
    stage.play("3", "h", *"upgrade", "escape")
    assert not any(stage.held(name) for name in [*stage.web, *stage.db])


def test_a_held_point_is_seen_and_released_after_a_question(stage: Stage) -> None:
    for name in stage.web:
        stage.repository.points.hold(name, "evidence", NOW)
    text = "\n".join(stage.play(*OPEN_WEB1))
    assert "held: evidence" in text
    assert text.count(" held ") >= 4
    stage.play(*OPEN_WEB1, "h", "h", "enter")
    assert all(stage.held(name) for name in stage.web)
    stage.play(*OPEN_WEB1, "h", "y", until=lambda: any("released" in word for word in stage.said))
    assert [stage.held(name) for name in stage.web] == [None, "evidence", "evidence", "evidence"]


def test_read_only_mode_holds_nothing(stage: Stage) -> None:
    stage.read_only = True
    stage.play("3", "h")
    stage.play("6", "f", "…", "f")
    assert sum("read-only" in text for text in stage.said) == 2
    assert stage.asked == []


def test_the_plan_says_why(stage: Stage) -> None:
    text = "\n".join(stage.play("6", "f", "…"))
    assert "2 of 7 points go" in text
    assert "1 of the last 2; last good point" in text
    assert "there is no keep rule" in text
    assert stage.asked == []


def test_prune_of_all_needs_the_word(stage: Stage) -> None:
    stage.play("6", "f", "…", "f", "enter", "y", "enter")
    assert stage.asked == []
    stage.play("6", "f", "…", "f", *"prune", "enter", until=lambda: stage.asked)
    ((kind, host, vm, request),) = stage.asked
    assert (kind, host, vm, request.at) == ("prune", "", "", NOW)
    assert {point.point for point in request.points} == {name.id for name in stage.web[2:]}


def test_prune_of_one_vm_needs_its_name_and_opens_the_job(stage: Stage) -> None:
    lines = stage.play(*OPEN_WEB1, "f", "…", "f", *"web1", "enter", until=lambda: "0000000000000000" in stage.title())
    assert "job" in lines[1]
    ((kind, _, vm, request),) = stage.asked
    assert (kind, vm, len(request.points)) == ("prune", "web1", 2)


def test_where_nothing_goes_it_says_so(stage: Stage) -> None:
    stage.play("2", "slash", *"db1", "enter", "enter", "f", "…", "f")
    assert any("nothing goes" in text for text in stage.said)


def test_typed_verbs(stage: Stage) -> None:
    stage.play(
        "colon",
        *"hold",
        "space",
        *"web1@latest",
        "space",
        *"--reason",
        "space",
        *"x",
        "enter",
        until=lambda: stage.said,
    )
    assert stage.held(stage.web[0]) == "x"
    lines = stage.play("colon", *"prune", "space", *"kvm1/web1", "enter", "…")
    assert "prune of kvm1/web1" in lines[1]


@pytest.mark.parametrize("name", ["[@click=app.quit]x[/]", "\x1b[31mred", "\u202egnp", "a\nb\tc"])
def test_foreign_text_is_only_text(tmp_path: Path, name: str) -> None:
    stage = Stage(tmp_path, name)
    stage.repository.points.hold(stage.web[0], name, NOW)
    for lines in (stage.play("6", "f", "…"), stage.play("3"), stage.play("3", "d"), stage.play("3", "h")):
        for line in lines:
            assert not [char for char in line if unicodedata.category(char) in HIDDEN], line


def test_the_repository_is_the_one_of_the_stage(stage: Stage) -> None:
    assert isinstance(stage.repository, Repository)
    assert stage.repository.points.names() == sorted([*stage.web, *stage.db])


def test_a_point_that_is_pruned_while_the_screens_look_is_no_alarm(stage: Stage) -> None:
    feed = CatalogueFeed(stage.app.settings, Mailbox(), CatalogueView())
    feed._repository = stage.repository
    real = stage.repository.points.load

    def late(name: PointName) -> RestorePoint:
        if name == stage.web[3]:
            stage.repository.points.delete(name, NOW)
        return real(name)

    stage.repository.points.load = late  # type: ignore[method-assign]
    for _ in range(2):
        feed.look()
        points = feed._view.points
        assert {point.id for point in points} == {name.id for name in [*stage.web[:3], *stage.db]}
        assert not any(point.damaged for point in points)
    stage.repository.points.hold(stage.web[0], "x", NOW)
    feed.look()
    assert [point.held for point in feed._view.points if point.id == stage.web[0].id] == ["x"]
