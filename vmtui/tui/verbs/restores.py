"""Commands that bring points back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vmtui.model.ids import VmId
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.overview.points import PointView
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Typed, word_to_type
from vmtui.tui.verbs.backups import Wish, enqueue, read_only
from vmtui.tui.verbs.registry import Focus

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp


def _several(app: VmtuiApp, focus: Focus) -> list[PointView]:
    """The points when more than one is meant: the chosen ones, or the newest good one of each chosen VM."""
    if focus.points:
        return list(focus.points)
    newest: dict[VmId, PointView] = {}
    for point in app.picture.catalogue.points:
        if point.good:
            newest.setdefault(point.uuid, point)
    return [newest[row.uuid] for row in focus.vms if row.uuid in newest]


def _is_several(focus: Focus) -> bool:
    return max(len(focus.points), len(focus.vms)) > 1


def _no_several(app: VmtuiApp, focus: Focus) -> str:
    """Why what was marked cannot be restored as one job."""
    points = _several(app, focus)
    held = {point.uuid for point in points}
    without = [row.path for row in focus.vms if row.uuid not in held]
    if without and not focus.points:
        return f"{without[0]} has no good restore point: unmark it"
    damaged = [point.vm for point in points if not point.good]
    if damaged:
        return f"a chosen point of {damaged[0]} is damaged: unmark it"
    if len(held) < len(points):
        twice = next(point.vm for place, point in enumerate(points) if point.uuid in {p.uuid for p in points[:place]})
        return f"{twice} is chosen twice: unmark one"
    return ""


def _points(app: VmtuiApp, focus: Focus) -> list[PointView]:
    """Points of the chosen VM, or the chosen point, newest first."""
    if focus.points:
        return [focus.points[0]]
    uuid = focus.vms[0].uuid if focus.vms else ""
    return [point for point in app.picture.catalogue.points if point.uuid == uuid]


def no_restore(app: VmtuiApp, focus: Focus) -> str:
    """Why nothing can be restored."""
    if app.settings.read_only:
        return "vmtui runs in read-only mode"
    if not app.settings.hypervisors:
        return "no host is configured"
    if _is_several(focus):
        return _no_several(app, focus)
    return "" if _points(app, focus) else "there is no restore point; b makes one"


def open_wizard(app: VmtuiApp, focus: Focus) -> None:
    """Begin a restore; leaving it keeps what was chosen for an hour. What is marked is restored as one job."""
    from dataclasses import replace

    if _is_several(focus):
        _open_several(app, _several(app, focus))
        return
    from vmtui.tui.wizard.draft import first_draft
    from vmtui.tui.wizard.screen import RestoreWizard

    points = _points(app, focus)
    newest = points[0]
    everything = app.picture.catalogue.points
    hosts = tuple(app.settings.hypervisors)
    good = {point.id for point in everything if point.uuid == newest.uuid and point.good}
    draft = app.drafts.find(newest.uuid, good, hosts, clock.now())
    if draft is None:
        draft = first_draft(newest.uuid, newest.vm, newest.host, everything, hosts)
    if focus.points and focus.points[0].good and draft.point != focus.points[0]:
        draft = replace(draft, point=focus.points[0], disk="", networks={}, pools={})
    app.push_screen(RestoreWizard(draft))


def _open_several(app: VmtuiApp, points: list[PointView]) -> None:
    from vmtui.tui.wizard.group import first_group
    from vmtui.tui.wizard.several import SeveralPage

    tab = app.page.lit_tab if app.page is not None else ""
    app.push_screen(SeveralPage(first_group(points, tuple(app.settings.hypervisors)), tab))


def no_undo(app: VmtuiApp, focus: Focus) -> str:
    """Why there is nothing to undo."""
    if focus.jobs and focus.jobs[0].kind is JobKind.GROUP_RESTORE:
        return "it was of several VMs: undo each by itself, as in :revert VM"
    if not focus.jobs or focus.jobs[0].kind is not JobKind.RESTORE:
        return "choose an in-place restore"
    return read_only(app, [focus.jobs[0].host]) if _kept_by(focus.jobs[0]) else "it kept no old disks"


def _kept_by(record: JobRecord) -> Mapping[str, Any]:
    """Name and UUID of the VM whose old disks a restore has kept, also one that could not be taken back; else empty."""
    told = record.result if record.state in (JobState.OK, JobState.WARNINGS) else (record.error or {}).get("facts", {})
    return told if told.get("kept") else {}


def undo(app: VmtuiApp, focus: Focus) -> None:
    """Bring the old disks back, after the VM's name was typed."""
    record = focus.jobs[0]
    kept = _kept_by(record)
    _ask_undo(app, record.host, str(kept["vm"]), VmId(str(kept["uuid"])))


def undo_vm(app: VmtuiApp, focus: Focus) -> None:
    """The same for a VM that was named."""
    row = focus.vms[0]
    if reason := read_only(app, [row.host]):
        app.notify(reason, severity="warning", markup=False)
        return
    _ask_undo(app, row.host, row.name, row.uuid)


def _ask_undo(app: VmtuiApp, host: str, name: str, uuid: VmId) -> None:
    from vmtui.restore.revert import RevertRequest

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [Wish(JobKind.REVERT, host, name, RevertRequest(host, uuid))])

    app.push_screen(
        Typed(
            f"Undo the restore of {name} on {host}?",
            [
                [("The VM is shut down if it runs, and its old disks and definition come back.", "warn")],
                [("What was written since the restore is set aside, not deleted.", "")],
            ],
            word=word_to_type(name, uuid),
            opened_by=("u",),
        ),
        answered,
    )
