"""Names, titles and errors from elsewhere are only text, on every dialog, page, field, toast and copy.

The views themselves are in test_views.py. One application is mounted for each handful of names.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from textual.pilot import Pilot

from tests.hostpoint.test_diff import NETWORK, part, state
from tests.support.pictures import NOW, StillApp, host_point, job, point, rehearsal, running, shown, uuid
from tests.support.pictures import example as picture
from tests.support.playing import plan_of, prune_plan
from tests.tui.test_views import HARM, HIDDEN, hostile
from vmtui.calls import Call
from vmtui.files.entries import Entry, Kind, Place
from vmtui.hostpoint import HostRestoreRequest, compare, make_plan
from vmtui.model.errors import FailedError
from vmtui.model.hostpoint import PartKind
from vmtui.model.job import JobKind, JobState
from vmtui.model.point import LeftOut, Mode
from vmtui.model.progress import Check
from vmtui.overview.hostpoints import summary
from vmtui.repository.collect import Collected
from vmtui.restore.offers import Offers
from vmtui.restore.plan import Step
from vmtui.tui import clock
from vmtui.tui.app import VmtuiApp
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.dialogs.base import Dialog
from vmtui.tui.dialogs.options import BackupOptions
from vmtui.tui.screens import calls
from vmtui.tui.screens.files import FileRow, FilesPage
from vmtui.tui.screens.host import HostPage
from vmtui.tui.screens.job import JobPage
from vmtui.tui.screens.prune import PrunePage
from vmtui.tui.verbs import again, backups, host_points, rehearsals, retention, sheets, shows, trust, upkeep
from vmtui.tui.verbs import files as file_verbs
from vmtui.tui.verbs.hosts import ask_secret
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.wizard import confirm
from vmtui.tui.wizard.draft import SAME, Target, first_draft
from vmtui.tui.wizard.screen import MAPPING, PLAN, POINT, TARGET, RestoreWizard

KEY = paramiko.ECDSAKey.generate()
PHASES = ({"phase": "running from the repository", "disk": "", "at": "2026-03-14T11:59:00.000000Z"},)
EVIL = ("[b]x[/b]", "[@click=app.quit]x[/]", "[link=http://x]y[/link]", "[/]", "\x1b[31mred", "\ud800", "\udce9t\udce9.txt", "none", SAME)  # fmt: skip
NAMES = st.lists(HARM, min_size=6, max_size=6)
EXAMPLES = settings(
    max_examples=1,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""The names of which we know, and six more: fifteen for each of the tests here. A name that fails is short enough as it is."""


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


class LoudApp(StillApp):
    """One that shows its toasts."""

    def notify(self, message: str, **how: Any) -> None:
        self.said.append(message)
        VmtuiApp.notify(self, message, **how)


Look = Callable[[LoudApp, Pilot[Any], str], Awaitable[None]]


def each(folder: Path, names: Sequence[str], look: Look) -> None:
    """Mount one application, and show each name in it."""

    async def run() -> None:
        app = LoudApp(folder, picture())
        async with running(app, (80, 24)) as pilot:
            for name in names:
                app.picture = replace(hostile(name), rows=app.picture.rows)
                await look(app, pilot, name)
                while len(app.screen_stack) > 1:
                    app.pop_screen()
                await pilot.pause()

    asyncio.run(run())


async def seen(app: LoudApp, pilot: Pilot[Any]) -> str:
    """What is seen; no character of it is obeyed, no part of it is a link."""
    await pilot.pause()
    for strip in app.screen._compositor.render_strips():  # the cells with their styles
        for segment in strip:
            obeyed = [char for char in segment.text if unicodedata.category(char) in HIDDEN]
            assert not obeyed, (app.screen, segment)
            if segment.style is not None:
                assert "@click" not in segment.style.meta and segment.style.link is None, segment
    return "\n".join(shown(app))


def plain(text: str, name: str) -> bool:
    """Whether markup in a name was left as it is; names that are not markup say nothing."""
    return not name.startswith(EVIL[0]) or EVIL[0] in text


# -- the wizard ------------------------------------------------------------------------------------


@EXAMPLES
@given(names=NAMES)
@example(names=EVIL)
def test_the_wizard(tmp_path: Path, names: Sequence[str]) -> None:
    async def look(app: LoudApp, pilot: Pilot[Any], name: str) -> None:
        own = replace(point(1, name, NOW - NOW, consistency_reason=name, warnings=(name,)), host="kvm1")
        app.picture = replace(app.picture, catalogue=replace(app.picture.catalogue, points=(own,)))
        wizard = RestoreWizard(replace(first_draft(own.uuid, name, "kvm1", (own,), ("kvm1",)), name=name, file=name, disk=name))  # fmt: skip
        await app.push_screen(wizard)
        wizard.offers = Offers((name,), (name,), (name, "lan"), ((name, 1 << 30), ("fast", 1 << 30)))
        plan = plan_of(wizard.draft.request(), (Check(name, False, name), Check("x", True, name)))
        error = FailedError("FILES-PARTIAL", name, next_step=name)
        for target in (Target.NEW, Target.FILE):
            wizard.draft = replace(wizard.draft, target=target)
            for step in (POINT, TARGET, MAPPING, PLAN):
                for wizard.plan, wizard.error in ((replace(plan, name=name, steps=(Step(1, name, 5),), destroys=name, unchecked=(name,), command=name), None), (None, error)):  # fmt: skip
                    wizard._to(step)
                    text = await seen(app, pilot)
                    assert step == POINT or plain(text, name)
        wizard._to(MAPPING)
        await seen(app, pilot)
        for _ in wizard.settings.rows:
            wizard.change()
            assert plain(await seen(app, pilot), name)
            app.pop_screen()
            await pilot.pause()
            wizard.settings.move_by(1)
        for target in (Target.NEW, Target.IN_PLACE, Target.LOST):
            confirm.restore(app, replace(wizard.draft, target=target), replace(plan, name=name))
            assert plain(await seen(app, pilot), name)
            app.pop_screen()
        confirm.export(app, wizard.draft)
        assert plain(await seen(app, pilot), name)

    each(tmp_path, names, look)


# -- dialogs ---------------------------------------------------------------------------------------


def dialogs(app: LoudApp, name: str) -> list[Callable[[], object]]:
    """Each opens one."""
    own, host = app.picture.catalogue.points[0], replace(app.picture.hosts["kvm1"], name=name)
    row = replace(example_row(app), name=name, host="kvm1")
    moving = job(1, JobState.RUNNING, kind=JobKind.INSTANT, vm=name, phase="moving", phases=PHASES)
    backup, reverted = (job(2, JobState.FAILED, kind=kind, vm=name) for kind in (JobKind.BACKUP, JobKind.REVERT))
    files = Focus("files", points=(replace(own, vm=name),), files=(Place(name, (name,)),))
    lan = part(PartKind.NETWORK, name, NETWORK, active=True, autostart=True)
    host_plan = make_plan(HostRestoreRequest("kvm1", uuid(1), own.id), state(lan), state())
    two = replace(host_plan, parts=host_plan.parts + tuple(replace(item, name=item.name + "2") for item in host_plan.parts))  # fmt: skip
    shown_key = trust.Shown(name, 22, KEY, name, "unknown")
    return [
        lambda: trust._show(app, name, shown_key),
        lambda: trust._show(app, name, replace(shown_key, verdict="changed")),
        lambda: ask_secret(app, Focus("hosts", hosts=(host,))),
        lambda: backups.request_backup(app, [(row, Mode.COLD)], full=False),
        lambda: backups.cancel_job(app, Focus("jobs", jobs=(job(3, JobState.RUNNING, vm=name),))),
        lambda: backups._ask_discard(app, [moving]),
        lambda: again.again(app, Focus("jobs", jobs=(backup,))),
        lambda: again.again(app, Focus("jobs", jobs=(reverted,))),
        lambda: rehearsals.ask(app, replace(own, vm=name), name),
        lambda: retention.ask_release(app, Focus("points", points=(replace(own, vm=name, held=name),))),
        lambda: file_verbs.ask_take(app, files),
        lambda: file_verbs.ask_put(app, files),
        lambda: upkeep._ask_collect(app, Collected(named=1)),
        lambda: host_points.choose_parts(app, own, host_plan),
        lambda: host_points.choose_parts(app, own, two),
        lambda: app.push_screen(BackupOptions((name,), Mode.HOT, None)),
        lambda: sheets.palette(app, Focus("jobs", jobs=(backup,))),
        lambda: sheets.copy_menu(app, Focus("jobs", jobs=app.picture.jobs.records)),
        lambda: app.push_screen(Ask(name, name, name)),
    ]


def example_row(app: LoudApp) -> Any:
    return next(row for row in app.picture.rows if row.state == "running")


@EXAMPLES
@given(names=NAMES)
@example(names=EVIL)
def test_every_dialog(tmp_path: Path, names: Sequence[str]) -> None:
    async def look(app: LoudApp, pilot: Pilot[Any], name: str) -> None:
        for number, open_it in enumerate(dialogs(app, name)):
            open_it()
            await seen(app, pilot)
            assert isinstance(app.screen, Dialog), number
            app.pop_screen()
            await pilot.pause()

    each(tmp_path, names, look)


# -- pages -----------------------------------------------------------------------------------------


def job_pages(name: str) -> list[Any]:
    """Jobs of all kinds whose results hold the name."""
    checks = [{"name": name, "ok": ok, "detail": name} for ok in (True, False, None)]
    left = [{"name": name, "reason": name}]
    disk = {"name": name, "kind": name, "reason": name, "read_bytes": 1, "new_bytes": 1, "stored_bytes": 1}
    backed_up = {"point": name, "consistency": name, "consistency_reason": name, "frozen_ms": 1, "disks": [disk], "left_out": left}  # fmt: skip
    damage = [{"error_id": name, "cause": name, "points": [name]}]
    verified = {"points": 1, "blobs": 1, "read_bytes": 1, "damage": damage}
    tried = {"point": name, "verdict": name, "reason": name, "marker": name, "rto_s": None, "checks": checks, "picture": "", "console": [name]}  # fmt: skip
    kept = {"point": name, "new": True, "parts": {name: 1}, "left_out": [[name, name]]}
    results = {JobKind.BACKUP: backed_up, JobKind.VERIFY: verified, JobKind.REHEARSE: tried, JobKind.HOST_BACKUP: kept, JobKind.RESTORE: {"checks": checks, "before": name}}  # fmt: skip
    ended = [job(number, JobState.WARNINGS, kind=kind, vm=name, host=name, by=name, result=result, notes=(name,)) for number, (kind, result) in enumerate(results.items(), 1)]  # fmt: skip
    return [*ended, job(9, JobState.RUNNING, vm=name, phase=name, disk=name)]


@EXAMPLES
@given(names=NAMES)
@example(names=EVIL)
def test_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: Sequence[str]) -> None:
    async def look(app: LoudApp, pilot: Pilot[Any], name: str) -> None:
        records = tuple(job_pages(name))
        kept = host_point(21, NOW - NOW, left_out=(LeftOut(name, name),), held=name)
        tried = point(1, name, NOW - NOW, rehearsed=replace(rehearsal(NOW, failed=name), untested=(name,)), held=name)
        app.picture = replace(app.picture, jobs=replace(app.picture.jobs, records=records), catalogue=replace(app.picture.catalogue, host_points=(kept,)))  # fmt: skip
        changes = compare(state(part(PartKind.NETWORK, name, NETWORK, active=True, autostart=True)), state())
        row = replace(example_row(app), name=name)
        focus = Focus("vms", vms=(row,))
        call = Call(NOW.timestamp(), name, name, name, 0.1, name, name)
        monkeypatch.setattr(calls, "recent", lambda _state: [call])
        for record in records:
            await app.push_screen(JobPage(record.id))
            assert plain(await seen(app, pilot), name)
            app.pop_screen()
        plans = (prune_plan(name),)
        for screen in (HostPage("kvm1"), PrunePage(plans[0], (row,), "repo"), calls.CallsPage()):
            await app.push_screen(screen)
            await seen(app, pilot)
            app.pop_screen()
        assert summary(changes)
        for open_it in (
            lambda: shows.show_details(app, focus),
            lambda: shows.show_point(app, Focus("points", points=(tried,))),
            lambda: shows.show_explanation(app, focus),
            lambda: shows._push(app, name, host_points.change_lines(changes), focus),
        ):
            open_it()  # type: ignore[no-untyped-call]
            await seen(app, pilot)
            app.pop_screen()

    each(tmp_path, names, look)


@EXAMPLES
@given(names=NAMES)
@example(names=EVIL)
def test_the_files_of_a_point(tmp_path: Path, names: Sequence[str]) -> None:
    async def look(app: LoudApp, pilot: Pilot[Any], name: str) -> None:
        page = FilesPage(app.picture.catalogue.points[0], "points")
        page._session = Silent()  # type: ignore[assignment]
        await app.push_screen(page)
        place = Place(name, (name,))
        entry = Entry(name, Kind.LINK, 1, 0o777, 0, 0, 0, 1, name, name, name)
        page.place, page._rows = place, (FileRow(place.child(name), entry, name),)
        page._fill("")
        assert plain(await seen(app, pilot), name)
        page._failed(FailedError("FILES-PARTIAL", name, next_step=name))
        await seen(app, pilot)
        sheets.copies(page.focus_now(), app)

    each(tmp_path, names, look)


class Silent:
    """A session that answers nothing."""

    def ask(self, *_: Any) -> None:
        """Nobody answers."""

    def close(self) -> None:
        """Nothing is open."""


# -- fields, toasts, copies ------------------------------------------------------------------------


@EXAMPLES
@given(names=NAMES)
@example(names=EVIL)
def test_lines_toasts_and_copies(tmp_path: Path, names: Sequence[str]) -> None:
    async def look(app: LoudApp, pilot: Pilot[Any], name: str) -> None:
        assert app.page is not None
        for what in ("filter", "command"):
            app.page.ask_line(what, name)
            await seen(app, pilot)
            app.page.close_line()
        app.run_line(f"backup '{name}'")
        app.run_line(name)
        app.notify(name, title=name)
        app.say(name)
        app.say_error(FailedError("FILES-PARTIAL", name, next_step=name))
        await seen(app, pilot)
        for focus in (
            Focus("jobs", jobs=app.picture.jobs.records),
            Focus("points", points=app.picture.catalogue.points),
            Focus("hosts", hosts=tuple(app.picture.hosts.values())),
            Focus("log", entries=app.picture.log),
        ):
            for text in sheets.copies(focus, app).values():
                app.copy_to_clipboard(text)
        app.clear_notifications()

    each(tmp_path, names, look)
