"""Commands that make and prove points, and those on jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobRecord
from vmtui.model.point import Mode
from vmtui.overview.points import PointView
from vmtui.overview.vms import GONE, UNREACHABLE, VmRow
from vmtui.overview.words import age
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Confirm, Typed, word_to_type
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp

_MANY = 5
"""More backups than this at once are asked about first."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A job to be put into the queue."""

    kind: JobKind
    host: str
    vm: str
    request: Any


def enqueue(app: VmtuiApp, wishes: Sequence[Wish], then: Callable[[JobId], None] | None = None) -> None:
    """Put jobs into the queue off the screens' loop, and say so.

    Args:
        app: The application.
        wishes: The jobs.
        then: Called with the first job's id.
    """

    def work() -> list[JobId]:
        return [app.client.enqueue(wish.kind, wish.host, wish.vm, wish.request) for wish in wishes]

    def done(jobs: list[JobId]) -> None:
        what = f"{wishes[0].kind} of {'/'.join(part for part in (wishes[0].host, wishes[0].vm) if part) or 'the repository'}"
        text = f"job {jobs[0][-8:]}: {what} queued" if len(jobs) == 1 else f"{len(jobs)} jobs queued"
        app.say(f"{text}; 4 to watch, c there cancels", job=jobs[0])
        app.jobs_feed.poke()
        if then is not None:
            then(jobs[0])

    app.in_background(work, done)


# -- why not -------------------------------------------------------------------------------------


def read_only(app: VmtuiApp, hosts: Sequence[str]) -> str:
    """Why nothing may be changed; empty when it may. The engine refuses again."""
    if app.settings.read_only:
        return "vmtui runs in read-only mode"
    closed = [name for name in hosts if name in app.settings.hosts and app.settings.hosts[name].read_only]
    return f"{closed[0]} is set to read-only" if closed else ""


def no_backup(app: VmtuiApp, focus: Focus) -> str:
    """Why the chosen VMs cannot be backed up."""
    if reason := read_only(app, [row.host for row in focus.vms]):
        return reason
    gone = [row for row in focus.vms if row.state == GONE]
    if gone:
        return f"{gone[0].name} is gone; its points can be restored with r"
    away = [row for row in focus.vms if row.state == UNREACHABLE]
    if away:
        return f"{away[0].host} does not answer"
    return "" if focus.vms else "choose a VM"


# -- backup --------------------------------------------------------------------------------------


def tier_mode(row: VmRow) -> Mode:
    """The mode that the VM's tier asks for."""
    tier = row.assignment.tier
    return tier.mode if tier is not None else Mode.HOT


def backup_wish(row: VmRow, mode: Mode, *, full: bool = False) -> Wish:
    """A backup of one VM."""
    from vmtui.backup.plan import BackupRequest

    tier = row.assignment.tier
    request = BackupRequest(row.host, row.uuid, row.name, mode, full, media=tier is not None and tier.media)
    return Wish(JobKind.BACKUP, row.host, row.name, request)


def start_backup(app: VmtuiApp, focus: Focus) -> None:
    """Back up what is chosen, each VM in its tier's mode."""
    request_backup(app, [(row, tier_mode(row)) for row in focus.vms], full=False)


def request_backup(app: VmtuiApp, chosen: Sequence[tuple[VmRow, Mode]], *, full: bool) -> None:
    """Back up, after a question where a guest stops or many VMs are meant."""
    wishes = [backup_wish(row, mode, full=full) for row, mode in chosen]
    stopping = [(row, mode) for row, mode in chosen if mode is not Mode.HOT and row.state == "running"]
    if not stopping and len(chosen) <= _MANY:
        enqueue(app, wishes)
        return

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, wishes)

    title = f"Back up {chosen[0][0].path} {chosen[0][1]}?" if len(chosen) == 1 else f"Back up {len(chosen)} VMs?"
    app.push_screen(Confirm(title, _stop_words(app, chosen, stopping), yes="Back up", opened_by=("b", "o")), answered)


def _stop_words(
    app: VmtuiApp, chosen: Sequence[tuple[VmRow, Mode]], stopping: Sequence[tuple[VmRow, Mode]]
) -> list[list[Piece]]:
    lines: list[list[Piece]] = []
    for row, mode in stopping[:_MANY]:
        limit = app.settings.hosts[row.host].shutdown_s
        if mode is Mode.COLD:
            text = (
                f"is shut down (it has {age(limit)} for that, and is never powered off hard), read, and started again"
            )
        else:
            text = "is paused for a moment; its clock may notice"
        lines.append([(f"{row.path} ", "strong"), (text, "warn")])
    if len(stopping) > _MANY:
        lines.append([(f"and {len(stopping) - _MANY} more that stop", "warn")])
    others = len(chosen) - len(stopping)
    if others:
        lines.append([(f"{others} VM{'s go' if others > 1 else ' goes'} on running meanwhile", "")])
    lines += _newest(chosen[0][0])
    return [*lines, [("Without an answer nothing is done.", "dim")]]


def _newest(row: VmRow) -> list[list[Piece]]:
    now = clock.now()
    words = f"{age((now - row.newest).total_seconds())} ago" if row.newest is not None else "never"
    return [[(f"Newest good point of {row.name}: {words}.", "")]]


# -- verify --------------------------------------------------------------------------------------


def no_verify(app: VmtuiApp, focus: Focus) -> str:
    """Why there is nothing to verify."""
    if focus.view == "repo":
        return "" if app.picture.catalogue.points else "there is no restore point yet"
    return "" if _points_of(app, focus) else "there is no restore point to verify"


def _points_of(app: VmtuiApp, focus: Focus) -> list[tuple[str, str, str]]:
    """(VM's UUID, point, VM's name): the chosen points, or the newest one of each chosen VM."""
    if focus.points:
        return [(point.uuid, point.id, point.vm) for point in focus.points]
    newest: dict[str, PointView] = {}
    for point in app.picture.catalogue.points:
        newest.setdefault(point.uuid, point)
    return [(row.uuid, newest[row.uuid].id, row.name) for row in focus.vms if row.uuid in newest]


def start_verify(app: VmtuiApp, focus: Focus) -> None:
    """Read points and compare every byte with its hash; in the repository's view, everything."""
    if focus.view == "repo":
        enqueue(app, [Wish(JobKind.VERIFY, "", "", {"points": [], "all": True})])
        return
    points = _points_of(app, focus)
    names = " ".join(sorted({name for _, _, name in points}))
    enqueue(app, [Wish(JobKind.VERIFY, "", names, {"points": [[vm, point] for vm, point, _ in points], "all": False})])


# -- jobs ----------------------------------------------------------------------------------------


def no_cancel(app: VmtuiApp, focus: Focus) -> str:
    """Why the job cannot be cancelled."""
    if not focus.jobs:
        return "choose a job"
    if reason := read_only(app, [record.host for record in focus.jobs if record.runs_from_repository]):
        return reason
    return "" if any(not record.state.final for record in focus.jobs) else "it has ended already"


def cancel_job(app: VmtuiApp, focus: Focus) -> None:
    """Ask, then ask the job to stop."""
    jobs = [record for record in focus.jobs if not record.state.final]
    first = jobs[0]
    if any(record.runs_from_repository for record in jobs):
        _ask_discard(app, jobs)
        return
    title = f"Cancel the {first.kind} of {first.host}/{first.vm}?" if len(jobs) == 1 else f"Cancel {len(jobs)} jobs?"
    lines: list[list[Piece]] = [
        [("It cleans up first: the VM is left as it was found, scratch files and checkpoints go.", "")],
        [("What is already stored stays and is used by the next run; no half point is left.", "")],
    ]

    def answered(yes: bool | None) -> None:
        if yes:
            app.in_background(
                lambda: [app.client.cancel(record.id) for record in jobs],
                lambda _: _asked_to_stop(app, first),
            )

    app.push_screen(Confirm(title, lines, yes="Cancel it", opened_by=("c",)), answered)


def _ask_discard(app: VmtuiApp, jobs: Sequence[JobRecord]) -> None:
    """A VM that runs from the repository is not cancelled but thrown away, after its name was typed."""
    record = next(record for record in jobs if record.runs_from_repository)
    if len(jobs) > 1:
        app.notify(
            f"{record.host}/{record.vm} runs from the repository: choose that job alone",
            severity="warning",
            markup=False,
        )
        return

    def answered(yes: bool | None) -> None:
        if yes:
            app.in_background(lambda: app.client.cancel(record.id, discard=True), lambda _: _asked_to_stop(app, record))

    app.push_screen(
        Typed(
            f"Throw {record.vm} on {record.host} away?",
            [
                [("It runs from the repository, and only this job keeps it going until it is moved.", "")],
                [("It is powered off and deleted, with all that it wrote since it was restored.", "bad")],
                [("To keep it, leave this dialog: the move ends by itself.", "")],
            ],
            word=word_to_type(record.vm, record.id),
            opened_by=("c",),
        ),
        answered,
    )


def _asked_to_stop(app: VmtuiApp, record: JobRecord) -> None:
    app.say(f"job {record.id[-8:]} was asked to stop", job=record.id)
    app.jobs_feed.poke()


def start_worker(app: VmtuiApp, _focus: Focus) -> None:
    """Start a worker if none is alive."""
    from vmtui.jobs import worker

    app.in_background(lambda: worker.ensure(app.settings), lambda _: app.say("a worker is alive and takes jobs"))
