"""Step 5: the operator's word, and the job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vmtui.model.ids import JobId
from vmtui.model.job import JobKind
from vmtui.overview.words import age, size
from vmtui.restore.plan import RestorePlan
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Confirm, Typed, word_to_type
from vmtui.tui.screens.job import JobPage
from vmtui.tui.verbs.backups import Wish, enqueue, read_only
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.wizard.draft import Draft, Target

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp


def restore(app: VmtuiApp, draft: Draft, plan: RestorePlan) -> None:
    """Ask by the danger of the target, then put the job into the queue and show it."""
    if reason := read_only(app, [draft.host]):
        app.notify(reason, severity="warning", markup=False)
        return
    approved = replace(draft.request(), name=None if draft.target is Target.IN_PLACE else plan.name)
    request = replace(approved, approved=replace(plan, request=approved).fingerprint())
    wish = Wish(JobKind.INSTANT if request.instant else JobKind.RESTORE, draft.host, plan.name, request)

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [wish], lambda job: _show(app, job))

    assert draft.point is not None
    lines: list[list[Piece]] = [
        [
            ("Point   ", "strong"),
            (f"{draft.point.id}, {age((clock.now() - draft.point.time).total_seconds())} old", ""),
        ],
        [("Host    ", "strong"), (draft.host, "")],
        [("Bytes   ", "strong"), (size(plan.data_bytes), "")],
    ]
    if draft.target is Target.IN_PLACE:
        if plan.stop_first:
            lines.append([("The VM runs: it is shut down first; its users notice.", "bad")])
        lines.append(
            [("Its disks and its definition are replaced. The old disks are kept; u on the job undoes it.", "warn")]
        )
        word = word_to_type(plan.name, plan.uuid)
        app.push_screen(Typed(f"Bring {plan.name} back IN PLACE on {draft.host}?", lines, word=word), answered)
        return
    what = "The VM itself, which was lost" if draft.target is Target.LOST else "A new VM"
    lines.append([(f"{what}; nothing that is there is touched.", "")])
    if request.instant:
        lines.append([("It starts at once and runs from the repository; its disks follow while it runs.", "warn")])
    app.push_screen(
        Confirm(f"Restore as {plan.name} on {draft.host}?", lines, yes="Restore", opened_by=("right_square_bracket",)),
        answered,
    )


def export(app: VmtuiApp, draft: Draft) -> None:
    """Ask, then put the export into the queue and show it."""
    from vmtui.restore.export import ExportRequest

    assert draft.point is not None
    format_name = "qcow2" if draft.file.endswith(".qcow2") else "raw"
    request = ExportRequest(draft.point.uuid, draft.point.id, draft.disk, draft.file, format_name)
    wish = Wish(JobKind.EXPORT, "", f"{draft.vm} {draft.disk}", request)

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [wish], lambda job: _show(app, job))

    lines: list[list[Piece]] = [[(f"Disk {draft.disk} of {draft.vm} is written to", "")], [(draft.file, "strong")]]
    app.push_screen(Confirm("Write this file?", lines, yes="Write", opened_by=("right_square_bracket",)), answered)


def _show(app: VmtuiApp, job: JobId) -> None:
    """The job's page takes the wizard's place."""
    from vmtui.tui.wizard.screen import RestoreWizard

    if isinstance(app.screen, RestoreWizard):
        app.screen.begun = True
        app.switch_screen(JobPage(job))
