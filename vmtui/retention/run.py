"""Carrying a prune out: only what was agreed to, and only what would still go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from vmtui.model.errors import RefusedError
from vmtui.model.progress import Check, Watch
from vmtui.model.settings import Settings
from vmtui.repository import PointName, Repository
from vmtui.retention.plan import PlannedPoint, PruneRequest, make_plan

Used = Callable[[], Mapping[PointName, str]]
"""Asks which points jobs work with now, and the words for it."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was done."""

    deleted: int
    checks: tuple[Check, ...]
    """One for each point: deleted, or left and why."""


def prune(
    repository: Repository,
    settings: Settings,
    request: PruneRequest,
    zone: tzinfo | None,
    used: Used,
    watch: Watch,
    now: datetime,
) -> Pruned:
    """Delete the points of a request, and what earlier runs left half deleted. Safe to repeat.

    Args:
        repository: Its points.
        settings: Tiers and rules as they are now.
        request: What was agreed to.
        zone: As for the plan.
        used: Asked again before each point.
        watch: Progress and cancelling.
        now: The clock [UTC].

    Raises:
        RefusedError: A point that was agreed to would be kept now. Nothing more was deleted.
        UnreachableError: The repository cannot be read or written; every point is whole or gone.
    """
    watch.phase("prune")
    with repository.store.making_room():
        checks = _finish(repository)
        points = _approved(repository, settings, request, zone)
        for point in points:
            watch.check()
            name = PointName(point.vm, point.id)
            left = used().get(name, "") or _delete(repository, name, now)
            detail = f"{point.path}, {point.time:%Y-%m-%d %H:%M:%S} UTC: {left or 'deleted'}"
            checks.append(Check(f"point {point.id}", None if left else True, detail))
            if left:
                watch.note(f"point {point.id} of {point.path} was left: {left}")
    return Pruned(sum(check.ok is True for check in checks), tuple(checks))


def _finish(repository: Repository) -> list[Check]:
    """End the deletions that an earlier run began."""
    checks = []
    for name in repository.points.marked():
        left = _erase_unless_held(repository, name)
        detail = f"half deleted by an earlier run: {left or 'deleted'}"
        checks.append(Check(f"point {name.id}", None if left else True, detail))
    return checks


def _approved(
    repository: Repository, settings: Settings, request: PruneRequest, zone: tzinfo | None
) -> list[PlannedPoint]:
    """The points that were agreed to and are still there, planned anew at the instant of the first plan.

    Raises:
        RefusedError: One of them would be kept now.
    """
    wanted = {PointName(point.vm, point.point) for point in request.points}
    plan = make_plan(repository, settings, request.at, zone, {}, {name.vm for name in wanted})
    points = [point for point in plan.points if PointName(point.vm, point.id) in wanted]
    kept = [point for point in points if point.keep]
    if kept:
        raise RefusedError(
            "PLAN-CHANGED",
            f"{len(kept)} of the {len(wanted)} points that were to go would be kept now: "
            f"{kept[0].id} of {kept[0].path}: {', '.join(kept[0].reasons)}.",
            points=[point.id for point in kept],
        )
    return points


def _delete(repository: Repository, name: PointName, now: datetime) -> str:
    """Delete a point unless somebody holds it.

    Returns:
        Why it was left; empty when it is gone.
    """
    repository.points.mark(name, now)
    return _erase_unless_held(repository, name)


def _erase_unless_held(repository: Repository, name: PointName) -> str:
    held = repository.points.status(name).held
    if held is not None and repository.points.unmark(name):
        return f"held: {held}"
    repository.points.erase(name)
    return ""
