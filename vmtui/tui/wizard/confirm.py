"""Step 5: the operator's word, and the job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vmtui.model.ids import JobId
from vmtui.model.job import JobKind
from vmtui.overview.words import age, local, size
from vmtui.restore.group import GroupPlan, GroupRequest
from vmtui.restore.plan import RestorePlan
from vmtui.tui import clock
from vmtui.tui.dialogs.base import Confirm, Typed, word_to_type
from vmtui.tui.screens.job import JobPage
from vmtui.tui.verbs.backups import Wish, enqueue, read_only
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.wizard.draft import Draft, Target
from vmtui.tui.wizard.group import GroupDraft

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp

_MANY = 8
"""VMs that a question names; the plan names all."""


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


IN_PLACE_WORD = "in place"


def restore_several(app: VmtuiApp, draft: GroupDraft, plan: GroupPlan) -> None:
    """The same for several: one word for all of them, and one job."""
    common = draft.common
    if reason := read_only(app, [common.host]):
        app.notify(reason, severity="warning", markup=False)
        return
    new = common.target is Target.NEW
    members = tuple(replace(member.request, name=member.name if new else None) for member in plan.members)
    request = GroupRequest(members, approved=plan.fingerprint())
    wish = Wish(JobKind.GROUP_RESTORE, common.host, " ".join(member.name for member in plan.members), request)

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [wish], lambda job: _show(app, job))

    title, lines = group_question(plan, draft)
    if common.target is Target.IN_PLACE:
        app.push_screen(Typed(title, lines, word=IN_PLACE_WORD), answered)
    else:
        app.push_screen(Confirm(title, lines, yes="Restore", opened_by=("right_square_bracket",)), answered)


def group_question(plan: GroupPlan, draft: GroupDraft) -> tuple[str, list[list[Piece]]]:
    """The question for several, and what it is about. Pure."""
    lines: list[list[Piece]] = [
        [(f"{number} {member.name} ", "strong"), (f"as of {local(point.time)}, {size(member.data_bytes)}", "")]
        for number, (member, point) in enumerate(list(zip(plan.members, draft.points, strict=True))[:_MANY], 1)
    ]
    if len(plan.members) > _MANY:
        lines.append([(f"and {len(plan.members) - _MANY} more", "")])
    first, host = plan.members[0].request, draft.common.host
    stopped = [member.name for member in plan.members if member.stop_first]
    if stopped:
        lines.append([(f"These run and are shut down, each when its turn comes: {', '.join(stopped)}.", "bad")])
    if first.in_place:
        lines.append(
            [("Disks and definitions are replaced. The old disks are kept; vmtui revert VM undoes it.", "warn")]
        )
        return f"Bring {len(plan.members)} VMs back IN PLACE on {host}?", lines
    what = "The VMs themselves, which were lost" if first.same_identity else "New VMs"
    lines.append([(f"{what}; nothing that is there is touched.", "")])
    if first.start:
        lines.append([("Each is started, and its guest agent asked, before the next is begun.", "warn")])
    return f"Restore {len(plan.members)} VMs on {host}?", lines


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
    from vmtui.tui.wizard.several import SeveralPage

    if isinstance(app.screen, RestoreWizard):
        app.screen.begun = True
    if isinstance(app.screen, RestoreWizard | SeveralPage):
        app.switch_screen(JobPage(job))
