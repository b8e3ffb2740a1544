"""Several restores as one job, from the marks to the request."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, example, point
from tests.support.playing import JOB, OFFERS, Play, Script, group_job, group_plan_of, play, words
from vmtui.model.errors import UnreachableError
from vmtui.model.job import JobKind
from vmtui.model.progress import Check
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Confirm, Typed
from vmtui.tui.dialogs.pick import Pick
from vmtui.tui.picture import Picture
from vmtui.tui.wizard import engine
from vmtui.tui.wizard.several import SeveralPage

NEXT = "right_square_bracket"
GOOD = {view.vm: view for view in example().catalogue.points if view.good}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(engine, "ask_group_offers", lambda _settings, _request: OFFERS)
    monkeypatch.setattr(engine, "ask_group_plan", lambda _settings, request: group_plan_of(request))


async def marked(hands: Play, *names: str, view: str = "2") -> None:
    """Mark rows by name, and press r."""
    for name in names:
        await hands.press(view, "slash", *words(name), "enter", "space", "escape")
    await hands.press("r")


def page_of(hands: Play) -> SeveralPage:
    assert isinstance(hands.app.screen, SeveralPage)
    return hands.app.screen


async def opened(hands: Play, *names: str, view: str = "2") -> SeveralPage:
    """The page with its plan."""
    await marked(hands, *names, view=view)
    await hands.until(lambda: isinstance(hands.app.screen, SeveralPage) and hands.app.screen.plan is not None)
    return page_of(hands)


async def chosen(hands: Play, line: str, choice: str) -> None:
    """Pick one of a line's choices."""
    page = page_of(hands)
    row = next(row for row in page.table.rows if row.setting.label == line)
    page.table.go_to(row.id)
    await hands.press("enter")
    await hands.dialog(Pick)
    place = next(number for number, text in enumerate(row.setting.choices) if choice in text)
    await hands.press(*["down"] * place, "enter")
    await hands.until(lambda: isinstance(hands.app.screen, SeveralPage) and not page.asking)


def order(page: SeveralPage) -> list[str]:
    return [view.vm for view in page.draft.points]


def asked(folder: Path, script: Script, picture: Picture | None = None) -> list[tuple[Any, ...]]:
    return play(folder, script, picture=picture).asked


def test_the_newest_good_point_of_each_in_the_order_that_was_made(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        page = await opened(hands, "web1", "db1", "archive1")
        before = order(page)
        last = page.draft.points[-1]
        page.table.go_to(f"member {last.uuid}")
        await hands.press("K", "K", "K", "K")
        assert order(page) == [before[2], before[0], before[1]]
        await hands.press("J", "K", "shift+down")
        assert order(page) == [before[0], before[2], before[1]]
        assert page.table.current is not None
        assert page.table.current.id == f"member {last.uuid}", "the cursor goes with it"
        await hands.until(lambda: page.plan is not None)
        wanted.extend(order(page))
        await hands.press(NEXT)
        await hands.dialog(Confirm)
        assert hands.text.index(f"1 {wanted[0]}-r0314") < hands.text.index(f"3 {wanted[2]}-r0314")
        await hands.press("y")
        await hands.until(lambda: JOB in hands.text)

    wanted: list[str] = []
    ((kind, host, names, request),) = asked(tmp_path, script)
    assert (kind, host, names) == (JobKind.GROUP_RESTORE, "kvm1", " ".join(f"{name}-r0314" for name in wanted))
    assert [(member.vm, member.point) for member in request.members] == [
        (GOOD[name].uuid, GOOD[name].id) for name in wanted
    ]
    assert [member.name for member in request.members] == [f"{name}-r0314" for name in wanted]
    assert all(member.networks == {"lan": "none", "dmz": "none"} for member in request.members), "links are down"
    assert request.approved == group_plan_of(request).fingerprint()


def test_in_place_with_start(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await opened(hands, "web1", "db1")
        await chosen(hands, "Bring back", "in place")
        await chosen(hands, "Afterwards", "started")
        await hands.press(NEXT)
        await hands.dialog(Typed)
        assert "shut down" in hands.text
        assert "old disks are kept" in hands.text
        await hands.press(*words("in"), "enter", "y", "enter", "escape")
        assert not hands.queue.asked
        await hands.press(NEXT)
        await hands.dialog(Typed)
        await hands.press(*words("in place"), "enter")
        await hands.until(lambda: hands.queue.asked)

    ((_, _, _, request),) = asked(tmp_path, script)
    assert all(member.in_place and member.start and member.name is None for member in request.members)
    assert all(member.networks == {} for member in request.members), "they keep their networks"


def test_what_only_one_can_have_is_not_offered(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        page = await opened(hands, "web1", "db1")
        offered = {choice for row in page.table.rows for choice in row.setting.choices}
        assert not any("instant" in choice or "file" in choice for choice in offered)
        assert all(row.setting.id != "name" for row in page.table.rows)

    assert asked(tmp_path, script) == []


def test_a_newer_point_that_is_damaged_is_passed_over_and_named(tmp_path: Path) -> None:
    picture = example()
    bad = point(2, "db1", timedelta(minutes=5), damaged="a block is not as written")
    picture = replace(picture, catalogue=replace(picture.catalogue, points=(bad, *picture.catalogue.points)))

    async def script(hands: Play) -> None:
        page = await opened(hands, "web1", "db1")
        assert {view.vm: view.id for view in page.draft.points}["db1"] == GOOD["db1"].id
        assert "is damaged" in hands.text

    assert asked(tmp_path, script, picture) == []


@pytest.mark.parametrize(
    ("view", "names", "reason"),
    [
        ("2", ("web1", "erp-test"), "kvm1/erp-test has no good restore point"),
        ("3", ("db1", "damage"), "a chosen point of web1 is damaged"),
    ],
)
def test_what_cannot_be_one_job_says_why(tmp_path: Path, view: str, names: tuple[str, ...], reason: str) -> None:
    async def script(hands: Play) -> None:
        terms = ("has:damage" if name == "damage" else name for name in names)
        await marked(hands, *terms, view=view)
        await hands.until(lambda: any(reason in text for text in hands.app.said))
        assert not isinstance(hands.app.screen, SeveralPage)

    assert asked(tmp_path, script) == []


def test_two_points_of_one_vm_are_one_too_many(tmp_path: Path) -> None:
    picture = example()
    older = point(2, "db1", timedelta(days=2))
    points = sorted((*picture.catalogue.points, older), key=lambda view: view.id, reverse=True)
    picture = replace(picture, catalogue=replace(picture.catalogue, points=tuple(points)))

    async def script(hands: Play) -> None:
        await hands.press("3", "slash", *words("db1"), "enter", "asterisk", "r")
        await hands.until(lambda: any("db1 is chosen twice" in text for text in hands.app.said))

    assert asked(tmp_path, script, picture) == []


def test_a_failed_check_lets_nobody_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Check("space together", False, "/images: 1 bytes free, 2 are needed by all")
    monkeypatch.setattr(engine, "ask_group_plan", lambda _settings, request: group_plan_of(request, [full]))

    async def script(hands: Play) -> None:
        await opened(hands, "web1", "db1")
        assert "space together" in hands.text
        await hands.press(NEXT)
        await hands.until(lambda: any("a check failed" in text for text in hands.app.said))
        assert isinstance(hands.app.screen, SeveralPage)

    assert asked(tmp_path, script) == []


def test_a_host_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_settings: Any, _request: Any) -> Any:
        raise UnreachableError("HOST-UNREACHABLE", "kvm1 does not answer.", next_step="Try ssh by hand.")

    monkeypatch.setattr(engine, "ask_group_offers", away)

    async def script(hands: Play) -> None:
        await marked(hands, "web1", "db1")
        await hands.until(lambda: "kvm1 does not answer." in hands.text)
        await hands.press(NEXT)
        await hands.until(lambda: any("not there yet" in text for text in hands.app.said))

    assert asked(tmp_path, script) == []


def test_a_read_only_host_is_refused_at_the_last_step(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await opened(hands, "web1", "db1")
        await chosen(hands, "Host", "kvm2")
        await hands.press(NEXT)
        await hands.until(lambda: any("read-only" in text for text in hands.app.said))
        assert isinstance(hands.app.screen, SeveralPage)

    assert asked(tmp_path, script) == []


def test_enter_on_a_vm_says_that_there_is_nothing_to_change(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        page = await opened(hands, "web1", "db1")
        page.table.go_to(f"member {page.draft.points[0].uuid}")
        await hands.press("enter")
        await hands.until(lambda: any("nothing to change here" in text for text in hands.app.said))

    assert asked(tmp_path, script) == []


@pytest.mark.parametrize("line", ["restore web1@good db1@good", "vmtui restore web1 kvm1/db1 --to kvm1"])
def test_the_same_by_typing(tmp_path: Path, line: str) -> None:
    async def script(hands: Play) -> None:
        await hands.press("2", "colon", *words(line), "enter")
        await hands.until(lambda: isinstance(hands.app.screen, SeveralPage))
        assert order(page_of(hands)) == ["web1", "db1"]

    assert asked(tmp_path, script) == []


def test_a_group_is_neither_undone_nor_run_again_from_its_job(tmp_path: Path) -> None:
    picture = replace(example(), jobs=replace(example().jobs, records=(group_job(),)))

    async def script(hands: Play) -> None:
        await hands.press("4", "enter", "a", "u")
        await hands.until(lambda: any("undo each by itself" in text for text in hands.app.said))
        assert any("a restore starts with a fresh plan: mark the VMs" in text for text in hands.app.said)

    assert asked(tmp_path, script, picture) == []
