"""Commands that keep points and let them go: hold, release, prune."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vmtui.model.ids import JobId
from vmtui.model.job import JobKind
from vmtui.overview.points import PointView
from vmtui.overview.words import local
from vmtui.tui import clock
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.dialogs.base import Confirm, Typed, word_to_type
from vmtui.tui.screens.job import JobPage
from vmtui.tui.screens.prune import PrunePage, count_words, subject
from vmtui.tui.verbs.backups import Wish, enqueue, read_only
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece

if TYPE_CHECKING:
    from vmtui.repository import Repository
    from vmtui.retention import PrunePlan
    from vmtui.tui.app import VmtuiApp

_ALL_WORD = "prune"
"""Typed to prune points of several VMs or all; for one VM it is its name."""


def _repository(app: VmtuiApp) -> Repository:
    from vmtui.opening import open_repository

    return open_repository(app.settings)


# -- hold ----------------------------------------------------------------------------------------


def no_hold(app: VmtuiApp, focus: Focus) -> str:
    """Why no point can be held or released."""
    if reason := read_only(app, []):
        return reason
    if not focus.points:
        return "choose a restore point"
    unread = [point for point in focus.points if not point.mode]
    return f"point {unread[0].id} cannot be read, and no rule prunes it" if unread else ""


def hold_or_release(app: VmtuiApp, focus: Focus) -> None:
    """Hold the chosen points, or release them when all of them are held."""
    if all(point.held is not None for point in focus.points):
        ask_release(app, focus)
        return

    def answered(reason: str | None) -> None:
        if reason is not None:
            hold(app, focus.points, reason)

    app.push_screen(Ask(f"Hold {_which(focus.points)}", "", "why? no rule prunes it until it is released"), answered)


def hold(app: VmtuiApp, points: Sequence[PointView], reason: str) -> None:
    """Hold points."""

    def work() -> None:
        from vmtui.repository import PointName

        repository = _repository(app)
        for point in points:
            repository.points.hold(PointName(point.uuid, point.id), reason, clock.now())

    app.in_background(work, lambda _: _said(app, f"{_which(points)} is held; no rule prunes it"))


def ask_release(app: VmtuiApp, focus: Focus) -> None:
    """Leave points to the rules again, after a question."""
    points = focus.points

    def work() -> None:
        from vmtui.repository import PointName

        repository = _repository(app)
        for point in points:
            repository.points.release(PointName(point.uuid, point.id), clock.now())

    def answered(yes: bool | None) -> None:
        if yes:
            app.in_background(work, lambda _: _said(app, f"{_which(points)} is released"))

    lines: list[list[Piece]] = [
        [(f"{point.host}/{point.vm} {local(point.time)} ", "strong"), (f"held: {point.held or 'no'}", "")]
        for point in points[:10]
    ]
    lines.append([("The next prune may delete it, if no rule keeps it.", "warn")])
    app.push_screen(Confirm(f"Release {_which(points)}?", lines, yes="Release", opened_by=("h",)), answered)


def _which(points: Sequence[PointView]) -> str:
    if len(points) > 1:
        return f"each of {len(points)} points"
    return f"point {points[0].id} of {points[0].host}/{points[0].vm}"


def _said(app: VmtuiApp, text: str) -> None:
    app.say(text)
    app.catalogue_feed.poke()


# -- prune ---------------------------------------------------------------------------------------


def no_plan(app: VmtuiApp, focus: Focus) -> str:
    """Why there is nothing to prune."""
    if focus.view == "vm" and not focus.vms:
        return "the VM is not known any more; 6, then f is about all"
    uuids = {row.uuid for row in focus.vms}
    points = app.picture.catalogue.points
    return "" if any(not uuids or point.uuid in uuids for point in points) else "there is no restore point yet"


def show_plan(app: VmtuiApp, focus: Focus) -> None:
    """Find out what the rules let go, of the chosen VMs or of all, and show it."""
    from vmtui.retention import make_plan

    rows = focus.vms
    tab = app.page.lit_tab if app.page is not None else ""

    def work() -> PrunePlan:
        only = {row.uuid for row in rows} if rows else None
        return make_plan(_repository(app), app.settings, clock.now(), None, app.client.points_in_use(), only)

    def done(plan: PrunePlan) -> None:
        app.push_screen(PrunePage(plan, rows, tab))

    app.planning.run(work, done, app.say_error)


def no_prune(app: VmtuiApp, _focus: Focus) -> str:
    """Why the plan that is seen cannot be carried out."""
    if not isinstance(app.page, PrunePage):
        return "look at the plan first"
    plan = app.page.plan
    return read_only(app, []) or ("" if plan.go or plan.unfinished else "nothing goes")


def ask_prune(app: VmtuiApp, focus: Focus) -> None:
    """Carry the plan out that is seen, after a word was typed."""
    page = app.page
    if not isinstance(page, PrunePage):
        return
    plan = page.plan
    wish = Wish(JobKind.PRUNE, "", " ".join(row.name for row in focus.vms), plan.request)

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [wish], lambda job: _show_job(app, job))

    lines: list[list[Piece]] = [
        [("They cannot be brought back.", "bad")],
        [("All other points stay whole: none depends on another.", "")],
        [("What is held or taken into use meanwhile is left.", "")],
    ]
    word = word_to_type(focus.vms[0].name, focus.vms[0].uuid) if len(focus.vms) == 1 else _ALL_WORD
    title = f"Prune {subject(focus.vms)}: {count_words(plan)}"
    app.push_screen(Typed(title, lines, word=word, opened_by=("f",)), answered)


def _show_job(app: VmtuiApp, job: JobId) -> None:
    """The job's page takes the plan's place."""
    if isinstance(app.screen, PrunePage):
        app.switch_screen(JobPage(job))
