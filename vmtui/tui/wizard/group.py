"""What was chosen for several restores at once, and its words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vmtui.model.errors import VmtuiError
from vmtui.model.progress import Check
from vmtui.overview.points import PointView
from vmtui.overview.words import age, local, size
from vmtui.restore.group import GroupPlan, GroupRequest
from vmtui.restore.offers import Offers
from vmtui.restore.plan import RestorePlan
from vmtui.tui import clock
from vmtui.tui.screens.job import MARKS
from vmtui.tui.wizard.draft import INSTANT, Draft, Setting, Target, changed, mapping_settings, target_settings
from vmtui.tui.wizard.words import Lines, error_lines

_FOR_ONE = (Target.FILE.value, INSTANT)
"""Choices that only a single restore has."""
MEMBER = "member"


@dataclass(frozen=True, slots=True)
class GroupDraft:
    """The choices: what goes for all, and the points in their order."""

    common: Draft
    """Target, host, mappings; its point is any of them."""
    points: tuple[PointView, ...]

    def request(self) -> GroupRequest:
        """What the engine is asked."""
        return GroupRequest(tuple(replace(self.common, point=point, name="").request() for point in self.points))

    def moved(self, setting: str, by: int) -> GroupDraft:
        """The draft with one VM further up or down; the same where it cannot go."""
        places = [place for place, point in enumerate(self.points) if member_id(point) == setting]
        if not places or not 0 <= places[0] + by < len(self.points):
            return self
        points = list(self.points)
        points.insert(places[0] + by, points.pop(places[0]))
        return replace(self, points=tuple(points))

    def set(self, setting: str, value: str) -> GroupDraft:
        """The draft after one line was changed."""
        return replace(self, common=changed(self.common, setting, value))


def member_id(point: PointView) -> str:
    """Names the line of a VM."""
    return f"{MEMBER} {point.uuid}"


def first_group(points: Sequence[PointView], hosts: Sequence[str]) -> GroupDraft:
    """As new VMs on their own host, if they have one and it is configured."""
    origins = {point.host for point in points}
    origin = points[0].host if len(origins) == 1 else ""
    host = origin if origin in hosts else (hosts[0] if hosts else "")
    return GroupDraft(Draft(points[0].uuid, points[0].vm, origin, points[0], host), tuple(points))


def group_settings(
    draft: GroupDraft, hosts: Sequence[str], offers: Offers | None, everything: Sequence[PointView]
) -> tuple[Setting, ...]:
    """The lines: what goes for all, the VMs in their order, and the mappings.

    Args:
        draft: The choices.
        hosts: That can be restored to.
        offers: Of the target; None while they are asked for.
        everything: All points, to tell of newer ones that are damaged.
    """
    common = [
        replace(line, choices=tuple(choice for choice in line.choices if choice not in _FOR_ONE))
        for line in target_settings(draft.common, hosts)
        if line.id != "name"
    ]
    members = [
        Setting(
            member_id(point),
            f"{number} {point.vm}",
            f"{local(point.time)}, {age((clock.now() - point.time).total_seconds())} old",
            "newer damaged" if passed_over(point, everything) is not None else "",
        )
        for number, point in enumerate(draft.points, 1)
    ]
    return (*common, *members, *(mapping_settings(draft.common, offers) if offers is not None else ()))


def passed_over(point: PointView, everything: Sequence[PointView]) -> PointView | None:
    """The VM's newest point, where it is not the newest good one because of damage. Pure."""
    newer = [other for other in everything if other.uuid == point.uuid and other.id > point.id]
    return max(newer, key=lambda other: other.id) if newer and not any(other.good for other in newer) else None


def passed_over_words(point: PointView) -> str:
    """Why a newer point is not taken. Pure."""
    return f"the newer point of {local(point.time)} is damaged: {point.damaged}"


def head_lines(draft: GroupDraft, everything: Sequence[PointView]) -> Lines:
    """What to do here, and whose newest point is not the one that is taken. Pure."""
    left = [(point.vm, passed_over(point, everything)) for point in draft.points]
    lines: Lines = [[(" J and K move a VM, enter changes a line, ] asks for your word.", "")]]
    return lines + [[(f" {vm}: {passed_over_words(newer)}", "warn")] for vm, newer in left if newer is not None]


# -- words ---------------------------------------------------------------------------------------


def group_lines(plan: GroupPlan | None, error: VmtuiError | None, *, asking: bool) -> Lines:
    """The plan: the members under their names, and what they ask together."""
    if error is not None:
        return error_lines(error)
    if plan is None:
        return [[], [("asking host and repository …" if asking else "choose a host", "dim")]]
    lines: Lines = [_verdict(plan)]
    lines += [_check(check) for check in plan.checks if check.ok is False]
    for number, member in enumerate(plan.members, 1):
        lines += _member(number, member)
    lines += [[], [("Together  ", "strong"), (f"{size(plan.data_bytes)} written, and read back", "")]]
    for room in plan.rooms:
        lines.append(
            [
                ("Room      ", "strong"),
                (f"{', '.join(room.folders)}: {size(room.need)} needed, {size(room.free)} free", ""),
            ]
        )
    lines += [_check(check) for check in plan.checks if check.ok is not False]
    lines.append([("Order     ", "strong"), ("as above; the first that fails ends the job, those before it stay", "")])
    return [*lines, [("CLI       ", "strong"), (plan.command, "dim")]]


def _verdict(plan: GroupPlan) -> list[tuple[str, str]]:
    if plan.refused:
        return [(f"Not possible like this: {len(plan.refused)} checks failed. Nothing was written.", "bad")]
    return [(f"Everything fits: {len(plan.members)} VMs, {size(plan.data_bytes)}. ] asks for your word.", "good")]


def _member(number: int, plan: RestorePlan) -> Lines:
    lines: Lines = [
        [],
        [
            (f"{number} {plan.name}", "strong"),
            (f"  from {plan.origin}, point {plan.request.point}, {size(plan.data_bytes)}", ""),
        ],
    ]
    lines += [_check(check) for check in plan.checks if check.ok is not True]
    for step in plan.steps:
        told = f"  {size(step.bytes)}" if step.bytes is not None else ""
        lines.append([(f" {step.number:3}  {step.text}", ""), (told, "strong")])
    lines.append([("Destroys  ", "strong"), (plan.destroys, "warn" if plan.request.in_place else "")])
    return lines


def _check(check: Check) -> list[tuple[str, str]]:
    mark, tone = MARKS[check.ok]
    return [(f" {mark} ", tone), (f"{check.name:14} ", ""), (check.detail, "bad" if check.ok is False else "dim")]
