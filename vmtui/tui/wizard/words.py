"""The wizard's texts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from vmtui.model.errors import VmtuiError
from vmtui.model.job import JobRecord
from vmtui.overview.words import local, size
from vmtui.restore.plan import RestorePlan
from vmtui.tui import clock
from vmtui.tui.screens.job import MARKS
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.wizard.draft import Draft, Target, past_rates, time_words

Lines = list[list[Piece]]

_KINDS = {
    Target.NEW: "NEW VM",
    Target.IN_PLACE: "the VM itself, IN PLACE",
    Target.LOST: "the VM itself, LOST",
    Target.FILE: "file",
}


_IN_PLACE = (
    "In place: the VM is shut down (never powered off hard) if it runs; its old disks are set aside, and one command "
    "brings them back until they are discarded."
)
_LOST = (
    "The VM comes back with its name, UUID and MACs, and wakes from saved memory if the point holds it. If anything of "
    "it is still on the host, nothing is done."
)
_NEW = (
    "A new VM has its own UUID and MACs, and its links are down unless you map them: it cannot disturb the original. "
    "It is powered off unless you choose otherwise."
)
_INSTANT = (
    "Instant: the VM runs from the repository within seconds. What it writes stays on the host, whatever happens here.",
    "Until all of it is moved there it needs this job: if we or the network fail, it pauses, and goes on with us.",
)


def summary_lines(draft: Draft) -> Lines:
    """What was chosen so far."""
    point = draft.point
    lines: Lines = [[]]
    if point is not None:
        lines.append(
            [
                ("From  ", "strong"),
                (f"point {point.id}, {local(point.time)}, {point.mode}, {point.consistency}-consistent", ""),
            ]
        )
    if draft.target is Target.IN_PLACE:
        lines.append([(_IN_PLACE, "warn")])
    elif draft.target is Target.LOST:
        lines.append([(_LOST, "")])
    elif draft.target is Target.NEW:
        lines.append([(_NEW, "")])
        if draft.request_is_instant:
            lines += [[(line, "warn")] for line in _INSTANT]
    else:
        lines.append([("The disk is written to a new local file and read back; no VM and no host is touched.", "")])
    return [*lines, [], [("CLI   ", "strong"), (draft.command(), "dim")]]


def error_lines(error: VmtuiError) -> Lines:
    """Why there is no plan."""
    return [[], [(f"✗ {error.cause}", "bad")], [(error.next_step, ""), (f" [{error.id}]", "dim")]]


def check_lines(plan: RestorePlan | None, error: VmtuiError | None, *, asking: bool) -> Lines:
    """The preflight."""
    if error is not None:
        return error_lines(error)
    if plan is None:
        return [[], [("asking host and repository …" if asking else "nothing was asked yet", "dim")]]
    lines: Lines = [[]]
    for check in plan.checks:
        mark, tone = MARKS[check.ok]
        lines.append(
            [(f" {mark} ", tone), (f"{check.name:12} ", ""), (check.detail, "bad" if check.ok is False else "dim")]
        )
    if plan.refused:
        lines += [[], [("Not possible like this: change a line above, or [ the target. Nothing was written.", "bad")]]
    else:
        lines += [[], [("Everything fits. ] shows the plan.", "good")]]
    return lines


def plan_lines(
    draft: Draft, plan: RestorePlan | None, error: VmtuiError | None, records: Sequence[JobRecord], *, asking: bool
) -> Lines:
    """The plan as it will be carried out."""
    if plan is None or error is not None:
        return check_lines(plan, error, asking=asking)
    point = draft.point
    assert point is not None
    state = "running at once" if draft.request_is_instant else "started" if draft.start else "powered off"
    kind = _KINDS[draft.target]
    proven = f"every byte verified {local(point.verified)}" if point.verified else "never verified since it was made"
    lines: Lines = [
        [
            ("From  ", "strong"),
            (f"point {point.id}, {local(point.time)}, {point.mode}, {point.consistency}-consistent, {proven}", ""),
        ],
        [("To    ", "strong"), (f"{draft.host}, {kind} ", ""), (plan.name, "strong"), (f", {state}", "")],
        [],
    ]
    for step in plan.steps:
        lines.append(
            [
                (f" {step.number:3}  ", ""),
                (step.text, ""),
                (f"  {size(step.bytes)}" if step.bytes is not None else "", "strong"),
            ]
        )
    rates = past_rates(records, draft.host)
    lines += [
        [],
        [("Bytes     ", "strong"), (f"{size(plan.data_bytes)} written, and read back", "")],
        [("Time      ", "strong"), (time_words(plan.data_bytes, rates, draft.host), "")],
    ]
    if rates:
        now = clock.now().astimezone()
        first, last = (now + timedelta(seconds=plan.data_bytes / rate) for rate in (max(rates), min(rates)))
        span = (
            f"between {first:%H:%M} and {last:%H:%M}" if f"{first:%H:%M}" != f"{last:%H:%M}" else f"about {last:%H:%M}"
        )
        lines.append([("Ready     ", "strong"), (f"{span} if it starts now", "")])
    lines.append([("Destroys  ", "strong"), (plan.destroys, "warn" if draft.target is Target.IN_PLACE else "")])
    lines += [[("Unchecked ", "strong"), (text, "warn")] for text in plan.unchecked]
    lines += [
        [("Not done  ", "strong"), (f"{check.name}: {check.detail}", "warn")]
        for check in plan.checks
        if check.ok is None
    ]
    lines.append([("CLI       ", "strong"), (plan.command, "dim")])
    if plan.refused:
        lines += check_lines(plan, None, asking=False)
    return lines


def export_lines(draft: Draft) -> Lines:
    """The plan of an export."""
    assert draft.point is not None
    return [
        [("From  ", "strong"), (f"point {draft.point.id}, {local(draft.point.time)}, disk {draft.disk}", "")],
        [("To    ", "strong"), (draft.file, "strong")],
        [],
        [("   1  ", ""), ("read the disk's map; every pack that it needs is there", "")],
        [("   2  ", ""), (f"write {draft.file}.part, each block checked against its hash", "")],
        [("   3  ", ""), ("read it back and compare every block", "")],
        [("   4  ", ""), ("give it its name; a file that is there already is never replaced", "")],
        [],
        [("Destroys  ", "strong"), ("nothing", "")],
        [("CLI       ", "strong"), (draft.command(), "dim")],
    ]
