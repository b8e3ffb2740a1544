"""Commands on what a host itself is made of: keep it, compare it, bring parts of it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtui.model.hostpoint import HOST_NAME
from vmtui.model.job import JobKind
from vmtui.overview.points import PointView
from vmtui.overview.words import local
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Confirm
from vmtui.tui.dialogs.pick import Choice, Pick
from vmtui.tui.screens.text import TextPage
from vmtui.tui.verbs.backups import Wish, enqueue, read_only
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece

if TYPE_CHECKING:
    from vmtui.hostpoint import Change, HostPlan, PlannedPart
    from vmtui.hosts import HostSession
    from vmtui.model.hostpoint import HostState
    from vmtui.repository import Repository
    from vmtui.tui.app import VmtuiApp

Lines = list[list[Piece]]

_MANY = 12
"""A question shows so many parts."""
_TONES = {"create": "good", "switch": "good", "replace": "warn", "same": "dim", "conflict": "warn"}
_EVERYTHING = "everything"


# -- keeping -------------------------------------------------------------------------------------


def no_keeping(app: VmtuiApp, focus: Focus) -> str:
    """Why no host point can be made."""
    return read_only(app, [host.name for host in focus.hosts]) or ("" if focus.hosts else "choose a host")


def keep(app: VmtuiApp, focus: Focus) -> None:
    """Make a host point of each chosen host."""
    from vmtui.hostpoint import HostPointRequest

    wishes = [Wish(JobKind.HOST_BACKUP, host.name, HOST_NAME, HostPointRequest(host.name)) for host in focus.hosts]
    enqueue(app, wishes)


def show_vms(app: VmtuiApp, focus: Focus) -> None:
    """The VMs of a host."""
    from vmtui.tui.verbs.opening import filter_vms

    app.go_to("vms")
    app.call_after_refresh(filter_vms, app, focus.hosts[0].name)


# -- comparing -----------------------------------------------------------------------------------


def no_comparing(_app: VmtuiApp, focus: Focus) -> str:
    """Why nothing can be compared."""
    if not focus.points:
        return "choose a host point; b makes one"
    return focus.points[0].damaged


def show_changes(app: VmtuiApp, focus: Focus) -> None:
    """What differs on the host now from the point under the cursor; or between two marked points."""
    newer, *rest = sorted(focus.points, key=lambda point: point.id, reverse=True)
    older = rest[-1] if rest else newer
    until = f"point {newer.id}" if rest else f"{newer.host} now"

    def work() -> tuple[Change, ...]:
        from vmtui.hostpoint import compare

        repository = _repository(app)
        after = _state(repository, newer) if rest else _live(app, repository, newer.host)
        return compare(_state(repository, older), after)

    def done(changes: tuple[Change, ...]) -> None:
        app.push_screen(
            TextPage(f"{older.host}: from {local(older.time)} to {until}", change_lines(changes), "hosts", focus)
        )

    app.planning.run(work, done, app.say_error)


def change_lines(changes: tuple[Change, ...]) -> Lines:
    """Changes as text; passwords do not come out of the comparison. Pure."""
    from vmtui.overview.hostpoints import summary, words_of

    tones = {"+": "good", "-": "bad", "~": "warn", "?": "unknown"}
    lines: Lines = [[(summary(changes), "strong")]]
    for item in words_of(changes):
        lines += [[], [(f"{item.mark} {item.title}", tones[item.mark])]]
        lines += [[(f"    {detail}", "")] for detail in item.details]
        lines += [[(f"    {line}", {"+": "good", "-": "bad"}.get(line[:1], "dim"))] for line in item.lines]
    return lines


def _repository(app: VmtuiApp) -> Repository:
    from vmtui.opening import open_repository

    repository = open_repository(app.settings)
    repository.sync()
    return repository


def _state(repository: Repository, point: PointView) -> HostState:
    from vmtui.hostpoint import load_state
    from vmtui.repository import PointName

    return load_state(repository, repository.points.load(PointName(point.uuid, point.id)))


def _connected(app: VmtuiApp, host: str) -> HostSession:
    from vmtui.hosts import connect

    return connect(app.settings, host)


def _live(app: VmtuiApp, repository: Repository, host: str) -> HostState:
    from vmtui.hostpoint import capture

    with _connected(app, host) as session:
        return capture(session, clock.now(), with_secrets=repository.identity.encrypted)


# -- bringing back -------------------------------------------------------------------------------


def no_restore(app: VmtuiApp, focus: Focus) -> str:
    """Why nothing can be brought back."""
    return no_comparing(app, focus) or read_only(app, [focus.points[0].host])


def ask_restore(app: VmtuiApp, focus: Focus) -> None:
    """Plan, then ask which parts, then ask for a yes; what is there is never replaced from here."""
    point = focus.points[0]

    def work() -> HostPlan:
        from vmtui.hostpoint import HostRestoreRequest, capture_objects, make_plan

        repository = _repository(app)
        with _connected(app, point.host) as session:
            live = capture_objects(session, clock.now())
        return make_plan(HostRestoreRequest(point.host, point.uuid, point.id), _state(repository, point), live)

    app.planning.run(work, lambda plan: choose_parts(app, point, plan), app.say_error)


def choose_parts(app: VmtuiApp, point: PointView, plan: HostPlan) -> None:
    """Ask which parts; with one there is nothing to choose."""
    if not plan.todo:
        left = f"; {len(plan.conflicts)} differ and are left" if plan.conflicts else ""
        app.say(f"nothing is missing on {plan.host}{left}")
        return
    if len(plan.todo) == 1:
        confirm(app, point, plan, list(plan.todo))
        return
    everything = Choice(
        _EVERYTHING, ((f"all {len(plan.todo)} parts", "strong"), (", in their order", "dim")), _EVERYTHING
    )
    parts = [
        Choice(
            part.title,
            ((f"{part.action:8} ", _TONES[part.action]), (part.title, ""), (f"  {part.detail}", "dim")),
            part.title,
        )
        for part in plan.todo
    ]

    def answered(id_: str | None) -> None:
        if id_ is not None:
            confirm(app, point, plan, [part for part in plan.todo if id_ in (_EVERYTHING, part.title)])

    app.push_screen(Pick(f"Bring back on {plan.host}", [everything, *parts]), answered)


def confirm(app: VmtuiApp, point: PointView, plan: HostPlan, parts: list[PlannedPart]) -> None:
    """Show what would be done, and ask."""
    from vmtui.hostpoint import HostRestoreRequest

    request = HostRestoreRequest(plan.host, point.uuid, point.id, tuple(part.title for part in parts))

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [Wish(JobKind.HOST_RESTORE, plan.host, HOST_NAME, request)])

    what = "1 part" if len(parts) == 1 else f"{len(parts)} parts"
    title = f"Bring back {what} of {plan.host} from its host point of {local(point.time)}?"
    app.push_screen(Confirm(title, plan_lines(plan, parts), yes="Bring back", opened_by=("r",)), answered)


def plan_lines(plan: HostPlan, parts: list[PlannedPart]) -> Lines:
    """A plan as text. Pure."""
    lines: Lines = [
        [(f"{part.action:8} ", _TONES[part.action]), (part.title, "strong"), (f"  {part.detail}", "")]
        for part in parts[:_MANY]
    ]
    if len(parts) > _MANY:
        lines.append([(f"and {len(parts) - _MANY} more", "dim")])
    if plan.conflicts:
        many = len(plan.conflicts) > 1
        differ = f"{len(plan.conflicts)} parts differ and stay" if many else "1 part differs and stays"
        lines.append([(f"{differ} as on the host now.", "warn")])
    lines.append([("Nothing that is there is stopped or replaced; files are not touched.", "dim")])
    return lines
